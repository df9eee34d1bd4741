//! The first step of an ingest: every draft read, checked and compared with what is there.

use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use lancedb::Table;

use super::known::{Ids, known_ids};
use super::near::{Bands, near_duplicates};
use super::{IngestOptions, IngestStage, NearDuplicate, NearDuplicates, Rejection, SHOWN, Sample};
use crate::datapoint::Checked;
use crate::{DatanetName, Draft, Drafts, IndexError, ReadError};

/// The whole input, checked.
pub(super) struct Input {
    /// Datapoints read, usable or not.
    pub(super) read: u64,
    /// Those that are new.
    pub(super) checked: Vec<Checked>,
    pub(super) duplicates: u64,
    /// All of them, by line.
    pub(super) rejected: Vec<Rejection>,
    /// The first [`MOST_LISTED`].
    pub(super) near_duplicates: Vec<NearDuplicate>,
    pub(super) near_duplicates_total: u64,
    /// The first [`SHOWN`], valid or not.
    pub(super) first: Vec<Sample>,
}

impl Input {
    /// Reads and checks everything. Blocking.
    pub(super) fn read(drafts: Drafts, options: &IngestOptions) -> Result<Self, IndexError> {
        let mut input = Self {
            read: 0,
            checked: Vec::new(),
            duplicates: 0,
            rejected: Vec::new(),
            near_duplicates: Vec::new(),
            near_duplicates_total: 0,
            first: Vec::new(),
        };
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        for draft in drafts {
            input.read += 1;
            match draft {
                Ok(draft) => input.take(draft, options, &now),
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

    /// Drops what is in the table already, or twice in the input, and rejects what has the id of another text.
    pub(super) async fn unknown(mut self, name: &DatanetName, table: &Table) -> Result<Self, IndexError> {
        let mut known = known_ids(name, table, &self.checked).await?;
        for checked in std::mem::take(&mut self.checked) {
            self.keep(checked, &mut known);
        }
        // By line, as they stand in the file; what is about the file as a whole first.
        self.rejected.sort_by_key(|rejection| rejection.line);
        Ok(self)
    }

    /// Finds what nearly repeats something in the input or the table, and leaves it out where that is asked for.
    pub(super) async fn compared(
        mut self,
        name: &DatanetName,
        of: (&Table, &Bands),
        options: &IngestOptions,
    ) -> Result<Self, IndexError> {
        if options.near_duplicates == NearDuplicates::Ignore || self.checked.is_empty() {
            return Ok(self);
        }
        options.tell(IngestStage::Comparing, 0, 0);
        let checked = Arc::new(std::mem::take(&mut self.checked));
        let mut found = near_duplicates(name, of, checked.clone(), options).await?;
        self.checked = Arc::unwrap_or_clone(checked);
        if options.near_duplicates == NearDuplicates::Refuse {
            let mut repeats = found.iter().map(Option::is_some);
            self.checked.retain(|_| !repeats.next().unwrap_or_default());
        }
        found.retain(Option::is_some);
        self.near_duplicates_total = found.len() as u64;
        self.near_duplicates = found.into_iter().flatten().take(MOST_LISTED).collect();
        Ok(self)
    }

    fn take(&mut self, draft: Draft, options: &IngestOptions, now: &str) {
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
        self.checked.push(checked);
    }

    fn keep(&mut self, checked: Checked, known: &mut Ids) {
        match known.get(checked.id.as_str()) {
            None => {
                known.insert(checked.id.to_string(), checked.content_hash);
                self.checked.push(checked);
            }
            Some(hash) if *hash == checked.content_hash => self.duplicates += 1,
            Some(_) => {
                let reason = format!(
                    "id {} is taken by another text: datapoints never change, so give this one an id of its own",
                    checked.id
                );
                self.reject(checked.line, reason);
            }
        }
    }

    fn reject(&mut self, line: u64, reason: String) {
        self.rejected.push(Rejection { line, reason });
    }
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
pub(super) const MOST_LISTED: usize = 1000;
