//! How much each passage mattered to an answer: the entry that completes a record once that was measured.
//!
//! The numbers come from the weights that answered, so no one can check them from the log alone; who has the weights can
//! compute them again. What is checked here is that they are of this answer and fit together: the Shapley values of a
//! sentence add up to what all passages together changed, and contributors' shares follow from them and from the record.

use serde::{Deserialize, Serialize};

use crate::bundle::VerifyError;
use crate::canonical::{fixed, to_canonical};
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::log::{Log, Storage};
use crate::merkle::verify_inclusion;
use crate::record::Record;

/// What was measured for one answer. All values are in nats, as strings of [`crate::canonical::fixed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluenceEntry {
    /// Always `cairn/influence/v1`.
    #[serde(rename = "type")]
    pub kind: InfluenceKind,
    /// Leaf hash of the record that it completes.
    pub record: Hash,
    /// Id of the answer.
    pub id: String,
    /// How it was measured.
    pub method: InfluenceMethod,
    /// Orders of the passages that were drawn, for [`InfluenceMethod::SampledShapley`]; their seed is `record`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permutations: Option<u64>,
    /// Most characters of a passage that the prompt showed.
    pub passage_chars: u64,
    /// Numbers of the passages that were in the prompt, rising.
    pub passages: Vec<u64>,
    /// The parts of the answer, in order.
    pub sentences: Vec<SentenceInfluence>,
    /// What part of the help that the answer had came from whom, by pseudonym ([`crate::uses`]), in the order of the
    /// record's uses; those of nobody's help are absent.
    pub shares: Vec<Share>,
    /// When, RFC 3339 in UTC.
    pub time: String,
}

/// The type string of an [`InfluenceEntry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InfluenceKind {
    /// `cairn/influence/v1`
    #[default]
    #[serde(rename = "cairn/influence/v1")]
    V1,
}

/// How influence was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InfluenceMethod {
    /// Necessity and sufficiency.
    LeaveOneOut,
    /// Exact Shapley values too.
    Shapley,
    /// Shapley values from orders drawn by a seed.
    SampledShapley,
}

/// A sentence of the answer, or neighbouring ones together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentenceInfluence {
    /// Position of the choice in the response.
    pub choice: u64,
    /// Start in Unicode scalar values.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
    /// Its tokens.
    pub tokens: u64,
    /// ln P of it without any passage.
    pub closed_book: String,
    /// ln P of it with all passages.
    pub with_all: String,
    /// Each of [`InfluenceEntry::passages`], in their order.
    pub passages: Vec<PassageInfluence>,
    /// Whether any passage supports it: it is cited there, or its influence is that large.
    pub supported: bool,
}

/// The influence of a passage on a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassageInfluence {
    /// What the sentence loses without the passage.
    pub necessity: String,
    /// What the passage alone gives to it.
    pub sufficiency: String,
    /// The Shapley value, unless only one was left out at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shapley: Option<String>,
    /// The standard error of the Shapley value, where orders were sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A contributor's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The contributor's pseudonym.
    pub contributor: Hash,
    /// Their part, above 0 and at most 1; all shares add up to 1.
    pub share: String,
    /// The influence it stands for.
    pub nats: String,
}

/// The entry and its place in the log, under the checkpoint of the bundle that it is part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluenceProof {
    /// Index of the entry.
    pub index: u64,
    /// Audit path to the checkpoint's root.
    pub path: Vec<Hash>,
    /// The entry.
    pub entry: InfluenceEntry,
}

/// Sums of six decimals may be off by as much.
const ROUNDING: f64 = 1e-4;

impl InfluenceEntry {
    /// The canonical JSON: the bytes to append to the log. Fails on an entry that contradicts itself.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        to_canonical(self)
    }

    /// The leaf hash in the log's tree.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    /// Each passage's influence on the whole answer: the sum of its Shapley values, or else of its necessities.
    pub fn totals(&self) -> Result<Vec<f64>> {
        let mut totals = vec![0.0; self.passages.len()];
        for sentence in &self.sentences {
            for (total, passage) in totals.iter_mut().zip(&sentence.passages) {
                *total += number(passage.shapley.as_ref().unwrap_or(&passage.necessity))?;
            }
        }
        Ok(totals)
    }

    /// The shares that follow from the influences and from whose the passages are, by the record's uses.
    pub fn shares_of(&self, record: &Record) -> Result<Vec<Share>> {
        let totals = self.totals()?;
        let helped = |passage: u64| {
            let place = self.passages.iter().position(|own| *own == passage);
            place.map_or(0.0, |place| totals[place].max(0.0))
        };
        let sum: f64 = totals.iter().map(|total| total.max(0.0)).sum();
        let mut shares = Vec::new();
        for own in record.uses.iter().flatten() {
            let nats: f64 = own.passages.iter().map(|passage| helped(*passage)).sum();
            if nats > 0.0 {
                shares.push(Share { contributor: own.contributor, share: fixed(nats / sum), nats: fixed(nats) });
            }
        }
        Ok(shares)
    }

    /// Checks that the entry is of this record and that its shares follow.
    pub fn check_against(&self, record: &Record) -> Result<()> {
        let leaf = record.leaf()?;
        if (self.record, &self.id) != (leaf, &record.id) {
            return wrong(format!("it is of answer {}, record {}, not of this one", self.id, self.record));
        }
        let candidates = record.retrieval.iter().flat_map(|retrieval| &retrieval.candidates);
        let mut prompted: Vec<u64> = candidates.filter_map(|candidate| candidate.in_prompt).collect();
        prompted.sort_unstable();
        if prompted != self.passages {
            return wrong(format!("it measured passages {:?}, but {prompted:?} were in the prompt", self.passages));
        }
        if self.shares_of(record)? != self.shares {
            return wrong("its shares do not follow from its influences".to_owned());
        }
        Ok(())
    }

    /// Checks that the parts of the entry fit together.
    pub fn check(&self) -> Result<()> {
        if !crate::record::is_utc(&self.time) {
            return wrong(format!("time `{}` is not RFC 3339 in UTC", self.time));
        }
        if self.passages.is_empty() || !self.passages.is_sorted_by(|a, b| a < b) {
            return wrong("its passages are none, or not in order".to_owned());
        }
        if self.permutations.is_some() != (self.method == InfluenceMethod::SampledShapley) {
            return wrong("orders are drawn where Shapley values are sampled, and only there".to_owned());
        }
        let mut before = (0, 0);
        for sentence in &self.sentences {
            let span = (sentence.choice, sentence.start);
            if sentence.start >= sentence.end || span < before {
                return wrong(format!("its part {}..{} is empty or out of order", sentence.start, sentence.end));
            }
            before = (sentence.choice, sentence.end);
            sentence.check(self)?;
        }
        for share in &self.shares {
            let (part, nats) = (number(&share.share)?, number(&share.nats)?);
            if !(0.0..=1.0).contains(&part) || nats < 0.0 {
                return wrong(format!("{} is no share", share.share));
            }
        }
        Ok(())
    }
}

