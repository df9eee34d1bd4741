//! What a steward publishes.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What data may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Passages are retrieved and shown to a model and its user.
    Retrieval,
    /// Adapters are trained on the rows.
    Training,
    /// Models are measured on the rows.
    Evaluation,
}

/// What kind of user asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person for themselves.
    Individual,
    /// A university or research institute.
    Academic,
    /// An organisation that does not aim at profit.
    Nonprofit,
    /// A company.
    Company,
    /// A public authority.
    Government,
}

/// What a clause says to an applicant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing stands against it.
    #[default]
    Allow,
    /// People decide.
    Refer,
    /// No.
    Deny,
}

/// The answer to each purpose; retrieval and training are separate ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Purposes {
    /// Default: allow.
    pub retrieval: Answer,
    /// Default: refer.
    pub training: Answer,
    /// Default: allow.
    pub evaluation: Answer,
}

/// The answer to each kind of user. Default: allow all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Actors {
    /// A person for themselves.
    pub individual: Answer,
    /// A university or research institute.
    pub academic: Answer,
    /// An organisation that does not aim at profit.
    pub nonprofit: Answer,
    /// A company.
    pub company: Answer,
    /// A public authority.
    pub government: Answer,
}

/// Something that an applicant has to affirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Affirmation {
    /// 1 to 64 of a-z, 0-9, `_` and `-`.
    pub id: String,
    /// What is affirmed.
    pub text: String,
}

/// What happens when nobody has decided in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AfterDeadline {
    /// Others may decide as well.
    #[default]
    Escalate,
    /// It is granted. Never for sensitive data.
    Grant,
}

/// Who decides what the terms refer to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Review {
    /// Subjects, any of whom may decide; without any, the datanet's owner.
    pub reviewers: Vec<String>,
    /// How many have to agree. Default: 1.
    pub required: u32,
    /// Hours until it is passed on. Default: 72.
    pub deadline_hours: u32,
    /// Subjects it is passed on to; without any, the datanet's owner.
    pub escalate_to: Vec<String>,
    /// What happens at the deadline.
    pub after_deadline: AfterDeadline,
}

/// What is done with rows that nearly repeat others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NearDuplicates {
    /// They are named in the report.
    #[default]
    Report,
    /// They are left out.
    Refuse,
}

/// How contributions by others than the owner are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContributionTerms {
    /// `allow`: taken at once; `refer`: the owner looks at them first (the default); `deny`: not taken.
    pub from_anyone: Answer,
    /// Subjects whose contributions are taken at once.
    pub trusted: Vec<String>,
    /// What is done with rows that nearly repeat others.
    pub near_duplicates: NearDuplicates,
}

/// The terms of a datanet. An empty object is valid, and careful: anyone may retrieve for a year unless commercially;
/// training and commercial use are decided by people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Terms {
    /// The answer to each purpose.
    pub purposes: Purposes,
    /// The answer to each kind of user.
    pub actors: Actors,
    /// The answer to commercial use. Default: refer.
    pub commercial: Answer,
    /// Countries (ISO 3166-1 alpha-2) where users may be; `EU` and `EEA` stand for their members. None: anywhere.
    pub regions: Option<BTreeSet<String>>,
    /// The answer to users elsewhere. Default: deny.
    pub elsewhere: Answer,
    /// Longest grant, in days. Default: 365.
    pub duration_days: u32,
    /// Retrievals a day under a grant; none: as many as wanted.
    pub retrievals_per_day: Option<u64>,
    /// The rows that are granted, a filter; none: all.
    pub rows: Option<String>,
    /// What it costs, for people to read: nothing is billed here.
    pub price: String,
    /// What has to be affirmed.
    pub affirmations: Vec<Affirmation>,
    /// Least characters of a statement of what it is for; 0: none is needed.
    pub statement_characters: u32,
    /// Personal or otherwise sensitive: every application is decided by people.
    pub sensitive: bool,
    /// Who decides what is referred.
    pub review: Review,
    /// How contributions are taken.
    pub contributions: ContributionTerms,
}

/// What contradicts itself in terms or an application, where, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Where, such as `review.required`.
    pub at: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

