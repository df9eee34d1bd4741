//! Whatever bytes come in, no parser panics, none takes memory beyond a multiple of its input, and what is accepted is
//! spelled in one way. Arbitrary bytes, and mutations of valid inputs, which get further.
//!
//! `PROPTEST_CASES=1000000 cargo test -p cairn-proof --test fuzz` searches longer.
#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;

use cairn_proof::canonical::parse_strict;
use cairn_proof::log::TilePath;
use cairn_proof::merkle::{verify_consistency, verify_inclusion};
use cairn_proof::record::Entry;
use cairn_proof::witness::client::Submission;
use cairn_proof::witness::{AddCheckpoint, Witness};
use cairn_proof::{
    CosignedCheckpoint, Hash, Log, Origin, Rotation, SignedCheckpoint, SigningKey, Tree, Trust, VerifyingKey,
    WitnessKey, leaf_hash, verify_with,
};
use common::{access, golden, key, origin, vkey};
use proptest::prelude::*;
use proptest::sample::Index;

/// Counts the bytes that this thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches only cells of this thread.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| {
            held.set(held.get() + layout.size() as isize);
            let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
        });
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| held.set(held.get() - layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a parser on an input; it may take 64 KiB and sixty-four times the input, and no more.
fn bounded<T>(input: usize, parse: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    MOST.set(before);
    let parsed = parse();
    let most = MOST.get() - before;
    let allowed = 64 * 1024 + 64 * input as isize;
    assert!(most <= allowed, "{most} bytes were taken for an input of {input}");
    parsed
}

/// One change to valid bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Delete(Index, usize),
    Repeat(Index, usize),
    Move(Index, Index, usize),
    Cut(Index),
    Number(Index, u64),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), 1..200usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (any::<Index>(), 1..300usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (any::<Index>(), any::<Index>(), 1..100usize).prop_map(|(from, to, length)| Mutation::Move(from, to, length)),
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), prop_oneof![Just(u64::MAX), Just(1 << 63), Just((1 << 53) - 1), Just(0), any::<u64>()])
            .prop_map(|(at, number)| Mutation::Number(at, number)),
    ]
}

fn mutate(valid: &[u8], mutations: &[Mutation]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for mutation in mutations {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match mutation {
            Mutation::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Insert(at, more) => drop(bytes.splice(at.index(length)..at.index(length), more.clone())),
            Mutation::Delete(at, count) => {
                let at = at.index(length);
                drop(bytes.drain(at..(at + count).min(length)));
            }
            Mutation::Repeat(at, count) => {
                let at = at.index(length);
                let part = bytes[at..(at + count).min(length)].to_vec();
                drop(bytes.splice(at..at, part));
            }
            Mutation::Move(from, to, count) => {
                let from = from.index(length);
                let part: Vec<u8> = bytes.drain(from..(from + count).min(length)).collect();
                let to = to.index(bytes.len() + 1);
                drop(bytes.splice(to..to, part));
            }
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
            // A number where a number was, so that shapes stay and only sizes are absurd.
            Mutation::Number(at, number) => {
                let at = at.index(length);
                if let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|offset| at + offset) {
                    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    drop(bytes.splice(start..start + digits, number.to_string().into_bytes()));
                }
            }
        }
    }
    bytes
}

/// Inputs that are right, one of each kind, and two bundles, one with grants.
fn valid() -> Vec<Vec<u8>> {
    let mut world = common::world();
    let (name, witness_key) = (Origin::new("witness.example/w1").unwrap(), SigningKey::from_seed([7; 32]));
    let dir = tempfile::tempdir().unwrap();
    Witness::init(dir.path(), &name, &witness_key).unwrap();
    let witness = Witness::open(dir.path(), name, witness_key, &[vkey()]).unwrap();
    let submission = Submission::new(witness.public_key(), world.log.checkpoint().clone(), 0);
    let request = submission.request(world.log.tree()).unwrap();
    let answer = witness.add_checkpoint(&request, 1_700_000_000);
    assert_eq!(answer.status, 200);
    let cosigned = format!("{}{}", world.log.checkpoint(), answer.body);
    let tree = world.log.tree().clone();
    let later = AddCheckpoint {
        old: 100,
        proof: tree.consistency(100, tree.len()).unwrap(),
        checkpoint: world.log.checkpoint().to_string(),
    };
    let rotation = world.log.rotate(SigningKey::from_seed([43; 32]), "2026-01-02T03:04:05Z".into()).unwrap();
    let terms = access::terms("tenancy-law", 2, Some(Hash::of(b"one")));
    let grant = access::grant("grant-1", "tenancy-law", Some(terms.leaf().unwrap()));
    let mut entries = vec![access::contribution().into(), terms.into(), Entry::from(grant)];
    entries.extend(access::events(Hash::of(b"terms")).into_iter().map(Entry::from));
    let mut valid = vec![
        fs::read(golden("bundle.json")).unwrap(),
        fs::read(golden("checkpoint")).unwrap(),
        vkey().to_string().into_bytes(),
        witness.public_key().to_string().into_bytes(),
        cosigned.into_bytes(),
        request,
        later.to_bytes(),
        answer.body.into_bytes(),
        rotation.to_bytes().unwrap(),
        world.log.entry(260).unwrap(),
        world.log.entry(261).unwrap(),
        b"tile/0/x001/x234/067.p/200".to_vec(),
        fs::read(golden("granted.json")).unwrap(),
    ];
    valid.extend(entries.iter().map(|entry| entry.to_bytes().unwrap()));
    valid
}

