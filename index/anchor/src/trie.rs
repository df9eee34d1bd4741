//! Building the Merkle-Patricia trie of a block's receipts or transactions (Ethereum yellow paper, appendix D), to prove one
//! of them.
//!
//! ```text
//! key   = RLP(position), as half bytes; none is the beginning of another, so a branch never holds a value
//! node  = leaf [path, value] | extension [path, child] | branch [child of 0, …, child of 15, ""]
//! child = keccak256(node), or the node itself if it is below 32 bytes
//! path  = flags (2 leaf, 1 odd) and half bytes
//! ```

use cairn_anchor_proof::{Bytes, Word, keccak};

use crate::rlp;

/// The nodes that lead from the root to the item at `position`; `None` if the items do not have that root.
pub(crate) fn proof(items: &[Vec<u8>], position: u64, root: Word) -> Option<Vec<Bytes>> {
    let key = |position: u64| halves(&rlp::number(&position.to_be_bytes()));
    let mut leaves: Vec<(Vec<u8>, &[u8])> = (0u64..).map(key).zip(items.iter().map(Vec::as_slice)).collect();
    leaves.sort();
    let mut nodes = Vec::new();
    let top = node(&leaves, 0, &key(position), &mut nodes);
    if keccak(&top) != root.0 {
        return None;
    }
    // The root is a node of its own whatever its length.
    if top.len() < 32 {
        nodes.push(top);
    }
    nodes.reverse();
    Some(nodes.into_iter().map(Bytes::from).collect())
}

/// The node over leaves whose keys agree up to `depth`. Nodes on the way to `target` are added to `proof`, the lowest first.
fn node(leaves: &[(Vec<u8>, &[u8])], depth: usize, target: &[u8], proof: &mut Vec<Vec<u8>>) -> Vec<u8> {
    let (Some((first, value)), Some((last, _))) = (leaves.first(), leaves.last()) else {
        return rlp::string(&[]);
    };
    let encoded = if leaves.len() == 1 {
        rlp::list(&[rlp::string(&path(&first[depth..], true)), rlp::string(value)])
    } else {
        // They are sorted: what the first and the last share, all share.
        let shared = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
        if shared > 0 {
            let child = reference(&node(leaves, depth + shared, target, proof));
            rlp::list(&[rlp::string(&path(&first[depth..depth + shared], false)), child])
        } else {
            let mut children: Vec<Vec<u8>> = Vec::with_capacity(17);
            for half in 0..16 {
                let from = leaves.partition_point(|(key, _)| key[depth] < half);
                let to = leaves.partition_point(|(key, _)| key[depth] <= half);
                children.push(match from == to {
                    true => rlp::string(&[]),
                    false => reference(&node(&leaves[from..to], depth + 1, target, proof)),
                });
            }
            children.push(rlp::string(&[]));
            rlp::list(&children)
        }
    };
    let on_the_way = target.starts_with(&first[..depth]) && leaves.iter().any(|(key, _)| key == target);
    if on_the_way && encoded.len() >= 32 {
        proof.push(encoded.clone());
    }
    encoded
}

/// What stands for a node in the one above it.
fn reference(node: &[u8]) -> Vec<u8> {
    if node.len() < 32 { node.to_vec() } else { rlp::string(&keccak(node)) }
}

fn halves(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect()
}

fn path(halves: &[u8], leaf: bool) -> Vec<u8> {
    let flags = if leaf { 2 } else { 0 };
    let padded = match halves.len() % 2 {
        0 => [&[flags, 0], halves].concat(),
        _ => [&[flags + 1], halves].concat(),
    };
    padded.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use cairn_anchor_proof::trie::value;

    use super::*;

    /// The root as a proof begins with it.
    fn root(items: &[Vec<u8>]) -> Word {
        let key = |position: u64| halves(&rlp::number(&position.to_be_bytes()));
        let mut leaves: Vec<(Vec<u8>, &[u8])> = (0u64..).map(key).zip(items.iter().map(Vec::as_slice)).collect();
        leaves.sort();
        Word::from(keccak(&node(&leaves, 0, &[], &mut Vec::new())))
    }

    #[test]
    fn proofs_lead_to_every_position() {
        // Through all shapes: one leaf, extensions, branches, keys of two and three bytes.
        for count in [1u64, 2, 15, 16, 17, 127, 128, 129, 255, 256, 257, 300] {
            let items: Vec<Vec<u8>> = (0..count).map(|i| [i.to_be_bytes().as_slice(), &[7; 40]].concat()).collect();
            let root = root(&items);
            for position in [0, 1, 127, 128, 255, 256, count - 1].into_iter().filter(|position| *position < count) {
                let proof = proof(&items, position, root).unwrap();
                assert_eq!(value(&root.0, position, &proof, "t").unwrap(), items[position as usize]);
                assert!(value(&root.0, position + 1, &proof, "t").is_err());
            }
            assert!(proof(&items, 0, Word::from([0; 32])).is_none());
        }
    }

    #[test]
    fn no_item_has_the_root_of_empty_blocks() {
        let empty = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421";
        assert_eq!(root(&[]).to_string(), empty);
    }
}
