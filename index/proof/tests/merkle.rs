//! The tree against two implementations nobody here wrote, and against tampering.
#![allow(clippy::unwrap_used)]

use cairn_proof::merkle::{Tree, verify_consistency, verify_inclusion};
use cairn_proof::{Hash, leaf_hash};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sha2_11::Sha256;
use tlog_tiles::{check_record, check_tree};

const SIZES: u64 = 300;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn theirs(hash: &Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(*hash.as_bytes())
}

#[test]
fn every_index_of_every_size_proves() {
    let mut tree = Tree::new();
    let mut oracle = MemoryBackedTree::<Sha256, [u8; 8]>::new();
    for size in 0..=SIZES {
        assert_eq!(tree.len(), size);
        let root = tree.root();
        assert_eq!(root.as_bytes(), oracle.root().as_bytes().as_slice());
        for index in 0..size {
            let path = tree.inclusion(index, size).unwrap();
            assert_eq!(path.as_flattened_bytes(), oracle.prove_inclusion(index as usize).as_bytes());
            let leaf = leaf_hash(&index.to_be_bytes());
            verify_inclusion(&leaf, index, size, &path, &root).unwrap();
            check_record(&path.iter().map(theirs).collect(), size, theirs(&root), index, theirs(&leaf)).unwrap();
        }
        tree.push(leaf_hash(&size.to_be_bytes()));
        oracle.push(size.to_be_bytes());
    }
}

#[test]
fn every_pair_of_sizes_is_consistent() {
    let tree: Tree = leaves(SIZES).into_iter().collect();
    let roots: Vec<Hash> = (0..=SIZES).map(|size| tree.root_at(size).unwrap()).collect();
    let mut oracle = MemoryBackedTree::<Sha256, [u8; 8]>::new();
    for new in 0..=SIZES {
        for old in 0..=new {
            let proof = tree.consistency(old, new).unwrap();
            let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
            verify_consistency(old, old_root, new, new_root, &proof).unwrap();
            if old > 0 {
                check_tree(&proof.iter().map(theirs).collect(), new, theirs(new_root), old, theirs(old_root)).unwrap();
            }
            if old > 0 && old < new {
                assert_eq!(proof.as_flattened_bytes(), oracle.prove_consistency((new - old) as usize).as_bytes());
            }
        }
        oracle.push(new.to_be_bytes());
    }
}

#[test]
fn a_proof_holds_for_its_index_and_size_only() {
    let tree: Tree = leaves(70).into_iter().collect();
    for index in 0..70 {
        let path = tree.inclusion(index, 70).unwrap();
        let leaf = tree.leaf(index).unwrap();
        for other in (0..200).filter(|other| *other != index) {
            assert!(verify_inclusion(&leaf, other, 70, &path, &tree.root()).is_err());
        }
    }
}

#[test]
fn a_large_tree_across_three_levels() {
    let size = 256 * 256 + 3 * 256 + 5;
    let tree: Tree = leaves(size).into_iter().collect();
    for index in [0, 1, 255, 256, 65_535, 65_536, 65_536 + 700, size - 1] {
        let path = tree.inclusion(index, size).unwrap();
        verify_inclusion(&tree.leaf(index).unwrap(), index, size, &path, &tree.root()).unwrap();
    }
    for old in [1, 255, 256, 257, 65_535, 65_536, 65_537, size - 1] {
        let proof = tree.consistency(old, size).unwrap();
        verify_consistency(old, &tree.root_at(old).unwrap(), size, &tree.root(), &proof).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tampered_inclusion_proof_fails(size in 2..2000u64, at in any::<prop::sample::Index>(), byte in 0..32usize, bit in 0..8u8, what in 0..5u8) {
        let tree: Tree = leaves(size).into_iter().collect();
        let index = at.index(size as usize) as u64;
        let mut path = tree.inclusion(index, size).unwrap();
        let (mut leaf, mut root) = (tree.leaf(index).unwrap(), tree.root());
        let flip = |hash: &mut Hash| {
            let mut bytes = *hash.as_bytes();
            bytes[byte] ^= 1 << bit;
            *hash = Hash::new(bytes);
        };
        match what {
            0 => flip(&mut leaf),
            1 => flip(&mut root),
            2 => { let i = at.index(path.len()); flip(&mut path[i]) }
            3 => { path.pop(); }
            _ => path.push(leaf),
        }
        prop_assert!(verify_inclusion(&leaf, index, size, &path, &root).is_err());
    }

    #[test]
    fn a_tampered_consistency_proof_fails(new in 3..2000u64, at in any::<prop::sample::Index>(), byte in 0..32usize, bit in 0..8u8, what in 0..5u8) {
        let tree: Tree = leaves(new).into_iter().collect();
        let old = 1 + at.index(new as usize - 1) as u64;
        let mut proof = tree.consistency(old, new).unwrap();
        let (mut old_root, mut new_root) = (tree.root_at(old).unwrap(), tree.root());
        let flip = |hash: &mut Hash| {
            let mut bytes = *hash.as_bytes();
            bytes[byte] ^= 1 << bit;
            *hash = Hash::new(bytes);
        };
        match what {
            0 => flip(&mut old_root),
            1 => flip(&mut new_root),
            2 => { let i = at.index(proof.len()); flip(&mut proof[i]) }
            3 => { proof.pop(); }
            _ => proof.push(new_root),
        }
        prop_assert!(verify_consistency(old, &old_root, new, &new_root, &proof).is_err());
    }
}

trait Flattened {
    fn as_flattened_bytes(&self) -> Vec<u8>;
}

impl Flattened for Vec<Hash> {
    fn as_flattened_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|hash| *hash.as_bytes()).collect()
    }
}