impl SentenceInfluence {
    fn check(&self, entry: &InfluenceEntry) -> Result<()> {
        let at = format!("{}..{}", self.start, self.end);
        if self.passages.len() != entry.passages.len() {
            return wrong(format!("its part {at} has {} passages of {}", self.passages.len(), entry.passages.len()));
        }
        let gain = number(&self.with_all)? - number(&self.closed_book)?;
        let mut sum = 0.0;
        for passage in &self.passages {
            number(&passage.necessity)?;
            number(&passage.sufficiency)?;
            if passage.shapley.is_none() != (entry.method == InfluenceMethod::LeaveOneOut)
                || passage.error.is_some() != (entry.method == InfluenceMethod::SampledShapley)
            {
                return wrong(format!("its part {at} has not the numbers of its method"));
            }
            sum += passage.shapley.as_deref().map_or(Ok(0.0), number)?;
            passage.error.as_deref().map_or(Ok(0.0), number)?;
        }
        if entry.method != InfluenceMethod::LeaveOneOut && (sum - gain).abs() > ROUNDING {
            return wrong(format!("the Shapley values of its part {at} add up to {sum:.6}, not to {gain:.6}"));
        }
        Ok(())
    }
}

impl InfluenceProof {
    /// The place of the entry under the checkpoint of this size.
    pub fn under<S: Storage>(log: &Log<S>, index: u64, entry: InfluenceEntry, size: u64) -> Result<InfluenceProof> {
        Ok(InfluenceProof { index, path: log.tree().inclusion(index, size)?, entry })
    }

    /// Checks the entry, its record and its place under a checkpoint of this size and root.
    pub(crate) fn verify(&self, record: &Record, size: u64, root: &Hash) -> std::result::Result<(), VerifyError> {
        self.entry.check_against(record).map_err(VerifyError::Influence)?;
        let leaf = self.entry.leaf().map_err(VerifyError::Influence)?;
        verify_inclusion(&leaf, self.index, size, &self.path, root).map_err(|source| VerifyError::InfluenceNotInLog {
            index: self.index,
            size,
            source,
        })
    }

    /// What it proves, in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let entry = &self.entry;
        let how = match entry.method {
            InfluenceMethod::LeaveOneOut => "leaving one passage out at a time".to_owned(),
            InfluenceMethod::Shapley => "exact Shapley values".to_owned(),
            InfluenceMethod::SampledShapley => {
                format!("Shapley values sampled from {} orders", entry.permutations.unwrap_or_default())
            }
        };
        let supported = entry.sentences.iter().filter(|sentence| sentence.supported).count();
        let mut lines = vec![format!(
            "Entry {} of the log says how much each passage mattered, measured on the weights that answered by {how}; \
             {supported} of the answer's {} sentences rest on a passage.",
            self.index,
            entry.sentences.len()
        )];
        for (n, total) in entry.passages.iter().zip(entry.totals().unwrap_or_default()) {
            lines.push(match total > 0.0 {
                true => format!("Passage {n} made the answer likelier, by {total:.2} nats."),
                false => format!("Passage {n} did not make the answer likelier ({total:.2} nats)."),
            });
        }
        for share in &entry.shares {
            let part = number(&share.share).unwrap_or_default() * 100.0;
            lines.push(format!("Contributor {} has {part:.1} % of the passages' help.", share.contributor));
        }
        lines
    }
}

/// A number as [`fixed`] writes it, and no other way.
fn number(text: &str) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && fixed(number) == text => Ok(number),
        _ => wrong(format!("`{text}` is not a number with six decimals")),
    }
}

fn wrong<T>(what: String) -> Result<T> {
    Err(Error::InconsistentInfluence(what))
}
