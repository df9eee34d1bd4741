//! Completeness: in each record, for each contributor whose datapoints were put before the model, the running count of
//! such uses in this log.
//!
//! A contributor appears under a pseudonym, the commitment to their name under a salt of their own ([`pseudonym`]): the
//! public sees that uses belong together and not whose they are, the contributor can open it, and destroying the salt
//! makes it a random number. Because the counts of a pseudonym are 1, 2, 3, … in the order of the log, records given to a
//! contributor cannot leave one out unnoticed ([`check_uses`]), and anyone who reads the whole log can check it for
//! everybody ([`UseAudit`]). [`UseStatement`] is the log's signed word for how many there are.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::{from_canonical, to_canonical};
use crate::commitment::{Opening, Salt};
use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::log::{Log, Storage};
use crate::record::{Entry, Record};
use crate::rotation::KeyHistory;

/// One contributor's part in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The contributor's pseudonym.
    pub contributor: Hash,
    /// How many records of this log have used data of theirs, this one included.
    pub count: u64,
    /// The numbers of their passages in the prompt, rising.
    pub passages: Vec<u64>,
}

/// The pseudonym of a contributor: the commitment to their name, field `contributor`, under a salt that is theirs alone.
/// Its opening is `salt.open("contributor", name)`.
pub fn pseudonym(salt: &Salt, name: &str) -> Result<Hash> {
    salt.commit(FIELD, name)
}

/// Whether an opening is that of a pseudonym: how a contributor shows that it is theirs.
pub fn is_pseudonym(opening: &Opening, contributor: &Hash) -> Result<bool> {
    Ok(opening.commitment()? == *contributor)
}

/// Checks that these records, with their indices in the log and in its order, are all uses of a contributor from the
/// first to the last of them: their counts must be 1, 2, 3, … Returns how many. That the records are in the log is for
/// their bundles to prove.
pub fn check_uses<'a>(contributor: &Hash, records: impl IntoIterator<Item = (u64, &'a Record)>) -> Result<u64> {
    let mut audit = UseAudit::default();
    let mut last = None;
    for (index, record) in records {
        if last.is_some_and(|last| last >= index) {
            let problem = format!("record {index} of the log is given twice or out of order");
            return Err(Error::Uses { contributor: *contributor, problem });
        }
        last = Some(index);
        let own = record.uses.iter().flatten().find(|own| own.contributor == *contributor);
        let Some(own) = own else {
            let problem = format!("record {index} of the log does not use their data");
            return Err(Error::Uses { contributor: *contributor, problem });
        };
        audit.note(index, own)?;
    }
    Ok(audit.count(contributor))
}

/// Checks the counts of all contributors while reading a log from its first entry on.
#[derive(Clone, Debug, Default)]
pub struct UseAudit {
    counts: HashMap<Hash, u64>,
    uses: u64,
}

impl UseAudit {
    /// Takes the next record of the log.
    pub fn add(&mut self, index: u64, record: &Record) -> Result<()> {
        record.uses.iter().flatten().try_for_each(|own| self.note(index, own))
    }

    /// How often a contributor's data was used so far.
    pub fn count(&self, contributor: &Hash) -> u64 {
        self.counts.get(contributor).copied().unwrap_or(0)
    }

    /// Contributors seen so far.
    pub fn contributors(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Uses seen so far, of all contributors together.
    pub fn uses(&self) -> u64 {
        self.uses
    }

    fn note(&mut self, index: u64, own: &Use) -> Result<()> {
        let count = self.counts.entry(own.contributor).or_default();
        let expected = *count + 1;
        if own.count != expected {
            let problem = match own.count {
                found if found < expected => format!("record {index} of the log repeats count {found}"),
                found if found == expected + 1 => format!("use {expected} is missing before record {index} of the log"),
                found => format!("uses {expected} to {} are missing before record {index} of the log", found - 1),
            };
            return Err(Error::Uses { contributor: own.contributor, problem });
        }
        *count = expected;
        self.uses += 1;
        Ok(())
    }
}

/// The counters of a log, from which the next record is numbered. Kept by the log's writer.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    counts: BTreeMap<Hash, u64>,
    /// Entries of the log that are counted in.
    size: u64,
    /// Entries that were when last saved.
    saved: u64,
}

/// Counters in the file `uses` beside the tiles, so that a start need not read the whole log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    size: u64,
    root: Hash,
    counts: BTreeMap<Hash, u64>,
}

impl Counters {
    /// The counters of a log: those saved, if they are of this log, and the entries since; or else all entries.
    pub fn of<S: Storage>(log: &Log<S>) -> Result<Counters> {
        let saved = log.storage().read(USES)?.and_then(|bytes| from_canonical::<Saved>(&bytes).ok());
        let saved = saved.filter(|saved| log.tree().root_at(saved.size).is_ok_and(|root| root == saved.root));
        let mut counters = match saved {
            Some(Saved { size, counts, .. }) => Counters { counts, size, saved: size },
            None => Counters::default(),
        };
        for index in counters.size..log.size() {
            // An entry that is no record, or of a kind unknown here, counts nothing.
            if let Ok(Entry::Record(record)) = Entry::parse(&log.entry(index)?) {
                for own in record.uses.iter().flatten() {
                    counters.counts.insert(own.contributor, own.count);
                }
            }
        }
        counters.size = log.size();
        Ok(counters)
    }

