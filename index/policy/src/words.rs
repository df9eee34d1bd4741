//! Terms in sentences, and what changed between two versions.

use crate::terms::{Actor, AfterDeadline, Answer, Purpose, Terms};

impl Terms {
    /// What they say, for people.
    pub fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for answer in [Answer::Allow, Answer::Refer, Answer::Deny] {
            let purposes: Vec<&str> =
                Purpose::ALL.iter().filter(|it| self.purpose(**it) == answer).map(|it| it.name()).collect();
            words.extend(said(&purposes, answer, ""));
        }
        for answer in [Answer::Refer, Answer::Deny] {
            let actors: Vec<&str> =
                Actor::ALL.iter().filter(|it| self.actor(**it) == answer).map(|it| it.name()).collect();
            words.extend(said(&actors, answer, "Use by "));
        }
        words.push(match self.commercial {
            Answer::Allow => "Commercial use is open.".to_owned(),
            Answer::Refer => "Commercial use is decided by people.".to_owned(),
            Answer::Deny => "Commercial use is not given.".to_owned(),
        });
        if let Some(regions) = &self.regions {
            let list = regions.iter().cloned().collect::<Vec<_>>().join(", ");
            let elsewhere = match self.elsewhere {
                Answer::Allow => "and elsewhere",
                Answer::Refer => "elsewhere people decide",
                Answer::Deny => "and nowhere else",
            };
            words.push(format!("To be used in {list}; {elsewhere}."));
        }
        words.push(format!("A grant lasts {} days at most and can be renewed.", self.duration_days));
        words.extend(self.retrievals_per_day.map(|most| format!("At most {most} retrievals a day.")));
        words.extend(self.rows.as_ref().map(|rows| format!("Only rows where {rows}.")));
        if !self.price.is_empty() {
            words.push(format!("Price: {}.", self.price.trim_end_matches('.')));
        }
        words.extend(self.affirmations.iter().map(|it| format!("To be affirmed: “{}”", it.text)));
        if self.statement_characters > 0 {
            words.push(format!("What it is for has to be said, in at least {} characters.", self.statement_characters));
        }
        if self.sensitive {
            words.push("The data is sensitive: every request is decided by people.".to_owned());
        }
        words.push(self.review_in_words());
        words.push(match self.contributions.from_anyone {
            Answer::Allow => "Contributions are taken at once.".to_owned(),
            Answer::Refer => "Contributions are looked at before they are taken.".to_owned(),
            Answer::Deny => "Contributions are not taken.".to_owned(),
        });
        if !self.contributions.trusted.is_empty() {
            words.push(format!("Contributions by {} are taken at once.", self.contributions.trusted.join(", ")));
        }
        words
    }

    fn review_in_words(&self) -> String {
        let review = &self.review;
        let who = match (review.reviewers.as_slice(), review.required) {
            ([], _) => "the owner of the datanet decides".to_owned(),
            ([one], _) => format!("{one} decides"),
            (all, 1) => format!("any one of {} decides", all.join(", ")),
            (all, required) => format!("{required} of {} decide", all.join(", ")),
        };
        let after = match (review.after_deadline, review.escalate_to.as_slice()) {
            (AfterDeadline::Grant, _) => "then it is granted".to_owned(),
            (AfterDeadline::Escalate, []) => "then the owner may decide as well".to_owned(),
            (AfterDeadline::Escalate, to) => format!("then {} may decide as well", to.join(", ")),
        };
        format!("What is referred: {who} within {} hours, {after}.", review.deadline_hours)
    }
}

/// What changed from one version to the next, in sentences; empty: nothing that the sentences say.
pub fn diff(before: &Terms, after: &Terms) -> Vec<String> {
    let (old, new) = (before.in_words(), after.in_words());
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("No longer: {line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("New: {line}"));
    gone.chain(come).collect()
}

fn said(names: &[&str], answer: Answer, prefix: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let list = names.join(", ");
    let what = match answer {
        Answer::Allow => "is open",
        Answer::Refer => "is decided by people",
        Answer::Deny => "is not given",
    };
    let mut sentence = format!("{prefix}{list} {what}.");
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(sentence)
}
