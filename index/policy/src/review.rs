//! Who may decide a referred request, and where it stands.
//!
//! Each reviewer has one voice, and nobody has one on their own request. Who is away has theirs used by a delegate: one step,
//! not further, because a chain would let a voice reach someone whom its owner never named. A person counts once, for
//! themselves or for another. As many agreeing voices as the terms require decide, either way; where so many can no longer
//! be had, or the deadline has passed, those it is passed on to have voices too. Voices of people who are no reviewers any
//! more do not count.

use std::collections::BTreeSet;

use crate::terms::{AfterDeadline, Terms};
use chrono::{DateTime, Duration, Utc};

/// A reviewer's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Who.
    pub reviewer: String,
    /// For whom, where they are away.
    pub on_behalf_of: Option<String>,
    /// Yes or no.
    pub approve: bool,
    /// Why.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Someone is away, and another votes for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absence {
    /// Who is away.
    pub reviewer: String,
    /// Who votes for them.
    pub delegate: String,
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
}

/// A request that waits for people.
#[derive(Debug, Clone)]
pub struct Referral<'a> {
    /// The terms it is decided under.
    pub terms: &'a Terms,
    /// The datanet's owner, who reviews where the terms name nobody.
    pub owner: &'a str,
    /// Who asks.
    pub requester: &'a str,
    /// Who may not decide: those who denied what this appeals against.
    pub barred: &'a [String],
    /// Since when it waits.
    pub since: DateTime<Utc>,
}

/// A voice that can still be raised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voice {
    /// Who may raise it.
    pub person: String,
    /// Whose it is, where that is another.
    pub on_behalf_of: Option<String>,
}

/// Where a referred request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// For people to decide.
    Waiting,
    /// Enough agree.
    Approved,
    /// Enough disagree.
    Rejected,
    /// Nobody decided in time, and the terms grant it then.
    ApprovedBySilence,
}

/// What is known of a referred request at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Where it stands.
    pub standing: Standing,
    /// Who may vote now; empty though it waits: nobody is left, and only new terms help.
    pub voices: Vec<Voice>,
    /// Agreeing voices that decide.
    pub required: u32,
    /// When it is passed on.
    pub deadline: DateTime<Utc>,
    /// Whether it was passed on.
    pub escalated: bool,
}

/// Counts the votes on a request at a moment.
pub fn tally(referral: &Referral<'_>, votes: &[Vote], absences: &[Absence], now: DateTime<Utc>) -> Tally {
    let review = &referral.terms.review;
    let owner = [referral.owner.to_owned()];
    let or_owner = |list: &'_ [String]| if list.is_empty() { owner.to_vec() } else { list.to_vec() };
    let mut principals: BTreeSet<String> = or_owner(&review.reviewers).into_iter().collect();
    let may_decide =
        |person: &str| person != referral.requester && !referral.barred.iter().any(|barred| barred == person);
    let deadline = referral.since + Duration::hours(i64::from(review.deadline_hours));
    let able = principals.iter().filter(|person| may_decide(person)).count();
    let escalated = now >= deadline || able < review.required as usize;
    if escalated {
        principals.extend(or_owner(&review.escalate_to));
    }
    principals.retain(|person| may_decide(person));
    // Fewer people may be left than the terms ask for: then all of them have to agree. Over sensitive data never fewer than asked
    // for say yes; what is missing then is named by the terms anew, or the request denied by those who are left.
    let left = review.required.min(u32::try_from(principals.len()).unwrap_or(u32::MAX)).max(1);
    let required = if referral.terms.sensitive { review.required } else { left };

    // One voice a principal, one word a person.
    let (mut spoken, mut heard) = (BTreeSet::new(), BTreeSet::new());
    let (mut yes, mut no) = (0, 0);
    let mut in_order: Vec<&Vote> = votes.iter().collect();
    in_order.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.reviewer.cmp(&b.reviewer)));
    for vote in in_order {
        let principal = vote.on_behalf_of.as_ref().unwrap_or(&vote.reviewer);
        let counts = principals.contains(principal) && may_decide(&vote.reviewer);
        if !counts || heard.contains(&vote.reviewer) || !spoken.insert(principal.clone()) {
            continue;
        }
        heard.insert(vote.reviewer.clone());
        *(if vote.approve { &mut yes } else { &mut no }) += 1;
    }
    let standing = if yes >= required {
        Standing::Approved
    } else if no >= left {
        Standing::Rejected
    } else if now >= deadline && review.after_deadline == AfterDeadline::Grant && no == 0 && !referral.terms.sensitive {
        Standing::ApprovedBySilence
    } else {
        Standing::Waiting
    };
    let mut voices = Vec::new();
    if standing == Standing::Waiting {
        for principal in principals.iter().filter(|principal| !spoken.contains(*principal)) {
            if !heard.contains(principal) {
                voices.push(Voice { person: principal.clone(), on_behalf_of: None });
            }
            let away = absences.iter().filter(|absence| absence.reviewer == *principal);
            for absence in away.filter(|absence| absence.from <= now && now < absence.until) {
                let delegate = &absence.delegate;
                // A reviewer has a voice of their own already.
                if may_decide(delegate) && !heard.contains(delegate) && !principals.contains(delegate) {
                    voices.push(Voice { person: delegate.clone(), on_behalf_of: Some(principal.clone()) });
                }
            }
        }
        voices.sort();
    }
    Tally { standing, voices, required, deadline, escalated }
}
