//! Which weights an alias meant at any moment, replayed from the log: [`AdapterAudit`].
//!
//! The entries about adapters are read in the order of the log. They must not contradict one another (what an alias meant
//! before a change is what the change before it said), and an answer must rest on a generation that was there, and that
//! its alias meant, when it was asked for.

use std::collections::{HashMap, HashSet};

use crate::hash::Hash;
use crate::record::{AdapterEntry, Entry, Record, instant, seconds};

/// Checks adapters and the records that name them, while a log is read from its first entry on.
///
/// Keeps every change of an alias, and the records that a change may still explain, so the memory needed grows with the
/// changes, not with the answers. An entry whose key occurs again is one: a crash can make a log's writer append it twice.
#[derive(Clone, Debug, Default)]
pub struct AdapterAudit {
    keys: HashSet<String>,
    /// What each alias meant, by base and name, in the order of the log.
    aliases: HashMap<(String, String), Vec<Meaning>>,
    /// When generations came and went, by base and generation.
    generations: HashMap<(String, Hash), Vec<Life>>,
    /// Answers before the change that would explain them.
    pending: Vec<Pending>,
    findings: Vec<AdapterFinding>,
}

/// What an alias meant from some entry on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Meaning {
    /// The entry that says so.
    pub position: u64,
    /// When it was changed, RFC 3339 in UTC.
    pub at: String,
    /// What was done: `publish`, `rollback`, `canary` or `unpublish`.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// The generation it meant; none: the alias was removed.
    pub generation: Option<Hash>,
    /// A second generation that took part of the traffic, and how many percent.
    pub canary: Option<(Hash, u8)>,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFinding {
    /// The entry that shows it.
    pub position: u64,
    /// In words.
    pub problem: String,
}

/// One owner's generation.
#[derive(Clone, Debug)]
struct Life {
    owner: String,
    from: String,
    deleted: Option<String>,
}

#[derive(Clone, Debug)]
struct Pending {
    position: u64,
    time: String,
    /// A base, where the model names one, and the alias.
    alias: Option<(String, String)>,
    base: String,
    generation: Hash,
}

/// A change is committed a moment before it is logged, and may be used in that moment: a change that was logged after an
/// answer explains it if it was made no later than so many seconds after the answer was asked for.
const SLACK: i64 = 660;

impl AdapterAudit {
    /// Takes the next entry of the log. Entries that are not about adapters are let through.
    pub fn add(&mut self, position: u64, entry: &Entry) {
        match entry {
            Entry::Adapter(change) if self.keys.insert(change.key.clone()) => {
                self.change(position, change);
                self.settle(&change.at);
            }
            Entry::Record(record) => self.record(position, record),
            _ => {}
        }
    }

    /// What was found, in the order of the log; to be asked after the last entry.
    pub fn findings(&self) -> Vec<AdapterFinding> {
        let mut findings = self.findings.clone();
        findings.extend(self.pending.iter().filter_map(|it| self.problem(it)));
        findings.sort_by_key(|finding| finding.position);
        findings
    }

    /// What an alias meant at a time (RFC 3339 in UTC). `None`: the log knows no such alias then.
    pub fn meant(&self, base: &str, alias: &str, at: &str) -> Option<&Meaning> {
        let meanings = self.aliases.get(&(base.to_owned(), alias.to_owned()))?;
        meanings.iter().rev().find(|meaning| instant(&meaning.at) <= instant(at))
    }

