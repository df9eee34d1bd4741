//! What a verified bundle proves, in words for people and in JSON for programs. Used by `cairn-verify` and by
//! `cairn verify`, so that both print the same.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::anchor::Proved;
use crate::bundle::{self, Bundle, DatapointProof, LogProof, Status, VerifyError, verify_with};
use crate::checkpoint::SignedCheckpoint;
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::influence::InfluenceProof;
use crate::record::{Candidate, Citation, CitationKind, Endpoint, LeftOut, Record};
use crate::registration::{RegistrationReport, is_registration, verify_registration};
use crate::training::{TrainingReport, verify_training};
use crate::trust::Trust;

/// What was proved.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the log.
    pub origin: String,
    /// Entries under the checkpoint.
    pub log_size: u64,
    /// Root under the checkpoint.
    pub log_root: Hash,
    /// Index of the record.
    pub log_index: u64,
    /// Witnesses that cosigned the checkpoint.
    pub cosigned_by: Vec<Cosigner>,
    /// The anchor on a chain, where the bundle has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Proved>,
    /// The record.
    pub record: Record,
    /// The datapoints.
    pub datapoints: Vec<DatapointProof>,
    /// The citations, with the words they span where the response is disclosed.
    pub citations: Vec<Quote>,
    /// What was proved, in order, a sentence each.
    pub proved: Vec<String>,
    /// What this bundle does not show, a sentence each.
    pub not_shown: Vec<String>,
}

/// What the verifier found beside what the bundle says itself.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) cosigned_by: Vec<Cosigner>,
    pub(crate) anchor: Option<Proved>,
    pub(crate) citations: Vec<Quote>,
}

/// A witness that cosigned the checkpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Cosigner {
    /// Its name.
    pub witness: String,
    /// When, in seconds since 1970 by its clock.
    pub time: u64,
    /// Whether it is one of the witnesses the verifier trusts. Others count for nothing.
    pub trusted: bool,
}

/// A citation and the words it spans.
#[derive(Clone, Debug, Serialize)]
pub struct Quote {
    /// The citation in the record.
    pub citation: Citation,
    /// The words, where the response is disclosed.
    pub text: Option<String>,
}

/// The verdict on a bundle.
#[derive(Debug)]
pub enum Outcome {
    /// Everything in the bundle holds.
    Proved(Box<Report>),
    /// Everything in a training bundle holds.
    Trained(Box<TrainingReport>),
    /// A registration holds.
    Registered(Box<RegistrationReport>),
    /// Something does not.
    NotProved(VerifyError),
}

/// Verifies a bundle file with a key file. An error means that a file could not be read or the key file holds no key;
/// a bundle that fails is [`Outcome::NotProved`].
pub fn verify_files(bundle: &Path, key: &Path) -> Result<Outcome> {
    verify_file(bundle, &Trust::load(key)?)
}

/// Verifies a bundle file on these terms. An error means that the file could not be read.
pub fn verify_file(bundle: &Path, trust: &Trust) -> Result<Outcome> {
    let bytes = fs::read(bundle).map_err(|source| Error::Io { path: bundle.to_owned(), source })?;
    // Which kind it says it is only chooses who looks at it; each takes nothing but its own kind.
    let outcome = match serde_json::from_slice::<Value>(&bytes) {
        Ok(value) if value["type"] == "cairn/training-bundle/v1" => {
            verify_training(&bytes, trust).map(|report| Outcome::Trained(Box::new(report)))
        }
        Ok(value) if is_registration(&value) => {
            verify_registration(&bytes, trust).map(|report| Outcome::Registered(Box::new(report)))
        }
        _ => verify_with(&bytes, trust).map(|report| Outcome::Proved(Box::new(report))),
    };
    Ok(outcome.unwrap_or_else(Outcome::NotProved))
}