    /// How often a contributor's data was used.
    pub fn count(&self, contributor: &Hash) -> u64 {
        self.counts.get(contributor).copied().unwrap_or(0)
    }

    /// Saves the counters beside the log's tiles.
    pub fn save<S: Storage>(&mut self, log: &Log<S>) -> Result<()> {
        let saved = Saved { size: self.size, root: log.tree().root_at(self.size)?, counts: self.counts.clone() };
        log.storage().write(USES, &to_canonical(&saved)?)?;
        self.saved = self.size;
        Ok(())
    }

    pub(crate) fn save_is_due(&self) -> bool {
        self.size - self.saved >= SAVE_EVERY
    }

    pub(crate) fn draft(&self) -> Draft<'_> {
        Draft { counters: self, next: HashMap::new(), undo: Vec::new() }
    }

    /// Takes over the counts of a draft whose records are logged.
    pub(crate) fn commit(&mut self, changed: HashMap<Hash, u64>, size: u64) {
        self.counts.extend(changed);
        self.size = size;
    }
}

/// Counts of a batch that is not logged yet.
pub(crate) struct Draft<'a> {
    counters: &'a Counters,
    next: HashMap<Hash, u64>,
    undo: Vec<Hash>,
}

impl Draft<'_> {
    /// Gives a record its numbers, and its uses their order.
    pub(crate) fn number(&mut self, record: &mut Record) {
        let Some(uses) = &mut record.uses else { return };
        uses.sort_by_key(|own| own.contributor);
        for own in uses {
            let count = self.next.entry(own.contributor).or_insert_with(|| self.counters.count(&own.contributor));
            *count += 1;
            own.count = *count;
            own.passages.sort_unstable();
            self.undo.push(own.contributor);
        }
    }

    /// A point to go back to.
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back the numbers given since.
    pub(crate) fn back_to(&mut self, mark: usize) {
        for contributor in self.undo.drain(mark..) {
            if let Some(count) = self.next.get_mut(&contributor) {
                *count -= 1;
            }
        }
    }

    pub(crate) fn finish(self) -> HashMap<Hash, u64> {
        self.next.into_iter().filter(|(contributor, count)| *count > self.counters.count(contributor)).collect()
    }
}

/// The log's signed word on a contributor: in the tree of this size there are `count` records that use their data. A
/// record that contradicts it, together with it, convicts the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseStatement {
    /// Always `cairn/uses/v1`.
    #[serde(rename = "type")]
    pub kind: UseStatementKind,
    /// Name of the log.
    pub origin: String,
    /// Size of the tree.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The contributor's pseudonym.
    pub contributor: Hash,
    /// Records in the tree that use their data.
    pub count: u64,
    /// The log's signature over the lines of [`UseStatement::message`], base64.
    pub signature: String,
}

/// The type string of a [`UseStatement`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UseStatementKind {
    /// `cairn/uses/v1`
    #[default]
    #[serde(rename = "cairn/uses/v1")]
    V1,
}

impl UseStatement {
    /// States the count of a contributor as of the log's current size, which must be that of the counters.
    pub fn sign<S: Storage>(log: &Log<S>, counters: &Counters, contributor: Hash) -> Result<UseStatement> {
        let mut statement = UseStatement {
            kind: UseStatementKind::V1,
            origin: log.origin().to_string(),
            size: counters.size,
            root: log.tree().root_at(counters.size)?,
            contributor,
            count: counters.count(&contributor),
            signature: String::new(),
        };
        statement.signature = BASE64.encode(log.signer().sign(statement.message().as_bytes())?);
        Ok(statement)
    }

    /// Checks the signature by the key that was in force at that size.
    pub fn verify(&self, keys: &KeyHistory) -> Result<()> {
        let key = keys.at(self.size);
        let signature = BASE64.decode(&self.signature).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let signed = signature.is_some_and(|signature| key.verifies(self.message().as_bytes(), &signature));
        if signed && self.origin == key.origin().as_str() {
            return Ok(());
        }
        let problem = format!("the statement at size {} is not signed by {key}", self.size);
        Err(Error::Uses { contributor: self.contributor, problem })
    }

    /// What is signed: type, origin, size, root, contributor and count, a line each. No checkpoint has such lines.
    pub fn message(&self) -> String {
        let UseStatement { origin, size, root, contributor, count, .. } = self;
        format!("cairn/uses/v1\n{origin}\n{size}\n{root}\n{contributor}\n{count}\n")
    }
}

/// Name of the file with saved counters.
const USES: &str = "uses";

/// Field name of the commitment that a pseudonym is.
const FIELD: &str = "contributor";

/// Entries after which counters are saved again.
const SAVE_EVERY: u64 = 4096;
