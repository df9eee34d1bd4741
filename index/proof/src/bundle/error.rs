//! Why a bundle does not verify: which part, what was expected, what was found.

use super::Status;
use crate::error::Error;
use crate::hash::Hash;

/// The first thing in a bundle that does not hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file does not end in exactly one newline after the JSON.
    #[error("file: it must end with one newline after the JSON")]
    NoNewline,

    /// Not canonical JSON of a bundle.
    #[error("file: it is not a proof bundle in canonical form: {0}")]
    Form(#[source] Error),

    /// The bundle is of another log than the one trusted.
    #[error("key: expected the trusted key {expected}, found {found}")]
    WrongKey {
        /// The key given to the verifier.
        expected: String,
        /// The key in the bundle.
        found: String,
    },

    /// The checkpoint is malformed or not signed by the trusted key.
    #[error("log.checkpoint: {0}")]
    Checkpoint(#[source] Error),

    /// The changes of the log's key do not hold, or lead to no trusted key.
    #[error("log.rotations: {0}")]
    Rotation(#[source] Error),

    /// A change of the log's key is not in the log.
    #[error("log.rotations: the change of key is not entry {index} of the log: {source}")]
    RotationNotInLog {
        /// Index claimed.
        index: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// There is not one key for each cosignature.
    #[error("log.witnesses: {keys} keys stand beside {cosignatures} cosignatures")]
    WitnessCount {
        /// Key lines.
        keys: usize,
        /// Cosignatures on the checkpoint.
        cosignatures: usize,
    },

    /// A cosignature is not by the key beside it.
    #[error("log.witnesses: {0}")]
    Cosignature(#[source] Error),

    /// Fewer trusted witnesses cosigned than the verifier requires.
    #[error(
        "log.checkpoint: {required} of the {known} witnesses you trust must have cosigned it, but {found} did: {}",
        if names.is_empty() { "none" } else { names.as_str() }
    )]
    TooFewWitnesses {
        /// Witnesses required.
        required: usize,
        /// Witnesses trusted.
        known: usize,
        /// Those of them that cosigned.
        found: usize,
        /// Their names.
        names: String,
    },

    /// The record contradicts itself.
    #[error("record: {0}")]
    Record(#[source] Error),

    /// The record is not in the log at that index.
    #[error("record: it is not entry {index} of the log of {size} entries: {source}")]
    RecordNotInLog {
        /// Index claimed.
        index: u64,
        /// Size of the checkpoint.
        size: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// The verifier requires an anchor.
    #[error("log.anchor: you require an anchor on a blockchain, but the bundle has none")]
    NoAnchor,

    /// The anchor does not hold, or is not the one that the verifier trusts.
    #[error("log.anchor: {0}")]
    Anchor(#[source] cairn_anchor_proof::Error),

    /// The log signed one root and anchored another.
    #[error(
        "log.anchor: for {size} entries the log signed root {signed} and anchored root {anchored}; keep this file, it shows \
         two histories of one log"
    )]
    AnchorContradicts {
        /// Size of both trees.
        size: u64,
        /// Root under the checkpoint.
        signed: Hash,
        /// Root on the chain.
        anchored: Hash,
    },

    /// The entry is not under the anchored root.
    #[error("log.anchor.path: entry {index} is not in the anchored tree of {size} entries: {source}")]
    NotAnchored {
        /// Index claimed.
        index: u64,
        /// Size of the anchored tree.
        size: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// The entry of a training run contradicts itself.
    #[error("entry: {0}")]
    Training(#[source] Error),

    /// The entry of a training run is not in the log at that index.
    #[error("entry: it is not entry {index} of the log of {size} entries: {source}")]
    TrainingNotInLog {
        /// Index claimed.
        index: u64,
        /// Size of the checkpoint.
        size: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// The row is not among those of the training run.
    #[error("row: {row} is not a row of this training run: {source}")]
    RowNotUsed {
        /// The row.
        row: String,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// A passage of the prompt has no datapoint in the bundle.
    #[error("datapoints: passage {n} was in the prompt ({datanet} #{seq}), but its datapoint is missing")]
    DatapointMissing {
        /// Passage number.
        n: u64,
        /// Its datanet.
        datanet: String,
        /// Its position there.
        seq: u64,
    },

    /// A datapoint that the record does not name.
    #[error("datapoints: {datanet} #{seq} is not among the record's candidates")]
    DatapointNotInRecord {
        /// Its datanet.
        datanet: String,
        /// Its position there.
        seq: u64,
    },

    /// Datapoints are not in the record's order, or one is there twice.
    #[error("datapoints: {datanet} #{seq} is out of the record's order or there twice")]
    DatapointOrder {
        /// Its datanet.
        datanet: String,
        /// Its position there.
        seq: u64,
    },

    /// A datapoint is not the one the record names.
    #[error("{part}.commitment: expected leaf {expected} as in the record, found {found}")]
    LeafMismatch {
        /// Which datapoint.
        part: String,
        /// Leaf hash in the record.
        expected: Hash,
        /// Leaf hash of the commitment.
        found: Hash,
    },

    /// A number in a datapoint's proof differs from the record's.
    #[error("{part}: expected {expected}, found {found}")]
    NumberMismatch {
        /// Which number of which datapoint.
        part: String,
        /// Number by the record, or `null`.
        expected: String,
        /// Number in the bundle, or `null`.
        found: String,
    },

    /// The datapoint is not in the datanet's snapshot.
    #[error("{part}.inclusion: it is not in snapshot {root} of {datanet}: {source}")]
    NotInSnapshot {
        /// Which datapoint.
        part: String,
        /// The datanet.
        datanet: String,
        /// Root in the record.
        root: Hash,
        /// What the proof led to.
        #[source]
        source: Box<Error>,
    },

    /// An opening does not open its commitment.
    #[error("{part}: what is disclosed gives commitment {found}, but {expected} was logged")]
    OpeningMismatch {
        /// Which opening.
        part: String,
        /// The commitment logged.
        expected: Hash,
        /// The commitment of the opening.
        found: Hash,
    },

    /// A query is opened where nothing was retrieved.
    #[error("openings.query: the record holds no retrieval")]
    NoQuery,

    /// A filter is opened where the search had none.
    #[error("openings.filter: the record's search had no filter")]
    NoFilter,

    /// The status is not what disclosures and erasure make it.
    #[error("{part}.status: expected {expected:?}, found {found:?}")]
    StatusMismatch {
        /// Which datapoint.
        part: String,
        /// Status that follows from the rest.
        expected: Status,
        /// Status in the bundle.
        found: Status,
    },

    /// The tombstone is of another datapoint.
    #[error("{part}.erased: the tombstone is of {datanet} #{seq}, leaf {leaf}, not of this datapoint")]
    TombstoneMismatch {
        /// Which datapoint.
        part: String,
        /// Datanet in the tombstone.
        datanet: String,
        /// Position in the tombstone.
        seq: u64,
        /// Leaf in the tombstone.
        leaf: Hash,
    },

    /// A datapoint is shown although the log says it was erased.
    #[error("{part}: fields are disclosed although its erasure is logged")]
    DisclosedAfterErasure {
        /// Which datapoint.
        part: String,
    },

    /// The tombstone is not in the log.
    #[error("{part}.erased: the tombstone is not entry {index} of the log: {source}")]
    TombstoneNotInLog {
        /// Which datapoint.
        part: String,
        /// Index claimed.
        index: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// The entry on influence contradicts itself or is of another record.
    #[error("influence: {0}")]
    Influence(#[source] Error),

    /// The entry on influence is not in the log at that index.
    #[error("influence: it is not entry {index} of the log of {size} entries: {source}")]
    InfluenceNotInLog {
        /// Index claimed.
        index: u64,
        /// Size of the checkpoint.
        size: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// The grants are not those that the record cites.
    #[error("grants: the record's are of {}, in this order; found {}", words(expected), words(found))]
    GrantsDiffer {
        /// Datanets searched under a grant.
        expected: Vec<String>,
        /// Datanets of the grants.
        found: Vec<String>,
    },

    /// A grant, or its terms, contradict themselves.
    #[error("{part}.entry: {source}")]
    Grant {
        /// Which of them.
        part: String,
        /// What is wrong.
        #[source]
        source: Error,
    },

    /// A grant is not the one that the record cites, or terms are not those of the grant.
    #[error("{part}.entry: expected leaf {expected}, found {found}")]
    GrantMismatch {
        /// Which of them.
        part: String,
        /// Leaf hash in the record or in the grant, or `none`.
        expected: String,
        /// Leaf hash of the entry.
        found: Hash,
    },

    /// A grant, or its terms, are not in the log at that index.
    #[error("{part}.entry: it is not entry {index} of the log of {size} entries: {source}")]
    GrantNotInLog {
        /// Which of them.
        part: String,
        /// Index claimed.
        index: u64,
        /// Size of the checkpoint.
        size: u64,
        /// What the proof led to.
        #[source]
        source: Error,
    },

    /// The grant did not allow the search.
    #[error("{part}: {problem}")]
    GrantNotInForce {
        /// Which grant.
        part: String,
        /// Why not.
        problem: String,
    },

    /// The grant was given to somebody else than the caller.
    #[error("{part}.subject: grant {id} was given to another than the caller")]
    GrantOfAnother {
        /// Which grant.
        part: String,
        /// Its id.
        id: String,
    },

    /// A citation names a choice that the disclosed response has no text for.
    #[error("record.citations[{position}]: the response has no text for choice {choice}")]
    NoSuchChoice {
        /// Which citation.
        position: usize,
        /// The choice.
        choice: u64,
    },

    /// A citation reaches beyond the disclosed response.
    #[error("record.citations[{position}]: it spans {start}..{end}, but the text has {length} characters")]
    CitationOutside {
        /// Which citation.
        position: usize,
        /// Start of the span.
        start: u64,
        /// End of the span.
        end: u64,
        /// Characters of the text.
        length: u64,
    },
}

impl VerifyError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            VerifyError::NoNewline => "no_newline",
            VerifyError::Form(_) => "form",
            VerifyError::WrongKey { .. } => "wrong_key",
            VerifyError::Checkpoint(_) => "checkpoint",
            VerifyError::Rotation(_) => "rotation",
            VerifyError::RotationNotInLog { .. } => "rotation_not_in_log",
            VerifyError::WitnessCount { .. } => "witness_count",
            VerifyError::Cosignature(_) => "cosignature",
            VerifyError::TooFewWitnesses { .. } => "too_few_witnesses",
            VerifyError::Record(_) => "record",
            VerifyError::RecordNotInLog { .. } => "record_not_in_log",
            VerifyError::NoAnchor => "no_anchor",
            VerifyError::Anchor(_) => "anchor",
            VerifyError::AnchorContradicts { .. } => "anchor_contradicts",
            VerifyError::NotAnchored { .. } => "not_anchored",
            VerifyError::Training(_) => "training",
            VerifyError::TrainingNotInLog { .. } => "training_not_in_log",
            VerifyError::RowNotUsed { .. } => "row_not_used",
            VerifyError::DatapointMissing { .. } => "datapoint_missing",
            VerifyError::DatapointNotInRecord { .. } => "datapoint_not_in_record",
            VerifyError::DatapointOrder { .. } => "datapoint_order",
            VerifyError::LeafMismatch { .. } => "leaf_mismatch",
            VerifyError::NumberMismatch { .. } => "number_mismatch",
            VerifyError::NotInSnapshot { .. } => "not_in_snapshot",
            VerifyError::OpeningMismatch { .. } => "opening_mismatch",
            VerifyError::NoQuery => "no_query",
            VerifyError::NoFilter => "no_filter",
            VerifyError::StatusMismatch { .. } => "status_mismatch",
            VerifyError::TombstoneMismatch { .. } => "tombstone_mismatch",
            VerifyError::DisclosedAfterErasure { .. } => "disclosed_after_erasure",
            VerifyError::TombstoneNotInLog { .. } => "tombstone_not_in_log",
            VerifyError::Influence(_) => "influence",
            VerifyError::InfluenceNotInLog { .. } => "influence_not_in_log",
            VerifyError::GrantsDiffer { .. } => "grants_differ",
            VerifyError::Grant { .. } => "grant",
            VerifyError::GrantMismatch { .. } => "grant_mismatch",
            VerifyError::GrantNotInLog { .. } => "grant_not_in_log",
            VerifyError::GrantNotInForce { .. } => "grant_not_in_force",
            VerifyError::GrantOfAnother { .. } => "grant_of_another",
            VerifyError::NoSuchChoice { .. } => "no_such_choice",
            VerifyError::CitationOutside { .. } => "citation_outside",
        }
    }
}

fn words(datanets: &[String]) -> String {
    if datanets.is_empty() { "none".to_owned() } else { datanets.join(", ") }
}
