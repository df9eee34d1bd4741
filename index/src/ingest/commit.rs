//! The last steps of an ingest: salts, commitments, and the batches of the one commit.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use cairn_proof::{Commitment, Hash, Salt};

use crate::datapoint::Checked;
use crate::schema::{NewRow, batch};
use crate::staging::{Staging, TextHash};
use crate::{DatanetName, Datapoint, IndexError};

/// Drafts whose vectors are all staged.
pub(super) struct Staged {
    pub(super) drafts: Vec<(Checked, TextHash)>,
    pub(super) staging: Staging,
}

/// Everything that one commit writes.
pub(super) struct Commit {
    pub(super) batches: Vec<RecordBatch>,
    /// In the order of the rows.
    pub(super) leaves: Vec<Hash>,
    pub(super) staging: Staging,
}

impl Commit {
    /// Gives the drafts their places from `first` on, fresh salts and leaves. Blocking.
    pub(super) fn prepare(
        name: &DatanetName,
        first: u64,
        schema: &SchemaRef,
        staged: Staged,
    ) -> Result<Self, IndexError> {
        let Staged { drafts, staging } = staged;
        let (mut batches, mut leaves) = (Vec::new(), Vec::with_capacity(drafts.len()));
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        for (seq, (checked, key)) in (first..).zip(drafts) {
            let vector = staging.vector(&key).cloned().ok_or_else(|| IndexError::Corrupt {
                datanet: name.clone(),
                reason: format!("the vector of {} is not staged", checked.id),
            })?;
            let row = new_row(name, seq, checked, vector)?;
            leaves.push(row.leaf);
            rows.push(row);
            if rows.len() == BATCH_ROWS {
                batches.push(batch(schema, &rows)?);
                rows.clear();
            }
        }
        if !rows.is_empty() {
            batches.push(batch(schema, &rows)?);
        }
        Ok(Self { batches, leaves, staging })
    }
}

fn new_row(name: &DatanetName, seq: u64, checked: Checked, vector: Vec<f32>) -> Result<NewRow, IndexError> {
    let failed = |source: cairn_proof::Error| IndexError::Commit {
        datanet: name.clone(),
        id: checked.id.to_string(),
        source: Box::new(source),
    };
    let salt = Salt::random().map_err(failed)?;
    let datapoint = Datapoint {
        datanet: name.clone(),
        id: checked.id.clone(),
        seq,
        text: checked.text.clone(),
        contributor: checked.contributor.clone(),
        contributed_at: checked.contributed_at.clone(),
        source: checked.source.clone(),
        licence: checked.licence.clone(),
        metadata: checked.metadata.clone(),
        content_hash: Hash::new(checked.content_hash),
        leaf: Hash::default(), // not part of the fields committed to
    };
    let leaf = Commitment::new(&datapoint.fields(), &salt).and_then(|commitment| commitment.leaf()).map_err(failed)?;
    Ok(NewRow { seq, checked, salt: *salt.as_bytes(), leaf, vector })
}

const BATCH_ROWS: usize = 4096;
