//! Continuous batching: every step takes one token of each answer under way and chunks of the prompts that wait.
//!
//! [`Scheduler`] runs on the engine's thread. A [`Slot`] is one answer: its tokens, and the sequence of those that were
//! computed already. What is not computed yet is computed next, whether it is a prompt, the last token chosen, or all of it
//! after the slot had to give its memory to an older one. So there is one kind of row.
//!
//! Memory is counted in pages: those of the prefix cache, and those that slots have beyond them. A slot that needs a page
//! where none is left makes the cache drop its oldest; then the youngest slot gives up its pages and starts again later.
//! Its text is not affected: tokens are chosen by position, not by luck.

mod answer;
mod queue;
mod step;
#[cfg(test)]
mod tests;

use std::{cell::Cell, collections::VecDeque, rc::Rc, sync::Arc, time::Instant};

use cairn_adapters::{AdapterGeneration, Event, GenerateError, Sampling, Usage, WeightsHash, sample::Scratch};
use llguidance::Matcher;
use tokio::sync::mpsc::UnboundedSender;

use self::answer::Answer;
pub(crate) use self::{
    answer::Calls,
    queue::{Queue, QueueLimits},
};
use crate::{
    Attached, Decoder, Sequence, Wanted,
    engine::LaneStats,
    prefix::{PAGE, Place, PrefixCache, pages},
    text::Text,
};

/// A request as the engine's thread gets it: everything that can be checked beforehand is.
pub(crate) struct Job {
    pub(crate) prompt: Vec<u32>,
    /// The prompt is a conversation: the text of the answer begins anew, where that of a continuation goes on.
    pub(crate) chat: bool,
    pub(crate) sampling: Sampling,
    pub(crate) seed: u64,
    /// Most tokens that an answer may have; at least one.
    pub(crate) limit: usize,
    pub(crate) adapters: Vec<(Arc<Attached>, f32)>,
    /// Names the adapters and their weights: what pages may be shared.
    pub(crate) key: Arc<str>,
    pub(crate) generation: Option<AdapterGeneration>,
    pub(crate) tenant: String,
    pub(crate) deadline: Option<Instant>,
    pub(crate) constraint: Option<Matcher>,
    pub(crate) calls: Option<Calls>,
    pub(crate) events: UnboundedSender<Result<Event, GenerateError>>,
    /// Nothing is chosen: the prompt ends with an answer that was given elsewhere, whose probability is wanted.
    pub(crate) scoring: Option<Scoring>,
}

/// Which tokens of a prompt are scored, and where the scores go before the last event.
pub(crate) struct Scoring {
    /// The first of them, not 0; they go on to the prompt's end.
    pub(crate) from: usize,
    /// ln P of each, given all before it.
    pub(crate) scores: UnboundedSender<Vec<f32>>,
}

/// What one step may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepLimits {
    /// Answers at once.
    pub(crate) rows: usize,
    /// Prompt tokens in a step in which answers wait for their next token.
    pub(crate) chunk: usize,
    /// Prompt tokens in a step in which none does.
    pub(crate) chunk_alone: usize,
    /// Pages of keys and values.
    pub(crate) pages: usize,
}

/// The engine's thread.
pub(crate) struct Scheduler {
    decoder: Arc<Decoder>,
    text: Arc<Text>,
    weights: WeightsHash,
    queue: Arc<Queue>,
    limits: StepLimits,
    /// In the order of admission.
    slots: Vec<Slot>,
    /// Admitted, without memory: answers beyond the rows, and those that gave theirs up. In the order of admission.
    parked: VecDeque<Slot>,
    cache: PrefixCache,
    /// Pages that rows of the step being planned will need, by order of admission.
    reserved: Vec<(u64, usize)>,
    /// Counts admissions.
    order: u64,
    /// Which prompt begins the next step.
    turn: usize,
    stats: LaneStats,
    scratch: Scratch,
    logits: Vec<f32>,
}

