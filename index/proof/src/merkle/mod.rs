//! The append-only Merkle tree of RFC 6962, held in memory, and its proofs.
//!
//! The tree keeps leaf hashes in tiles of 256, and above them the root of every full tile, and above those again, which
//! is the shape of C2SP tlog-tiles. Any root or proof is then folded from at most 128 hashes a level, so that a proof in
//! a tree of a million leaves costs some hundreds of hashes, not a million. Perfect subtrees come from `subtree.rs`, the
//! ragged right edge is folded here.

mod subtree;
mod verify;

pub use verify::{verify_consistency, verify_inclusion};

use crate::error::{Error, Result};
use crate::hash::{Hash, node_hash};

/// Leaves of a full tile.
pub const TILE_WIDTH: u64 = 256;

/// An append-only Merkle tree over leaf hashes.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// `levels[0]` are the leaf hashes, `levels[l + 1][i]` is the root of the full tile `i` of level `l`.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Tree {
        Tree::default()
    }

    /// Appends one leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for l in 0.. {
            if self.levels.len() == l {
                self.levels.push(Vec::new());
            }
            let level = &mut self.levels[l];
            level.push(hash);
            if !level.len().is_multiple_of(TILE_WIDTH as usize) {
                return;
            }
            hash = subtree::root(&level[level.len() - TILE_WIDTH as usize..]);
        }
    }

    /// Number of leaves.
    pub fn len(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The leaf hash at `index`.
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.levels.first()?.get(usize::try_from(index).ok()?).copied()
    }

    /// The hashes of tile level `level`: leaf hashes at 0, roots of full tiles of the level below from 1 on.
    pub fn level(&self, level: usize) -> &[Hash] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// Root hash of the whole tree. That of the empty tree is SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        self.range(0, self.len())
    }

    /// Root hash of the first `size` leaves.
    pub fn root_at(&self, size: u64) -> Result<Hash> {
        self.within("size", size, self.len())?;
        Ok(self.range(0, size))
    }

    /// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962, section 2.1.1).
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>> {
        self.within("size", size, self.len())?;
        if index >= size {
            return Err(Error::OutOfRange { what: "index", value: index, size });
        }
        let mut path = Vec::new();
        let (mut low, mut high) = (0, size);
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high));
                high = middle;
            } else {
                path.push(self.range(low, middle));
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The proof that the first `old` leaves are a prefix of the first `new` ones (RFC 6962, section 2.1.2).
    ///
    /// Empty when `old` is 0 or equals `new`.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>> {
        self.within("size", new, self.len())?;
        self.within("old size", old, new)?;
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let mut proof = Vec::new();
        let (mut low, mut high) = (0, new);
        // While the old tree's edge is the left child's edge too, the verifier knows that hash already.
        let mut known = true;
        while high != old {
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.range(middle, high));
                high = middle;
            } else {
                proof.push(self.range(low, middle));
                low = middle;
                known = false;
            }
        }
        if !known {
            proof.push(self.range(low, high));
        }
        proof.reverse();
        Ok(proof)
    }

    /// Forgets the leaves from `size` on: those of an append that failed.
    pub(crate) fn truncate(&mut self, size: u64) {
        for (l, level) in self.levels.iter_mut().enumerate() {
            level.truncate((size >> (8 * l)) as usize);
        }
    }

    /// `MTH(D[low:high])` of RFC 6962, for the ranges its recursion meets.
    fn range(&self, low: u64, high: u64) -> Hash {
        let size = high - low;
        if size == 0 {
            return Hash::of(b"");
        }
        if size.is_power_of_two() {
            return self.perfect(low, size);
        }
        let k = split(size);
        node_hash(&self.perfect(low, k), &self.range(low + k, high))
    }

    /// Root of the perfect subtree of `size` leaves from `low` on; `low` is a multiple of `size`.
    fn perfect(&self, low: u64, size: u64) -> Hash {
        let level = size.trailing_zeros() / 8;
        let first = (low >> (8 * level)) as usize;
        let count = (size >> (8 * level)) as usize;
        subtree::root(&self.levels[level as usize][first..first + count])
    }

    fn within(&self, what: &'static str, value: u64, size: u64) -> Result<()> {
        if value > size { Err(Error::OutOfRange { what, value, size }) } else { Ok(()) }
    }
}

impl Extend<Hash> for Tree {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

impl FromIterator<Hash> for Tree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Tree {
        let mut tree = Tree::new();
        tree.extend(leaves);
        tree
    }
}

/// The largest power of two smaller than `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn rfc_6962_vectors() {
        // Roots of the reference test data of Certificate Transparency.
        let entries: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let tree: Tree = entries.iter().map(|entry| leaf_hash(entry)).collect();
        assert_eq!(Tree::new().root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(
            tree.root_at(3).unwrap().to_string(),
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
        );
        assert_eq!(tree.root().to_string(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn out_of_range_is_refused() {
        let tree: Tree = (0..5u8).map(|i| leaf_hash(&[i])).collect();
        assert!(tree.inclusion(5, 5).is_err());
        assert!(tree.inclusion(0, 6).is_err());
        assert!(tree.root_at(6).is_err());
        assert!(tree.consistency(4, 3).is_err());
        assert!(Tree::new().inclusion(0, 0).is_err());
    }
}
