//! What terms would do, before they are published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    application::Application,
    evaluate::{Clause, Evaluation, Outcome, evaluate},
    terms::{Actor, Answer, Purpose, Terms},
};

/// One application and what would become of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Simulated {
    /// The application.
    pub application: Application,
    /// What the terms say to it.
    pub evaluation: Evaluation,
}

/// How often a clause stood against an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClauseTally {
    /// The clause.
    pub clause: Clause,
    /// It denied.
    pub denied: u64,
    /// It referred to people.
    pub referred: u64,
}

/// Who would be granted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Simulation {
    /// Granted at once.
    pub granted: u64,
    /// Referred to people.
    pub referred: u64,
    /// Denied.
    pub denied: u64,
    /// Clauses that stood against at least one.
    pub clauses: Vec<ClauseTally>,
    /// Each application, in the order given.
    pub each: Vec<Simulated>,
}

/// Judges every application by the terms.
pub fn simulate(terms: &Terms, applications: &[Application]) -> Simulation {
    let mut simulation = Simulation::default();
    let mut clauses: BTreeMap<Clause, (u64, u64)> = BTreeMap::new();
    for application in applications {
        let evaluation = evaluate(terms, application);
        *match evaluation.outcome {
            Outcome::Granted => &mut simulation.granted,
            Outcome::Referred => &mut simulation.referred,
            Outcome::Denied => &mut simulation.denied,
        } += 1;
        for finding in &evaluation.findings {
            match finding.answer {
                Answer::Allow => {}
                Answer::Refer => clauses.entry(finding.clause).or_default().1 += 1,
                Answer::Deny => clauses.entry(finding.clause).or_default().0 += 1,
            }
        }
        simulation.each.push(Simulated { application: application.clone(), evaluation });
    }
    let tally = |(clause, (denied, referred))| ClauseTally { clause, denied, referred };
    simulation.clauses = clauses.into_iter().map(tally).collect();
    simulation
}

/// Applicants of every kind, for every purpose, commercially and not, who affirm and say all that the terms ask for: what is
/// left is whom the terms mean. They are where the terms allow, if they say where.
pub fn typical_applications(terms: &Terms) -> Vec<Application> {
    let region = terms.regions.iter().flatten().next().map(|region| match region.as_str() {
        "EU" | "EEA" => "DE".to_owned(),
        country => country.to_owned(),
    });
    let mut applications = Vec::new();
    for actor in Actor::ALL {
        for purpose in Purpose::ALL {
            for commercial in [false, true] {
                applications.push(Application {
                    purposes: [purpose].into(),
                    actor,
                    commercial,
                    region: region.clone(),
                    days: None,
                    affirmed: terms.affirmations.iter().map(|affirmation| affirmation.id.clone()).collect(),
                    statement: "x".repeat(terms.statement_characters as usize),
                    rows: None,
                });
            }
        }
    }
    applications
}
