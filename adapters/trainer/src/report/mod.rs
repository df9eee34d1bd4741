//! What an adapter is worth: [`Evaluation`], base beside adapter, as JSON and as one self-contained page.

mod compare;
mod evaluation;
mod page;
mod plot;
mod time;

pub use compare::{Answer, compare_answers, compare_likelihoods};
pub use evaluation::{
    Breakdown, Evaluation, GenerationSample, HeldOutSummary, LossPoint, MemoryReport, Metric, MetricKind, Throughput,
    Verdict,
};
pub use time::{TimeReport, Times};
