//! The crate's error. Verification of a bundle has its own, [`crate::bundle::VerifyError`], because there a failure is
//! a finding to report rather than a fault.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::hash::Hash;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the value that was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a SHA-256 value in lower-case hexadecimal.
    #[error("`{0}` is not a hash: 64 lower-case hexadecimal digits are needed")]
    BadHash(String),

    /// Text that is not JSON, or JSON that is not I-JSON (duplicate key, number out of range).
    #[error("not acceptable JSON: {0}")]
    Json(#[source] serde_json::Error),

    /// JSON that is right but not in the canonical form of RFC 8785.
    #[error("the JSON is not in canonical form: it differs at byte {offset}")]
    NotCanonical {
        /// First byte that differs.
        offset: usize,
    },

    /// JSON of an entry that is none of the entry kinds.
    #[error("unknown entry type {0:?}")]
    UnknownEntryType(Option<String>),

    /// A record whose parts contradict each other.
    #[error("the record contradicts itself: {0}")]
    InconsistentRecord(String),

    /// An entry on influence whose parts contradict each other, or the record.
    #[error("the entry on influence contradicts itself or the record: {0}")]
    InconsistentInfluence(String),

    /// An entry on access whose parts contradict each other.
    #[error("the {entry} entry contradicts itself: {problem}")]
    InconsistentAccess {
        /// Which entry: "terms", "access", "grant" or "contribution".
        entry: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// Metadata of a datapoint must be a JSON object.
    #[error("metadata must be a JSON object")]
    MetadataNotObject,

    /// An origin must be non-empty, without spaces, control characters or `+`, and at most 255 bytes.
    #[error("`{0}` is not a log origin: it must be 1 to 255 bytes without spaces, control characters or `+`")]
    BadOrigin(String),

    /// A public key that is not a C2SP verifier key line.
    #[error("not a verifier key (name+hash+key): {0}")]
    BadVerifyingKey(&'static str),

    /// A private key that is not PKCS#8 PEM of an Ed25519 key.
    #[error("not an Ed25519 private key in PKCS#8 PEM: {0}")]
    BadSigningKey(#[source] ed25519_dalek::pkcs8::Error),

    /// Writing a private key as PEM failed.
    #[error("the private key cannot be written as PEM: {0}")]
    UnwritableSigningKey(#[source] ed25519_dalek::pkcs8::Error),

    /// A private key that everybody on the machine may read.
    #[error("{path} can be read or changed by others (mode {mode:03o}); run chmod 600 on it")]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },

    /// The operating system's random generator failed.
    #[error("the operating system gave no randomness: {0}")]
    NoRandomness(#[source] rand::rand_core::OsError),

    /// A checkpoint that is not a C2SP signed note of the form this crate writes.
    #[error("malformed checkpoint: {0}")]
    MalformedCheckpoint(&'static str),

    /// The checkpoint is signed by another key or names another log.
    #[error("the checkpoint is signed by {found}, not by {expected}")]
    WrongSigner {
        /// Name and key id that were asked for.
        expected: String,
        /// Name and key id on the checkpoint.
        found: String,
    },

    /// The signature does not match the checkpoint's text.
    #[error("the signature on the checkpoint of {origin} at size {size} is wrong")]
    WrongSignature {
        /// Origin on the checkpoint.
        origin: String,
        /// Size on the checkpoint.
        size: u64,
    },

    /// A proof was asked for a leaf or size the tree does not have.
    #[error("out of range: {what} {value} in a tree of {size} leaves")]
    OutOfRange {
        /// What was asked for: "index", "size" or "old size".
        what: &'static str,
        /// Its value.
        value: u64,
        /// The limit.
        size: u64,
    },

    /// An inclusion or consistency proof of the wrong length.
    #[error("the proof has {found} hashes where {expected} are needed")]
    ProofLength {
        /// Hashes the tree's shape asks for.
        expected: usize,
        /// Hashes in the proof.
        found: usize,
    },

    /// A proof leads to another root.
    #[error("the proof leads to root {found}, not to {expected}")]
    RootMismatch {
        /// Trusted root.
        expected: Hash,
        /// Root the proof leads to.
        found: Hash,
    },

    /// An entry longer than a bundle can hold.
    #[error("entry {position} of the batch has {length} bytes; a log entry has at most 65535")]
    EntryTooLong {
        /// Position in the batch.
        position: usize,
        /// Its length in bytes.
        length: usize,
    },

    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// A file of the log is absent.
    #[error("the log is damaged: {0} is missing")]
    MissingFile(String),

    /// A file of the log contradicts another.
    #[error("the log is damaged: {file}: {problem}")]
    DamagedFile {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The checkpoint is older than its second copy: a backup was restored. Going on would fork the log.
    #[error(
        "the log's files end at size {size}, but its guard shows that it signed a checkpoint at size {guard}: an older \
         backup was restored, and signing from here would fork the log. Restore the checkpoint and tiles up to size \
         {guard} from a newer backup or a mirror, then start again. If they are lost for good, this log has ended: keep \
         its files for the proofs already given, and start a new log with a new origin"
    )]
    BehindGuard {
        /// Size of the log's checkpoint.
        size: u64,
        /// Size of the guard's checkpoint.
        guard: u64,
    },

    /// The log and the guard hold different trees.
    #[error("the guard's checkpoint at size {size} has root {guard}, the log has {log}: the log was forked")]
    GuardMismatch {
        /// Size at which they differ.
        size: u64,
        /// Root in the guard.
        guard: Hash,
        /// Root in the log.
        log: Hash,
    },

    /// Another process has the log open.
    #[error("{0} is open in another process")]
    Locked(PathBuf),

    /// An earlier write failed, so what is on disk is uncertain.
    #[error("an earlier write failed; open the log again before appending")]
    NeedsReopen,

    /// A path that is not that of a tile.
    #[error("`{0}` is not a tile path")]
    BadTilePath(String),

    /// No such tile.
    #[error("there is no tile {0}")]
    NoSuchTile(String),

    /// The stored checkpoint is not the one this process wrote last.
    #[error(
        "{0} was changed by somebody else since it was last written: another process appends to this log. Nothing was \
         signed; stop one of the two and open the log again"
    )]
    CheckpointMoved(PathBuf),

    /// A tile that is written once and never changed was found with other content.
    #[error(
        "{0} is there already, with other content: another process appends to this log. Stop one of the two and open \
         the log again"
    )]
    TileTaken(String),

    /// A witness has cosigned a larger log than is here: a backup was restored. Going on would fork the log.
    #[error(
        "the log's files end at size {size}, but witness {witness} has seen it at size {seen}: an older backup was \
         restored, and signing from here would fork the log. Restore the checkpoint and tiles up to size {seen} from a \
         newer backup or a mirror, then start again. If they are lost for good, this log has ended: start a new log \
         with a new origin"
    )]
    BehindWitness {
        /// Size of the log here.
        size: u64,
        /// Name of the witness.
        witness: String,
        /// Size the witness has cosigned.
        seen: u64,
    },

    /// A witness has cosigned another tree of the same log.
    #[error(
        "witness {witness} has cosigned another history of this log at size {size}: the log was forked. Nothing more \
         is signed; compare this log with the witness's checkpoint and with backups"
    )]
    ForkedFromWitness {
        /// Size at which the histories differ, or before which they do.
        size: u64,
        /// Name of the witness.
        witness: String,
    },

    /// A note, proof request or answer that is not of the form of its specification.
    #[error("malformed {what}: {problem}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// A cosignature that is not the witness's over this checkpoint.
    #[error("the cosignature of {witness} on the checkpoint of {origin} at size {size} is wrong")]
    WrongCosignature {
        /// Name of the witness.
        witness: String,
        /// Origin of the log.
        origin: String,
        /// Size of the checkpoint.
        size: u64,
    },

    /// A witness answered with something other than a cosignature.
    #[error("witness {witness} answered with status {status}: {problem}")]
    WitnessRefused {
        /// Name of the witness.
        witness: String,
        /// HTTP status.
        status: u16,
        /// What that means.
        problem: String,
    },

    /// The directory of a witness was never initialised, or was lost.
    #[error(
        "{0} is not the state of a witness. A witness that forgot what it cosigned must not go on under its key: \
         restore its state, or initialise a new witness with a new name and key"
    )]
    NotAWitness(PathBuf),

    /// A witness has signed with another name or key in this directory.
    #[error("this is the state of witness {found}, not of {expected}")]
    OtherWitness {
        /// The key given.
        expected: String,
        /// The key in the directory.
        found: String,
    },

    /// Fewer witnesses exist or signed than are required.
    #[error("{required} witnesses are required, but only {known} are known")]
    TooFewWitnesses {
        /// Witnesses required.
        required: usize,
        /// Witnesses known.
        known: usize,
    },

    /// A rotation of keys that does not hold.
    #[error("the key rotation at size {size} does not hold: {problem}")]
    BadRotation {
        /// Size from which the next key signs.
        size: u64,
        /// What is wrong with it.
        problem: String,
    },

    /// The checkpoint is signed by a key that was not in force at that size.
    #[error("the checkpoint at size {size} is signed by {key}, which was not the log's key then: {problem}")]
    KeyNotInForce {
        /// Size of the checkpoint.
        size: u64,
        /// The key's line.
        key: String,
        /// When it was in force.
        problem: String,
    },

    /// The log's key was rotated, and the log was opened with the old or not yet valid one.
    #[error(
        "the last checkpoint, at size {size}, is signed by {signed}, but the log was opened with {given}; {advice}"
    )]
    KeyRotated {
        /// Size of the last checkpoint.
        size: u64,
        /// Key that signed it.
        signed: String,
        /// Key given.
        given: String,
        /// What to do.
        advice: &'static str,
    },

    /// A program that signs for the log failed.
    #[error("the signing program {program} failed: {problem}")]
    SigningProgram {
        /// The program.
        program: String,
        /// What it did.
        problem: String,
    },

    /// The counters of uses have a gap, a repetition or run backwards.
    #[error("uses of contributor {contributor}: {problem}")]
    Uses {
        /// The contributor's pseudonym.
        contributor: Hash,
        /// What is wrong.
        problem: String,
    },

    /// The log was told to sign nothing more.
    #[error("the log signs nothing more: {0}")]
    Stopped(#[source] Arc<Error>),

    /// Too many entries wait for the log.
    #[error("{0} entries wait to be logged already; try again shortly")]
    Overloaded(usize),

    /// The thread that writes the log has ended.
    #[error("the log's writer has stopped")]
    WriterStopped,
}
