//! What was offered to a datanet: a document with its rows, accepted or not.

use serde::{Deserialize, Serialize};

use super::{timed, wrong};
use crate::error::Result;
use crate::hash::Hash;
use crate::record::present;

/// A contribution was accepted or rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContributionEntry {
    /// Always `cairn/contribution/v1`.
    #[serde(rename = "type")]
    pub kind: ContributionKind,
    /// Its id.
    pub id: String,
    /// The datanet.
    pub datanet: String,
    /// The contributor's pseudonym ([`crate::uses::pseudonym`]).
    pub contributor: Hash,
    /// SHA-256 of the file.
    pub document: Hash,
    /// Rows in it.
    pub rows: u64,
    /// What became of it.
    pub outcome: ContributionOutcome,
    /// Who decided.
    pub by: ContributionBy,
    /// How good it was found, 0 to 100; `null` where nobody said.
    #[serde(deserialize_with = "present")]
    pub score: Option<u8>,
    /// Id of the contribution that it takes the place of.
    #[serde(deserialize_with = "present")]
    pub supersedes: Option<String>,
    /// Root of the datanet's tree with its rows; `null` if it was rejected, or changed nothing.
    #[serde(deserialize_with = "present")]
    pub snapshot: Option<Hash>,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// The type string of a [`ContributionEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContributionKind {
    /// `cairn/contribution/v1`
    #[default]
    #[serde(rename = "cairn/contribution/v1")]
    V1,
}

/// What became of a contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContributionOutcome {
    /// Its rows are in the datanet.
    Accepted,
    /// They are not.
    Rejected,
}

/// Who decided on a contribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContributionBy {
    /// The published terms, without a person.
    Policy,
    /// The datanet's steward.
    Review,
}

impl ContributionEntry {
    /// Checks that the parts of the entry fit together.
    pub fn check(&self) -> Result<()> {
        timed("contribution", &self.time)?;
        if let Some(score) = self.score.filter(|score| *score > 100) {
            return wrong("contribution", format!("its score is {score}, above 100"));
        }
        if self.outcome == ContributionOutcome::Rejected && self.snapshot.is_some() {
            return wrong("contribution", "it was rejected, so no snapshot has its rows".to_owned());
        }
        if self.supersedes.as_ref() == Some(&self.id) {
            return wrong("contribution", format!("{} takes its own place", self.id));
        }
        Ok(())
    }
}
