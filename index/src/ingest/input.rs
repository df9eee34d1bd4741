//! The first step of an ingest: every draft read, checked and compared with what is there.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::Array;
use chrono::{SecondsFormat, Utc};
use futures::TryStreamExt;
use lancedb::Table;
use lancedb::query::{ExecutableQuery, QueryBase, Select};

use super::near::near_duplicates;
use super::{IngestOptions, IngestStage, NearDuplicate, NearDuplicates, Rejection, SHOWN, Sample};
use crate::datapoint::Checked;
use crate::schema::{Columns, hash_at};
use crate::{DatanetName, Draft, Drafts, IndexError, ReadError};

/// Id and content hash of every datapoint of a datanet.
pub(super) type Ids = HashMap<String, [u8; 32]>;

/// The whole input, checked.
pub(super) struct Input {
    /// Datapoints read, usable or not.
    pub(super) read: u64,
    /// Those that are new.
    pub(super) checked: Vec<Checked>,
    pub(super) duplicates: u64,
    /// The first [`MOST_REJECTIONS`].
    pub(super) rejected: Vec<Rejection>,
    pub(super) rejected_total: u64,
    /// The first [`MOST_REJECTIONS`].
    pub(super) near_duplicates: Vec<NearDuplicate>,
    pub(super) near_duplicates_total: u64,
    /// The first [`SHOWN`], valid or not.
    pub(super) first: Vec<Sample>,
}

impl Input {
    /// Reads everything. `ids` are those of the datanet. Blocking.
    pub(super) fn read(drafts: Drafts, ids: Ids, options: &IngestOptions) -> Result<Self, IndexError> {
        let mut input = Self {
            read: 0,
            checked: Vec::new(),
            duplicates: 0,
            rejected: Vec::new(),
            rejected_total: 0,
            near_duplicates: Vec::new(),
            near_duplicates_total: 0,
            first: Vec::new(),
        };
        let mut known = ids;
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        for draft in drafts {
            input.read += 1;
            match draft {
                Ok(draft) => input.take(draft, &mut known, options, &now),
                Err(error) => input.reject(error.line().unwrap_or(0), without_line(&error)),
            }
            if input.read.is_multiple_of(1024) {
                options.not_cancelled()?;
                options.tell(IngestStage::Reading, input.read, 0);
            }
        }
        options.tell(IngestStage::Reading, input.read, input.read);
        Ok(input)
    }

    /// Finds what nearly repeats something in the input or the table, and leaves it out where that is asked for.
    pub(super) async fn compared(
        mut self,
        name: &DatanetName,
        table: &Table,
        options: &IngestOptions,
    ) -> Result<Self, IndexError> {
        if options.near_duplicates == NearDuplicates::Ignore || self.checked.is_empty() {
            return Ok(self);
        }
        options.tell(IngestStage::Comparing, 0, 0);
        let checked = Arc::new(std::mem::take(&mut self.checked));
        let mut found = near_duplicates(name, table, checked.clone(), options).await?;
        self.checked = Arc::unwrap_or_clone(checked);
        if options.near_duplicates == NearDuplicates::Refuse {
            let mut repeats = found.iter().map(Option::is_some);
            self.checked.retain(|_| !repeats.next().unwrap_or_default());
        }
        found.retain(Option::is_some);
        self.near_duplicates_total = found.len() as u64;
        self.near_duplicates = found.into_iter().flatten().take(MOST_REJECTIONS).collect();
        Ok(self)
    }

    fn take(&mut self, draft: Draft, known: &mut Ids, options: &IngestOptions, now: &str) {
        let line = draft.line;
        let shown = (self.first.len() < SHOWN).then(|| Sample::of_draft(&draft, &options.defaults));
        let checked = match draft.check(&options.defaults, now) {
            Ok(checked) => checked,
            Err(reason) => {
                self.first.extend(shown);
                return self.reject(line, reason);
            }
        };
        self.first.extend(shown.map(|_| Sample::of(&checked)));
        match known.get(checked.id.as_str()) {
            None => {
                known.insert(checked.id.to_string(), checked.content_hash);
                self.checked.push(checked);
            }
            Some(hash) if *hash == checked.content_hash => self.duplicates += 1,
            Some(_) => self.reject(
                line,
                format!(
                    "id {} is taken by another text: datapoints never change, so give this one an id of its own",
                    checked.id
                ),
            ),
        }
    }

    fn reject(&mut self, line: u64, reason: String) {
        self.rejected_total += 1;
        if self.rejected.len() < MOST_REJECTIONS {
            self.rejected.push(Rejection { line, reason });
        }
    }
}

/// Ids and content hashes of the rows that are there. Costs a scan of about 60 bytes a row.
pub(super) async fn existing_ids(name: &DatanetName, table: &Table) -> Result<Ids, IndexError> {
    let mut batches = table.query().select(Select::columns(&["id", "content_hash"])).execute().await?;
    let mut ids = Ids::new();
    while let Some(batch) = batches.try_next().await? {
        let columns = Columns { datanet: name, batch: &batch };
        let (id, hash) = (columns.texts("id")?, columns.hashes("content_hash")?);
        ids.extend((0..id.len()).map(|row| (id.value(row).to_owned(), hash_at(hash, row))));
    }
    Ok(ids)
}

/// The message without the place that a [`Rejection`] names anyway; uploads have temporary paths that mean nothing.
fn without_line(error: &ReadError) -> String {
    match error {
        ReadError::Json { source, .. } => source.to_string(),
        ReadError::Csv { source, .. } => source.to_string(),
        ReadError::Malformed { reason, .. } => reason.clone(),
        ReadError::NotUtf8 { byte, .. } => {
            format!("not UTF-8 after {byte} bytes: convert the file, for instance with iconv -t UTF-8")
        }
        ReadError::TooLarge { most, .. } => format!("the datapoint is larger than {most} bytes: split it"),
        other => other.to_string(),
    }
}

/// Enough to mend a file by, few enough to send.
const MOST_REJECTIONS: usize = 1000;
