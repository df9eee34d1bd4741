//! Merkle-Patricia proofs (Ethereum yellow paper, appendix D) of an item of a block: a receipt under its `receiptsRoot`
//! or a transaction under its `transactionsRoot`.
//!
//! ```text
//! key     = RLP(position in the block), as half bytes
//! branch  = [child of 0, …, child of 15, value]
//! other   = [path, child or value]     first half byte of path: 0, 1 extension; 2, 3 leaf; odd: no padding follows
//! child   = keccak256(node)            nodes below 32 bytes are embedded instead; those of these tries never are
//! ```

use crate::error::{Error, Result};
use crate::hex::Bytes;
use crate::keccak;
use crate::rlp::{self, Item};

/// The value at `position` of the trie with this root. Every node of the proof is used, none is left over.
pub fn value<'a>(root: &[u8; 32], position: u64, proof: &'a [Bytes], what: &'static str) -> Result<&'a [u8]> {
    let broken = |problem| Error::Malformed { what, problem };
    let key: Vec<u8> = rlp::encode_integer(position).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
    let (mut rest, mut expected) = (key.as_slice(), *root);
    for (depth, node) in proof.iter().enumerate() {
        if keccak(node.as_slice()) != expected {
            return Err(Error::NodeMismatch { what, depth });
        }
        let items = rlp::list(node.as_slice(), what)?;
        let child = match items.as_slice() {
            [first, second] => {
                let (leaf, path) = path(first.bytes(what)?).ok_or(broken("a node's path is not well-formed"))?;
                rest = rest.strip_prefix(path.as_slice()).ok_or(broken("it leads to another position"))?;
                if leaf {
                    return match (rest.is_empty(), depth + 1 == proof.len()) {
                        (true, true) => second.bytes(what),
                        (false, _) => Err(broken("it leads to another position")),
                        (_, false) => Err(broken("nodes follow the last one")),
                    };
                }
                second
            }
            branch if branch.len() == 17 => {
                let (next, after) = rest.split_first().ok_or(broken("it leads to another position"))?;
                rest = after;
                &branch[usize::from(*next)]
            }
            _ => return Err(broken("a node has neither 2 nor 17 items")),
        };
        expected = hash(child).ok_or(broken("there is nothing at that position"))?;
    }
    Err(broken("its last node is missing"))
}

/// Whether the path is a leaf's, and its half bytes.
fn path(bytes: &[u8]) -> Option<(bool, Vec<u8>)> {
    let (first, rest) = bytes.split_first()?;
    let (leaf, odd) = match first >> 4 {
        flags @ 0..4 => (flags & 2 != 0, flags & 1 != 0),
        _ => return None,
    };
    let mut path = Vec::with_capacity(2 * bytes.len());
    match odd {
        true => path.push(first & 15),
        false if first & 15 != 0 => return None,
        false => (),
    }
    path.extend(rest.iter().flat_map(|byte| [byte >> 4, byte & 15]));
    Some((leaf, path))
}

fn hash(child: &Item<'_>) -> Option<[u8; 32]> {
    match child {
        Item::Bytes(bytes) => (*bytes).try_into().ok(),
        Item::List(_) => None,
    }
}
