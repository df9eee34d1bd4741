//! Verifying a training bundle, and what it proves in words.

use serde::Serialize;

use super::{Consent, TrainingBundle, TrainingDatapoint, TrainingEntry, TrainingRow};
use crate::anchor::Proved;
use crate::bundle::{VerifyError, anchor, checkpoint, cosigners, opens, words};
use crate::canonical::from_canonical;
use crate::checkpoint::SignedCheckpoint;
use crate::hash::Hash;
use crate::merkle::verify_inclusion;
use crate::record::Entry;
use crate::report::{Cosigner, short, signature};
use crate::trust::Trust;

/// What was proved of a training run.
#[derive(Clone, Debug, Serialize)]
pub struct TrainingReport {
    /// Name of the log.
    pub origin: String,
    /// Entries under the checkpoint.
    pub log_size: u64,
    /// Root under the checkpoint.
    pub log_root: Hash,
    /// Index of the run's entry.
    pub log_index: u64,
    /// Witnesses that cosigned the checkpoint.
    pub cosigned_by: Vec<Cosigner>,
    /// The anchor on a chain, where the bundle has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Proved>,
    /// The run.
    pub entry: TrainingEntry,
    /// The row.
    pub row: TrainingRow,
    /// The datapoint it was made from, where it is shown.
    pub datapoint: Option<TrainingDatapoint>,
    /// What was proved, in order, a sentence each.
    pub proved: Vec<String>,
    /// What this bundle does not show, a sentence each.
    pub not_shown: Vec<String>,
}

/// Verifies the bytes of a training bundle's file: form, key, checkpoint, entry, row, datapoint, in the order of trust.
pub fn verify_training(bytes: &[u8], trust: &Trust) -> Result<TrainingReport, VerifyError> {
    let body = bytes.strip_suffix(b"\n").ok_or(VerifyError::NoNewline)?;
    let bundle: TrainingBundle = from_canonical(body).map_err(VerifyError::Form)?;
    let cosigned = checkpoint(&bundle.key, &bundle.log, trust)?;
    let cosigned_by = cosigners(&bundle.log, &cosigned, trust)?;
    let checkpoint = cosigned.signed();
    bundle.entry.check().map_err(VerifyError::Training)?;
    let entry = Entry::from(bundle.entry.clone()).leaf().map_err(VerifyError::Form)?;
    let (index, size) = (bundle.log.index, checkpoint.size());
    verify_inclusion(&entry, index, size, &bundle.log.path, &checkpoint.root())
        .map_err(|source| VerifyError::TrainingNotInLog { index, size, source })?;
    let anchor = anchor(&entry, &bundle.log, checkpoint, trust)?;
    let (rows, row) = (&bundle.entry.rows, bundle.row.hash().map_err(VerifyError::Form)?);
    verify_inclusion(&row, bundle.index, rows.count(), &bundle.path, &rows.root)
        .map_err(|source| VerifyError::RowNotUsed { row: bundle.row.row.clone(), source })?;
    if let Some(datapoint) = &bundle.datapoint {
        let found = datapoint.commitment.leaf().map_err(VerifyError::Form)?;
        if found != bundle.row.leaf {
            return Err(VerifyError::LeafMismatch { part: "datapoint".into(), expected: bundle.row.leaf, found });
        }
        for (field, opening) in datapoint.disclosed.iter() {
            opens(opening, datapoint.commitment.field(field), || format!("datapoint.disclosed.{}", field.name()))?;
        }
    }
    Ok(report(bundle, checkpoint, trust, (cosigned_by, anchor)))
}

fn report(
    bundle: TrainingBundle,
    checkpoint: &SignedCheckpoint,
    trust: &Trust,
    (by, anchor): (Vec<Cosigner>, Option<Proved>),
) -> TrainingReport {
    let origin = checkpoint.checkpoint().origin.to_string();
    let mut proved = vec![
        "The file is a training bundle in canonical form, and every value in it is bound to the log's signature."
            .into(),
        format!("The log {origin} signed a checkpoint over {} entries with the key you trust.", checkpoint.size()),
    ];
    proved.extend(signature(&bundle.key, &bundle.log, trust, &by));
    let (anchored, open) = words("training run", &bundle.log, anchor.as_ref());
    let TrainingBundle { entry, log, row, index, datapoint, .. } = bundle;
    proved.push(format!(
        "Training run {} is entry {} of that log, unchanged since it was logged; it gives the time {}.",
        entry.job, log.index, entry.time
    ));
    proved.extend(anchored);
    proved.push(format!(
        "It made adapter generation {} on base {}, weights {}, from {} rows learnt and {} held out for evaluation.",
        entry.generation, entry.base, entry.base_weights, entry.rows.learnt, entry.rows.held_out
    ));
    for source in &entry.sources {
        let by_right = match (source.consent, source.grant) {
            (Consent::Grant, Some(grant)) => format!("by the datanet's grant of training whose entry is {grant}"),
            (Consent::Grant, None) => "by the datanet's grant of training".to_owned(),
            (Consent::Operator, _) => "by the operator's own right".to_owned(),
            (Consent::Own, _) => "the trainer's own".to_owned(),
        };
        proved.push(match (&source.datanet, source.size, source.file) {
            (Some(name), Some(size), _) => {
                format!("Its rows are of datanet {name} when that had {size} datapoints, {by_right}.")
            }
            (_, _, Some(file)) => format!("Its rows are of a file with SHA-256 {file}, {by_right}."),
            _ => format!("Its rows were used {by_right}."),
        });
    }
    let used = if row.held_out { "held out for evaluation, and not learnt" } else { "learnt" };
    proved.push(format!("Row {} is number {index} of them, and was {used}; its hash is {}.", row.row, row.leaf));
    if let Some(datapoint) = &datapoint {
        let commitment = &datapoint.commitment;
        let mut line = format!(
            "That is datapoint {} of {}, contributed {}, licence {}.",
            commitment.id, commitment.datanet, commitment.contributed_at, commitment.licence
        );
        for (field, opening) in datapoint.disclosed.iter() {
            line += &format!(" Its {}, as contributed: {}.", field.name(), short(&opening.value));
        }
        proved.push(line);
    }
    let mut not_shown = open;
    if entry.sources.iter().any(|source| source.grant.is_some()) {
        not_shown.push(
            "The grant's entry is named and not shown; `cairn audit` reads the log and says where one was not in force."
                .into(),
        );
    }
    not_shown.extend([
        "It shows one row and nothing of the others.".into(),
        "That the run learnt from these rows and no others is the operator's statement, which the log fixes; whoever has the \
         rows, the base and the configuration can train again and compare the generation."
            .into(),
        "Times are those the operator wrote down; the log fixes their order, not the clock.".into(),
    ]);
    TrainingReport {
        origin,
        log_size: checkpoint.size(),
        log_root: checkpoint.root(),
        log_index: log.index,
        cosigned_by: by,
        anchor,
        entry,
        row,
        datapoint,
        proved,
        not_shown,
    }
}
