//! The learning rate of each step, as transformers' schedules have it.
//!
//! ```text
//! warm-up   lr · step / warmup                                  step < warmup, counted from 0
//! constant  lr
//! linear    lr · (steps - step) / (steps - warmup)
//! cosine    lr · (1 + cos(π · progress)) / 2                    progress = (step - warmup) / (steps - warmup)
//! ```

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// To zero, in a line.
    #[default]
    Linear,
    /// To zero, along half a cosine.
    Cosine,
}

impl Schedule {
    /// The share of the highest rate at `step` of `steps`, counted from 0.
    #[must_use]
    pub fn factor(self, step: usize, warmup: usize, steps: usize) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let progress = (step - warmup) as f64 / steps.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::Linear => (1.0 - progress).max(0.0),
            Self::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let rates = |schedule: Schedule| (0..6).map(|step| schedule.factor(step, 2, 6)).collect::<Vec<_>>();
        assert_eq!(rates(Schedule::Constant), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(rates(Schedule::Linear), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
        let half = rates(Schedule::Cosine)[4];
        assert!((half - 0.5).abs() < 1e-12);
        assert_eq!(Schedule::Linear.factor(9, 0, 6), 0.0);
    }
}