/// A request in the engine.
struct Active {
    job: Job,
    since: Instant,
    /// Answers that are not complete.
    open: Cell<usize>,
    completion_tokens: Cell<usize>,
    /// It ended early; its slots go before the next step.
    over: Cell<bool>,
}

/// One answer of a request.
struct Slot {
    active: Rc<Active>,
    answer: Answer,
    /// The prompt and what was chosen.
    tokens: Vec<u32>,
    /// Of `tokens`, those that were computed.
    sequence: Sequence,
    /// The page of the cache up to which the sequence is the cache's own.
    place: Place,
    order: u64,
    /// Of the tokens that are scored, as far as they were computed.
    scores: Vec<f32>,
}

impl Scheduler {
    pub(crate) fn new(
        decoder: Arc<Decoder>,
        text: Arc<Text>,
        weights: WeightsHash,
        queue: Arc<Queue>,
        limits: StepLimits,
    ) -> Self {
        Self {
            decoder,
            text,
            weights,
            queue,
            limits,
            slots: Vec::new(),
            parked: VecDeque::new(),
            cache: PrefixCache::default(),
            reserved: Vec::new(),
            order: 0,
            turn: 0,
            stats: LaneStats::default(),
            scratch: Scratch::default(),
            logits: Vec::new(),
        }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self) {
        loop {
            self.drop_finished();
            self.admit();
            self.publish();
            if self.queue.is_closed() || (self.slots.is_empty() && !self.queue.wait()) {
                return;
            }
            if !self.slots.is_empty() {
                self.step();
            }
        }
    }

    /// Ends what was cancelled or is late, and gives back what ended requests had.
    fn drop_finished(&mut self) {
        let now = Instant::now();
        for slot in self.slots.iter().chain(&self.parked).filter(|slot| !slot.active.over.get()) {
            let job = &slot.active.job;
            if job.events.is_closed() {
                slot.active.over.set(true);
                self.stats.cancelled += 1;
            } else if job.deadline.is_some_and(|deadline| deadline <= now) {
                slot.active.fail(GenerateError::DeadlineExceeded);
            }
        }
        let over = |slot: &mut Slot| slot.active.over.get();
        for slot in self.slots.extract_if(.., over).collect::<Vec<_>>() {
            self.end(slot);
        }
        let parked = std::mem::take(&mut self.parked);
        let (gone, parked): (VecDeque<Slot>, _) = parked.into_iter().partition(|slot| slot.active.over.get());
        self.parked = parked;
        gone.into_iter().for_each(|slot| self.end(slot));
    }

    /// Takes back the slot's memory; the last slot of a request ends the request.
    fn end(&mut self, slot: Slot) {
        let active = &slot.active;
        self.cache.release(slot.place);
        active.open.set(active.open.get() - 1);
        if active.open.get() == 0 {
            let seconds = active.since.elapsed().as_secs_f64();
            self.queue.ended(&active.job.tenant, seconds, self.limits.rows);
            if !active.over.get() {
                self.stats.finished += 1;
                let usage =
                    Usage { prompt_tokens: active.job.prompt.len(), completion_tokens: active.completion_tokens.get() };
                // Whoever reads the last event may send another request, and finds this one's place free.
                self.publish();
                let _ = active.job.events.send(Ok(Event::Done(usage)));
            }
        }
    }

    /// Lets in what fits: first those that were in already.
    fn admit(&mut self) {
        while self.slots.len() < self.limits.rows {
            let Some(slot) = self.parked.front() else { break };
            if !self.fits(&slot.active.job.key, &slot.tokens) {
                return;
            }
            let Some(slot) = self.parked.pop_front() else { break };
            let at = self.slots.partition_point(|other| other.order < slot.order);
            self.slots.insert(at, slot);
        }
        while self.slots.len() < self.limits.rows && self.parked.is_empty() {
            let Some(job) = self.queue.take(|job| self.fits(&job.key, &job.prompt)) else { return };
            self.start(*job);
        }
    }

