//! The scheduler step by step, on the real decoder with the golden tiny checkpoints.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_adapters::{
    AdapterGeneration, Event, FinishReason, GenerateError, Sampling, WeightsHash,
    peft::{Adapter, Limits},
};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Queue, QueueLimits, Scheduler, Scoring, StepLimits};
use crate::{
    Decoder, Options,
    constrain::Grammars,
    engine::{Inner, LaneAdapter, LaneRequest, Prompt},
    prepare::prepare,
    text::Text,
};

type Events = UnboundedReceiver<Result<Event, GenerateError>>;

fn family(name: &str) -> PathBuf {
    let golden = std::env::var_os("CAIRN_GOLDEN").map(PathBuf::from);
    let golden = golden.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"));
    golden.join("peft").join(name)
}

fn golden(name: &str, adapter: &str) -> Vec<(Vec<u32>, Vec<u32>)> {
    let text = std::fs::read(family(name).join(format!("{adapter}.golden.json"))).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let ids = |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    rows.iter().map(|row| (ids(&row["input_ids"]), ids(&row["greedy"]))).collect()
}

/// The engine without its thread.
struct Rig {
    lane: Inner,
    scheduler: Scheduler,
    adapters: BTreeMap<String, LaneAdapter>,
    /// What each answer has written so far, by order of admission.
    written: BTreeMap<u64, Vec<u32>>,
}

const LIMITS: StepLimits = StepLimits { rows: 64, chunk: 32, chunk_alone: 64, pages: 1000 };

impl Rig {
    fn new(name: &str, limits: StepLimits) -> Self {
        let base = family(name).join("base");
        let decoder = Arc::new(Decoder::open(&base, &Options::default()).unwrap());
        let text = Arc::new(Text::load(&base, decoder.config().vocab_size).unwrap());
        let queue = Arc::new(Queue::new(QueueLimits { all: 1000, per_tenant: 1000 }));
        let weights = WeightsHash("base".into());
        let scheduler = Scheduler::new(decoder.clone(), text.clone(), weights, queue.clone(), limits);
        let mut adapters = BTreeMap::new();
        for entry in std::fs::read_dir(family(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.join("adapter_config.json").exists() {
                let adapter = Adapter::read(&path, &Limits::default()).unwrap();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                let attached = Arc::new(decoder.attach(&adapter).unwrap());
                let generation = AdapterGeneration(name.clone());
                adapters.insert(name, LaneAdapter { generation, attached, weight: 1.0 });
            }
        }
        let grammars = Grammars::new(text.vocabulary.clone());
        let lane = Inner::new(decoder, text, grammars, limits.pages, queue);
        Self { lane, scheduler, adapters, written: BTreeMap::new() }
    }

    fn request(&self, adapter: &str, tokens: &[u32], sampling: Sampling) -> LaneRequest {
        let adapters = self.adapters.get(adapter).cloned().into_iter().collect();
        assert_eq!(adapter == "base", Vec::is_empty(&adapters), "{adapter}");
        LaneRequest { adapters, sampling, ..LaneRequest::new(Prompt::Tokens(tokens.to_vec())) }
    }

    fn submit(&self, request: LaneRequest) -> Events {
        let (job, events) = prepare(&self.lane, request).unwrap();
        self.scheduler.queue.push(Box::new(job)).unwrap();
        events
    }

    /// One turn of the engine's loop; false when there is nothing to do.
    fn turn(&mut self) -> bool {
        self.scheduler.drop_finished();
        self.scheduler.admit();
        self.scheduler.publish();
        if self.scheduler.slots.is_empty() {
            return false;
        }
        self.scheduler.step();
        for slot in self.scheduler.slots.iter().chain(&self.scheduler.parked) {
            let written = slot.tokens[slot.active.job.prompt.len()..].to_vec();
            self.written.insert(slot.order, written);
        }
        let used = self.scheduler.own_pages() + self.scheduler.cache.pages();
        assert!(used <= self.scheduler.limits.pages, "{used} pages");
        true
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| assert!(self.turn()));
    }

    fn run(&mut self) {
        while self.turn() {}
    }

