//! Terms, requests, grants and contributions in the log; a bundle with grants; and what an audit says of them.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use cairn_proof::access::{AccessEntry, DecidedBy, Outcome, Purpose, TermsEntry, field};
use cairn_proof::audit::{AuditReport, FaultKind, LocalLog, audit};
use cairn_proof::bundle::{Bundle, GrantEvidence, GrantProof};
use cairn_proof::canonical::to_canonical;
use cairn_proof::log::check;
use cairn_proof::record::Access;
use cairn_proof::{Entry, Error, Hash, Log, Record, SignedCheckpoint, VerifyError, verify};
use common::access::{append, contribution, events, grant, revocation, salt, searched, terms};
use common::{edited, golden, vkey, world};
use serde_json::{Value, json};

fn bundle() -> Vec<u8> {
    searched(|_| ()).bundle().unwrap().to_bytes().unwrap()
}

#[test]
fn the_golden_file_is_as_written() {
    let bytes = bundle();
    if std::env::var_os("CAIRN_WRITE_GOLDEN").is_some() {
        fs::write(golden("granted.json"), &bytes).unwrap();
    }
    assert!(fs::read(golden("granted.json")).unwrap() == bytes, "granted.json differs from the golden file");
}

#[test]
fn a_bundle_says_by_what_right_each_datanet_was_searched() {
    let report = verify(&bundle(), &vkey()).unwrap();
    let text = report.to_text();
    for words in [
        "tenancy-law was searched under grant grant-1, entry 268 of the log, which the caller was given (evaluation and \
         retrieval; rows where licence = 'CC-BY-4.0'; at most 100 retrievals a day; from policy, terms version 2; valid \
         until 2026-03-02T12:00:00Z).",
        "notes was searched as its owner.",
        "case-law was searched under grant grant-2, entry 267 of the log, which the caller was given (evaluation and \
         retrieval; from owner; valid without end).",
        "statutes was searched as anyone may search it.",
        "archive was searched as an administrator of the gateway.",
        "narrowed by a filter",
        "in order anew by late-interaction",
        "rerank score 0.900000",
        "left out for its score",
        "The filter shown is the one that was logged: \"page > 1\"",
        "`cairn audit` looks",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("It does not show that the caller"), "{text}");
}