    /// Whether the tokens and one more fit into what slots do not need for the tokens that they have.
    fn fits(&self, key: &Arc<str>, tokens: &[u32]) -> bool {
        if self.slots.is_empty() {
            return true;
        }
        // One page more for each, so that those that write do not push each other out at once.
        let taken: usize =
            self.slots.iter().map(|slot| pages(slot.tokens.len() + 1) - self.cache.depth(slot.place) + 1).sum();
        let needed = pages(tokens.len() + 1) - self.cache.found(key, tokens);
        taken + self.cache.pinned() + needed <= self.limits.pages
    }

    fn start(&mut self, job: Job) {
        let started = Event::Started { weights: self.weights.clone(), adapter: job.generation.clone() };
        if job.events.send(Ok(started)).is_err() {
            self.queue.ended(&job.tenant, 0.0, self.limits.rows);
            return;
        }
        let answers = job.sampling.n.max(1);
        self.stats.prompt_tokens += job.prompt.len() as u64;
        let active = Rc::new(Active {
            job,
            since: Instant::now(),
            open: Cell::new(answers),
            completion_tokens: Cell::new(0),
            over: Cell::new(false),
        });
        for index in 0..answers {
            let slot = Slot {
                answer: Answer::new(&active.job, index, &self.text),
                tokens: active.job.prompt.clone(),
                sequence: self.decoder.sequence(),
                place: self.cache.root(&active.job.key),
                order: self.order,
                scores: Vec::new(),
                active: active.clone(),
            };
            self.order += 1;
            if self.slots.len() < self.limits.rows {
                self.slots.push(slot);
            } else {
                self.parked.push_back(slot);
            }
        }
    }

    /// Takes the memory of a slot away; it starts again when there is room.
    fn park(&mut self, at: usize) {
        let mut slot = self.slots.remove(at);
        slot.sequence = self.decoder.sequence();
        slot.scores.clear();
        let root = self.cache.root(&slot.active.job.key);
        self.cache.release(std::mem::replace(&mut slot.place, root));
        let at = self.parked.partition_point(|other| other.order < slot.order);
        self.parked.insert(at, slot);
        self.stats.preempted += 1;
    }

    /// Pages that slots have beyond those of the cache.
    fn own_pages(&self) -> usize {
        self.slots.iter().map(|slot| slot.own_pages(&self.cache)).sum()
    }

    fn publish(&mut self) {
        let page = (PAGE * self.decoder.kv_bytes_per_token()) as u64;
        self.stats.running = self.slots.len();
        self.stats.parked = self.parked.len();
        self.stats.kv_bytes = (self.own_pages() + self.cache.pages()) as u64 * page;
        self.stats.kv_bytes_in_use = (self.own_pages() + self.cache.pinned()) as u64 * page;
        self.stats.kv_budget = self.limits.pages as u64 * page;
        self.queue.publish(self.stats);
    }
}

impl Slot {
    fn own_pages(&self, cache: &PrefixCache) -> usize {
        pages(self.sequence.len()) - cache.depth(self.place)
    }

    /// The tokens whose pages come from the cache and go there. Those of an answer that is scored do not: its logits are
    /// wanted, so it must be computed.
    fn shared(&self) -> &[u32] {
        match &self.active.job.scoring {
            Some(scoring) => &self.tokens[..scoring.from],
            None => &self.tokens,
        }
    }

    /// The logits that are wanted of a step's next `tokens` tokens.
    fn wanted(&self, tokens: usize) -> Wanted {
        let end = self.sequence.len() + tokens;
        match &self.active.job.scoring {
            // The logits after a token are those of the next.
            Some(scoring) => Wanted::Rest(tokens.min((end + 1).saturating_sub(scoring.from))),
            None if end == self.tokens.len() => Wanted::Last,
            None => Wanted::None,
        }
    }

    /// Tokens that are not computed yet; at least one.
    fn pending(&self) -> usize {
        self.tokens.len() - self.sequence.len()
    }
}

impl Active {
    /// Tells the caller and ends all answers.
    fn fail(&self, error: GenerateError) {
        if !self.over.replace(true) {
            let _ = self.job.events.send(Err(error));
        }
    }
}