    /// The tokens of one request that has the engine to itself. `max_tokens` is one more, because the last token of an
    /// answer is not seen from outside.
    fn alone(&mut self, request: LaneRequest) -> Vec<u32> {
        let _events = self.submit(request);
        self.run();
        self.written.pop_last().unwrap().1
    }
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling { temperature: 0.0, max_tokens: Some(max_tokens), ..Sampling::default() }
}

fn seeded(seed: u64) -> Sampling {
    Sampling { seed: Some(seed), top_p: 0.95, max_tokens: Some(40), ..Sampling::default() }
}

/// What ends an answer of a tiny checkpoint: the end of the text, and of a turn by the template.
const ENDS: [u32; 2] = [2, 4];

/// References go on after an end; answers do not.
fn until_end(tokens: &[u32]) -> &[u32] {
    tokens.split(|token| ENDS.contains(token)).next().unwrap()
}

/// Bias for answers that go on until their limit.
fn endless() -> BTreeMap<u32, f32> {
    ENDS.map(|end| (end, -100.0)).into()
}

/// `length` tokens that are unlike those of other `kind`s.
fn tokens(kind: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|at| 5 + (at * at * 7 + at * 13 + kind * 101) % 500).collect()
}

fn collected(mut events: Events) -> (Vec<Event>, Option<GenerateError>) {
    let mut all = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            Ok(event) => all.push(event),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

#[test]
fn greedy_answers_are_the_golden_ones_alone_and_with_all_adapters_in_one_batch() {
    for name in ["llama", "llama3-rope", "mistral", "qwen2"] {
        let mut rig = Rig::new(name, LIMITS);
        let mut names: Vec<String> = rig.adapters.keys().cloned().collect();
        names.push("base".into());
        let mut cases = Vec::new();
        for adapter in &names {
            for (prompt, expected) in golden(name, adapter) {
                let request = rig.request(adapter, &prompt, greedy(25));
                assert_eq!(rig.alone(request.clone()), until_end(&expected), "{name} {adapter} alone");
                cases.push((request, expected));
            }
        }
        // A new cache, so that everything is computed again.
        let mut rig = Rig { adapters: std::mem::take(&mut rig.adapters), ..Rig::new(name, LIMITS) };
        let _events: Vec<Events> = cases.iter().map(|(request, _)| rig.submit(request.clone())).collect();
        rig.run();
        for (at, (_, expected)) in cases.iter().enumerate() {
            assert_eq!(rig.written[&(at as u64)], until_end(expected), "{name} {} in a batch", names[at / 5]);
        }
    }
}

#[test]
fn a_seed_gives_the_same_tokens_alone_and_among_others_with_other_adapters() {
    let mut rig = Rig::new("qwen2", LIMITS);
    let prompt = tokens(1, 45);
    let alone = rig.alone(rig.request("qv", &prompt, seeded(11)));
    assert_ne!(alone, rig.alone(rig.request("qv", &prompt, seeded(12))));
    // A new cache, so that nothing of the first run is used again.
    let mut rig = Rig::new("qwen2", LIMITS);
    let names: Vec<String> = rig.adapters.keys().cloned().chain(["base".into()]).collect();
    let mut others: Vec<Events> = Vec::new();
    for at in 0..15_u32 {
        let other = if at % 3 == 0 { prompt.clone() } else { tokens(at, 7 + 9 * at as usize) };
        others.push(rig.submit(rig.request(&names[at as usize % names.len()], &other, seeded(u64::from(at)))));
        if at == 7 {
            // The others are at different places when it comes.
            rig.turns(5);
            others.push(rig.submit(rig.request("qv", &prompt, seeded(11))));
        }
    }
    rig.run();
    assert_eq!(rig.written[&8], alone);
    assert!(others.into_iter().all(|events| collected(events).1.is_none()));
}

#[test]
fn a_long_prompt_keeps_back_neither_answers_nor_short_prompts() {
    let mut rig = Rig::new("llama", LIMITS);
    let _writer = rig.submit(rig.request("base", &tokens(1, 10), Sampling { logit_bias: endless(), ..greedy(100) }));
    rig.turns(3);
    let _long = rig.submit(rig.request("base", &tokens(2, 240), greedy(2)));
    let _short = rig.submit(rig.request("base", &tokens(3, 20), greedy(50)));
    let mut short_began = None;
    for step in 0.. {
        let (before, read) = (rig.written[&0].len(), rig.scheduler.stats.prefilled_tokens);
        rig.turn();
        assert_eq!(rig.written[&0].len(), before + 1, "the writer waited in step {step}");
        assert!(rig.scheduler.stats.prefilled_tokens - read <= 32 + 20, "a step read more than its share");
        if short_began.is_none() && rig.written.get(&2).is_some_and(|written| !written.is_empty()) {
            short_began = Some(step);
        }
        if rig.written.get(&1).is_some_and(|written| !written.is_empty()) {
            assert!(step >= 7, "240 tokens were read in {step} steps of 32");
            break;
        }
    }
    assert!(short_began.is_some_and(|step| step <= 2), "the short prompt waited for the long one: {short_began:?}");
}

#[test]
fn a_dropped_stream_gives_its_memory_back() {
    let mut rig = Rig::new("llama", LIMITS);
    let kept = rig.submit(rig.request("base", &tokens(1, 10), greedy(60)));
    let dropped = rig.submit(rig.request("qv", &tokens(2, 100), Sampling { n: 3, ..greedy(60) }));
    rig.turns(8);
    let before = rig.scheduler.own_pages();
    assert_eq!(rig.scheduler.slots.len(), 4);
    drop(dropped);
    rig.turn();
    assert_eq!(rig.scheduler.slots.len(), 1);
    assert!(rig.scheduler.own_pages() < before);
    drop(kept);
    assert!(!rig.turn());
    assert_eq!((rig.scheduler.own_pages(), rig.scheduler.cache.pinned()), (0, 0));
    assert_eq!(rig.scheduler.stats.cancelled, 2);
    while rig.scheduler.cache.evict() {}
    assert_eq!(rig.scheduler.cache.pages(), 0);
}

#[test]
fn answers_that_gave_up_their_memory_go_on_as_if_they_had_not() {
    let requests = |rig: &Rig| -> Vec<LaneRequest> {
        (0..6)
            .map(|at| {
                rig.request(
                    ["base", "qv", "dora"][at % 3],
                    &tokens(at as u32, 40),
                    Sampling { max_tokens: Some(150), logit_bias: endless(), ..seeded(at as u64) },
                )
            })
            .collect()
    };
    let mut rig = Rig::new("llama", LIMITS);
    let events: Vec<Events> = requests(&rig).into_iter().map(|request| rig.submit(request)).collect();
    rig.run();
    // Two answers fit.
    let mut tight = Rig::new("llama", StepLimits { pages: 13, ..LIMITS });
    let tight_events: Vec<Events> = requests(&tight).into_iter().map(|request| tight.submit(request)).collect();
    tight.run();
    assert!(tight.scheduler.stats.preempted > 0);
    assert_eq!(tight.written, rig.written);
    for (events, tight) in events.into_iter().zip(tight_events) {
        let (events, tight) = (collected(events).0, collected(tight).0);
        let text = |events: &[Event]| {
            events
                .iter()
                .filter_map(|event| if let Event::Delta { text, .. } = event { Some(text.as_str()) } else { None })
                .collect::<String>()
        };
        assert_eq!(text(&events), text(&tight));
        assert!(matches!(tight.last(), Some(Event::Done(usage)) if usage.completion_tokens == 150));
    }
}

#[test]
fn prefixes_are_found_again_and_never_under_another_adapter() {
    let mut rig = Rig::new("llama", LIMITS);
    let prompt = tokens(4, 100);
    let first = rig.alone(rig.request("qv", &prompt, greedy(30)));
    assert_eq!(rig.scheduler.stats.prefix_hit_tokens, 0);
    assert_eq!(rig.alone(rig.request("qv", &prompt, greedy(30))), first);
    assert_eq!(rig.scheduler.stats.prefix_hit_tokens, 96);
    // A conversation that goes on finds what was written, too.
    let longer = [&prompt[..], &first[..], &tokens(9, 5)].concat();
    let continued = rig.alone(rig.request("qv", &longer, greedy(10)));
    assert_eq!(rig.scheduler.stats.prefix_hit_tokens, 96 + 128);
    for adapter in ["base", "dora", "patterns"] {
        let with_cache = rig.alone(rig.request(adapter, &prompt, greedy(30)));
        let mut fresh = Rig::new("llama", LIMITS);
        assert_eq!(with_cache, fresh.alone(fresh.request(adapter, &prompt, greedy(30))), "{adapter}");
        assert_ne!(with_cache, first, "{adapter} answers like qv: the test shows nothing");
    }
    let mut half = rig.request("qv", &prompt, greedy(30));
    half.adapters[0].weight = 0.5;
    assert_ne!(rig.alone(half), first);
    assert_eq!(rig.scheduler.stats.prefix_hit_tokens, 96 + 128, "a page was shared between adapters");
    let mut fresh = Rig::new("llama", LIMITS);
    assert_eq!(fresh.alone(fresh.request("qv", &longer, greedy(10))), continued);
}

#[test]
fn equal_prompts_that_come_together_are_read_once() {
    let mut rig = Rig::new("llama", LIMITS);
    let prompt = tokens(4, 150);
    let _events: Vec<Events> = (0..4).map(|_| rig.submit(rig.request("qv", &prompt, greedy(5)))).collect();
    let _several = rig.submit(rig.request("qv", &prompt, Sampling { n: 3, temperature: 1.0, ..greedy(5) }));
    rig.run();
    // 128 tokens once; the last, incomplete page of 22 by each of the seven answers.
    assert_eq!(rig.scheduler.stats.prefilled_tokens, 128 + 7 * 22);
    assert!((1..4).all(|at| rig.written[&at] == rig.written[&0]));
}

#[test]
fn a_step_that_fails_ends_its_own_requests_and_the_engine_goes_on() {
    let mut rig = Rig::new("llama", LIMITS);
    let (mut job, events) = prepare(&rig.lane, rig.request("base", &[5, 6], greedy(5))).unwrap();
    // The decoder has no such token.
    job.prompt = vec![5, 1_000_000];
    rig.scheduler.queue.push(Box::new(job)).unwrap();
    rig.run();
    let error = collected(events).1;
    assert!(matches!(error, Some(GenerateError::Engine { .. })), "{error:?}");
    let (prompt, expected) = golden("llama", "base").swap_remove(0);
    assert_eq!(rig.alone(rig.request("base", &prompt, greedy(25))), until_end(&expected));
}

#[test]
fn deadlines_end_answers_wherever_they_are() {
    let mut rig = Rig::new("llama", StepLimits { rows: 1, ..LIMITS });
    let soon = Instant::now() + Duration::from_millis(1);
    let with = |deadline, request: LaneRequest| LaneRequest { deadline: Some(deadline), ..request };
    let running = rig.submit(rig.request("base", &tokens(1, 10), greedy(200)));
    rig.turn();
    // It waits behind the first.
    let waiting = rig.submit(with(soon, rig.request("base", &tokens(2, 10), greedy(5))));
    while Instant::now() < soon {
        std::hint::spin_loop();
    }
    rig.run();
    assert_eq!(collected(running).1.map(|error| error.to_string()), None);
    let (events, error) = collected(waiting);
    assert!(events.is_empty() && matches!(error, Some(GenerateError::DeadlineExceeded)));
    let soon = Instant::now() + Duration::from_millis(20);
    let running = rig.submit(with(soon, rig.request("base", &tokens(3, 10), greedy(200))));
    rig.turn();
    while Instant::now() < soon {
        std::hint::spin_loop();
    }
    rig.run();
    let (events, error) = collected(running);
    assert!(matches!(events.first(), Some(Event::Started { .. })));
    assert!(matches!(error, Some(GenerateError::DeadlineExceeded)));
    assert_eq!(rig.scheduler.own_pages(), 0);
}

#[test]
fn tenants_take_turns_however_much_one_of_them_asks() {
    let mut rig = Rig::new("llama", StepLimits { rows: 1, ..LIMITS });
    let of = |tenant: &str, request: LaneRequest| LaneRequest { tenant: tenant.into(), ..request };
    let mut streams = Vec::new();
    for at in 0..10 {
        streams.push(("much", rig.submit(of("much", rig.request("base", &tokens(at, 20), greedy(10))))));
    }
    rig.turn();
    for at in 20..23 {
        streams.push(("little", rig.submit(of("little", rig.request("base", &tokens(at, 20), greedy(10))))));
    }
    let mut order = Vec::new();
    loop {
        let went_on = rig.turn();
        streams.retain_mut(|(tenant, events)| {
            while let Ok(event) = events.try_recv() {
                if matches!(event, Ok(Event::Done(_))) {
                    order.push(*tenant);
                    return false;
                }
            }
            true
        });
        if !went_on {
            break;
        }
    }
    let last = order.iter().rposition(|tenant| *tenant == "little").unwrap();
    assert!(order.len() == 13 && last <= 6, "{order:?}");
}

#[test]
fn the_context_and_the_budget_bound_answers() {
    let mut rig = Rig::new("llama", StepLimits { pages: 4, ..LIMITS });
    let refused = prepare(&rig.lane, rig.request("base", &tokens(1, 128), greedy(5)));
    assert!(matches!(refused.err(), Some(GenerateError::PromptTooLong { tokens: 128, context: 128 })));
    let unbounded = Sampling { max_tokens: None, logit_bias: endless(), ..greedy(1) };
    let events = rig.submit(rig.request("base", &tokens(1, 100), unbounded));
    rig.run();
    let (events, error) = collected(events);
    assert!(error.is_none());
    assert!(events.iter().any(|event| matches!(event, Event::Finished { reason: FinishReason::Length, .. })));
    assert!(matches!(events.last(), Some(Event::Done(usage)) if usage.completion_tokens == 28));
}

/// Token ids and the negative log-probability of each but the first, by the reference.
fn golden_nll(name: &str, adapter: &str) -> Vec<(Vec<u32>, Vec<f64>)> {
    let text = std::fs::read(family(name).join(format!("{adapter}.golden.json"))).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect::<Vec<_>>();
    rows.iter()
        .map(|row| (numbers(&row["input_ids"]).iter().map(|id| *id as u32).collect(), numbers(&row["token_nll"])))
        .collect()
}

#[test]
fn scores_are_the_references_whatever_else_runs_and_whatever_the_cache_holds() {
    // Few pages, so that some lose theirs and start again.
    for limits in [LIMITS, StepLimits { pages: 24, rows: 6, ..LIMITS }] {
        let mut rig = Rig::new("llama", limits);
        let mut waiting = Vec::new();
        for adapter in ["base", "dora"] {
            for (ids, nll) in golden_nll("llama", adapter) {
                // The whole text is in the cache before a part of it is scored.
                rig.alone(rig.request(adapter, &ids, greedy(2)));
                for from in [1, ids.len() / 2, ids.len() - 1] {
                    let request = rig.request(adapter, &ids, Sampling::default());
                    let (mut job, events) = prepare(&rig.lane, request).unwrap();
                    let (sender, scores) = tokio::sync::mpsc::unbounded_channel();
                    job.scoring = Some(Scoring { from, scores: sender });
                    rig.scheduler.queue.push(Box::new(job)).unwrap();
                    waiting.push((events, scores, nll[from - 1..].to_vec()));
                }
            }
        }
        let writing = rig.submit(rig.request("base", &tokens(3, 40), greedy(20)));
        rig.run();
        assert!(collected(writing).1.is_none());
        for (events, mut scores, nll) in waiting {
            let (events, error) = collected(events);
            assert!(error.is_none() && matches!(events.last(), Some(Event::Done(_))), "{error:?}");
            let scores = scores.try_recv().unwrap();
            assert_eq!(scores.len(), nll.len());
            for (score, nll) in scores.iter().zip(&nll) {
                assert!((f64::from(*score) + nll).abs() < 1e-3, "{score} {nll}");
            }
        }
        assert_eq!(rig.scheduler.own_pages(), 0);
    }
}
