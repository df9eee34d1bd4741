//! One step: which rows, the decoder, and what became of them.

use std::{
    any::Any,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Instant,
};

use cairn_adapters::GenerateError;

use super::{
    Active, Scheduler, Slot,
    answer::{Progress, engine_error},
};
use crate::{
    Row,
    prefix::{PAGE, Place, PrefixCache, pages},
};

/// A slot by its order of admission, and how many of its tokens the step computes.
#[derive(Debug, Clone, Copy)]
struct Planned {
    order: u64,
    tokens: usize,
}

impl Scheduler {
    /// Computes and chooses. An error or a panic in the decoder ends the requests of this step, and no others.
    pub(super) fn step(&mut self) {
        let began = Instant::now();
        let plan = self.plan();
        if plan.is_empty() {
            return;
        }
        let mut rows: Vec<Row<'_>> = Vec::with_capacity(plan.len());
        let mut planned = plan.iter().peekable();
        for slot in &mut self.slots {
            // Both are in the order of admission.
            let Some(row) = planned.next_if(|row| row.order == slot.order) else { continue };
            let from = slot.sequence.len();
            rows.push(Row {
                tokens: &slot.tokens[from..from + row.tokens],
                wanted: slot.wanted(row.tokens),
                sequence: &mut slot.sequence,
                adapters: &slot.active.job.adapters,
            });
        }
        let (decoder, logits) = (&self.decoder, &mut self.logits);
        logits.clear();
        let planned = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| decoder.step(&mut rows, logits).map_err(engine_error)));
        drop(rows);
        let decoded = Instant::now();
        match done.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            Ok(()) => self.take(&plan),
            Err(error) => {
                tracing::error!(%error, rows = plan.len(), "a step failed");
                for slot in self.slots.iter().filter(|slot| plan.iter().any(|row| row.order == slot.order)) {
                    slot.active.fail(error.clone());
                }
            }
        }
        self.stats.steps += 1;
        self.stats.profile = self.decoder.profile();
        self.stats.decoding += decoded - planned;
        self.stats.choosing += planned - began + decoded.elapsed();
    }

    /// Answers that need one token first, then as much of the prompts as the step may hold. In the order of admission.
    fn plan(&mut self) -> Vec<Planned> {
        self.adopt();
        self.reserved.clear();
        let mut plan: Vec<Planned> = Vec::with_capacity(self.slots.len());
        let writing: Vec<u64> = self.slots.iter().filter(|slot| slot.pending() == 1).map(|slot| slot.order).collect();
        for order in writing {
            // The slot may have given its memory to an older one meanwhile.
            if self.room(order, 1, true) {
                plan.push(Planned { order, tokens: 1 });
            }
        }
        let budget = if plan.is_empty() { self.limits.chunk_alone } else { self.limits.chunk };
        for Planned { order, tokens } in self.chunks(budget) {
            if self.room(order, tokens, plan.is_empty()) {
                plan.push(Planned { order, tokens });
            }
        }
        plan.retain(|row| self.slots.iter().any(|slot| slot.order == row.order));
        plan.sort_unstable_by_key(|row| row.order);
        plan
    }

    /// Moves slots that stand at the end of a cached page on to the last one that others have computed.
    fn adopt(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| slot.pending() > 1) {
            let before = self.cache.depth(slot.place);
            let mut place = slot.place;
            if slot.sequence.len() != before * PAGE || !self.cache.follow(&mut place, slot.shared()) {
                continue;
            }
            slot.place = place;
            if let Some(sequence) = self.cache.sequence(slot.place) {
                slot.sequence = sequence;
                self.stats.prefix_hit_tokens += ((self.cache.depth(slot.place) - before) * PAGE) as u64;
            }
        }
    }

    /// How much of which prompt: in turns of a page, beginning with another prompt each time, so that a long prompt keeps
    /// back neither answers nor other prompts. Chunks end with a page or with the prompt.
    fn chunks(&mut self, budget: usize) -> Vec<Planned> {
        let mut firsts: HashMap<(Place, &[u32]), u64> = HashMap::new();
        let mut waiting: Vec<(&Slot, usize)> = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.pending() > 1) {
            let at = slot.sequence.len();
            let whole = at == self.cache.depth(slot.place) * PAGE && slot.tokens.len() > at + PAGE;
            // Whoever needs the same page takes it from the cache after this step.
            if whole && *firsts.entry((slot.place, &slot.tokens[at..at + PAGE])).or_insert(slot.order) != slot.order {
                continue;
            }
            waiting.push((slot, 0));
        }
        if waiting.is_empty() {
            return Vec::new();
        }
        self.turn = self.turn.wrapping_add(1);
        let begin = self.turn % waiting.len();
        waiting.rotate_left(begin);
        let mut left = budget;
        let mut scored = SCORED;
        loop {
            let mut given = 0;
            for (slot, tokens) in &mut waiting {
                let at = slot.sequence.len() + *tokens;
                let mut part = (PAGE - at % PAGE).min(slot.tokens.len() - at).min(left - given);
                if slot.active.job.scoring.as_ref().is_some_and(|scoring| at + part >= scoring.from) {
                    part = part.min(scored);
                    scored -= part;
                }
                *tokens += part;
                given += part;
            }
            left -= given;
            if given == 0 || left == 0 {
                break;
            }
        }
        waiting
            .iter()
            .filter(|(_, tokens)| *tokens > 0)
            .map(|(slot, tokens)| Planned { order: slot.order, tokens: *tokens })
            .collect()
    }

    /// Finds pages for `tokens` more tokens of a slot; false where there are none, or the slot itself had to give its up.
    /// `must`: younger slots, and at last this one, give up theirs.
    fn room(&mut self, order: u64, tokens: usize, must: bool) -> bool {
        loop {
            let Some(slot) = self.slots.iter().find(|slot| slot.order == order) else { return false };
            let needed = pages(slot.sequence.len() + tokens) - pages(slot.sequence.len());
            let reserved: usize = self.reserved.iter().map(|(_, pages)| pages).sum();
            if self.own_pages() + reserved + self.cache.pages() + needed <= self.limits.pages {
                self.reserved.push((order, needed));
                return true;
            }
            if self.cache.evict() {
                continue;
            }
            if !must {
                return false;
            }
            let Some(youngest) = self.slots.len().checked_sub(1) else { return false };
            let given_up = self.slots[youngest].order;
            self.reserved.retain(|(order, _)| *order != given_up);
            self.park(youngest);
        }
    }

    /// After a step that went well: pages into the cache, tokens chosen, answers ended.
    fn take(&mut self, plan: &[Planned]) {
        let size = self.decoder.config().vocab_size;
        let mut rows = std::mem::take(&mut self.logits);
        let mut logits = rows.chunks_exact(size);
        let mut ended: Vec<u64> = Vec::new();
        let mut served: Vec<(Rc<Active>, u64)> = Vec::with_capacity(plan.len());
        for slot in &mut self.slots {
            let Some(row) = plan.iter().find(|row| row.order == slot.order) else { continue };
            let active = slot.active.clone();
            served.push((active.clone(), row.tokens as u64));
            give_pages(slot, &mut self.cache);
            let began = slot.sequence.len() - row.tokens;
            self.stats.prefilled_tokens += active.job.prompt.len().saturating_sub(began).min(row.tokens) as u64;
            if let Some(scoring) = &active.job.scoring {
                let first = began.max(scoring.from - 1);
                for (at, logits) in (first..slot.sequence.len()).zip(&mut logits) {
                    // After the last token there is nothing to score.
                    slot.scores.extend(slot.tokens.get(at + 1).map(|token| log_probability(logits, *token)));
                }
                if slot.pending() == 0 {
                    let _ = scoring.scores.send(std::mem::take(&mut slot.scores));
                    ended.push(slot.order);
                }
                continue;
            }
            if slot.pending() > 0 {
                continue;
            }
            let Some(logits) = logits.next() else {
                active.fail(engine_error("the decoder gave fewer logits than it was asked for"));
                continue;
            };
            let (answer, text, scratch) = (&mut slot.answer, &self.text, &mut self.scratch);
            let advance = AssertUnwindSafe(|| answer.advance(logits, &active.job, text, scratch));
            match catch_unwind(advance).unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
                Ok(Progress::More(token)) => slot.tokens.push(token),
                Ok(Progress::Ended) => ended.push(slot.order),
                Err(error) => active.fail(error),
            }
            self.stats.generated_tokens += 1;
            active.completion_tokens.set(active.completion_tokens.get() + 1);
        }
        self.queue.charge(served.iter().map(|(active, tokens)| (active.job.tenant.as_str(), *tokens)));
        rows.clear();
        self.logits = rows;
        for slot in self.slots.extract_if(.., |slot| ended.contains(&slot.order)).collect::<Vec<_>>() {
            self.end(slot);
        }
    }
}

/// Gives the cache the pages that the slot has completed, as far as nobody else has given them.
fn give_pages(slot: &mut Slot, cache: &mut PrefixCache) {
    loop {
        let begin = cache.depth(slot.place) * PAGE;
        let end = begin + PAGE;
        if end > slot.sequence.len().min(slot.shared().len()) || cache.has(slot.place, &slot.tokens[begin..end]) {
            return;
        }
        cache.extend(&mut slot.place, &slot.tokens[begin..end], slot.sequence.prefix(end));
    }
}

/// ln P(token) by the logits [vocabulary] before it.
fn log_probability(logits: &[f32], token: u32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    (f64::from(logits[token as usize] - most) - sum.ln()) as f32
}

/// Tokens of answers to be scored that one step takes, because the logits of each are as long as the vocabulary.
const SCORED: usize = 4 * PAGE;

fn panicked(panic: &(dyn Any + Send)) -> GenerateError {
    let message = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    GenerateError::Engine { message: format!("it panicked: {}", message.unwrap_or("for no given reason")) }
}
