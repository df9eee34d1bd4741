//! The small world's terms, requests and grants, and its answer again, searched under them.

use cairn_proof::access::{
    AccessDecision, AccessEntry, AccessKind, AccessRequest, Appeal, ContributionBy, ContributionEntry,
    ContributionKind, ContributionOutcome, DecidedBy, GrantEntry, GrantKind, Outcome, Purpose, Revocation, TermsEntry,
    TermsKind, Vote, field,
};
use cairn_proof::bundle::{Bundle, Evidence, GrantEvidence, GrantProof, LogProof, Openings, Parts};
use cairn_proof::record::{Access, Snapshot};
use cairn_proof::{CosignedCheckpoint, Entry, Hash, Log, Record, Salt, VerifyError};
use serde_json::{Value, json};

use super::{World, vkey, world};

/// Whom the grants are given to: who calls in the small world.
pub(crate) const SUBJECT: &str = "key-1";

/// The salt of all that is committed to about access.
pub(crate) fn salt() -> Salt {
    Salt::new([201; 32])
}

fn committed(field: &str, value: &str) -> Hash {
    salt().commit(field, value).unwrap()
}

pub(crate) fn terms(datanet: &str, version: u64, previous: Option<Hash>) -> TermsEntry {
    let terms = json!({"purposes": ["retrieval"], "duration": {"days": 30 * version}, "share": 0.25});
    let Value::Object(terms) = terms else { panic!("terms are an object") };
    TermsEntry {
        kind: TermsKind::V1,
        datanet: datanet.into(),
        version,
        terms,
        previous,
        actor: committed(field::ACTOR, "steward"),
        time: format!("2026-01-0{version}T08:00:00Z"),
    }
}

pub(crate) fn grant(id: &str, datanet: &str, terms: Option<Hash>) -> GrantEntry {
    GrantEntry {
        kind: GrantKind::V1,
        id: id.into(),
        datanet: datanet.into(),
        subject: committed(field::SUBJECT, SUBJECT),
        purposes: vec![Purpose::Evaluation, Purpose::Retrieval],
        rows: terms.map(|_| "licence = 'CC-BY-4.0'".into()),
        retrievals_per_day: terms.map(|_| 100),
        terms,
        request: terms.map(|_| "request-1".into()),
        by: if terms.is_some() { DecidedBy::Policy } else { DecidedBy::Owner },
        issued: "2026-01-31T12:00:00Z".into(),
        expires: terms.map(|_| "2026-03-02T12:00:00Z".into()),
    }
}

pub(crate) fn revocation(grant: &GrantEntry, time: &str) -> AccessEntry {
    AccessEntry::Revocation(Revocation {
        kind: AccessKind::V1,
        datanet: grant.datanet.clone(),
        grant: grant.leaf().unwrap(),
        id: grant.id.clone(),
        actor: committed(field::ACTOR, "steward"),
        reason: Some(committed(field::REASON, "the contract ended")),
        time: time.into(),
    })
}

/// One of each event, with a decision of each kind.
pub(crate) fn events(terms: Hash) -> Vec<AccessEntry> {
    let (kind, datanet, request) = (AccessKind::V1, "tenancy-law".to_owned(), "request-1".to_owned());
    let decision = |outcome, by, actor| {
        AccessEntry::Decision(AccessDecision {
            kind,
            datanet: datanet.clone(),
            request: request.clone(),
            outcome,
            by,
            clauses: vec!["purposes".into(), "actors".into()],
            actor,
            time: "2026-01-31T11:00:01Z".into(),
        })
    };
    vec![
        AccessEntry::Request(AccessRequest {
            kind,
            id: request.clone(),
            datanet: datanet.clone(),
            requester: committed(field::REQUESTER, SUBJECT),
            application: salt().commit(field::APPLICATION, &json!({"purposes": ["retrieval"]})).unwrap(),
            terms: Some(terms),
            time: "2026-01-31T11:00:00Z".into(),
        }),
        decision(Outcome::Referred, DecidedBy::Policy, None),
        AccessEntry::Vote(Vote {
            kind,
            datanet: datanet.clone(),
            request: request.clone(),
            reviewer: committed(field::REVIEWER, "grace"),
            approve: true,
            time: "2026-01-31T11:30:00.25Z".into(),
        }),
        decision(Outcome::Granted, DecidedBy::Review, Some(committed(field::ACTOR, "grace"))),
        decision(Outcome::Withdrawn, DecidedBy::Requester, Some(committed(field::ACTOR, SUBJECT))),
        AccessEntry::Appeal(Appeal {
            kind,
            datanet: datanet.clone(),
            request: "request-2".into(),
            of: request.clone(),
            time: "2026-01-31T12:00:00Z".into(),
        }),
        revocation(&grant("grant-1", "tenancy-law", Some(terms)), "2026-02-20T00:00:00Z"),
    ]
}