    fn change(&mut self, position: u64, entry: &AdapterEntry) {
        let AdapterEntry { action, base, owner, generation, at, .. } = entry;
        let name = |hash: &Option<Hash>| hash.map_or("nothing".to_owned(), |hash| hash.to_string());
        let mut problems = Vec::new();
        match (action.as_str(), &entry.alias, generation) {
            ("upload", _, Some(generation)) => {
                let lives = self.generations.entry((base.clone(), *generation)).or_default();
                lives.push(Life { owner: owner.clone(), from: at.clone(), deleted: None });
            }
            ("delete", _, Some(generation)) => {
                let lives = self.generations.entry((base.clone(), *generation)).or_default();
                match lives.iter_mut().rev().find(|life| life.owner == *owner && life.deleted.is_none()) {
                    Some(life) => life.deleted = Some(at.clone()),
                    None => problems.push(format!("generation {generation} on {base} is deleted, but was not there")),
                }
                for ((of, alias), meanings) in &self.aliases {
                    let now = meanings.last().filter(|now| of == base && now.names(generation));
                    // Another owner's copy of the same weights keeps the alias whole.
                    if now.is_some() && lives.iter().all(|life| life.deleted.is_some()) {
                        problems.push(format!("generation {generation} is deleted while {of}:{alias} means it"));
                    }
                }
            }
            ("publish" | "rollback" | "canary" | "unpublish", Some(alias), _) => {
                let meanings = self.aliases.entry((base.clone(), alias.clone())).or_default();
                let last = meanings.last();
                let before = last.and_then(|last| last.generation);
                if let Some(last) = last.filter(|last| seconds(at) + SLACK < seconds(&last.at)) {
                    problems.push(format!(
                        "{base}:{alias} was changed at {at}, which is before the change that stands before it ({})",
                        last.at
                    ));
                }
                if matches!(action.as_str(), "publish" | "rollback") && entry.previous != before {
                    problems.push(format!(
                        "{base}:{alias} is said to have meant {} before, but meant {}",
                        name(&entry.previous),
                        name(&before)
                    ));
                }
                let (means, canary) = match action.as_str() {
                    "unpublish" => (None, None),
                    "canary" => (before, entry.canary.zip(entry.percent)),
                    _ => (*generation, None),
                };
                for named in means.iter().chain(canary.as_ref().map(|(canary, _)| canary)) {
                    if !alive(&self.generations, base, named, at) {
                        problems.push(format!("{base}:{alias} is pointed at generation {named}, which was not there"));
                    }
                }
                meanings.push(Meaning {
                    position,
                    at: at.clone(),
                    action: action.clone(),
                    actor: entry.actor.clone(),
                    generation: means,
                    canary,
                });
            }
            _ => {}
        }
        self.findings.extend(problems.into_iter().map(|problem| AdapterFinding { position, problem }));
    }

    fn record(&mut self, position: u64, record: &Record) {
        let (base, alias) = match record.model.split_once(':') {
            Some((base, alias)) => (base, Some(alias)),
            None => (record.model.as_str(), None),
        };
        // `alias@generation` names one itself; an adapter beside the model is in the request, which is not public.
        let alias = alias.filter(|alias| !alias.contains('@')).map(|alias| (base.to_owned(), alias.to_owned()));
        let first = record.adapter_generation.iter();
        let all = first.chain(record.adapters.iter().flatten().map(|share| &share.generation));
        let hashes: HashSet<Hash> = all.filter_map(|generation| generation.parse().ok()).collect();
        for generation in hashes {
            let (time, base, alias) = (record.time.clone(), base.to_owned(), alias.clone());
            let asked = Pending { position, time, alias, base, generation };
            if self.problem(&asked).is_some() {
                self.pending.push(asked);
            }
        }
    }

    /// Drops what a change has explained, and decides what no later one can.
    fn settle(&mut self, now: &str) {
        let pending = std::mem::take(&mut self.pending);
        for it in pending {
            match self.problem(&it) {
                None => {}
                Some(finding) if seconds(now) > seconds(&it.time) + SLACK => self.findings.push(finding),
                Some(_) => self.pending.push(it),
            }
        }
    }

