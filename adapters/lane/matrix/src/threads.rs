//! A pool of worker threads that split one kernel between them.
//!
//! A decode step hands over some hundred small kernels, so the hand-over is what counts: workers spin for a moment before
//! they sleep, the caller works too, and parts are claimed one by one, so a worker that is late (or whose core is taken by
//! another process) costs nothing. A pool serves one caller at a time; a second one meanwhile, or a nested call, runs its
//! parts itself.

use std::{
    any::Any,
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::activations::Scratch;

/// How long a worker without work, or a caller waiting for the last part, spins before it sleeps.
const SPIN: Duration = Duration::from_micros(80);

/// A pool of worker threads. Cheap to clone; the workers end with the last clone.
#[derive(Clone)]
pub struct Threads {
    pool: Arc<Pool>,
}

impl Threads {
    /// A pool in which `n` threads work, the caller among them: `n` = 1 runs everything inline.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let workers = (1..n.max(1))
            .filter_map(|i| {
                let shared = Arc::clone(&shared);
                // A thread that the system refuses is one worker less; the caller does its share.
                std::thread::Builder::new().name(format!("matrix-{i}")).spawn(move || shared.work()).ok()
            })
            .collect();
        Self { pool: Arc::new(Pool { shared, workers, scratch: Mutex::default() }) }
    }

    /// How many threads work on a kernel, the caller included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.pool.workers.len() + 1
    }

    /// Calls `f(0)` to `f(parts - 1)`, each once, and returns when all are done. They begin in ascending order, so one may
    /// wait for another of a lower number. A panic in any of them is raised again here, after the others have ended.
    pub fn run(&self, parts: usize, f: impl Fn(usize) + Sync) {
        let Pool { shared, workers, .. } = &*self.pool;
        let turn = match shared.turn.try_lock() {
            _ if workers.is_empty() || parts < 2 => None,
            Ok(turn) => Some(turn),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        match turn {
            Some(turn) => shared.lead(turn, parts, &f),
            None => (0..parts).for_each(f),
        }
    }

    /// Waits, inside a part, for what parts of lower numbers do.
    pub(crate) fn wait_for(&self, ready: impl Fn() -> bool) {
        while !spin_until(&ready) {
            std::thread::yield_now();
        }
    }

    /// Takes a scratch buffer, which [`Self::give_scratch`] hands back for the next kernel.
    pub(crate) fn take_scratch(&self) -> Scratch {
        lock(&self.pool.scratch).pop().unwrap_or_default()
    }

    /// Keeps a scratch buffer for the next kernel.
    pub(crate) fn give_scratch(&self, scratch: Scratch) {
        lock(&self.pool.scratch).push(scratch);
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("count", &self.count()).finish()
    }
}

struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Buffers between kernels, one for each caller that was ever concurrent. Written by callers only.
    scratch: Mutex<Vec<Scratch>>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        drop(lock(&self.shared.bed));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // Workers catch the panics of what they run, so they end in order.
            let _ = worker.join();
        }
    }
}

