//! The evaluator and the review, over many generated cases: the same again, and never looser where the terms are stricter.
#![allow(clippy::unwrap_used)]

use cairn_policy::{
    Absence, Actor, Affirmation, AfterDeadline, Answer, Application, Outcome, Purpose, Terms, Vote, diff, evaluate,
    review::{Referral, Standing, Tally, tally},
    simulate, typical_applications,
};
use chrono::{DateTime, Duration, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};

fn answer(random: &mut StdRng) -> Answer {
    *[Answer::Allow, Answer::Refer, Answer::Deny].choose(random).unwrap()
}

fn terms(random: &mut StdRng) -> Terms {
    let mut terms = Terms::default();
    terms.purposes.retrieval = answer(random);
    terms.purposes.training = answer(random);
    terms.actors.company = answer(random);
    terms.actors.individual = answer(random);
    terms.commercial = answer(random);
    terms.elsewhere = answer(random);
    terms.regions = random.random_bool(0.5).then(|| ["CH".to_owned(), "EEA".to_owned()].into());
    terms.duration_days = random.random_range(1..400);
    terms.statement_characters = random.random_range(0..12);
    terms.sensitive = random.random_bool(0.2);
    if random.random_bool(0.5) {
        terms.affirmations = vec![Affirmation { id: "care".into(), text: "I take care.".into() }];
    }
    assert_eq!(terms.check(), []);
    terms
}

fn application(random: &mut StdRng) -> Application {
    let application = Application {
        purposes: [*Purpose::ALL.choose(random).unwrap(), *Purpose::ALL.choose(random).unwrap()].into(),
        actor: *Actor::ALL.choose(random).unwrap(),
        commercial: random.random_bool(0.5),
        region: ["CH", "DE", "NO", "US"].choose(random).map(|it| (*it).to_owned()),
        days: random.random_bool(0.3).then(|| random.random_range(1..400)),
        affirmed: if random.random_bool(0.8) { ["care".to_owned()].into() } else { Default::default() },
        statement: "x".repeat(random.random_range(8..14)),
        rows: None,
    };
    assert_eq!(application.check(), []);
    application
}

#[test]
fn requests_are_decided_the_same_twice() {
    let mut random = StdRng::seed_from_u64(1);
    let mut outcomes = std::collections::BTreeMap::new();
    for _ in 0..2000 {
        let (terms, application) = (terms(&mut random), application(&mut random));
        let first = serde_json::to_vec(&evaluate(&terms, &application)).unwrap();
        let terms: Terms = serde_json::from_slice(&serde_json::to_vec(&terms).unwrap()).unwrap();
        let application: Application = serde_json::from_slice(&serde_json::to_vec(&application).unwrap()).unwrap();
        let again = evaluate(&terms, &application);
        assert_eq!(first, serde_json::to_vec(&again).unwrap());
        assert_eq!(again.findings.len(), 8, "every clause speaks");
        assert_eq!(again.scope.is_none(), again.outcome == Outcome::Denied);
        *outcomes.entry(again.outcome).or_insert(0) += 1;
    }
    assert!(outcomes.values().all(|count| *count > 20) && outcomes.len() == 3, "{outcomes:?}");
}

#[test]
fn stricter_terms_never_decide_more_generously() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..5000 {
        let (terms, application) = (terms(&mut random), application(&mut random));
        let before = evaluate(&terms, &application).outcome;
        let stricter = |answer: Answer| if answer == Answer::Allow { Answer::Refer } else { Answer::Deny };
        let mut strict = terms.clone();
        match random.random_range(0..8) {
            0 => strict.purposes.retrieval = stricter(strict.purposes.retrieval),
            1 => strict.actors.company = stricter(strict.actors.company),
            2 => strict.commercial = stricter(strict.commercial),
            3 => strict.elsewhere = stricter(strict.elsewhere),
            4 => strict.duration_days = (strict.duration_days / 2).max(1),
            5 => strict.statement_characters += 3,
            6 => strict.sensitive = true,
            _ => strict.affirmations.push(Affirmation { id: "more".into(), text: "And more.".into() }),
        }
        assert!(evaluate(&strict, &application).outcome >= before, "{terms:?}\n{strict:?}\n{application:?}");
        let mut silent = application.clone();
        silent.affirmed.clear();
        assert!(evaluate(&terms, &silent).outcome >= before, "less affirmed never helps");
        if terms.sensitive {
            assert_ne!(before, Outcome::Granted, "sensitive data is never granted by terms");
        }
    }
}

