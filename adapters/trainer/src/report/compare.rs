//! Metrics of base and adapter on the same held-out rows, with seeded intervals.

use super::{Metric, MetricKind};
use crate::metrics::{BleuStatistics, Bootstrap, Likelihood, Rouge, RougeScorer, exact_match, normalised_match};

/// What base and adapter answered to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// What should be said.
    pub reference: &'a str,
    /// What the base says.
    pub base: &'a str,
    /// What it says with the adapter.
    pub adapter: &'a str,
}

/// BLEU, ROUGE (stemmed or not) and matches of generated answers; a metric that no row can be scored with is left out.
#[must_use]
pub fn compare_answers(answers: &[Answer<'_>], rouge: RougeScorer, bootstrap: &Bootstrap) -> Vec<Metric> {
    let bleu = |of: for<'a> fn(&Answer<'a>) -> &'a str| -> Vec<BleuStatistics> {
        answers.iter().map(|answer| BleuStatistics::new(of(answer), &[answer.reference])).collect()
    };
    let (base, adapter) = (bleu(|answer| answer.base), bleu(|answer| answer.adapter));
    let score = |all: &[BleuStatistics], drawn: &[usize]| {
        Some(drawn.iter().map(|place| all[*place]).sum::<BleuStatistics>().score().score)
    };
    let bleu = metric(MetricKind::Bleu, [&base, &adapter], score, bootstrap);

    let scores = |of: for<'a> fn(&Answer<'a>) -> &'a str| -> Vec<Rouge> {
        answers.iter().filter_map(|answer| rouge.score(of(answer), answer.reference)).collect()
    };
    let (base, adapter) = (scores(|answer| answer.base), scores(|answer| answer.adapter));
    let kinds: [(MetricKind, F1); 4] = [
        (MetricKind::Rouge1, |rouge| rouge.rouge1.f1),
        (MetricKind::Rouge2, |rouge| rouge.rouge2.f1),
        (MetricKind::RougeL, |rouge| rouge.rouge_l.f1),
        (MetricKind::RougeLsum, |rouge| rouge.rouge_lsum.f1),
    ];
    let rouges = kinds.into_iter().filter_map(|(kind, f1)| {
        let [base, adapter] = [&base, &adapter].map(|all| all.iter().map(f1).collect::<Vec<f64>>());
        let metric = metric(kind, [&base, &adapter], percent, bootstrap)?;
        Some(Metric { unscored: answers.len() - base.len(), ..metric })
    });

    let kinds: [(MetricKind, Same); 2] =
        [(MetricKind::ExactMatch, exact_match), (MetricKind::NormalisedMatch, normalised_match)];
    let matches = kinds.into_iter().filter_map(|(kind, same)| {
        let one = |answer: &str, reference: &str| f64::from(u8::from(same(answer, reference)));
        let base: Vec<f64> = answers.iter().map(|it| one(it.base, it.reference)).collect();
        let adapter: Vec<f64> = answers.iter().map(|it| one(it.adapter, it.reference)).collect();
        metric(kind, [&base, &adapter], percent, bootstrap)
    });
    bleu.into_iter().chain(rouges).chain(matches).collect()
}

/// Perplexity and bits per byte; each row's sums for the base and for the adapter.
#[must_use]
pub fn compare_likelihoods(rows: &[[Likelihood; 2]], bootstrap: &Bootstrap) -> Vec<Metric> {
    let [base, adapter] = [0, 1].map(|side| rows.iter().map(|row| row[side]).collect::<Vec<Likelihood>>());
    let kinds: [(MetricKind, Of); 2] =
        [(MetricKind::Perplexity, Likelihood::perplexity), (MetricKind::BitsPerByte, Likelihood::bits_per_byte)];
    let metrics = kinds.into_iter().filter_map(|(kind, of)| {
        let of = |all: &[Likelihood], drawn: &[usize]| of(&drawn.iter().map(|place| all[*place]).sum());
        metric(kind, [&base, &adapter], of, bootstrap)
    });
    metrics.collect()
}

