//! The evaluator: every clause of the terms speaks, in a fixed order; a denial outweighs a referral, a referral a grant.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    application::Application,
    terms::{Answer, Purpose, Terms},
};

/// A clause of the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clause {
    /// For what.
    Purpose,
    /// By whom.
    Actor,
    /// Commercially or not.
    Commercial,
    /// Where.
    Region,
    /// For how long.
    Duration,
    /// What has to be affirmed.
    Affirmations,
    /// What has to be said.
    Statement,
    /// Whether people have to look in any case.
    Sensitivity,
}

impl Clause {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Purpose => "purpose",
            Self::Actor => "actor",
            Self::Commercial => "commercial",
            Self::Region => "region",
            Self::Duration => "duration",
            Self::Affirmations => "affirmations",
            Self::Statement => "statement",
            Self::Sensitivity => "sensitivity",
        }
    }
}

/// What a clause says to an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The clause.
    pub clause: Clause,
    /// What it says.
    pub answer: Answer,
    /// Why, for the requester.
    pub reason: String,
}

/// What the terms decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Access is given at once.
    Granted,
    /// People decide.
    Referred,
    /// Access is not given.
    Denied,
}

impl Outcome {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Referred => "referred",
            Self::Denied => "denied",
        }
    }
}

/// What is granted, at once or once people agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// For what.
    pub purposes: BTreeSet<Purpose>,
    /// Filters that a row has to pass, all of them: the terms' and the requester's own. None: all rows.
    pub rows: Vec<String>,
    /// For how many days.
    pub days: u32,
    /// Retrievals a day; none: as many as wanted.
    pub retrievals_per_day: Option<u64>,
}

/// A judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What the terms decide.
    pub outcome: Outcome,
    /// What each clause says, in the order of [`Clause`].
    pub findings: Vec<Finding>,
    /// What is granted, or would be if people agree; none where it is denied.
    pub scope: Option<Scope>,
}

/// Judges an application by terms. Both must have passed their `check`.
pub fn evaluate(terms: &Terms, application: &Application) -> Evaluation {
    let findings = vec![
        purpose(terms, application),
        actor(terms, application),
        commercial(terms, application),
        region(terms, application),
        duration(terms, application),
        affirmations(terms, application),
        statement(terms, application),
        sensitivity(terms),
    ];
    let outcome = match findings.iter().map(|finding| finding.answer).max().unwrap_or_default() {
        Answer::Allow => Outcome::Granted,
        Answer::Refer => Outcome::Referred,
        Answer::Deny => Outcome::Denied,
    };
    let scope = (outcome != Outcome::Denied).then(|| Scope {
        purposes: application.purposes.clone(),
        rows: terms.rows.iter().chain(&application.rows).cloned().collect(),
        days: application.days.unwrap_or(terms.duration_days),
        retrievals_per_day: terms.retrievals_per_day,
    });
    Evaluation { outcome, findings, scope }
}

fn purpose(terms: &Terms, application: &Application) -> Finding {
    let answers: Vec<(Purpose, Answer)> =
        application.purposes.iter().map(|purpose| (*purpose, terms.purpose(*purpose))).collect();
    let answer = answers.iter().map(|(_, answer)| *answer).max().unwrap_or(Answer::Deny);
    let named = |wanted: Answer| {
        let names: Vec<&str> =
            answers.iter().filter(|(_, answer)| *answer == wanted).map(|(purpose, _)| purpose.name()).collect();
        names.join(" and ")
    };
    let reason = match answer {
        Answer::Allow => format!("{} is open", named(Answer::Allow)),
        Answer::Refer => format!("{} is decided by people", named(Answer::Refer)),
        Answer::Deny if answers.is_empty() => "no purpose is named".to_owned(),
        Answer::Deny => format!("{} is not given; ask without it", named(Answer::Deny)),
    };
    Finding { clause: Clause::Purpose, answer, reason }
}

fn actor(terms: &Terms, application: &Application) -> Finding {
    let answer = terms.actor(application.actor);
    let who = application.actor.name();
    let reason = match answer {
        Answer::Allow => format!("open to users of kind {who}"),
        Answer::Refer => format!("for users of kind {who}, people decide"),
        Answer::Deny => format!("not open to users of kind {who}"),
    };
    Finding { clause: Clause::Actor, answer, reason }
}

fn commercial(terms: &Terms, application: &Application) -> Finding {
    let (answer, reason) = match (application.commercial, terms.commercial) {
        (false, _) => (Answer::Allow, "the use is not commercial"),
        (true, Answer::Allow) => (Answer::Allow, "commercial use is open"),
        (true, Answer::Refer) => (Answer::Refer, "commercial use is decided by people"),
        (true, Answer::Deny) => (Answer::Deny, "commercial use is not given"),
    };
    Finding { clause: Clause::Commercial, answer, reason: reason.to_owned() }
}

fn region(terms: &Terms, application: &Application) -> Finding {
    let (answer, reason) = match (&terms.regions, &application.region) {
        (None, _) => (Answer::Allow, "may be used anywhere".to_owned()),
        (Some(_), None) => (Answer::Deny, "the terms depend on where the data is used; name the country".to_owned()),
        (Some(regions), Some(country)) => {
            let answer = terms.region(country);
            let list = regions.iter().cloned().collect::<Vec<_>>().join(", ");
            let reason = match answer {
                Answer::Allow => format!("may be used in {country}"),
                Answer::Refer => format!("{country} is outside {list}; people decide"),
                Answer::Deny => format!("{country} is outside {list}"),
            };
            (answer, reason)
        }
    };
    Finding { clause: Clause::Region, answer, reason }
}

fn duration(terms: &Terms, application: &Application) -> Finding {
    let most = terms.duration_days;
    let (answer, reason) = match application.days {
        Some(days) if days > most => (Answer::Deny, format!("{days} days are too long; ask for at most {most}")),
        Some(days) => (Answer::Allow, format!("for {days} days, of at most {most}")),
        None => (Answer::Allow, format!("for {most} days")),
    };
    Finding { clause: Clause::Duration, answer, reason }
}

fn affirmations(terms: &Terms, application: &Application) -> Finding {
    let missing: Vec<&str> = terms
        .affirmations
        .iter()
        .map(|affirmation| affirmation.id.as_str())
        .filter(|id| !application.affirmed.contains(*id))
        .collect();
    let (answer, reason) = match (missing.is_empty(), terms.affirmations.is_empty()) {
        (_, true) => (Answer::Allow, "nothing has to be affirmed".to_owned()),
        (true, _) => (Answer::Allow, "all that is asked for is affirmed".to_owned()),
        (false, _) => (Answer::Deny, format!("not affirmed: {}; read and affirm it", missing.join(", "))),
    };
    Finding { clause: Clause::Affirmations, answer, reason }
}

fn statement(terms: &Terms, application: &Application) -> Finding {
    let (least, given) = (terms.statement_characters as usize, application.statement.trim().chars().count());
    let (answer, reason) = match (least, given >= least) {
        (0, _) => (Answer::Allow, "no statement is needed".to_owned()),
        (_, true) => (Answer::Allow, "it says what it is for".to_owned()),
        (_, false) => (Answer::Deny, format!("say in at least {least} characters what it is for; {given} are there")),
    };
    Finding { clause: Clause::Statement, answer, reason }
}

fn sensitivity(terms: &Terms) -> Finding {
    let (answer, reason) = match terms.sensitive {
        false => (Answer::Allow, "the data is not sensitive"),
        true => (Answer::Refer, "the data is sensitive, so people decide in any case"),
    };
    Finding { clause: Clause::Sensitivity, answer, reason: reason.to_owned() }
}
