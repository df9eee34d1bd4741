//! [`Evaluation`]: all that was measured of an adapter on held-out rows, beside its base.

use serde::{Deserialize, Serialize};

use super::TimeReport;
use crate::metrics::{Bootstrap, Difference, Estimate};

/// Base beside adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Name of the adapter, with its generation where it has one.
    pub adapter: String,
    /// Name of the base.
    pub base: String,
    /// Name of the data.
    pub dataset: String,
    /// When, in RFC 3339.
    pub created: String,
    /// What was held out.
    pub held_out: HeldOutSummary,
    /// Numbers with intervals.
    pub metrics: Vec<Metric>,
    /// What BLEU was computed, in sacreBLEU's words.
    pub bleu_signature: String,
    /// How intervals were drawn.
    pub bootstrap: Bootstrap,
    /// Training loss by step.
    pub training_loss: Vec<LossPoint>,
    /// Loss on held-out rows by step.
    pub evaluation_loss: Vec<LossPoint>,
    /// Memory of the training run.
    pub memory: Option<MemoryReport>,
    /// Time of the training run.
    #[serde(default)]
    pub time: Option<TimeReport>,
    /// Speed of training and of decoding.
    pub throughput: Throughput,
    /// Answers side by side.
    pub samples: Vec<GenerationSample>,
    /// The run's configuration, by name.
    pub configuration: Vec<(String, String)>,
}

/// What was held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOutSummary {
    /// Rows.
    pub rows: usize,
    /// Rows that were generated for.
    pub generated: usize,
    /// Tokens that were scored.
    pub supervised_tokens: usize,
    /// Whether prompts were left out of what is scored.
    pub prompts_masked: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// exp of the mean negative log-likelihood of a token.
    Perplexity,
    /// Bits that the model needs for a byte of text.
    BitsPerByte,
    /// Corpus BLEU, 0 to 100.
    Bleu,
    /// Mean F1 of common words, 0 to 100, as those below.
    Rouge1,
    /// Of common pairs of words.
    Rouge2,
    /// Of the longest common subsequence.
    RougeL,
    /// The same line by line.
    RougeLsum,
    /// Answers that are the reference, in per cent.
    ExactMatch,
    /// Answers with the reference's words, in per cent.
    NormalisedMatch,
}

/// A number of the base and of the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Which.
    pub kind: MetricKind,
    /// The base's.
    pub base: Estimate,
    /// The adapter's; none where the base was evaluated alone.
    pub adapter: Option<Estimate>,
    /// Adapter less base, of the same rows.
    pub difference: Option<Difference>,
    /// Rows it was computed of.
    pub scored: usize,
    /// Rows it could not be computed of: ROUGE sees Latin letters and digits only.
    pub unscored: usize,
}

/// Whether the adapter is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// By more than chance.
    Better,
    /// By more than chance.
    Worse,
    /// The difference may be chance.
    Unclear,
}

/// A loss at a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Optimizer step, from 1.
    pub step: usize,
    /// Mean negative log-likelihood of a supervised token, in nats.
    pub loss: f64,
}

/// Bytes by use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Breakdown {
    /// The base.
    pub weights: u64,
    /// What is trained beside it.
    pub adapter: u64,
    /// Gradients.
    pub gradients: u64,
    /// The optimizer's states.
    pub optimizer: u64,
    /// Activations, logits included.
    pub activations: u64,
    /// The program itself.
    pub program: u64,
}

/// Memory of a training run and of others that would have led to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// What was predicted before the start.
    pub predicted: Breakdown,
    /// The most that was resident, measured.
    pub measured_peak: Option<u64>,
    /// The same by use: what lies in memory is known, activations are the rest.
    #[serde(default)]
    pub measured: Option<Breakdown>,
    /// The most that an evaluation on demand had resident, measured; of those the other figures are a prediction only.
    #[serde(default)]
    pub evaluation_peak: Option<u64>,
    /// The most on the device, measured, where there is one.
    pub device_peak: Option<u64>,
    /// LoRA on a base in 16 bits.
    pub half_lora: Breakdown,
    /// Training of all weights.
    pub full_fine_tuning: Breakdown,
}