struct Targets {
    witness: Witness,
    submission: Submission,
    trust: Trust,
    valid: Vec<Vec<u8>>,
    _dir: tempfile::TempDir,
}

impl Targets {
    fn new() -> Targets {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (name, witness_key) = (Origin::new("witness.example/w1").unwrap(), SigningKey::from_seed([7; 32]));
        Witness::init(dir.path(), &name, &witness_key).unwrap();
        let witness = Witness::open(dir.path(), name, witness_key, &[vkey()]).unwrap();
        let checkpoint = SignedCheckpoint::open(&fs::read_to_string(golden("checkpoint")).unwrap(), &vkey()).unwrap();
        let submission = Submission::new(witness.public_key(), checkpoint, 0);
        let trust = Trust::new(vkey()).with_witnesses(vec![witness.public_key()], 0).unwrap();
        Targets { witness, submission, trust, valid: valid(), _dir: dir }
    }

    /// Gives the bytes to every parser. What is accepted must have one spelling.
    fn feed(&self, bytes: &[u8]) {
        let length = bytes.len();
        if let Ok(entry) = bounded(length, || Entry::parse(bytes)) {
            assert_eq!(entry.to_bytes().unwrap(), bytes);
        }
        let _ = bounded(length, || parse_strict(bytes));
        if let Ok(request) = bounded(length, || AddCheckpoint::parse(bytes)) {
            assert_eq!(request.to_bytes(), bytes);
        }
        let answer = bounded(length, || self.witness.add_checkpoint(bytes, 1_700_000_001));
        assert_ne!(answer.status, 500, "{}", answer.body);
        for status in [200, 409, 500] {
            let _ = bounded(length, || self.submission.clone().answer(status, bytes, 1000));
        }
        if bounded(length, || verify_with(bytes, &self.trust)).is_ok() {
            assert!(self.valid.iter().any(|valid| valid == bytes), "another bundle than those issued is accepted");
        }
        if let Ok(rotation) = bounded(length, || serde_json::from_slice::<Rotation>(bytes)) {
            let _ = bounded(length, || rotation.verify());
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(signed) = bounded(length, || SignedCheckpoint::parse(text)) {
            assert_eq!(signed.to_string(), text);
        }
        if let Ok(cosigned) = bounded(length, || CosignedCheckpoint::parse(text)) {
            assert_eq!(cosigned.to_string(), text);
        }
        if let Ok(parsed) = bounded(length, || text.parse::<VerifyingKey>()) {
            assert_eq!(parsed.to_string(), text);
        }
        if let Ok(parsed) = bounded(length, || text.parse::<WitnessKey>()) {
            assert_eq!(parsed.to_string(), text);
        }
        if let Ok(parsed) = bounded(length, || text.parse::<TilePath>()) {
            assert_eq!(parsed.to_string(), text);
        }
        let _ = bounded(length, || SigningKey::from_pem(text));
    }
}

#[test]
fn mutations_of_valid_inputs() {
    let targets = Targets::new();
    for bytes in &targets.valid {
        targets.feed(bytes);
    }
    let strategy = (0..targets.valid.len(), prop::collection::vec(mutation(), 1..5));
    proptest!(|((which, mutations) in strategy)| targets.feed(&mutate(&targets.valid[which], &mutations)));
}

#[test]
fn arbitrary_bytes_and_text() {
    let targets = Targets::new();
    proptest!(|(bytes in prop::collection::vec(any::<u8>(), 0..600))| targets.feed(&bytes));
    proptest!(|(text in "[-+=/ 0-9a-zA-Z{}\\[\\]\":,.\n\u{2014}]{0,400}")| targets.feed(text.as_bytes()));
}

#[test]
fn two_inputs_spliced_together() {
    let targets = Targets::new();
    let count = targets.valid.len();
    proptest!(|(a in 0..count, b in 0..count, from in any::<Index>(), to in any::<Index>())| {
        let (a, b) = (&targets.valid[a], &targets.valid[b]);
        let spliced = [&a[..from.index(a.len())], &b[to.index(b.len())..]].concat();
        targets.feed(&spliced);
    });
}

#[test]
fn deep_and_long_inputs_end_early() {
    let targets = Targets::new();
    let checkpoint = String::from_utf8(targets.valid[1].clone()).unwrap();
    let signature = checkpoint.lines().last().unwrap();
    for bytes in [
        "[".repeat(100_000).into_bytes(),
        "{\"a\":".repeat(50_000).into_bytes(),
        format!("{checkpoint}{}", format!("{signature}\n").repeat(5000)).into_bytes(),
        format!("old 0\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(64)).into_bytes(),
        vec![b'\n'; 200_000],
        "9".repeat(100_000).into_bytes(),
    ] {
        targets.feed(&bytes);
    }
}

proptest! {
    #[test]
    fn proofs_of_any_shape(
        sizes in (any::<u64>(), any::<u64>(), any::<u64>()),
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..140),
    ) {
        let (index, old, new) = sizes;
        let hashes: Vec<Hash> = hashes.into_iter().map(Hash::new).collect();
        let leaf = leaf_hash(b"leaf");
        for (index, old, new) in [(index, old, new), (index % 200, old % 200, new % 200), (u64::MAX - 1, 1 << 63, u64::MAX)] {
            prop_assert!(verify_inclusion(&leaf, index, new, &hashes, &Hash::default()).is_err());
            prop_assert!(verify_consistency(old, &leaf, new, &Hash::default(), &hashes).is_err());
        }
    }

    #[test]
    fn a_changed_proof_fails(
        size in 2..600u64,
        which in any::<(Index, Index, Index)>(),
        bit in 0..256usize,
    ) {
        let tree: Tree = (0..size).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let index = which.0.index(size as usize) as u64;
        let mut path = tree.inclusion(index, size).unwrap();
        verify_inclusion(&tree.leaf(index).unwrap(), index, size, &path, &tree.root()).unwrap();
        let at = which.1.index(path.len());
        let mut bytes = *path[at].as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        path[at] = Hash::new(bytes);
        prop_assert!(verify_inclusion(&tree.leaf(index).unwrap(), index, size, &path, &tree.root()).is_err());
        let old = 1 + which.2.index(size as usize - 1) as u64;
        let mut proof = tree.consistency(old, size).unwrap();
        let root = tree.root_at(old).unwrap();
        verify_consistency(old, &root, size, &tree.root(), &proof).unwrap();
        proof.push(Hash::default());
        prop_assert!(verify_consistency(old, &root, size, &tree.root(), &proof).is_err());
    }

    /// Files of a log that were overwritten with anything: an error that names them, or the log as it was.
    #[test]
    fn damaged_files_of_a_log(which in any::<Index>(), mutations in prop::collection::vec(mutation(), 1..4)) {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut log = Log::open(dir.path(), key(), origin()).unwrap();
        log.append(&(0..300u32).map(|i| i.to_be_bytes().to_vec()).collect::<Vec<_>>()).unwrap();
        log.rotate(SigningKey::from_seed([43; 32]), "2026-01-02T03:04:05Z".into()).unwrap();
        let root = log.checkpoint().root();
        drop(log);
        let files = ["checkpoint", "rotations", "tile/0/000", "tile/0/001.p/45", "tile/1/000.p/1", "tile/entries/001.p/45"];
        let path = dir.path().join(files[which.index(files.len())]);
        let bytes = fs::read(&path).unwrap();
        let changed = mutate(&bytes, &mutations);
        fs::write(&path, &changed).unwrap();
        let opened = Log::open(dir.path(), SigningKey::from_seed([43; 32]), origin());
        match opened {
            // Rotations that are gone altogether are missed by the full check only: opening does not read old entries.
            Ok(_) if changed != bytes && path.ends_with("rotations") => {
                prop_assert!(cairn_proof::log::check(dir.path(), &SigningKey::from_seed([43; 32]).verifying_key(&origin())).is_err());
            }
            Ok(log) => prop_assert!(changed == bytes && log.checkpoint().root() == root, "{path:?} was changed unnoticed"),
            Err(error) => prop_assert!(changed != bytes, "{error}"),
        }
    }
}