    /// What is wrong with an answer, as far as the log is read.
    fn problem(&self, asked: &Pending) -> Option<AdapterFinding> {
        let Pending { position, time, alias, base, generation } = asked;
        let found = |problem| Some(AdapterFinding { position: *position, problem });
        if let Some((of, name)) = alias {
            let key = (of.clone(), name.clone());
            let meanings = self.aliases.get(&key).map_or(&[][..], Vec::as_slice);
            let ends = meanings.iter().skip(1).map(|next| Some(&next.at)).chain(std::iter::once(None));
            let meant = meanings.iter().zip(ends).any(|(meaning, end)| {
                // It had not ended when the answer was asked for, and had begun when it was given.
                meaning.names(generation)
                    && end.is_none_or(|end| instant(end) >= instant(time))
                    && begun(meaning, *position, time)
            });
            if !meant {
                let then = self.meant(of, name, time).and_then(|then| then.generation);
                let then = then.map_or("nothing".to_owned(), |then| then.to_string());
                return found(format!(
                    "the answer asked for {of}:{name} at {time} came from generation {generation}, but the alias meant {then}"
                ));
            }
            return None;
        }
        // A model without a colon may be an alias that is the only one of its name (vLLM's clients): any base then.
        let there = |of: &str| {
            self.generations.get(&(of.to_owned(), *generation)).is_some_and(|lives| {
                lives.iter().any(|life| {
                    let until = life.deleted.as_ref().is_none_or(|deleted| instant(deleted) >= instant(time));
                    until && seconds(&life.from) <= seconds(time) + SLACK
                })
            })
        };
        let any = || self.generations.keys().any(|(of, known)| known == generation && there(of));
        let is_base = self.generations.keys().any(|(of, _)| of == base);
        if if is_base { there(base) } else { any() } {
            return None;
        }
        found(format!("the answer of {base} at {time} came from generation {generation}, which was not there"))
    }
}

impl Meaning {
    fn names(&self, generation: &Hash) -> bool {
        self.generation.as_ref() == Some(generation) || self.canary.as_ref().is_some_and(|(it, _)| it == generation)
    }

    /// For people: `generation 5a1b… (and 9c… for 10 % of the traffic)`.
    pub fn to_text(&self) -> String {
        let of = match self.generation {
            None => "nothing: it was removed".to_owned(),
            Some(generation) => format!("generation {generation}"),
        };
        let canary =
            self.canary.map(|(canary, percent)| format!(", and generation {canary} for {percent} % of the traffic"));
        let Meaning { position, at, action, actor, .. } = self;
        format!("{of}{} (entry {position}: {action} by {actor} at {at})", canary.unwrap_or_default())
    }
}

/// Whether the change stood in the log before the answer, or may have been on its way there.
fn begun(meaning: &Meaning, position: u64, time: &str) -> bool {
    meaning.position < position || seconds(&meaning.at) <= seconds(time) + SLACK
}