#[test]
fn contradictions_are_named_with_their_places() {
    let mut terms = Terms { duration_days: 0, sensitive: true, retrievals_per_day: Some(0), ..Terms::default() };
    terms.regions = Some(["Mars".to_owned()].into());
    terms.review.required = 3;
    terms.review.reviewers = vec!["ada".into(), "ada".into()];
    terms.review.after_deadline = AfterDeadline::Grant;
    let affirmation = Affirmation { id: "A b".into(), text: String::new() };
    terms.affirmations = vec![affirmation.clone(), affirmation];
    let found: Vec<String> = terms.check().into_iter().map(|problem| problem.at).collect();
    let places = ["duration_days", "regions", "retrievals_per_day", "review.required", "review.reviewers"];
    for place in places.into_iter().chain(["review.after_deadline", "affirmations[1]"]) {
        assert!(found.iter().any(|at| at == place), "{place} in {found:?}");
    }
    assert_eq!(serde_json::from_str::<Terms>("{}").unwrap(), Terms::default());
    assert_eq!(Terms::default().check(), []);
    let unknown = serde_json::from_str::<Terms>("{\"colour\": 1}").unwrap_err().to_string();
    assert!(unknown.contains("colour"), "{unknown}");
}

#[test]
fn a_simulation_counts_what_the_evaluator_says_and_a_diff_tells_what_changed() {
    let before = Terms::default();
    let mut after = before.clone();
    after.actors.company = Answer::Deny;
    let applicants = typical_applications(&after);
    let counted = simulate(&after, &applicants);
    assert_eq!(counted.granted + counted.referred + counted.denied, applicants.len() as u64);
    assert_eq!(counted.denied, 6);
    assert_eq!(diff(&before, &before), Vec::<String>::new());
    assert_eq!(diff(&before, &after), ["New: Use by company is not given."]);
}

struct Case {
    terms: Terms,
    barred: Vec<String>,
    absences: Vec<Absence>,
}

impl Case {
    fn new(reviewers: &[&str], required: u32) -> Self {
        let mut terms = Terms::default();
        terms.review.reviewers = reviewers.iter().map(|it| (*it).to_owned()).collect();
        terms.review.required = required;
        terms.review.escalate_to = vec!["boss".into()];
        Self { terms, barred: Vec::new(), absences: Vec::new() }
    }

    fn at(&self, votes: &[(&str, Option<&str>, bool)], hours: i64) -> Tally {
        let vote = |(minute, (reviewer, of, approve)): (i64, &(&str, Option<&str>, bool))| Vote {
            reviewer: (*reviewer).to_owned(),
            on_behalf_of: of.map(str::to_owned),
            approve: *approve,
            reason: String::new(),
            at: start() + Duration::minutes(minute),
        };
        let votes: Vec<Vote> = (0..).zip(votes).map(vote).collect();
        let referral =
            Referral { terms: &self.terms, owner: "owner", requester: "req", barred: &self.barred, since: start() };
        tally(&referral, &votes, &self.absences, start() + Duration::hours(hours))
    }
}

