//! What must hold within one record, whoever wrote it.

use std::collections::HashSet;

use super::{Record, Retrieval};
use crate::canonical::to_canonical;
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::uses::Use;

impl Record {
    /// The canonical JSON: the bytes to append to the log. Fails on a record that contradicts itself.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.check()?;
        to_canonical(self)
    }

    /// The leaf hash in the log's tree.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    /// Checks that the parts of the record fit together: every candidate belongs to a datanet searched and lies within
    /// it, none occurs twice, passage numbers are unique, and citations name passages that were in the prompt.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::InconsistentRecord(what));
        if !is_utc(&self.time) {
            return wrong(format!("time `{}` is not RFC 3339 in UTC, as in 2026-01-31T23:59:59Z", self.time));
        }
        if let Some(adapters) = &self.adapters
            && adapters.first().map(|first| &first.generation) != self.adapter_generation.as_ref()
        {
            return wrong("the first of its adapters is not its adapter_generation".to_owned());
        }
        let mut passages = HashSet::new();
        if let Some(retrieval) = &self.retrieval {
            passages = retrieval.passages()?;
        }
        for citation in &self.citations {
            if !passages.contains(&citation.n) {
                return wrong(format!("a citation names passage {}, which was not in the prompt", citation.n));
            }
            if citation.start >= citation.end {
                return wrong(format!("a citation spans {}..{}, which is empty", citation.start, citation.end));
            }
        }
        self.uses.as_ref().map_or(Ok(()), |uses| check_uses(uses, passages))
    }
}

/// Every passage of the prompt is some one contributor's, contributors stand in order, and counts begin at 1.
fn check_uses(uses: &[Use], mut passages: HashSet<u64>) -> Result<()> {
    let wrong = |what: String| Err(Error::InconsistentRecord(what));
    if !uses.is_sorted_by(|a, b| a.contributor < b.contributor) {
        return wrong("its uses are not in the order of contributors, or one is there twice".to_owned());
    }
    for own in uses {
        let contributor = own.contributor;
        if own.count == 0 || own.passages.is_empty() || !own.passages.is_sorted_by(|a, b| a < b) {
            return wrong(format!(
                "the use of contributor {contributor} has count 0, or passages none or out of order"
            ));
        }
        if let Some(n) = own.passages.iter().find(|n| !passages.remove(n)) {
            return wrong(format!("the use of contributor {contributor} names passage {n}, which is not theirs"));
        }
    }
    match passages.iter().min() {
        None => Ok(()),
        Some(n) => wrong(format!("passage {n} was in the prompt, but no contributor's use counts it")),
    }
}

impl Retrieval {
    /// The passage numbers in use, having checked the candidates.
    fn passages(&self) -> Result<HashSet<u64>> {
        let wrong = |what: String| Err(Error::InconsistentRecord(what));
        let mut names = HashSet::new();
        if let Some(twice) = self.datanets.iter().find(|snapshot| !names.insert(&snapshot.name)) {
            return wrong(format!("datanet {} is listed twice", twice.name));
        }
        let mut passages = HashSet::new();
        let mut seen = HashSet::new();
        for candidate in &self.candidates {
            let place = format!("{} #{}", candidate.datanet, candidate.seq);
            let Some(snapshot) = self.snapshot(&candidate.datanet) else {
                return wrong(format!("candidate {place} is of a datanet that was not searched"));
            };
            if candidate.seq >= snapshot.size {
                return wrong(format!("candidate {place} lies beyond the datanet's {} datapoints", snapshot.size));
            }
            if !seen.insert((&candidate.datanet, candidate.seq)) {
                return wrong(format!("candidate {place} is listed twice"));
            }
            if candidate.in_prompt.is_some_and(|n| n == 0 || !passages.insert(n)) {
                return wrong(format!("candidate {place} has a passage number that is zero or taken"));
            }
            if candidate.left_out.is_some() && candidate.in_prompt.is_some() {
                return wrong(format!("candidate {place} was left out, and in the prompt"));
            }
        }
        Ok(passages)
    }
}

/// Whether `time` has the form `YYYY-MM-DDThh:mm:ss[.f…]Z`. The calendar is not checked.
pub(crate) fn is_utc(time: &str) -> bool {
    let Some(time) = time.strip_suffix('Z') else { return false };
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let shape = whole.bytes().map(|b| if b.is_ascii_digit() { b'0' } else { b });
    shape.eq(*b"0000-00-00T00:00:00") && !fraction.is_empty() && fraction.len() <= 9 && digits(fraction)
}

/// A time of [`is_utc`]'s form as a value to compare: up to the seconds, and the digits behind them that count.
pub(crate) fn instant(time: &str) -> (&str, &str) {
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    (whole, fraction.trim_end_matches('0'))
}

