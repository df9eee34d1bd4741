//! What a requester states.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::terms::{Actor, MOST_DAYS, MOST_TEXT, Problem, Purpose, is_country};

/// A request for access to a datanet: for what, by whom, for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// What the data is asked for.
    pub purposes: BTreeSet<Purpose>,
    /// What kind of user asks.
    pub actor: Actor,
    /// Whether it serves a commercial end.
    #[serde(default)]
    pub commercial: bool,
    /// The country where the data will be used (ISO 3166-1 alpha-2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// For how many days. Default: as long as the terms allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Ids of the affirmations that the requester makes.
    #[serde(default)]
    pub affirmed: BTreeSet<String>,
    /// What it is for, in the requester's words.
    #[serde(default)]
    pub statement: String,
    /// Only these rows are needed, a filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
}

impl Application {
    /// Everything that is wrong with it by itself; empty: terms can judge it.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |at: &str, message: String| problems.push(Problem { at: at.to_owned(), message });
        if self.purposes.is_empty() {
            wrong("purposes", "names none; give retrieval, training or evaluation".to_owned());
        }
        if let Some(region) = self.region.as_deref().filter(|region| !is_country(region)) {
            wrong("region", format!("{region:?} is not a country (ISO 3166-1 alpha-2, such as \"CH\")"));
        }
        if let Some(days) = self.days.filter(|days| !(1..=MOST_DAYS).contains(days)) {
            wrong("days", format!("is {days}; give 1 to {MOST_DAYS}"));
        }
        for (at, text) in [("statement", Some(&self.statement)), ("rows", self.rows.as_ref())] {
            if text.is_some_and(|text| text.chars().count() > MOST_TEXT) {
                wrong(at, format!("is longer than {MOST_TEXT} characters"));
            }
        }
        if self.affirmed.len() > MOST_AFFIRMED {
            wrong("affirmed", format!("names {}; name at most {MOST_AFFIRMED}", self.affirmed.len()));
        }
        problems
    }
}

const MOST_AFFIRMED: usize = 100;
