//! Roots of perfect subtrees, built with `merkle_light`. The only file that imports it.
//!
//! `merkle_light` duplicates the last node of an odd level, hashes items twice through `from_data`, panics on fewer than
//! two leaves, and its proofs accept any root. None of that can be reached from here: it is given a power of two of
//! hashes, no less than two, that are leaf hashes already. On those its tree is exactly that of RFC 6962.

use std::hash::Hasher;

use merkle_light::hash::Algorithm;
use merkle_light::merkle::MerkleTree;
use sha2::{Digest, Sha256};

use crate::hash::Hash;

/// Root of the perfect tree over `hashes`, whose number must be a power of two.
///
/// A single hash is its own root.
pub(crate) fn root(hashes: &[Hash]) -> Hash {
    assert!(hashes.len().is_power_of_two(), "a perfect subtree has a power of two of leaves, not {}", hashes.len());
    match hashes {
        [only] => *only,
        _ => MerkleTree::<Hash, Rfc6962>::from_iter(hashes.iter().copied()).root(),
    }
}

/// RFC 6962 hashing for `merkle_light`: nodes get the 0x01 prefix (its default), leaves are taken as they are.
#[derive(Default)]
struct Rfc6962(Sha256);

impl Hasher for Rfc6962 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("merkle_light reads the digest through Algorithm::hash")
    }
}

impl Algorithm<Hash> for Rfc6962 {
    fn hash(&mut self) -> Hash {
        Hash::new(self.0.clone().finalize().into())
    }

    fn leaf(&mut self, leaf: Hash) -> Hash {
        leaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{leaf_hash, node_hash};

    #[test]
    fn equals_plain_hashing() {
        let leaves: Vec<Hash> = (0..256u32).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for k in 0..=8 {
            let mut level = leaves[..1 << k].to_vec();
            while level.len() > 1 {
                level = level.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            }
            assert_eq!(root(&leaves[..1 << k]), level[0], "2^{k} leaves");
        }
    }

    #[test]
    #[should_panic(expected = "power of two")]
    fn refuses_ragged_trees() {
        root(&[leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")]);
    }
}