pub(crate) fn contribution() -> ContributionEntry {
    ContributionEntry {
        kind: ContributionKind::V1,
        id: "contribution-2".into(),
        datanet: "tenancy-law".into(),
        contributor: cairn_proof::uses::pseudonym(&salt(), "ada").unwrap(),
        document: Hash::of(b"document"),
        rows: 7,
        outcome: ContributionOutcome::Accepted,
        by: ContributionBy::Review,
        score: Some(90),
        supersedes: Some("contribution-1".into()),
        snapshot: Some(Hash::of(b"root")),
        time: "2026-01-31T12:00:00Z".into(),
    }
}

pub(crate) fn append(log: &mut Log, entry: impl Into<Entry>) -> u64 {
    log.append(&[entry.into().to_bytes().unwrap()]).unwrap().start
}

fn snapshot(name: &str, access: Access) -> Snapshot {
    Snapshot { name: name.into(), lance_version: 1, size: 3, root: Hash::of(name.as_bytes()), access: Some(access) }
}

/// The small world's answer, searched under two grants, as an owner and in a public datanet; what proves it, in the wrong
/// order; and the log, in which the grants stand before the record.
pub(crate) struct Searched {
    pub(crate) world: World,
    pub(crate) record: Record,
    pub(crate) at: u64,
    pub(crate) grants: Vec<GrantEvidence>,
}

/// `change` may change the record before it is logged.
pub(crate) fn searched(change: impl FnOnce(&mut Record)) -> Searched {
    let mut world = world();
    let log = &mut world.log;
    let first = terms("tenancy-law", 1, None);
    let second = terms("tenancy-law", 2, Some(first.leaf().unwrap()));
    let by_policy = grant("grant-1", "tenancy-law", Some(second.leaf().unwrap()));
    let by_owner = grant("grant-2", "case-law", None);
    append(log, first);
    let published = append(log, second.clone());
    let evidence = |entry: GrantEntry, index, terms| GrantEvidence {
        entry,
        index,
        terms,
        subject: Some(salt().open(field::SUBJECT, json!(SUBJECT))),
    };
    let grants = vec![
        evidence(by_owner.clone(), append(log, by_owner.clone()), None),
        evidence(by_policy.clone(), append(log, by_policy.clone()), Some((second, published))),
    ];
    let mut record = world.bundle.record.clone();
    record.id = "chatcmpl-0002".into();
    let retrieval = record.retrieval.as_mut().unwrap();
    retrieval.filter = Some(salt().commit(cairn_proof::record::field::FILTER, "page > 1").unwrap());
    retrieval.rerank = Some("late-interaction".into());
    retrieval.candidates[0].rerank_score = Some("0.900000".into());
    retrieval.candidates[2].left_out = Some(cairn_proof::record::LeftOut::MinimumScore);
    retrieval.datanets[0].access = Some(Access::Grant { grant: by_policy.leaf().unwrap() });
    retrieval.datanets.extend([
        snapshot("notes", Access::Owner),
        snapshot("case-law", Access::Grant { grant: by_owner.leaf().unwrap() }),
        snapshot("statutes", Access::Public),
        snapshot("archive", Access::Administrator),
    ]);
    change(&mut record);
    let at = append(log, record.clone());
    Searched { world, record, at, grants }
}

impl Searched {
    /// The bundle, unless it does not verify.
    pub(crate) fn bundle(mut self) -> Result<Bundle, VerifyError> {
        let (log, grants) = (&self.world.log, std::mem::take(&mut self.grants));
        let grants = grants.into_iter().map(|grant| grant.under(log, log.size()).unwrap()).collect();
        self.bundle_with(grants)
    }

    /// The bundle with these grants, unless it does not verify.
    pub(crate) fn bundle_with(self, grants: Vec<GrantProof>) -> Result<Bundle, VerifyError> {
        let Searched { world, record, at, .. } = self;
        let (log, old) = (&world.log, world.bundle);
        let checkpoint = CosignedCheckpoint::new(log.checkpoint().clone());
        let evidence = old.datapoints.into_iter().map(|datapoint| Evidence {
            commitment: datapoint.commitment,
            path: datapoint.inclusion.path,
            disclosed: datapoint.disclosed,
            erased: None,
        });
        let own = Salt::new([200; 32]);
        Bundle::build(Parts {
            key: &vkey(),
            log: LogProof::under(log, at, &checkpoint, &[]).unwrap(),
            record,
            datapoints: evidence.collect(),
            openings: Openings {
                caller: Some(own.open(cairn_proof::record::field::CALLER, json!(SUBJECT))),
                filter: Some(salt().open(cairn_proof::record::field::FILTER, json!("page > 1"))),
                ..old.openings
            },
            influence: None,
            grants,
        })
    }
}
