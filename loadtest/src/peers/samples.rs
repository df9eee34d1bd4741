//! Measurements: what was seen, over all rounds, by case and engine.

use std::collections::BTreeMap;

use crate::lane::Spent;

/// Who was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Engine {
    Cairn,
    Llama,
    Mistral,
}

/// Values of one figure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The value at `share` of the sorted ones: 0.5 is the median, 0.95 the 95th percentile; none without values.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        sorted.get((share * last as f64).round() as usize).copied()
    }

    pub(crate) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// `median (first to third quartile)`, for many.
    pub(crate) fn middle(&self, decimals: usize) -> String {
        match (self.median(), self.quantile(0.25), self.quantile(0.75)) {
            (Some(median), Some(first), Some(third)) => {
                format!("{median:.decimals$} ({first:.decimals$} to {third:.decimals$})")
            }
            _ => "-".into(),
        }
    }

    /// `median (min-max)`, or a dash.
    pub(crate) fn shown(&self, decimals: usize) -> String {
        match (self.median(), self.quantile(0.0), self.quantile(1.0)) {
            (Some(median), Some(min), Some(max)) => {
                format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})")
            }
            _ => "-".into(),
        }
    }
}

/// Everything that was seen: figure and engine to values.
#[derive(Debug, Default)]
pub(crate) struct Found {
    values: BTreeMap<(String, Engine), Samples>,
    /// Of pairs: what the second of each took more than the first, or its rate in parts of the first's.
    pairs: BTreeMap<String, Samples>,
    /// Where Cairn's time went, by case, in the order in which cases began.
    spent: Vec<(String, Spent)>,
    /// What a reader must know beside the figures.
    pub(crate) notes: Vec<String>,
    /// What makes the figures doubtful.
    pub(crate) warnings: Vec<String>,
}

impl Found {
    pub(crate) fn add(&mut self, figure: &str, engine: Engine, value: f64) {
        println!("{engine:?} · {figure}: {value:.2}");
        self.values.entry((figure.to_owned(), engine)).or_default().push(value);
    }

    pub(crate) fn pair(&mut self, figure: &str, value: f64) {
        println!("pair · {figure}: {value:.3}");
        self.pairs.entry(figure.to_owned()).or_default().push(value);
    }

    pub(crate) fn pairs(&self, figure: &str) -> Samples {
        self.pairs.get(figure).cloned().unwrap_or_default()
    }

    pub(crate) fn spend(&mut self, case: &str, spent: Spent) {
        match self.spent.iter_mut().find(|(known, _)| known == case) {
            Some((_, sum)) => *sum += spent,
            None => self.spent.push((case.to_owned(), spent)),
        }
    }

    pub(crate) fn spent(&self) -> &[(String, Spent)] {
        &self.spent
    }

    pub(crate) fn spent_on(&self, case: &str) -> Option<&Spent> {
        self.spent.iter().find(|(known, _)| known == case).map(|(_, spent)| spent)
    }

    pub(crate) fn samples(&self, figure: &str, engine: Engine) -> Samples {
        self.values.get(&(figure.to_owned(), engine)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_known_values() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), None);
        (1..=101).rev().for_each(|value| samples.push(f64::from(value)));
        assert_eq!((samples.median(), samples.quantile(0.95)), (Some(51.0), Some(96.0)));
        assert_eq!((samples.shown(0).as_str(), samples.middle(0).as_str()), ("51 (1-101)", "51 (26 to 76)"));
    }
}