fn alive(generations: &HashMap<(String, Hash), Vec<Life>>, base: &str, generation: &Hash, at: &str) -> bool {
    generations.get(&(base.to_owned(), *generation)).is_some_and(|lives| {
        lives.iter().any(|life| life.deleted.as_ref().is_none_or(|deleted| instant(deleted) > instant(at)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::AdapterKind;

    fn hash(byte: u8) -> Hash {
        crate::leaf_hash(&[byte])
    }

    fn entry(action: &str, alias: Option<&str>, generation: Option<u8>, previous: Option<u8>, at: u8) -> Entry {
        Entry::Adapter(Box::new(AdapterEntry {
            kind: AdapterKind::V1,
            key: format!("{action} {alias:?} {generation:?} {at}"),
            action: action.into(),
            base: "base".into(),
            alias: alias.map(str::to_owned),
            owner: "alice".into(),
            generation: generation.map(hash),
            previous: previous.map(hash),
            canary: None,
            percent: None,
            visibility: None,
            subject: None,
            actor: "alice".into(),
            at: time(at),
        }))
    }

    /// Hours after midnight: apart from each other by more than the slack.
    fn time(hour: u8) -> String {
        format!("2026-01-01T{hour:02}:00:00.000Z")
    }

    fn answer(model: &str, generation: u8, at: &str) -> Entry {
        let zero = Hash::default();
        Entry::Record(Box::new(Record {
            kind: crate::record::RecordKind::V1,
            id: "chatcmpl-1".into(),
            time: at.into(),
            endpoint: crate::record::Endpoint::ChatCompletions,
            request: zero,
            response: zero,
            model: model.into(),
            base_weights: zero,
            adapter_generation: Some(hash(generation).to_string()),
            caller: zero,
            retrieval: None,
            citations: Vec::new(),
            uses: None,
            adapters: None,
        }))
    }

    fn read(entries: &[Entry]) -> AdapterAudit {
        let mut audit = AdapterAudit::default();
        entries.iter().enumerate().for_each(|(at, entry)| audit.add(at as u64, entry));
        audit
    }

    fn history() -> Vec<Entry> {
        vec![
            entry("upload", None, Some(1), None, 1),
            entry("upload", None, Some(2), None, 2),
            entry("publish", Some("style"), Some(1), None, 3),
            entry("publish", Some("style"), Some(2), Some(1), 5),
            entry("rollback", Some("style"), Some(1), Some(2), 7),
            entry("unpublish", Some("style"), None, None, 9),
        ]
    }

    #[test]
    fn an_alias_meant_what_the_last_change_before_says() {
        let audit = read(&history());
        assert_eq!(audit.findings(), []);
        let meant = |hour| audit.meant("base", "style", &time(hour)).and_then(|it| it.generation);
        assert_eq!(
            [2, 3, 4, 5, 6, 8, 9].map(meant),
            [None, Some(1), Some(1), Some(2), Some(2), Some(1), None].map(|it| it.map(hash))
        );
        assert!(audit.meant("base", "style", &time(2)).is_none() && audit.meant("base", "other", &time(5)).is_none());
        assert_eq!(audit.meant("base", "style", &time(9)).map(|it| it.action.as_str()), Some("unpublish"));
    }

    #[test]
    fn an_answer_from_what_its_alias_did_not_mean_is_found() {
        let asked = |generation, at: &str| {
            let mut entries = history();
            entries.insert(4, answer("base:style", generation, at));
            read(&entries).findings().len()
        };
        assert_eq!(asked(2, &time(6)), 0);
        assert_eq!(asked(1, &time(6)), 1, "what it meant an hour before");
        assert_eq!(asked(3, &time(6)), 1, "what nobody uploaded");
        assert_eq!(asked(1, &time(4)), 0, "asked for before the change, recorded after it");
        // The change is committed and used, and then logged.
        let mut entries = history();
        entries.insert(3, answer("base:style", 2, &time(5)));
        assert_eq!(read(&entries).findings(), []);
        // But not two hours later.
        entries[3] = answer("base:style", 2, "2026-01-01T03:00:01Z");
        assert_eq!(read(&entries).findings().len(), 1);
    }

    #[test]
    fn a_generation_that_was_not_there_is_found_however_it_is_named() {
        for (model, generation, hour, findings) in
            [("base", 1, 4, 0), ("base", 9, 4, 1), ("style", 2, 6, 0), ("style", 9, 6, 1), ("base:style@0011", 2, 6, 0)]
        {
            let mut entries = history();
            entries.push(answer(model, generation, &time(hour)));
            assert_eq!(read(&entries).findings().len(), findings, "{model} {generation}");
        }
        let mut deleted = history();
        deleted.push(entry("delete", None, Some(2), None, 10));
        deleted.push(answer("base", 2, &time(8)));
        assert_eq!(read(&deleted).findings(), [], "it began before the deletion");
        deleted.push(answer("base", 2, &time(11)));
        assert_eq!(read(&deleted).findings().len(), 1);
    }

    #[test]
    fn changes_that_contradict_each_other_are_found() {
        let with = |entry: Entry| {
            let mut entries = history();
            entries.insert(4, entry);
            read(&entries).findings().len()
        };
        assert_eq!(with(history()[3].clone()), 0, "the same entry twice is one");
        assert!(with(entry("publish", Some("style"), Some(2), Some(1), 6)) > 0, "it meant 2 before");
        assert!(with(entry("publish", Some("style"), Some(8), Some(2), 6)) > 0, "8 was never uploaded");
        assert!(with(entry("delete", None, Some(2), None, 6)) > 0, "style means it");
        assert!(with(entry("publish", Some("style"), Some(1), Some(2), 4)) > 0, "at 4, after the change at 5");
    }
}