impl Terms {
    /// Everything that is wrong; empty: the terms can be published. Whether `rows` is a filter is for whoever reads filters.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut wrong = |at: &str, message: String| problems.push(Problem { at: at.to_owned(), message });
        if !(1..=MOST_DAYS).contains(&self.duration_days) {
            wrong("duration_days", format!("is {}; give 1 to {MOST_DAYS} days", self.duration_days));
        }
        if self.retrievals_per_day == Some(0) {
            wrong("retrievals_per_day", "is 0, which grants nothing; leave it out for no limit".to_owned());
        }
        for region in self.regions.iter().flatten().filter(|region| !is_region(region)) {
            wrong("regions", format!("{region:?} is not a country (ISO 3166-1 alpha-2, such as \"CH\"), EU or EEA"));
        }
        if self.regions.as_ref().is_some_and(BTreeSet::is_empty) {
            wrong("regions", "names no region, so nobody could be granted; leave it out for anywhere".to_owned());
        }
        let mut ids = BTreeSet::new();
        for (place, affirmation) in self.affirmations.iter().enumerate() {
            let at = format!("affirmations[{place}]");
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
            if affirmation.id.is_empty() || affirmation.id.len() > 64 || !affirmation.id.chars().all(allowed) {
                wrong(&at, format!("the id {:?} is not 1 to 64 of a-z, 0-9, _ and -", affirmation.id));
            }
            if !ids.insert(&affirmation.id) {
                wrong(&at, format!("the id {:?} is there twice; give each its own", affirmation.id));
            }
            if affirmation.text.trim().is_empty() || affirmation.text.chars().count() > MOST_TEXT {
                wrong(&at, format!("the text must have 1 to {MOST_TEXT} characters"));
            }
        }
        for (at, text) in [("price", Some(&self.price)), ("rows", self.rows.as_ref())] {
            if text.is_some_and(|text| text.chars().count() > MOST_TEXT) {
                wrong(at, format!("is longer than {MOST_TEXT} characters"));
            }
        }
        if self.affirmations.len() > MOST_NAMES {
            wrong("affirmations", format!("are {}; give at most {MOST_NAMES}", self.affirmations.len()));
        }
        let review = &self.review;
        let panel = review.reviewers.len().max(1);
        if review.required == 0 || review.required as usize > panel {
            wrong("review.required", format!("is {}; with {panel} reviewers give 1 to {panel}", review.required));
        }
        if !(1..=24 * 365).contains(&review.deadline_hours) {
            wrong("review.deadline_hours", format!("is {}; give 1 to 8760 hours", review.deadline_hours));
        }
        if self.sensitive && review.after_deadline == AfterDeadline::Grant {
            let message = "is grant, but sensitive data is never granted by silence; give escalate";
            wrong("review.after_deadline", message.to_owned());
        }
        let lists = [
            ("review.reviewers", &review.reviewers),
            ("review.escalate_to", &review.escalate_to),
            ("contributions.trusted", &self.contributions.trusted),
        ];
        for (at, subjects) in lists {
            let distinct: BTreeSet<&String> = subjects.iter().collect();
            if distinct.len() != subjects.len() {
                wrong(at, "names someone twice".to_owned());
            }
            if subjects.len() > MOST_NAMES {
                wrong(at, format!("names {} subjects; name at most {MOST_NAMES}", subjects.len()));
            }
            if subjects.iter().any(|subject| subject.trim().is_empty() || subject.len() > 260) {
                wrong(at, "has a subject that is empty or longer than 260 characters".to_owned());
            }
        }
        problems
    }

    /// The answer to a purpose.
    pub fn purpose(&self, purpose: Purpose) -> Answer {
        match purpose {
            Purpose::Retrieval => self.purposes.retrieval,
            Purpose::Training => self.purposes.training,
            Purpose::Evaluation => self.purposes.evaluation,
        }
    }

    /// The answer to a kind of user.
    pub fn actor(&self, actor: Actor) -> Answer {
        match actor {
            Actor::Individual => self.actors.individual,
            Actor::Academic => self.actors.academic,
            Actor::Nonprofit => self.actors.nonprofit,
            Actor::Company => self.actors.company,
            Actor::Government => self.actors.government,
        }
    }

    /// The answer to users in a country.
    pub fn region(&self, country: &str) -> Answer {
        let Some(regions) = &self.regions else { return Answer::Allow };
        let inside = regions.iter().any(|region| match region.as_str() {
            "EU" => EU.contains(&country),
            "EEA" => EU.contains(&country) || EEA_BESIDE_EU.contains(&country),
            one => one == country,
        });
        if inside { Answer::Allow } else { self.elsewhere }
    }

    /// What is done with a contribution by `subject`, who is not the owner.
    pub fn contribution(&self, subject: &str) -> Answer {
        match self.contributions.trusted.iter().any(|trusted| trusted == subject) {
            true => Answer::Allow,
            false => self.contributions.from_anyone,
        }
    }
}

impl Purpose {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Retrieval, Self::Training, Self::Evaluation];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retrieval => "retrieval",
            Self::Training => "training",
            Self::Evaluation => "evaluation",
        }
    }
}

impl Actor {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Individual, Self::Academic, Self::Nonprofit, Self::Company, Self::Government];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Academic => "academic",
            Self::Nonprofit => "nonprofit",
            Self::Company => "company",
            Self::Government => "government",
        }
    }
}

impl Default for Purposes {
    fn default() -> Self {
        Self { retrieval: Answer::Allow, training: Answer::Refer, evaluation: Answer::Allow }
    }
}

impl Default for Review {
    fn default() -> Self {
        Self {
            reviewers: Vec::new(),
            required: 1,
            deadline_hours: 72,
            escalate_to: Vec::new(),
            after_deadline: AfterDeadline::Escalate,
        }
    }
}

impl Default for ContributionTerms {
    fn default() -> Self {
        Self { from_anyone: Answer::Refer, trusted: Vec::new(), near_duplicates: NearDuplicates::Report }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            purposes: Purposes::default(),
            actors: Actors::default(),
            commercial: Answer::Refer,
            regions: None,
            elsewhere: Answer::Deny,
            duration_days: 365,
            retrievals_per_day: None,
            rows: None,
            price: String::new(),
            affirmations: Vec::new(),
            statement_characters: 0,
            sensitive: false,
            review: Review::default(),
            contributions: ContributionTerms::default(),
        }
    }
}

/// Whether this names a country or a group of countries.
fn is_region(region: &str) -> bool {
    region == "EEA" || region == "EU" || is_country(region)
}

/// Whether this has the form of an ISO 3166-1 alpha-2 code. Which of them are assigned changes; the form does not.
pub(crate) fn is_country(country: &str) -> bool {
    country.len() == 2 && country != "EU" && country.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// Members of the European Union.
const EU: [&str; 27] = [
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
];
/// Members of the European Economic Area that are not in the Union.
const EEA_BESIDE_EU: [&str; 3] = ["IS", "LI", "NO"];
/// Longest grant.
pub(crate) const MOST_DAYS: u32 = 36_500;
/// Longest text, in characters.
pub(crate) const MOST_TEXT: usize = 4_000;
/// Most entries of a list.
const MOST_NAMES: usize = 100;
