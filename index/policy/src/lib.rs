//! Access by published terms: what a datanet's steward publishes, what a requester states, and who is right.
//!
//! [`evaluate`] judges an [`Application`] by [`Terms`]: it grants, denies with the clause, or refers to people, and the same
//! input gives the same answer byte for byte. [`review::tally`] says where a referred request stands, given the votes so far.
//! [`simulate`] shows a steward what terms would do before they are published. Nothing here reads a clock, a file or a
//! database: the moment is an argument.
//!
//! The clauses follow the Data Use Ontology and what committees ask in practice: purpose, kind of user, commercial use,
//! region, duration, affirmations, a statement, and whether the data is sensitive.

mod application;
mod evaluate;
pub mod review;
mod simulate;
mod terms;
mod words;

pub use application::Application;
pub use evaluate::{Clause, Evaluation, Finding, Outcome, Scope, evaluate};
pub use review::{Absence, Vote};
pub use simulate::{ClauseTally, Simulated, Simulation, simulate, typical_applications};
pub use terms::{
    Actor, Actors, Affirmation, AfterDeadline, Answer, ContributionTerms, NearDuplicates, Problem, Purpose, Purposes,
    Review, Terms,
};
pub use words::diff;