/// A number of one row's scores.
type F1 = fn(&Rouge) -> f64;
/// Whether an answer is its reference.
type Same = fn(&str, &str) -> bool;
/// A number of sums.
type Of = fn(&Likelihood) -> Option<f64>;

fn metric<T>(
    kind: MetricKind,
    [base, adapter]: [&Vec<T>; 2],
    statistic: impl Fn(&[T], &[usize]) -> Option<f64>,
    bootstrap: &Bootstrap,
) -> Option<Metric> {
    let n = base.len();
    let [of_base, of_adapter] = [base, adapter].map(|all| |drawn: &[usize]| statistic(all, drawn));
    Some(Metric {
        kind,
        base: bootstrap.estimate(n, of_base)?,
        adapter: Some(bootstrap.estimate(n, of_adapter)?),
        difference: Some(bootstrap.difference(n, of_base, of_adapter)?),
        scored: n,
        unscored: 0,
    })
}

fn percent(values: &[f64], drawn: &[usize]) -> Option<f64> {
    Some(100.0 * drawn.iter().map(|place| values[*place]).sum::<f64>() / drawn.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    #[test]
    fn an_adapter_that_learnt_the_answers_is_better_by_every_metric() {
        let references: Vec<String> =
            (0..40).map(|i| format!("Term {i} is a thing of the kind number {} in the book.", i * i % 17)).collect();
        let bases: Vec<String> = (0..40).map(|i| format!("I think that {i} could be anything at all.")).collect();
        let answers: Vec<Answer<'_>> = references
            .iter()
            .zip(&bases)
            .enumerate()
            .map(|(i, (reference, base))| Answer {
                reference,
                base,
                adapter: if i % 4 == 0 { base } else { reference },
            })
            .collect();
        let metrics = compare_answers(&answers, RougeScorer::default(), &Bootstrap::default());
        assert_eq!(metrics.len(), 7);
        for metric in &metrics {
            assert_eq!((metric.verdict(), metric.scored), (Verdict::Better, 40), "{metric:?}");
            let adapter = metric.adapter.unwrap();
            assert!(adapter.low <= adapter.value && adapter.value <= adapter.high);
        }
        let exact = metrics.iter().find(|metric| metric.kind == MetricKind::ExactMatch).unwrap();
        assert_eq!((exact.base.value, exact.adapter.map(|it| it.value)), (0.0, Some(75.0)));
        let alone = Metric { adapter: None, difference: None, ..*exact };
        assert!(alone.sentence().ends_with("(more is better): 0.") && alone.verdict() == Verdict::Unclear);
        assert!(
            exact.sentence().ends_with("(more is better), rises from 0 to 75.0: the adapter is better."),
            "{}",
            exact.sentence()
        );
    }

    #[test]
    fn less_perplexity_is_better_and_texts_without_words_are_counted_apart() {
        let one = |nll, i: usize| Likelihood { nll: nll + (i % 5) as f64, tokens: 10, bytes: 40 };
        let rows: Vec<[Likelihood; 2]> = (0..50).map(|i| [one(30.0, i), one(20.0, i)]).collect();
        let metrics = compare_likelihoods(&rows, &Bootstrap::default());
        assert!((metrics[0].base.value - 3.2_f64.exp()).abs() < 1e-9);
        assert!(metrics.iter().all(|metric| metric.verdict() == Verdict::Better));
        let same: Vec<[Likelihood; 2]> = rows.iter().map(|row| [row[0]; 2]).collect();
        assert!(
            compare_likelihoods(&same, &Bootstrap::default()).iter().all(|metric| metric.verdict() == Verdict::Unclear)
        );
        assert!(compare_likelihoods(&[], &Bootstrap::default()).is_empty());

        let answers = [
            Answer { reference: "量子", base: "a", adapter: "量子" },
            Answer { reference: "one two", base: "a", adapter: "one" },
        ];
        let metrics = compare_answers(&answers, RougeScorer::default(), &Bootstrap::default());
        let rouge = metrics.iter().find(|metric| metric.kind == MetricKind::Rouge1).unwrap();
        assert_eq!((rouge.scored, rouge.unscored), (1, 1));
    }
}
