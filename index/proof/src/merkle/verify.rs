//! Checking inclusion and consistency proofs (RFC 9162, sections 2.1.3.2 and 2.1.4.2).
//!
//! Needs no tree: hashes, sizes and the trusted root only. The shape of a proof follows from index and size, so its
//! length is checked first, and every hash of it takes part in the root.

use crate::error::{Error, Result};
use crate::hash::{Hash, node_hash};

/// Checks that `leaf` is the leaf hash at `index` of the tree of `size` leaves with this `root`.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<()> {
    if index >= size {
        return Err(Error::OutOfRange { what: "index", value: index, size });
    }
    let (inner, border) = shape(index, size);
    right_length(path, inner + border)?;
    let hash = border_hash(inner_hash(*leaf, &path[..inner], index), &path[inner..]);
    same_root(root, hash)
}

/// Checks that the tree of `old_size` leaves and `old_root` is a prefix of that of `new_size` leaves and `new_root`.
///
/// Everything is consistent with the empty tree; then, and for equal sizes, the proof must be empty.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<()> {
    if old_size > new_size {
        return Err(Error::OutOfRange { what: "old size", value: old_size, size: new_size });
    }
    if old_size == new_size {
        right_length(proof, 0)?;
        return same_root(old_root, *new_root);
    }
    if old_size == 0 {
        right_length(proof, 0)?;
        return same_root(old_root, Hash::of(b""));
    }
    let (inner, border) = shape(old_size - 1, new_size);
    // The part of the old tree's last perfect subtree is common to both; it is the first hash of the proof, unless the
    // old tree is that subtree.
    let common = old_size.trailing_zeros() as usize;
    let inner = inner - common;
    let start = usize::from(!old_size.is_power_of_two());
    right_length(proof, start + inner + border)?;
    let seed = if start == 1 { proof[0] } else { *old_root };
    let (low, high) = proof[start..].split_at(inner);
    let mask = (old_size - 1) >> common;

    let left_only = low.iter().enumerate().filter(|(i, _)| (mask >> i) & 1 == 1);
    let old = left_only.fold(seed, |hash, (_, sibling)| node_hash(sibling, &hash));
    same_root(old_root, border_hash(old, high))?;
    same_root(new_root, border_hash(inner_hash(seed, low, mask), high))
}

/// Lengths of a path's two parts: below and above the point where it joins the tree's right border.
fn shape(index: u64, size: u64) -> (usize, usize) {
    let inner = (u64::BITS - (index ^ (size - 1)).leading_zeros()) as usize;
    let border = if inner == u64::BITS as usize { 0 } else { (index >> inner).count_ones() as usize };
    (inner, border)
}

fn inner_hash(seed: Hash, siblings: &[Hash], index: u64) -> Hash {
    siblings.iter().enumerate().fold(seed, |hash, (i, sibling)| match (index >> i) & 1 {
        0 => node_hash(&hash, sibling),
        _ => node_hash(sibling, &hash),
    })
}

fn border_hash(seed: Hash, siblings: &[Hash]) -> Hash {
    siblings.iter().fold(seed, |hash, sibling| node_hash(sibling, &hash))
}

fn right_length(proof: &[Hash], expected: usize) -> Result<()> {
    if proof.len() == expected { Ok(()) } else { Err(Error::ProofLength { expected, found: proof.len() }) }
}

fn same_root(expected: &Hash, found: Hash) -> Result<()> {
    if *expected == found { Ok(()) } else { Err(Error::RootMismatch { expected: *expected, found }) }
}