/// What the caller and the workers share.
///
/// A claim takes one from `unclaimed`; a claimed part holds `unfinished` above zero, and the caller stays in `lead`
/// until that is zero. So whoever holds a claim may use `job`: it is written only when nothing is claimed.
#[derive(Default)]
struct Shared {
    /// Held by the caller that leads.
    turn: Mutex<()>,
    /// The kernel in hand; written by the leader before it publishes parts, read under a claim.
    job: UnsafeCell<Option<Job>>,
    /// Parts that nobody has claimed yet.
    unclaimed: AtomicUsize,
    /// Parts that have not ended.
    unfinished: AtomicUsize,
    /// Workers asleep or about to be.
    asleep: AtomicUsize,
    /// Guards going to sleep and waking, for workers and the leader.
    bed: Mutex<()>,
    /// Wakes workers.
    wake: Condvar,
    /// Whether the leader sleeps on `done`.
    leader_asleep: AtomicBool,
    /// Wakes the leader.
    done: Condvar,
    /// The first panic of this kernel. Written by whoever panicked, taken by the leader.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

// SAFETY: `job` is the only field that is not Sync by itself. It is written by the one leader while no part is claimed
// and read only under a claim (see above); the SeqCst operations on `unclaimed` and `unfinished` order the two.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is used only while the closure it points to is borrowed by the leader.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}

/// A borrowed closure with its lifetime erased.
#[derive(Clone, Copy)]
struct Job {
    closure: *const (),
    call: fn(*const (), usize),
    parts: usize,
}

impl Job {
    fn new<F: Fn(usize) + Sync>(parts: usize, f: &F) -> Self {
        #[allow(unsafe_code)]
        fn call<F: Fn(usize) + Sync>(closure: *const (), part: usize) {
            // SAFETY: made from a `&F` in `Job::new` below, and `lead` keeps that borrow until every part has ended.
            let f = unsafe { &*closure.cast::<F>() };
            f(part);
        }
        Self { closure: std::ptr::from_ref(f).cast(), call: call::<F>, parts }
    }
}

impl Shared {
    /// Publishes a kernel, works on it, and waits for the parts that others claimed.
    fn lead<F: Fn(usize) + Sync>(&self, turn: MutexGuard<'_, ()>, parts: usize, f: &F) {
        // SAFETY: this thread holds `turn` and the last kernel has ended, so nothing is claimed and nobody reads `job`.
        #[allow(unsafe_code)]
        unsafe {
            *self.job.get() = Some(Job::new(parts, f));
        }
        self.unfinished.store(parts, SeqCst);
        self.unclaimed.store(parts, SeqCst);
        if self.asleep.load(SeqCst) > 0 {
            // Taking the lock makes sure that a worker that counted itself asleep is really waiting.
            drop(lock(&self.bed));
            self.wake.notify_all();
        }
        while self.claim_and_run() {}
        if !spin_until(|| self.unfinished.load(SeqCst) == 0) {
            let mut bed = lock(&self.bed);
            self.leader_asleep.store(true, SeqCst);
            while self.unfinished.load(SeqCst) != 0 {
                bed = self.done.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.leader_asleep.store(false, SeqCst);
        }
        let panic = lock(&self.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// A worker's life.
    fn work(&self) {
        let wanted = || self.unclaimed.load(SeqCst) > 0 || self.stop.load(SeqCst);
        while !self.stop.load(SeqCst) {
            if self.claim_and_run() || spin_until(wanted) {
                continue;
            }
            let mut bed = lock(&self.bed);
            self.asleep.fetch_add(1, SeqCst);
            while !wanted() {
                bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
            }
            self.asleep.fetch_sub(1, SeqCst);
        }
    }

    /// Runs one part if one is left.
    fn claim_and_run(&self) -> bool {
        let Ok(left) = self.unclaimed.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) else {
            return false;
        };
        // SAFETY: a part is claimed, so `unfinished` is above zero, the leader is in `lead` and does not write `job`.
        #[allow(unsafe_code)]
        let job = unsafe { *self.job.get() };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if let Some(job) = job {
                (job.call)(job.closure, job.parts - left);
            }
        }));
        if let Err(panic) = outcome {
            lock(&self.panic).get_or_insert(panic);
        }
        if self.unfinished.fetch_sub(1, SeqCst) == 1 && self.leader_asleep.load(SeqCst) {
            drop(lock(&self.bed));
            self.done.notify_one();
        }
        true
    }
}

/// Spins until `ready` holds, for [`SPIN`] at most; whether it held.
fn spin_until(ready: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..32 {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > SPIN {
            return ready();
        }
    }
}

/// Locks; what these locks guard is whole even if a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        for n in 1..=4 {
            let threads = Threads::new(n);
            assert_eq!(threads.count(), n);
            for parts in (0..40).chain([1000]) {
                let ran: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                threads.run(parts, |i| {
                    ran[i].fetch_add(1, SeqCst);
                });
                assert!(ran.iter().all(|count| count.load(SeqCst) == 1), "{n} threads, {parts} parts");
            }
        }
    }

    #[test]
    fn many_hand_overs_hot_and_cold() {
        let threads = Threads::new(3);
        let sum = AtomicUsize::new(0);
        for i in 0..20_000 {
            threads.run(3, |part| {
                sum.fetch_add(part, SeqCst);
            });
            if i % 5_000 == 0 {
                std::thread::sleep(SPIN * 3);
            }
        }
        assert_eq!(sum.load(SeqCst), 60_000);
    }

    #[test]
    fn parts_begin_in_ascending_order() {
        for threads in [Threads::new(1), Threads::new(3)] {
            let begun = AtomicUsize::new(0);
            threads.run(200, |part| {
                // Waits for all parts before it: a part that was not claimed would never come.
                while begun.load(SeqCst) < part {
                    std::hint::spin_loop();
                }
                begun.fetch_add(1, SeqCst);
            });
            assert_eq!(begun.load(SeqCst), 200);
        }
    }

    #[test]
    fn callers_at_once_and_nested_calls_end() {
        let threads = Threads::new(2);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        threads.run(4, |_| {
                            threads.run(2, |_| {
                                sum.fetch_add(1, SeqCst);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.load(SeqCst), 4 * 500 * 8);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let threads = Threads::new(2);
        for culprit in 0..2 {
            let ended = AtomicUsize::new(0);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                threads.run(2, |part| {
                    assert!(part != culprit, "culprit");
                    ended.fetch_add(1, SeqCst);
                });
            }));
            assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"culprit"));
            assert_eq!(ended.load(SeqCst), 1);
        }
        let sum = AtomicUsize::new(0);
        threads.run(10, |part| {
            sum.fetch_add(part, SeqCst);
        });
        assert_eq!(sum.load(SeqCst), 45);
    }
}
