//! What only a reader of the whole log sees: that terms go on without a gap, and that no answer and no training run cites a
//! grant that did not hold.

use std::collections::HashMap;

use super::{AccessEntry, GrantEntry, Purpose, Revocation, TermsEntry};
use crate::error::Result;
use crate::hash::Hash;
use crate::record::{Access, Entry, Record, instant};
use crate::training::TrainingEntry;

/// Checks terms, grants and the records and training runs that cite them, while a log is read from its first entry on.
///
/// Keeps every grant and one hash for every version of terms, so the memory needed grows with these, not with the answers.
/// An entry that occurs again, byte for byte, is one: a crash can make a log's writer append it twice.
#[derive(Clone, Debug, Default)]
pub struct AccessAudit {
    /// The datanet of every version of terms, by leaf hash.
    terms: HashMap<Hash, String>,
    /// The last version of each datanet's terms.
    latest: HashMap<String, (u64, Hash)>,
    grants: HashMap<Hash, Granted>,
    findings: Vec<AccessFinding>,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessFinding {
    /// The entry that shows it.
    pub position: u64,
    /// In words.
    pub problem: String,
}

#[derive(Clone, Debug)]
struct Granted {
    entry: GrantEntry,
    /// The earliest time from which it is revoked.
    revoked: Option<String>,
}

impl AccessAudit {
    /// Takes the next entry of the log. Entries that are not about access are let through.
    pub fn add(&mut self, position: u64, entry: &Entry) -> Result<()> {
        let problem = match entry {
            Entry::Terms(terms) => self.terms(terms)?,
            Entry::Grant(grant) => self.grant(grant)?,
            Entry::Access(event) => match event.as_ref() {
                AccessEntry::Revocation(revocation) => self.revocation(revocation),
                _ => None,
            },
            Entry::Record(record) => {
                let problems = self.record(record);
                self.findings.extend(problems.into_iter().map(|problem| AccessFinding { position, problem }));
                None
            }
            Entry::Training(training) => {
                let problems = self.training(training);
                self.findings.extend(problems.into_iter().map(|problem| AccessFinding { position, problem }));
                None
            }
            _ => None,
        };
        self.findings.extend(problem.map(|problem| AccessFinding { position, problem }));
        Ok(())
    }

    /// What was found so far, in the order of the log.
    pub fn findings(&self) -> &[AccessFinding] {
        &self.findings
    }

    fn terms(&mut self, entry: &TermsEntry) -> Result<Option<String>> {
        let TermsEntry { datanet, version, previous, .. } = entry;
        let leaf = entry.leaf()?;
        if self.terms.insert(leaf, datanet.clone()).is_some() {
            return Ok(None);
        }
        let before = self.latest.insert(datanet.clone(), (*version, leaf));
        let (last, head) = before.map_or((0, None), |(version, leaf)| (version, Some(leaf)));
        if *version != last + 1 {
            return Ok(Some(match last {
                0 => format!("the first terms of {datanet} in the log are version {version}, not 1"),
                _ => format!("version {version} of the terms of {datanet} comes after version {last}"),
            }));
        }
        Ok((*previous != head).then(|| {
            let (named, head) = (name(*previous), name(head));
            format!("version {version} of the terms of {datanet} goes on from {named}, but version {last} is {head}")
        }))
    }

    fn grant(&mut self, entry: &GrantEntry) -> Result<Option<String>> {
        let leaf = entry.leaf()?;
        if self.grants.contains_key(&leaf) {
            return Ok(None);
        }
        let GrantEntry { id, datanet, .. } = entry;
        self.grants.insert(leaf, Granted { entry: entry.clone(), revoked: None });
        let Some(terms) = entry.terms else { return Ok(None) };
        Ok(match self.terms.get(&terms) {
            None => Some(format!("grant {id} was given by terms {terms}, which are not in the log before it")),
            Some(of) if of != datanet => Some(format!("grant {id} of {datanet} was given by terms of {of}")),
            Some(_) => None,
        })
    }

    fn revocation(&mut self, entry: &Revocation) -> Option<String> {
        let Revocation { datanet, grant, id, time, .. } = entry;
        let Some(granted) = self.grants.get_mut(grant) else {
            return Some(format!("grant {id}, {grant}, is revoked, but not in the log before that"));
        };
        let revoked = granted.revoked.get_or_insert_with(|| time.clone());
        if instant(time) < instant(revoked) {
            revoked.clone_from(time);
        }
        let named = (&granted.entry.id, &granted.entry.datanet);
        (named != (id, datanet))
            .then(|| format!("what is revoked as grant {id} of {datanet} is grant {} of {}", named.0, named.1))
    }

    fn record(&self, record: &Record) -> Vec<String> {
        let searched = record.retrieval.iter().flat_map(|retrieval| &retrieval.datanets);
        let cited = searched.filter_map(|snapshot| match &snapshot.access {
            Some(Access::Grant { grant }) => Some((snapshot.name.as_str(), grant)),
            _ => None,
        });
        let problem = |(datanet, grant): (&str, &Hash)| {
            let problem = self.objection(grant, datanet, Purpose::Retrieval, &record.time)?;
            Some(format!("answer {} searched {datanet}: {problem}", record.id))
        };
        cited.filter_map(problem).collect()
    }

    /// A run uses its rows until its end, which is the time of its entry.
    fn training(&self, run: &TrainingEntry) -> Vec<String> {
        let problem = |(datanet, grant): (&String, Hash)| {
            let problem = self.objection(&grant, datanet, Purpose::Training, &run.time)?;
            Some(format!("training run {} learnt from {datanet}: {problem}", run.job))
        };
        let cited = run.sources.iter().filter_map(|source| Some((source.datanet.as_ref()?, source.grant?)));
        cited.filter_map(problem).collect()
    }

    /// Why a grant does not allow a use at a time; `None` if it does.
    fn objection(&self, grant: &Hash, datanet: &str, purpose: Purpose, time: &str) -> Option<String> {
        let Some(Granted { entry, revoked }) = self.grants.get(grant) else {
            return Some(format!("grant {grant}, which is not in the log before it"));
        };
        let objection = entry.objection(datanet, purpose, time);
        // A use from before the revocation may come into the log after it, but not the other way round.
        let revoked = revoked.as_ref().filter(|revoked| instant(time) > instant(revoked));
        let id = &entry.id;
        objection.or(revoked.map(|at| format!("grant {id} was revoked at {at}, before {time}")))
    }
}

fn name(leaf: Option<Hash>) -> String {
    leaf.map_or_else(|| "none".to_owned(), |leaf| leaf.to_string())
}