fn start() -> DateTime<Utc> {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn people(tally: &Tally) -> Vec<&str> {
    tally.voices.iter().map(|voice| voice.person.as_str()).collect()
}

#[test]
fn any_one_or_k_of_n_decide_either_way_and_never_the_requester() {
    let any = Case::new(&["ada", "ben", "req"], 1);
    assert_eq!(people(&any.at(&[], 1)), ["ada", "ben"]);
    assert_eq!(any.at(&[("ben", None, true)], 1).standing, Standing::Approved);
    assert_eq!(any.at(&[("ben", None, false)], 1).standing, Standing::Rejected);
    assert_eq!(any.at(&[("req", None, true)], 1).standing, Standing::Waiting, "not oneself");
    assert_eq!(any.at(&[("eve", None, true)], 1).standing, Standing::Waiting, "not a stranger");
    let two = Case::new(&["ada", "ben", "cy"], 2);
    assert_eq!(two.at(&[("ada", None, true), ("ada", None, true)], 1).standing, Standing::Waiting, "one voice each");
    let split = two.at(&[("ada", None, true), ("ben", None, false)], 1);
    assert_eq!((split.standing, people(&split)), (Standing::Waiting, vec!["cy"]));
    assert_eq!(two.at(&[("ada", None, true), ("cy", None, true)], 1).standing, Standing::Approved);
    assert_eq!(people(&Case::new(&[], 1).at(&[], 1)), ["owner"], "without reviewers the owner decides");
}

#[test]
fn a_deputy_speaks_for_who_is_away_and_for_no_other() {
    let mut case = Case::new(&["ada", "ben"], 2);
    let away = |reviewer: &str, delegate: &str| Absence {
        reviewer: reviewer.into(),
        delegate: delegate.into(),
        from: start(),
        until: start() + Duration::hours(10),
    };
    case.absences = vec![away("ada", "dora"), away("dora", "eve"), away("ben", "req")];
    assert_eq!(people(&case.at(&[], 1)), ["ada", "ben", "dora"], "one step, and not to the requester");
    let said = [("dora", Some("ada"), true), ("ada", None, true)];
    assert_eq!(case.at(&said, 1).standing, Standing::Waiting, "a voice is used once");
    assert_eq!(case.at(&[("dora", Some("ada"), true), ("ben", None, true)], 1).standing, Standing::Approved);
    assert_eq!(people(&case.at(&[], 20)), ["ada", "ben"], "who is back has no deputy");
    case.absences = vec![away("ada", "ben")];
    assert_eq!(people(&case.at(&[], 1)), ["ada", "ben"], "a reviewer has a voice of their own already");
}

#[test]
fn what_nobody_decides_is_passed_on_and_sensitive_data_is_never_granted_by_silence() {
    let mut case = Case::new(&["ada"], 1);
    let late = case.at(&[], 73);
    assert!(late.escalated && people(&late) == ["ada", "boss"], "{late:?}");
    assert_eq!(case.at(&[("boss", None, true)], 1).standing, Standing::Waiting, "not before the deadline");
    assert_eq!(case.at(&[("boss", None, true)], 73).standing, Standing::Approved);
    case.terms.review.after_deadline = AfterDeadline::Grant;
    assert_eq!(case.at(&[], 73).standing, Standing::ApprovedBySilence);
    assert_eq!(case.at(&[("ada", None, false)], 73).standing, Standing::Rejected);
    case.terms.sensitive = true;
    assert_eq!(case.at(&[], 10_000).standing, Standing::Waiting);
    // An appeal goes to others than those who denied.
    case.barred = vec!["ada".into()];
    let appeal = case.at(&[("ada", None, false)], 1);
    assert_eq!((appeal.standing, people(&appeal)), (Standing::Waiting, vec!["boss"]));
    case.barred.push("boss".into());
    assert_eq!(people(&case.at(&[], 1)), Vec::<&str>::new(), "nobody is left, and it says so");
}

#[test]
fn sensitive_data_opens_to_no_fewer_voices_than_its_terms_ask_for() {
    let mut case = Case::new(&["ada", "ben", "req"], 3);
    case.terms.review.escalate_to = vec!["ada".into()];
    let both = [("ada", None, true), ("ben", None, true)];
    assert_eq!(case.at(&both, 1).standing, Standing::Approved, "all who are left");
    case.terms.sensitive = true;
    let waiting = case.at(&both, 1);
    assert_eq!((waiting.standing, waiting.required), (Standing::Waiting, 3));
    assert_eq!(case.at(&[("ada", None, false), ("ben", None, false)], 1).standing, Standing::Rejected);
}
