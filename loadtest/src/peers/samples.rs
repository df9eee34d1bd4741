//! Measurements: what was seen, over all rounds, by case and engine.

use std::collections::BTreeMap;

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
    /// What a reader must know beside the figures.
    pub(crate) notes: Vec<String>,
}

impl Found {
    pub(crate) fn add(&mut self, figure: &str, engine: Engine, value: f64) {
        println!("{engine:?} · {figure}: {value:.2}");
        self.values.entry((figure.to_owned(), engine)).or_default().push(value);
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
        assert_eq!(samples.shown(0), "51 (1-101)");
    }
}