#[test]
fn what_is_left_out_is_said() {
    let redacted = edited(&bundle(), |bundle| {
        bundle["openings"] = json!({});
        bundle["grants"][0].as_object_mut().unwrap().remove("subject");
        bundle["grants"][0].as_object_mut().unwrap().remove("terms");
    });
    let text = verify(&redacted, &vkey()).unwrap().to_text();
    for words in ["from policy; valid", "not show that the caller is who was given grant-1 and grant-2", "the filter"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn no_changed_byte_of_it_verifies() {
    let bytes = bundle();
    let start = bytes.windows(8).position(|part| part == b"\"grants\"").unwrap();
    let end = bytes.windows(6).position(|part| part == b"\"key\":").unwrap();
    assert!(end > start + 2000);
    for at in start..end {
        for mask in [0x01, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= mask;
            assert!(verify(&changed, &vkey()).is_err(), "byte {at} xor {mask:#x}");
        }
    }
}

#[test]
fn every_changed_value_is_named() {
    let bytes = bundle();
    let zero = "0".repeat(64);
    for (pointer, value, code) in [
        ("/grants", json!([]), "form"),
        ("/grants/0/note", json!("x"), "form"),
        ("/grants/0/datanet", json!("case-law"), "grants_differ"),
        ("/grants/0/entry/datanet", json!("case-law"), "grant_mismatch"),
        ("/grants/0/entry/type", json!("cairn/grant/v2"), "form"),
        ("/grants/0/entry/purposes", json!([]), "grant"),
        ("/grants/0/entry/purposes", json!(["retrieval", "evaluation"]), "grant"),
        ("/grants/0/entry/purposes", json!(["retrieval", "retrieval"]), "grant"),
        ("/grants/0/entry/purposes", json!(["retrieval"]), "grant_mismatch"),
        ("/grants/0/entry/purposes", json!(["everything"]), "form"),
        ("/grants/0/entry/by", json!("requester"), "form"),
        ("/grants/0/entry/rows", Value::Null, "grant_mismatch"),
        ("/grants/0/entry/issued", json!("2026-03-02T12:00:00Z"), "grant"),
        ("/grants/0/entry/issued", json!("2026-01-31"), "grant"),
        ("/grants/0/entry/expires", json!("2026-03-02T12:00:00+00:00"), "grant"),
        ("/grants/0/entry/expires", json!("2027-03-02T12:00:00Z"), "grant_mismatch"),
        ("/grants/0/entry/expires", Value::Null, "grant_mismatch"),
        ("/grants/0/index", json!(267), "grant_not_in_log"),
        ("/grants/0/index", json!(4000), "grant_not_in_log"),
        ("/grants/0/path/0", json!(zero), "grant_not_in_log"),
        ("/grants/0/subject/value", json!("key-2"), "opening_mismatch"),
        ("/grants/0/terms/entry/version", json!(3), "grant_mismatch"),
        ("/grants/0/terms/entry/version", json!(1), "grant"),
        ("/grants/0/terms/entry/previous", Value::Null, "form"),
        ("/grants/0/terms/entry/terms/share", json!(0.5), "grant_mismatch"),
        ("/grants/0/terms/entry/terms", json!([]), "form"),
        ("/grants/0/terms/index", json!(265), "grant_not_in_log"),
        ("/grants/0/terms/path", json!([]), "grant_not_in_log"),
        ("/openings/filter/value", json!("page > 2"), "opening_mismatch"),
        ("/record/retrieval/datanets/1/access/basis", json!("public"), "record_not_in_log"),
        ("/record/retrieval/datanets/0/access/grant", json!(zero), "record_not_in_log"),
        ("/record/retrieval/datanets/0/access/basis", json!("owner"), "form"),
        ("/record/retrieval/candidates/2/left_out", json!("contributor_cap"), "record_not_in_log"),
        ("/record/retrieval/candidates/0/left_out", json!("minimum_score"), "record"),
    ] {
        let changed = edited(&bytes, |bundle| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match bundle.pointer_mut(parent).unwrap() {
                Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
                parent => parent[key] = value,
            }
        });
        let error = verify(&changed, &vkey()).unwrap_err();
        assert_eq!(error.code(), code, "{pointer}: {error}");
        assert!(error.to_string().len() > 20);
    }
    let grants = |change: fn(&mut Vec<Value>)| edited(&bytes, |b| change(b["grants"].as_array_mut().unwrap()));
    for (code, changed) in [
        ("grants_differ", grants(|all| all.swap(0, 1))),
        ("grants_differ", grants(|all| drop(all.remove(0)))),
        ("grants_differ", grants(|all| drop(all.pop()))),
        ("grants_differ", grants(|all| all.insert(0, all[0].clone()))),
        ("grants_differ", grants(|all| all.push(all[1].clone()))),
        ("grant_mismatch", grants(|all| all[1]["entry"] = all[0]["entry"].clone())),
        ("grant_mismatch", grants(|all| all[1]["terms"] = all[0]["terms"].clone())),
        ("grants_differ", edited(&bytes, |b| drop(b.as_object_mut().unwrap().remove("grants")))),
    ] {
        let error = verify(&changed, &vkey()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn a_filter_or_grants_where_there_were_none() {
    let golden = fs::read(golden("bundle.json")).unwrap();
    let other: Value = serde_json::from_slice(&bundle()).unwrap();
    let filter = edited(&golden, |bundle| bundle["openings"]["filter"] = other["openings"]["filter"].clone());
    assert!(matches!(verify(&filter, &vkey()), Err(VerifyError::NoFilter)));
    let grants = edited(&golden, |bundle| bundle["grants"] = other["grants"].clone());
    assert!(matches!(verify(&grants, &vkey()), Err(VerifyError::GrantsDiffer { .. })));
}

#[test]
fn the_grant_must_cover_the_search() {
    let later = |time: &str| {
        let time = time.to_owned();
        searched(move |record| record.time = time).bundle()
    };
    later("2026-01-31T12:00:00Z").unwrap();
    later("2026-03-02T11:59:59.999999999Z").unwrap();
    for time in ["2026-01-31T11:59:59.9Z", "2026-03-02T12:00:00Z", "2026-03-02T12:00:00.000Z", "2027-01-01T00:00:00Z"] {
        let error = later(time).unwrap_err();
        assert_eq!(error.code(), "grant_not_in_force", "{time}: {error}");
        assert!(error.to_string().contains(time), "{error}");
    }

    // Grants that are what the record cites, but do not give the right.
    type Change = fn(&mut GrantEvidence);
    let cases: [(&str, Change); 3] = [
        ("is not for retrieval", |grant| grant.entry.purposes = vec![Purpose::Evaluation, Purpose::Training]),
        ("is of another-law, not of tenancy-law", |grant| grant.entry.datanet = "another-law".into()),
        ("was issued at 2026-02-10", |grant| grant.entry.issued = "2026-02-10T00:00:00Z".into()),
    ];
    for (words, change) in cases {
        let error = under(change, true).unwrap_err();
        assert!(error.code() == "grant_not_in_force" && error.to_string().contains(words), "{error}");
    }
    let late = under(|_| (), false).unwrap_err();
    assert!(late.to_string().contains("not before the record's"), "{late}");
    let other = under(
        |grant| {
            grant.entry.subject = salt().commit(field::SUBJECT, "key-2").unwrap();
            grant.subject = Some(salt().open(field::SUBJECT, json!("key-2")));
        },
        true,
    );
    assert_eq!(other.unwrap_err().code(), "grant_of_another");
    let foreign = under(
        |grant| {
            let (terms, _) = grant.terms.as_mut().unwrap();
            terms.datanet = "case-law".into();
            grant.entry.terms = Some(terms.leaf().unwrap());
        },
        true,
    );
    assert!(foreign.unwrap_err().to_string().contains("terms are those of case-law"));
}

/// The bundle of a record that cites the first grant as changed, which is logged before it or after it.
fn under(change: impl FnOnce(&mut GrantEvidence), before: bool) -> Result<Bundle, VerifyError> {
    let mut searched = searched(|_| ());
    let mut evidence = searched.grants.pop().unwrap();
    let datanet = evidence.entry.datanet.clone();
    change(&mut evidence);
    let retrieval = searched.record.retrieval.as_mut().unwrap();
    retrieval.datanets.truncate(1);
    retrieval.datanets[0].access = Some(Access::Grant { grant: evidence.entry.leaf().unwrap() });
    let log = &mut searched.world.log;
    let place = |log: &mut Log, evidence: &mut GrantEvidence| {
        if let Some((terms, index)) = &mut evidence.terms {
            *index = append(log, terms.clone());
        }
        evidence.index = append(log, evidence.entry.clone());
    };
    if before {
        place(log, &mut evidence);
    }
    searched.at = append(log, searched.record.clone());
    if !before {
        place(log, &mut evidence);
    }
    let proof = GrantProof { datanet, ..evidence.under(log, log.size()).unwrap() };
    searched.bundle_with(vec![proof])
}

#[test]
fn entries_are_strict() {
    let terms = terms("tenancy-law", 2, Some(Hash::of(b"one")));
    let leaf = terms.leaf().unwrap();
    let mut entries: Vec<Entry> = vec![
        terms.into(),
        grant("grant-1", "tenancy-law", Some(leaf)).into(),
        grant("grant-2", "tenancy-law", None).into(),
        contribution().into(),
    ];
    entries.extend(events(leaf).into_iter().map(Entry::from));
    for entry in entries {
        let bytes = entry.to_bytes().unwrap();
        assert_eq!(Entry::parse(&bytes).unwrap(), entry);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        for key in value.as_object().unwrap().keys() {
            let mut without = value.clone();
            without.as_object_mut().unwrap().remove(key);
            let parsed = Entry::parse(&to_canonical(&without).unwrap());
            // Why a grant was revoked may be left unsaid.
            assert_eq!(parsed.is_ok(), key == "reason", "{value} without {key}");
            let mut twisted = value.clone();
            twisted[key] = json!({"twisted": true});
            let parsed = Entry::parse(&to_canonical(&twisted).unwrap());
            assert_eq!(
                parsed.is_ok(),
                key == "terms" && value["type"] == "cairn/terms/v1",
                "{value} with another {key}"
            );
        }
        let mut more = value;
        more["more"] = json!(1);
        assert!(Entry::parse(&to_canonical(&more).unwrap()).is_err(), "{more}");
    }
}

#[test]
fn entries_that_contradict_themselves_are_refused() {
    let refused = |entry: Entry, words: &str| {
        let error = entry.to_bytes().unwrap_err();
        assert!(matches!(error, Error::InconsistentAccess { .. }) && error.to_string().contains(words), "{error}");
        let bytes = match &entry {
            Entry::Terms(entry) => to_canonical(entry.as_ref()),
            Entry::Grant(entry) => to_canonical(entry.as_ref()),
            Entry::Access(entry) => to_canonical(entry.as_ref()),
            Entry::Contribution(entry) => to_canonical(entry.as_ref()),
            other => panic!("{other:?}"),
        };
        assert!(matches!(Entry::parse(&bytes.unwrap()), Err(Error::InconsistentAccess { .. })), "{words}");
    };
    refused(terms("law", 0, None).into(), "count from 1");
    refused(terms("law", 1, Some(Hash::default())).into(), "none before it");
    refused(terms("law", 2, None).into(), "must name the one before");
    refused(TermsEntry { time: "2026-01-01".into(), ..terms("law", 1, None) }.into(), "not RFC 3339");
    let event = |at: usize| events(Hash::default()).swap_remove(at);
    for at in [1, 3] {
        let AccessEntry::Decision(mut decision) = event(at) else { panic!("a decision") };
        decision.by = if decision.by == DecidedBy::Policy { DecidedBy::Owner } else { DecidedBy::Policy };
        refused(AccessEntry::Decision(decision).into(), "has an actor");
    }
    for (outcome, by) in [(Outcome::Withdrawn, DecidedBy::Review), (Outcome::Granted, DecidedBy::Requester)] {
        let AccessEntry::Decision(mut decision) = event(3) else { panic!("a decision") };
        (decision.outcome, decision.by) = (outcome, by);
        refused(AccessEntry::Decision(decision).into(), "the requester withdraws");
    }
    let AccessEntry::Appeal(mut appeal) = event(5) else { panic!("an appeal") };
    appeal.request = appeal.of.clone();
    refused(AccessEntry::Appeal(appeal).into(), "against itself");
    let mut own = grant("grant-1", "law", None);
    own.by = DecidedBy::Requester;
    assert!(own.to_bytes().unwrap_err().to_string().contains("the requester decided on it"));
    assert!(matches!(Entry::parse(&to_canonical(&own).unwrap()), Err(Error::Json(_))));
    let AccessEntry::Vote(mut vote) = event(2) else { panic!("a vote") };
    vote.time = "now".into();
    refused(AccessEntry::Vote(vote).into(), "not RFC 3339");
    let mut scored = contribution();
    scored.score = Some(101);
    refused(scored.into(), "above 100");
    let mut rejected = contribution();
    rejected.outcome = cairn_proof::access::ContributionOutcome::Rejected;
    refused(rejected.into(), "no snapshot");
    let mut circular = contribution();
    circular.supersedes = Some(circular.id.clone());
    refused(circular.into(), "its own place");
}

/// What an audit of the small world's log says after these entries.
fn audited(entries: Vec<Entry>) -> AuditReport {
    let mut world = world();
    for entry in entries {
        append(&mut world.log, entry);
    }
    let checked = check(world.dir.path(), &vkey()).unwrap();
    assert_eq!(checked.other, 0);
    audit(&LocalLog(world.dir.path().into()), &|text| SignedCheckpoint::open(text, &vkey()), None).unwrap()
}

fn problems(entries: Vec<Entry>) -> Vec<String> {
    let report = audited(entries);
    assert_eq!(report.is_sound(), report.faults.is_empty());
    assert!(
        report.faults.iter().all(|fault| fault.kind == FaultKind::Access && fault.path.starts_with("tile/entries"))
    );
    report.faults.into_iter().map(|fault| format!("{}: {}", fault.position, fault.problem)).collect()
}

/// The small world's answer at this time, searched under this grant.
fn answer(time: &str, grant: Hash) -> Entry {
    let mut record: Record = world().bundle.record;
    record.time = time.into();
    record.retrieval.as_mut().unwrap().datanets[0].access = Some(Access::Grant { grant });
    record.into()
}

#[test]
fn an_audit_follows_terms() {
    let first = terms("law", 1, None);
    let second = terms("law", 2, Some(first.leaf().unwrap()));
    let third = terms("law", 3, Some(second.leaf().unwrap()));
    let elsewhere = terms("other", 1, None);
    let sound: Vec<Entry> = vec![
        first.clone().into(),
        second.clone().into(),
        elsewhere.into(),
        second.clone().into(),
        third.clone().into(),
    ];
    assert_eq!(problems(sound), [""; 0], "a repeated entry is one");
    assert_eq!(problems(vec![second.clone().into()]), ["265: the first terms of law in the log are version 2, not 1"]);
    let gap = problems(vec![first.clone().into(), third.into()]);
    assert_eq!(gap, ["266: version 3 of the terms of law comes after version 1"]);
    let mut other = first.clone();
    other.time = "2026-01-01T09:00:00Z".into();
    let twice = problems(vec![first.into(), other.clone().into()]);
    assert_eq!(twice, ["266: version 1 of the terms of law comes after version 1"]);
    let unlinked = problems(vec![other.into(), second.into()]);
    assert!(
        unlinked.len() == 1 && unlinked[0].contains("266: version 2 of the terms of law goes on from"),
        "{unlinked:?}"
    );
}

#[test]
fn an_audit_follows_grants() {
    let published = terms("tenancy-law", 1, None);
    let granted = grant("grant-1", "tenancy-law", Some(published.leaf().unwrap()));
    let leaf = granted.leaf().unwrap();
    let (published, entry): (Entry, Entry) = (published.into(), granted.clone().into());
    let revoked: Entry = revocation(&granted, "2026-02-20T00:00:00Z").into();
    let in_time = || answer("2026-02-03T04:05:06Z", leaf);
    let begun = || vec![published.clone(), entry.clone()];
    let after = |more: Vec<Entry>| problems(begun().into_iter().chain(more).collect());

    assert_eq!(after(vec![in_time(), revoked.clone()]), [""; 0]);
    assert_eq!(after(vec![in_time(), entry.clone(), revoked.clone(), revoked.clone()]), [""; 0], "repeated");
    // In flight while the grant was revoked, to the very instant.
    assert_eq!(after(vec![revoked.clone(), in_time(), answer("2026-02-20T00:00:00.0Z", leaf)]), [""; 0]);
    let late = after(vec![revoked.clone(), answer("2026-02-20T00:00:00.000000001Z", leaf)]);
    assert!(late.len() == 1 && late[0].starts_with("268: answer chatcmpl-0001 searched tenancy-law: "), "{late:?}");
    assert!(late[0].contains("grant grant-1 was revoked at 2026-02-20T00:00:00Z"), "{late:?}");
    let earliest = revocation(&granted, "2026-02-01T00:00:00Z").into();
    assert_eq!(after(vec![revoked.clone(), earliest, in_time()]).len(), 1, "the earliest counts");
    for (time, words) in [("2026-01-31T11:59:59Z", "was issued at"), ("2026-03-02T12:00:00Z", "ended at")] {
        let found = after(vec![answer(time, leaf)]);
        assert!(found.len() == 1 && found[0].contains(words), "{found:?}");
    }
    let before = problems(vec![in_time(), published.clone(), entry.clone()]);
    assert!(before.len() == 1 && before[0].starts_with("265: ") && before[0].contains("not in the log before it"));
    let unpublished = problems(vec![entry.clone(), published.clone()]);
    assert!(unpublished.len() == 1 && unpublished[0].contains("given by terms"), "{unpublished:?}");

    let foreign = grant("grant-1", "case-law", granted.terms);
    let found = after(vec![foreign.clone().into(), answer("2026-02-03T04:05:06Z", foreign.leaf().unwrap())]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("terms of tenancy-law") && found[1].contains("is of case-law"), "{found:?}");
    let mut training = granted.clone();
    training.purposes = vec![Purpose::Training];
    let found = after(vec![training.clone().into(), answer("2026-02-03T04:05:06Z", training.leaf().unwrap())]);
    assert!(found.len() == 1 && found[0].contains("not for retrieval"), "{found:?}");

    let unknown = problems(vec![revoked.clone()]);
    assert!(unknown.len() == 1 && unknown[0].contains("is revoked, but not in the log"), "{unknown:?}");
    let AccessEntry::Revocation(mut misnamed) = revocation(&granted, "2026-02-20T00:00:00Z") else { panic!() };
    misnamed.id = "grant-9".into();
    let found = after(vec![AccessEntry::Revocation(misnamed).into()]);
    assert!(found.len() == 1 && found[0].contains("is grant grant-1 of tenancy-law"), "{found:?}");
}

#[test]
fn a_damaged_log_accuses_nobody() {
    let mut world = world();
    append(&mut world.log, answer("2026-02-03T04:05:06Z", Hash::default()));
    let path = world.dir.path().join("tile/entries/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(path, bytes).unwrap();
    let open = |text: &str| SignedCheckpoint::open(text, &vkey());
    let report = audit(&LocalLog(world.dir.path().into()), &open, None).unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::Changed]);
}

#[test]
fn all_kinds_are_counted() {
    let searched = searched(|_| ());
    let checked = check(searched.world.dir.path(), &vkey()).unwrap();
    assert_eq!((checked.terms, checked.grants, checked.records, checked.other), (2, 2, 2, 0));
    let report = audited(vec![contribution().into()]);
    assert_eq!(report.entries["cairn/contribution/v1"], 1);
}