/// Seconds since 1970 of a time that [`is_utc`]; 0 for anything else.
pub(crate) fn seconds(time: &str) -> i64 {
    let number = |at: std::ops::Range<usize>| time.get(at).and_then(|digits| digits.parse::<i64>().ok());
    let date = number(0..4).zip(number(5..7)).zip(number(8..10));
    let clock = number(11..13).zip(number(14..16)).zip(number(17..19));
    let Some((((year, month), day), ((hour, minute), second))) = date.zip(clock) else { return 0 };
    // Days from the civil date, with years that begin in March (Howard Hinnant's chrono-compatible algorithms).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    days * 86_400 + hour * 3_600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::Entry;

    #[test]
    fn seconds_of_known_times() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), 0);
        assert_eq!(seconds("2026-11-30T18:11:09.250Z"), 1_796_062_269);
        assert_eq!(seconds("2024-02-29T23:59:60Z"), 1_709_251_200);
        assert_eq!(seconds("no time"), 0);
    }

    fn record() -> Value {
        let zero = Hash::default().to_string();
        let candidate = |seq: u64, in_prompt: Value| {
            json!({"datanet": "law", "leaf": zero, "seq": seq, "rank": seq + 1, "in_prompt": in_prompt,
                "vector_score": "0.500000", "vector_rank": 1, "text_score": null, "text_rank": null, "fused_score": null})
        };
        let mut left_out = candidate(3, Value::Null);
        left_out["left_out"] = json!("minimum_score");
        json!({
            "type": "cairn/record/v1", "id": "r1", "time": "2026-01-02T03:04:05Z", "endpoint": "chat.completions",
            "request": zero, "response": zero, "model": "m", "base_weights": zero, "adapter_generation": null,
            "caller": zero,
            "retrieval": {"query": zero, "mode": "hybrid", "top_k": 2, "candidates_per_source": 4,
                "datanets": [{"name": "law", "lance_version": 3, "size": 9, "root": zero}],
                "candidates": [candidate(0, json!(1)), candidate(1, json!(2)), candidate(2, Value::Null), left_out]},
            "citations": [{"choice": 0, "n": 2, "start": 0, "end": 3, "kind": "marker", "score": null}],
        })
    }

    fn parse(value: &Value) -> Result<Entry> {
        Entry::parse(&to_canonical(value).unwrap())
    }

    #[test]
    fn a_sound_record_parses_and_round_trips() {
        let entry = parse(&record()).unwrap();
        assert_eq!(entry.to_bytes().unwrap(), to_canonical(&record()).unwrap());
    }

    #[test]
    fn times_are_compared_to_the_last_decimal() {
        let times = [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.000000001Z",
            "2026-01-02T03:04:05.45Z",
            "2026-01-02T03:04:05.5Z",
            "2026-01-02T03:04:06Z",
            "2026-01-03T00:00:00.1Z",
        ];
        assert!(times.is_sorted_by(|a, b| instant(a) < instant(b)));
        assert_eq!(instant("2026-01-02T03:04:05.500Z"), instant("2026-01-02T03:04:05.5Z"));
        assert_eq!(instant("2026-01-02T03:04:05.0Z"), instant("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn a_contradiction_is_refused() {
        let cases = [
            ("/time", json!("2026-01-02T03:04:05+00:00")),
            ("/time", json!("2026-01-02")),
            ("/retrieval/candidates/0/datanet", json!("medicine")),
            ("/retrieval/candidates/0/seq", json!(9)),
            ("/retrieval/candidates/0/seq", json!(1)),
            ("/retrieval/candidates/0/in_prompt", json!(2)),
            ("/retrieval/candidates/0/in_prompt", json!(0)),
            ("/retrieval/candidates/3/in_prompt", json!(3)),
            ("/citations/0/n", json!(3)),
            ("/citations/0/end", json!(0)),
            ("/retrieval", Value::Null),
        ];
        for (pointer, value) in cases {
            let mut changed = record();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert!(matches!(parse(&changed), Err(Error::InconsistentRecord(_))), "{pointer}");
        }
    }

    #[test]
    fn the_shape_is_strict() {
        for pointer in ["/type", "/endpoint", "/request", "/citations/0/kind"] {
            let mut changed = record();
            *changed.pointer_mut(pointer).unwrap() = json!("other");
            assert!(parse(&changed).is_err(), "{pointer}");
        }
        for (parent, key) in [("", "adapter_generation"), ("", "retrieval"), ("/citations/0", "score"), ("", "model")] {
            let mut changed = record();
            changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            assert!(parse(&changed).is_err(), "{key} is absent");
        }
        for (pointer, value) in [
            ("/retrieval/candidates/3/left_out", json!("taste")),
            ("/retrieval/datanets/0/access", json!({"basis": "habit"})),
            ("/retrieval/datanets/0/access", json!({"basis": "grant"})),
            ("/retrieval/datanets/0/access", json!({"basis": "owner", "grant": Hash::default().to_string()})),
            ("/retrieval/datanets/0/access", Value::Null),
        ] {
            let mut changed = record();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            changed.pointer_mut(parent).unwrap()[key] = value.clone();
            assert!(parse(&changed).is_err(), "{pointer} {value}");
        }
        let mut extra = record();
        extra["name"] = json!("Ada");
        assert!(parse(&extra).is_err());
        let mut bytes = to_canonical(&record()).unwrap();
        bytes.push(b'\n');
        assert!(matches!(Entry::parse(&bytes), Err(Error::NotCanonical { .. })));
    }
}