impl Outcome {
    /// 0 when proved, 1 when not.
    pub fn exit_code(&self) -> u8 {
        match self {
            Outcome::Proved(_) | Outcome::Trained(_) | Outcome::Registered(_) => 0,
            Outcome::NotProved(_) => 1,
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        match self {
            Outcome::Proved(report) => text(&report.proved, &report.not_shown),
            Outcome::Trained(report) => text(&report.proved, &report.not_shown),
            Outcome::Registered(report) => text(&report.proved, &report.not_shown),
            Outcome::NotProved(error) => {
                let error = printable(&error.to_string());
                format!("NOT PROVED\n\n  {error}\n\nDo not rely on this bundle.\n")
            }
        }
    }

    /// For programs: `{"verdict": "proved", "report": …}` or `{"verdict": "not_proved", "code": …, "error": …}`.
    pub fn to_json(&self) -> Value {
        match self {
            Outcome::Proved(report) => json!({"verdict": "proved", "report": report}),
            Outcome::Trained(report) => json!({"verdict": "proved", "report": report}),
            Outcome::Registered(report) => json!({"verdict": "proved", "report": report}),
            Outcome::NotProved(error) => {
                json!({"verdict": "not_proved", "code": error.code(), "error": error.to_string()})
            }
        }
    }
}

impl Report {
    /// The report of a bundle in which everything holds. Only the verifier makes one.
    pub(crate) fn new(bundle: &Bundle, checkpoint: &SignedCheckpoint, trust: &Trust, found: Findings) -> Report {
        let Findings { cosigned_by, anchor, citations } = found;
        let (mut proved, mut not_shown) = (proved(bundle, checkpoint, &citations), not_shown(bundle));
        let (anchored, open) = bundle::words("record", &bundle.log, anchor.as_ref());
        // After the sentence on the record's place in the log.
        proved.splice(3..3, anchored);
        not_shown.splice(0..0, open);
        // After the sentence on the signature, of which these are the terms.
        proved.splice(2..2, signature(&bundle.key, &bundle.log, trust, &cosigned_by));
        Report {
            origin: checkpoint.checkpoint().origin.to_string(),
            log_size: checkpoint.size(),
            log_root: checkpoint.root(),
            log_index: bundle.log.index,
            cosigned_by,
            anchor,
            record: bundle.record.clone(),
            datapoints: bundle.datapoints.clone(),
            proved,
            not_shown,
            citations,
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        text(&self.proved, &self.not_shown)
    }
}

fn text(proved: &[String], not_shown: &[String]) -> String {
    let mut text = String::from("PROVED\n\n");
    for (i, sentence) in proved.iter().enumerate() {
        let _ = writeln!(text, "{:3}. {}", i + 1, printable(sentence));
    }
    text.push_str("\nNot shown by this bundle:\n");
    for sentence in not_shown {
        let _ = writeln!(text, "  -  {}", printable(sentence));
    }
    text
}

/// How the signature follows from the trusted key, and who cosigned.
pub(crate) fn signature(key: &str, log: &LogProof, trust: &Trust, cosigners: &[Cosigner]) -> Vec<String> {
    let mut lines = Vec::new();
    if key != trust.key().to_string() {
        lines.push(format!(
            "The checkpoint is signed by key {}, which follows from the key you trust: both sides of each change signed it.",
            key
        ));
    }
    for proof in &log.rotations {
        let rotation = &proof.rotation;
        lines.push(format!(
            "The log's key was changed by entry {}, at {}, from {} to {}.",
            rotation.size, rotation.time, rotation.previous, rotation.next
        ));
    }
    let (trusted, others): (Vec<&Cosigner>, Vec<&Cosigner>) = cosigners.iter().partition(|cosigner| cosigner.trusted);
    let list = |cosigners: &[&Cosigner]| {
        let named = cosigners.iter().map(|cosigner| format!("{} at {}", cosigner.witness, utc(cosigner.time)));
        named.collect::<Vec<_>>().join(", ")
    };
    if !trusted.is_empty() {
        lines.push(format!(
            "{} of the {} witnesses you trust cosigned the checkpoint ({} required): {}. Each saw this history of the log \
             and no other.",
            trusted.len(),
            trust.witnesses().len(),
            trust.required(),
            list(&trusted)
        ));
    }
    if !others.is_empty() {
        lines.push(format!("It was also cosigned by witnesses that you did not name: {}.", list(&others)));
    }
    lines
}

fn proved(bundle: &Bundle, checkpoint: &SignedCheckpoint, citations: &[Quote]) -> Vec<String> {
    let record = &bundle.record;
    let origin = &checkpoint.checkpoint().origin;
    let endpoint = match record.endpoint {
        Endpoint::ChatCompletions => "chat",
        Endpoint::Completions => "completion",
    };
    let adapter = match &record.adapter_generation {
        Some(_) if record.adapters.is_some() => {
            let all = record.adapters.iter().flatten();
            let all: Vec<String> = all.map(|one| format!("{} at weight {}", one.generation, one.weight)).collect();
            format!("with adapter generations {}", all.join(" and "))
        }
        Some(generation) => format!("with adapter generation {generation}"),
        None => "without an adapter".to_owned(),
    };
    let mut lines = vec![
        "The file is a proof bundle in canonical form, and every value in it is bound to the log's signature."
            .to_owned(),
        format!("The log {origin} signed a checkpoint over {} entries with the key you trust.", checkpoint.size()),
        format!(
            "The record of answer {} is entry {} of that log, unchanged since it was logged; it gives the time {}.",
            record.id, bundle.log.index, record.time
        ),
        format!(
            "The answer came from the {endpoint} endpoint, model {}, base weights {}, {adapter}.",
            record.model, record.base_weights
        ),
    ];
    if let Some(retrieval) = &record.retrieval {
        let prompted = retrieval.candidates.iter().filter(|candidate| candidate.in_prompt.is_some()).count();
        let searched = retrieval.datanets.iter().map(|s| format!("{} (version {})", s.name, s.lance_version));
        lines.push(format!(
            "It searched {} and considered {} datapoints, of which {prompted} were put before the model.",
            searched.collect::<Vec<_>>().join(", "),
            retrieval.candidates.len(),
        ));
        if retrieval.filter.is_some() {
            lines.push("The search was narrowed by a filter of the caller's.".to_owned());
        }
        if let Some(method) = &retrieval.rerank {
            lines.push(format!("What was found was put in order anew by {method}."));
        }
        lines.extend(bundle::access_words(bundle));
        for proof in &bundle.datapoints {
            let candidate = retrieval
                .candidates
                .iter()
                .find(|c| c.datanet == proof.commitment.datanet && c.seq == proof.commitment.seq);
            lines.push(datapoint(proof, candidate));
        }
    } else {
        lines.push("It drew on no datanet.".to_owned());
    }
    for own in record.uses.iter().flatten() {
        let passages: Vec<String> = own.passages.iter().map(u64::to_string).collect();
        lines.push(format!(
            "It is use number {} of the data of contributor {} in this log, by passage {}.",
            own.count,
            own.contributor,
            passages.join(" and ")
        ));
    }
    lines.extend(citations.iter().map(citation));
    lines.extend(bundle.influence.iter().flat_map(InfluenceProof::words));
    let openings = &bundle.openings;
    let opened = [
        ("request", &openings.request),
        ("response", &openings.response),
        ("search query", &openings.query),
        ("caller", &openings.caller),
        ("filter", &openings.filter),
    ];
    for (name, opening) in opened {
        if let Some(opening) = opening {
            lines.push(format!("The {name} shown is the one that was logged: {}", short(&opening.value)));
        }
    }
    lines
}

fn datapoint(proof: &DatapointProof, candidate: Option<&Candidate>) -> String {
    let commitment = &proof.commitment;
    let mut line = match proof.n {
        Some(n) => format!("Passage {n} is "),
        None => "Considered but not put before the model was ".to_owned(),
    };
    let _ = write!(
        line,
        "datapoint {} of {}, position {} of {}, contributed {}, licence {}",
        commitment.id,
        commitment.datanet,
        commitment.seq,
        proof.inclusion.size,
        commitment.contributed_at,
        commitment.licence
    );
    if let Some(c) = candidate {
        let scores = [&c.vector_score, &c.text_score, &c.fused_score, &c.rerank_score];
        for (name, score) in ["vector", "text", "fused", "rerank"].iter().zip(scores) {
            if let Some(score) = score {
                let _ = write!(line, ", {name} score {score}");
            }
        }
        line.push_str(match c.left_out {
            Some(LeftOut::MinimumScore) => ", left out for its score",
            Some(LeftOut::ContributorCap) => ", left out since its contributor has enough passages",
            None => "",
        });
    }
    match (&proof.erased, proof.status) {
        (Some(erased), _) => {
            let _ = write!(line, ". Its content was erased on {}", erased.tombstone.time);
        }
        (None, Status::Withheld) => line.push_str(". Its content is withheld"),
        (None, _) => {
            line.push_str(". Shown, and as it was contributed:");
            for (i, (field, opening)) in proof.disclosed.iter().enumerate() {
                let comma = if i > 0 { "," } else { "" };
                let _ = write!(line, "{comma} {} {}", field.name(), short(&opening.value));
            }
        }
    }
    line.push('.');
    line
}

fn citation(quote: &Quote) -> String {
    let Citation { n, start, end, kind, ref score, .. } = quote.citation;
    let why = match kind {
        CitationKind::Marker => "the model marked it so",
        CitationKind::Overlap => "its words occur there",
    };
    let words = match &quote.text {
        Some(text) => format!(" {}", short(&json!(text))),
        None => String::new(),
    };
    let score = score.as_ref().map(|score| format!(", score {score}")).unwrap_or_default();
    format!("Characters {start} to {end} of the answer{words} cite passage {n}: {why}{score}.")
}

fn not_shown(bundle: &Bundle) -> Vec<String> {
    let openings = &bundle.openings;
    let filter = bundle.record.retrieval.as_ref().and_then(|retrieval| retrieval.filter);
    let hidden = [
        ("the request", openings.request.is_none()),
        ("the response", openings.response.is_none()),
        ("the search query", openings.query.is_none() && bundle.record.retrieval.is_some()),
        ("the caller", openings.caller.is_none()),
        ("the filter", openings.filter.is_none() && filter.is_some()),
    ];
    let hidden: Vec<&str> = hidden.into_iter().filter_map(|(name, hidden)| hidden.then_some(name)).collect();
    let mut lines = Vec::new();
    if !hidden.is_empty() {
        lines.push(format!("It does not disclose {}; the record holds commitments to them.", hidden.join(", ")));
    }
    let all = bundle.record.retrieval.as_ref().map_or(0, |retrieval| retrieval.candidates.len());
    if bundle.datapoints.len() < all {
        let rest = all - bundle.datapoints.len();
        lines.push(format!("It gives no proof for {rest} datapoints that were considered but not used."));
    }
    if bundle.influence.is_some() {
        lines.push(
            "How much a passage mattered is the operator's measurement; `cairn recompute` repeats it on a machine that \
             has the weights."
                .to_owned(),
        );
    }
    lines.extend(bundle::access_open(bundle));
    lines.push("Times are those the operator wrote down; the log fixes their order, not the clock.".to_owned());
    let counted = bundle.record.uses.as_ref().is_some_and(|uses| !uses.is_empty());
    lines.push(match counted {
        true => {
            "A log proves what was recorded; that no use of a contributor's data is left out shows in the use numbers \
                 of all records together."
                .to_owned()
        }
        false => "A log proves what was recorded, not that everything was recorded.".to_owned(),
    });
    lines
}

/// Seconds since 1970 as RFC 3339 in UTC.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a date in the calendar that begins on 1 March 0000, in which a leap day is a year's last.
    let days = days.saturating_add(719_468);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// A value as JSON, cut after 160 characters.
pub(crate) fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Text with control and direction characters escaped: a bundle is a stranger's file, and a terminal obeys what it is
/// sent.
fn printable(text: &str) -> String {
    let unsafe_to_print = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let escape = |c: char| if unsafe_to_print(c) { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_679_315_147, "2023-03-20T12:25:47Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
        utc(u64::MAX);
    }

    #[test]
    fn a_bundle_cannot_command_the_terminal() {
        let outcome =
            Outcome::NotProved(VerifyError::DatapointNotInRecord { datanet: "a\u{1b}[2J\u{202e}b".into(), seq: 1 });
        let text = outcome.to_text();
        assert!(
            text.contains(r"a\u{1b}[2J\u{202e}b") && !text.contains('\u{1b}') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert_eq!(short(&json!("x".repeat(200))).chars().count(), 161);
    }
}