/// Tokens a second; none where it was not measured.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Throughput {
    /// Trained.
    pub training: Option<f64>,
    /// Generated by the base.
    pub decode_base: Option<f64>,
    /// Generated with the adapter.
    pub decode_adapter: Option<f64>,
}

/// A question and two answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationSample {
    /// What was asked.
    pub prompt: String,
    /// What should be said.
    pub reference: String,
    /// What the base says.
    pub base: String,
    /// What it says with the adapter, where there is one.
    pub adapter: Option<String>,
}

impl MetricKind {
    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Perplexity => "Perplexity",
            Self::BitsPerByte => "Bits per byte",
            Self::Bleu => "BLEU",
            Self::Rouge1 => "ROUGE-1",
            Self::Rouge2 => "ROUGE-2",
            Self::RougeL => "ROUGE-L",
            Self::RougeLsum => "ROUGE-Lsum",
            Self::ExactMatch => "Exact match",
            Self::NormalisedMatch => "Match of words",
        }
    }

    /// What it says, in half a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Perplexity => {
                "the number of tokens among which the model hesitates at each step of a held-out answer"
            }
            Self::BitsPerByte => "how many bits the model needs for each byte of a held-out answer",
            Self::Bleu => "how many runs of up to four words an answer shares with its reference",
            Self::Rouge1 => "how many words an answer shares with its reference",
            Self::Rouge2 => "how many pairs of neighbouring words an answer shares with its reference",
            Self::RougeL => "how much of an answer follows its reference word by word, in order, with gaps allowed",
            Self::RougeLsum => "how much of an answer follows its reference in order, line by line",
            Self::ExactMatch => "how many answers in a hundred are their reference, letter by letter",
            Self::NormalisedMatch => {
                "how many answers in a hundred have the words of their reference, case and punctuation aside"
            }
        }
    }

    /// Whether less is better.
    #[must_use]
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::Perplexity | Self::BitsPerByte)
    }
}

impl Metric {
    /// Whether the adapter is better, worse, or neither by more than chance.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let Some(difference) = &self.difference else { return Verdict::Unclear };
        match difference.significant {
            false => Verdict::Unclear,
            true if (difference.estimate.value < 0.0) == self.kind.lower_is_better() => Verdict::Better,
            true => Verdict::Worse,
        }
    }

    /// One plain sentence: what it means, and whether the adapter is better.
    #[must_use]
    pub fn sentence(&self) -> String {
        let base = self.base.value;
        let better = if self.kind.lower_is_better() { "less is better" } else { "more is better" };
        let Some(adapter) = self.adapter.map(|adapter| adapter.value) else {
            return format!("{}, {} ({better}): {}.", self.kind.title(), self.kind.meaning(), round(base));
        };
        let moved = match adapter.total_cmp(&base) {
            _ if round(base) == round(adapter) => format!("stays at {}", round(base)),
            std::cmp::Ordering::Less => format!("falls from {} to {}", round(base), round(adapter)),
            _ => format!("rises from {} to {}", round(base), round(adapter)),
        };
        let verdict = match self.verdict() {
            Verdict::Better => "the adapter is better",
            Verdict::Worse => "the adapter is worse",
            Verdict::Unclear => "that may be chance",
        };
        format!("{}, {} ({better}), {moved}: {verdict}.", self.kind.title(), self.kind.meaning())
    }
}

impl Breakdown {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Each use by name.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        let Self { weights, adapter, gradients, optimizer, activations, program } = *self;
        [
            ("weights", weights),
            ("adapter", adapter),
            ("gradients", gradients),
            ("optimizer", optimizer),
            ("activations", activations),
            ("program", program),
        ]
    }
}

/// Three digits that matter, no more than a reader needs.
pub(super) fn round(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size < 5e-7 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}
