//! How requests for a datanet were decided: how many by the terms alone, how fast, and what stood against them.

use std::collections::BTreeMap;

use cairn_openapi::access::{AccessStatistics, ClauseCount};
use cairn_policy::{Answer, Clause};
use chrono::{DateTime, Utc};

use crate::{error::ApiError, state::AppState, store::statistics::Counted};

/// Over every request that was ever made for a datanet.
pub(crate) async fn statistics(state: &AppState, datanet: &str) -> Result<AccessStatistics, ApiError> {
    let counts = state.store.request_counts(datanet).await?;
    let sum = |which: &dyn Fn(&Counted) -> bool| -> u64 {
        counts.iter().filter(|counted| which(counted)).map(|counted| counted.requests).sum()
    };
    let of = |status: &str| sum(&|counted| counted.status == status);
    let decided = of("granted") + of("denied");
    let by_policy = sum(&|counted| {
        matches!(counted.status.as_str(), "granted" | "denied") && counted.decided_by.as_deref() == Some("policy")
    });
    let times = state.store.decision_times(datanet).await?;
    let mut seconds: Vec<f64> = times.iter().filter_map(|(created, decided)| taken(created, decided)).collect();
    seconds.sort_by(f64::total_cmp);
    let quantile = |part: f64| {
        let last = seconds.len().checked_sub(1)?;
        seconds.get((last as f64 * part).ceil() as usize).copied()
    };
    Ok(AccessStatistics {
        datanet: datanet.to_owned(),
        requests: sum(&|_| true),
        granted: of("granted"),
        denied: of("denied"),
        waiting: of("waiting"),
        automatic: (decided > 0).then(|| by_policy as f64 / decided as f64),
        median_seconds: quantile(0.5),
        p95_seconds: quantile(0.95),
        clauses: clauses(state, datanet).await?,
    })
}

/// How often each clause stood against a request.
async fn clauses(state: &AppState, datanet: &str) -> Result<Vec<ClauseCount>, ApiError> {
    let mut counts: BTreeMap<Clause, (u64, u64)> = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = state.store.findings(datanet, after.as_deref(), PAGE).await?;
        for finding in page.iter().flat_map(|(_, findings)| findings) {
            match finding.answer {
                Answer::Allow => {}
                Answer::Refer => counts.entry(finding.clause).or_default().1 += 1,
                Answer::Deny => counts.entry(finding.clause).or_default().0 += 1,
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => break,
        }
    }
    let count = |(clause, (denied, referred)): (Clause, (u64, u64))| ClauseCount {
        clause: clause.name().to_owned(),
        denied,
        referred,
    };
    Ok(counts.into_iter().map(count).collect())
}

/// Seconds from a request to its decision.
fn taken(created: &str, decided: &str) -> Option<f64> {
    let took = decided.parse::<DateTime<Utc>>().ok()? - created.parse::<DateTime<Utc>>().ok()?;
    Some(took.num_milliseconds() as f64 / 1000.0)
}

/// Requests read at once.
const PAGE: usize = 1000;
