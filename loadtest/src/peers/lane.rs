//! What Cairn's metrics say about the time of a case: how much the lane spent on what.

use std::{ops::AddAssign, time::Duration};

use anyhow::{Context, ensure};

use crate::client::Server;

/// Sums of the lane's figures; two of them, before and after, bound a case.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lane {
    /// Runs of the decoder.
    pub(crate) steps: f64,
    pub(crate) prompt_tokens: f64,
    pub(crate) generated_tokens: f64,
    /// Seconds in the decoder.
    pub(crate) decoding: f64,
    /// Of them: products with the base's matrices alone,
    pub(crate) matrices: f64,
    /// together with adapters,
    pub(crate) adapted: f64,
    /// and attention.
    pub(crate) attention: f64,
    /// Seconds between runs of the decoder: planning, choosing tokens, text.
    pub(crate) choosing: f64,
    /// Adapters that were leased, and the seconds that took.
    pub(crate) leases: f64,
    pub(crate) leasing: f64,
    /// Requests with adapters, and the seconds until those were ready in memory.
    pub(crate) attaches: f64,
    pub(crate) attaching: f64,
    /// Adapters that were read from the store.
    pub(crate) loads: f64,
    /// Bytes of adapters in memory; not a sum.
    pub(crate) resident: f64,
}

/// Time of a case, over all its runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// From the first request's start to the last answer's end, in seconds.
    pub(crate) wall: f64,
    pub(crate) lane: Lane,
}

impl Lane {
    /// As it is now.
    pub(crate) async fn read(server: &Server) -> anyhow::Result<Self> {
        let response = server.get("/metrics").send().await?;
        ensure!(response.status().is_success(), "the metrics cannot be read: {}", response.status());
        Self::parse(&response.text().await?)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let value = |name: &str| {
            let line =
                text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse::<f64>().ok())
        };
        let lane = |name: &str| value(&format!("cairn_lane_{name}"));
        // What never happened is not listed.
        let happened = |name: &str, part: &str| value(&format!("cairn_adapter_{name}_seconds_{part}")).unwrap_or(0.0);
        let missing = || "the gateway's metrics lack those of the lane";
        Ok(Self {
            steps: lane("steps").with_context(missing)?,
            prompt_tokens: lane("prompt_tokens").with_context(missing)?,
            generated_tokens: lane("generated_tokens").with_context(missing)?,
            decoding: lane("decoding_seconds").with_context(missing)?,
            matrices: lane("matrices_seconds").with_context(missing)?,
            adapted: lane("adapted_seconds").with_context(missing)?,
            attention: lane("attention_seconds").with_context(missing)?,
            choosing: lane("choosing_seconds").with_context(missing)?,
            leases: happened("lease", "count"),
            leasing: happened("lease", "sum"),
            attaches: happened("ready", "count"),
            attaching: happened("ready", "sum"),
            loads: happened("attach", "count"),
            resident: lane("adapters_resident_bytes").with_context(missing)?,
        })
    }

    /// What happened since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            steps: self.steps - earlier.steps,
            prompt_tokens: self.prompt_tokens - earlier.prompt_tokens,
            generated_tokens: self.generated_tokens - earlier.generated_tokens,
            decoding: self.decoding - earlier.decoding,
            matrices: self.matrices - earlier.matrices,
            adapted: self.adapted - earlier.adapted,
            attention: self.attention - earlier.attention,
            choosing: self.choosing - earlier.choosing,
            leases: self.leases - earlier.leases,
            leasing: self.leasing - earlier.leasing,
            attaches: self.attaches - earlier.attaches,
            attaching: self.attaching - earlier.attaching,
            loads: self.loads - earlier.loads,
            resident: self.resident,
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        let (sum, more) = (&mut self.lane, other.lane);
        sum.steps += more.steps;
        sum.prompt_tokens += more.prompt_tokens;
        sum.generated_tokens += more.generated_tokens;
        sum.decoding += more.decoding;
        sum.matrices += more.matrices;
        sum.adapted += more.adapted;
        sum.attention += more.attention;
        sum.choosing += more.choosing;
        sum.leases += more.leases;
        sum.leasing += more.leasing;
        sum.attaches += more.attaches;
        sum.attaching += more.attaching;
        sum.loads += more.loads;
        sum.resident = more.resident;
    }
}

impl Spent {
    pub(crate) fn new(wall: Duration, before: &Lane, after: &Lane) -> Self {
        Self { wall: wall.as_secs_f64(), lane: after.since(before) }
    }

    /// Parts of the wall time that sum to 1: base products, products with adapters, attention, the decoder's rest, choosing
    /// tokens, and what is outside the lane (HTTP, leases, the record of each answer, waiting for the cores).
    pub(crate) fn parts(&self) -> [f64; 6] {
        let Lane { decoding, matrices, adapted, attention, choosing, .. } = self.lane;
        let rest = (decoding - matrices - adapted - attention).max(0.0);
        let outside = (self.wall - decoding - choosing).max(0.0);
        [matrices, adapted, attention, rest, choosing, outside].map(|part| part / self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let text = "# TYPE cairn_lane_steps gauge\ncairn_lane_steps{model=\"a\"} 7\ncairn_lane_prompt_tokens{model=\"a\"} 1\n\
                    cairn_lane_generated_tokens{model=\"a\"} 2\ncairn_lane_decoding_seconds{model=\"a\"} 0.5\n\
                    cairn_lane_matrices_seconds{model=\"a\"} 0.25\ncairn_lane_adapted_seconds{model=\"a\"} 0\n\
                    cairn_lane_attention_seconds{model=\"a\"} 0.125\ncairn_lane_choosing_seconds{model=\"a\"} 0.25\n\
                    cairn_lane_adapters_resident_bytes{model=\"a\"} 0\ncairn_adapter_attach_seconds_count 3\n";
        let lane = Lane::parse(text).unwrap();
        assert_eq!((lane.steps, lane.loads, lane.leases), (7.0, 3.0, 0.0));
        let spent = Spent::new(Duration::from_secs(1), &Lane::default(), &lane);
        assert_eq!(spent.parts(), [0.25, 0.0, 0.125, 0.125, 0.25, 0.25]);
        assert!(Lane::parse("cairn_lane_steps_more 7\n").is_err());
    }
}
