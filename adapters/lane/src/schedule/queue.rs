//! The queue in front of the engine: bounded, and fair to tenants by the work that they were given.
//!
//! The tenant that was served the fewest tokens goes next, in the order of its own requests. A tenant that had nothing
//! here begins level with the least served one, so that being away earns no credit (virtual token counters, "Fairness in
//! Serving Large Language Models", OSDI 2024).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use cairn_adapters::GenerateError;
use parking_lot::{Condvar, Mutex};

use super::Job;
use crate::engine::LaneStats;

/// How many requests may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) all: usize,
    pub(crate) per_tenant: usize,
}

/// What callers and the engine's thread share.
pub(crate) struct Queue {
    limits: QueueLimits,
    /// Written by callers, who add, and by the engine, which takes.
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Written by the engine after each step.
    stats: Mutex<LaneStats>,
}

#[derive(Default)]
struct Waiting {
    tenants: BTreeMap<String, Tenant>,
    closed: bool,
    /// Seconds from admission to the end of a request, smoothed, over how many run at once.
    pace: f64,
    refused: u64,
    /// Tells apart tenants that were served alike: whoever was served longest ago goes first.
    turns: u64,
}

#[derive(Default)]
struct Tenant {
    waiting: VecDeque<Box<Job>>,
    /// Requests in the engine.
    running: usize,
    /// Tokens that it was served, relative to the others.
    served: u64,
    last_turn: u64,
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { limits, waiting: Mutex::default(), changed: Condvar::new(), stats: Mutex::default() }
    }

    /// Adds a request, or says when to try again.
    pub(crate) fn push(&self, job: Box<Job>) -> Result<(), GenerateError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(GenerateError::Engine { message: "it has ended".into() });
        }
        let full = |waiting: &Waiting| {
            waiting.count() >= self.limits.all
                || waiting.tenants.get(&job.tenant).is_some_and(|it| it.waiting.len() >= self.limits.per_tenant)
        };
        if full(&waiting) {
            // Those whose caller has gone take no place.
            waiting.tenants.values_mut().for_each(|tenant| tenant.waiting.retain(|job| !job.events.is_closed()));
            if full(&waiting) {
                waiting.refused += 1;
                let seconds = (waiting.pace * waiting.count() as f64).clamp(1.0, 60.0);
                return Err(GenerateError::Overloaded { retry_after: Duration::from_secs_f64(seconds.ceil()) });
            }
        }
        let least = waiting.tenants.values().map(|tenant| tenant.served).min().unwrap_or(0);
        let tenant =
            waiting.tenants.entry(job.tenant.clone()).or_insert_with(|| Tenant { served: least, ..Tenant::default() });
        tenant.waiting.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes the request whose turn it is where `fits` agrees; requests that nobody waits for any more are dropped.
    pub(crate) fn take(&self, fits: impl FnOnce(&Job) -> bool) -> Option<Box<Job>> {
        let mut waiting = self.waiting.lock();
        waiting.drop_stale();
        waiting.turns += 1;
        let turn = waiting.turns;
        let next = waiting.tenants.values_mut().filter(|tenant| !tenant.waiting.is_empty());
        let next = next.min_by_key(|tenant| (tenant.served, tenant.last_turn))?;
        let job = next.waiting.pop_front_if(|job| fits(job))?;
        next.running += 1;
        next.last_turn = turn;
        Some(job)
    }

    /// Counts tokens that tenants were served.
    pub(crate) fn charge<'a>(&self, served: impl Iterator<Item = (&'a str, u64)>) {
        let mut waiting = self.waiting.lock();
        for (tenant, tokens) in served {
            if let Some(tenant) = waiting.tenants.get_mut(tenant) {
                tenant.served += tokens;
            }
        }
    }

    /// A request that was taken has ended, `seconds` after it was, where `rows` run at once.
    pub(crate) fn ended(&self, tenant: &str, seconds: f64, rows: usize) {
        let mut waiting = self.waiting.lock();
        let pace = seconds / rows.max(1) as f64;
        waiting.pace = if waiting.pace == 0.0 { pace } else { 0.9 * waiting.pace + 0.1 * pace };
        if let Some(it) = waiting.tenants.get_mut(tenant) {
            it.running -= 1;
            if it.running == 0 && it.waiting.is_empty() {
                waiting.tenants.remove(tenant);
            }
        }
    }

    /// Sleeps until there is something to do; false when nothing will come any more.
    pub(crate) fn wait(&self) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.count() == 0 && !waiting.closed {
            self.changed.wait(&mut waiting);
        }
        !waiting.closed
    }

    /// Nothing is taken any more; who waits is told by the end of its stream.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        waiting.tenants.clear();
        drop(waiting);
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    pub(crate) fn stats(&self) -> LaneStats {
        let (waiting, refused) = {
            let waiting = self.waiting.lock();
            (waiting.count(), waiting.refused)
        };
        LaneStats { waiting, refused, ..*self.stats.lock() }
    }

    pub(crate) fn publish(&self, stats: LaneStats) {
        *self.stats.lock() = stats;
    }
}

impl Waiting {
    fn count(&self) -> usize {
        self.tenants.values().map(|tenant| tenant.waiting.len()).sum()
    }

    /// Requests that were cancelled or whose time is over.
    fn drop_stale(&mut self) {
        let now = Instant::now();
        self.tenants.retain(|_, tenant| {
            tenant.waiting.retain(|job| {
                let late = job.deadline.is_some_and(|deadline| deadline <= now);
                if late {
                    let _ = job.events.send(Err(GenerateError::DeadlineExceeded));
                }
                !late && !job.events.is_closed()
            });
            tenant.running > 0 || !tenant.waiting.is_empty()
        });
    }
}
