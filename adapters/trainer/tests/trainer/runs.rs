//! Whole runs: repeated, interrupted and resumed, stopped early, refused.

use std::{fs, path::Path, sync::Arc};

use cairn_trainer::{
    Adapter, BaseForm, Control, Data, End, Event, Example, Method, Model, Optimizer, Run, Schedule, TrainError,
    TrainOptions,
};

use crate::support::golden;

fn model() -> Arc<Model> {
    Arc::new(Model::open(&golden().join("peft/llama/base"), BaseForm::F32).unwrap())
}

/// Lines that count up in different steps: something that can be learnt.
fn data() -> Data {
    let example = |i: u32| {
        let length = 6 + i * 5 % 11;
        let tokens: Vec<u32> = (0..length).map(|at| (20 + i + at * (1 + i % 3)) % 512).collect();
        Example { supervised: (0..length).map(|at| at > 2).collect(), tokens, row: format!("row {i}") }
    };
    Data { train: (0..24).map(example).collect(), held_out: (24..30).map(example).collect() }
}

fn options() -> TrainOptions {
    TrainOptions {
        method: Method::Lora,
        r: 4,
        dropout: 0.1,
        neftune_noise_alpha: Some(2.0),
        lr: 5e-3,
        schedule: Schedule::Cosine,
        epochs: 3,
        batch_size: 3,
        gradient_accumulation: 2,
        max_length: 32,
        packing: true,
        eval_every: Some(2),
        checkpoint_every: Some(2),
        ..TrainOptions::default()
    }
}

/// What a run reports that must be the same again.
fn losses(events: &[Event]) -> Vec<(usize, u64, u64)> {
    let of = |event: &Event| match event {
        Event::Step(report) => Some((report.step, report.loss.to_bits(), report.grad_norm.to_bits())),
        Event::Evaluated { step, loss, .. } => Some((*step, loss.to_bits(), 0)),
        Event::Checkpoint { .. } => None,
    };
    events.iter().filter_map(of).collect()
}

fn train(run: &mut Run, stop_after: usize) -> (End, Vec<Event>) {
    let (control, mut events) = (Control::default(), Vec::new());
    let end = run.train(&control, &mut |event| {
        if let Event::Step(report) = &event
            && report.step == stop_after
        {
            control.pause();
        }
        events.push(event);
    });
    (end.unwrap(), events)
}

fn values(adapter: &Adapter) -> Vec<u32> {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    adapter.to_peft().layers.values().flat_map(|delta| [bits(&delta.a.data), bits(&delta.b.data)].concat()).collect()
}

#[test]
fn the_same_seed_gives_the_same_run_and_a_resumed_run_is_the_uninterrupted_one() {
    let model = model();
    for optimizer in [Optimizer::AdamW, Optimizer::AdamW8bit] {
        let options = TrainOptions { optimizer, ..options() };
        let dir = tempfile::tempdir().unwrap();
        let start = |name: &str| {
            Run::new(Arc::clone(&model), options.clone(), "llama", data(), &dir.path().join(name)).unwrap()
        };
        let mut whole = start("whole");
        let (end, events) = train(&mut whole, usize::MAX);
        assert_eq!(end, End::Finished);
        assert!(whole.steps() >= 5, "{}", whole.steps());
        let evaluated: Vec<f64> = events
            .iter()
            .filter_map(|event| if let Event::Evaluated { loss, .. } = event { Some(*loss) } else { None })
            .collect();
        assert!(evaluated.last() < evaluated.first(), "{evaluated:?}");

        let mut again = start("again");
        assert_eq!(losses(&train(&mut again, usize::MAX).1), losses(&events));

        let mut first = start("parts");
        let (end, mut parts) = train(&mut first, 3);
        assert_eq!(end, End::Paused);
        drop(first);
        let resume = || Run::resume(Arc::clone(&model), &options, data(), &dir.path().join("parts")).unwrap().unwrap();
        parts.extend(train(&mut resume(), usize::MAX).1);
        assert_eq!(losses(&parts), losses(&events));
        assert_eq!(values(resume().session().adapter()), values(whole.session().adapter()));
        assert_eq!(fs::read_dir(dir.path().join("parts/checkpoints")).unwrap().count(), 2, "the last ones are kept");

        let seed = TrainOptions { seed: 1, ..options.clone() };
        let mut other = Run::new(Arc::clone(&model), seed, "llama", data(), &dir.path().join("other")).unwrap();
        assert!(losses(&train(&mut other, usize::MAX).1) != losses(&events));
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let (model, options, dir) = (model(), options(), tempfile::tempdir().unwrap());
    let start =
        |name: &str| Run::new(Arc::clone(&model), options.clone(), "llama", data(), &dir.path().join(name)).unwrap();
    let (_, events) = train(&mut start("whole"), usize::MAX);
    // Cancelled in the fourth step, after the checkpoint of the second: as if the process had been killed.
    let control = Control::default();
    let mut killed = start("killed");
    let end = killed.train(&control, &mut |event| {
        if matches!(&event, Event::Step(report) if report.step == 3) {
            control.cancel();
        }
    });
    assert_eq!(end.unwrap(), End::Cancelled);
    // A checkpoint that was being written is not taken for one.
    fs::create_dir(dir.path().join("killed/checkpoints/.writing-x")).unwrap();
    let mut resumed = Run::resume(Arc::clone(&model), &options, data(), &dir.path().join("killed")).unwrap().unwrap();
    assert!(!dir.path().join("killed/checkpoints/.writing-x").exists(), "nor does it stay");
    let (_, rest) = train(&mut resumed, usize::MAX);
    let expected: Vec<_> = losses(&events).into_iter().filter(|(step, ..)| *step > 2).collect();
    assert_eq!(losses(&rest), expected);
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let resume = |options: &TrainOptions, data: Data| Run::resume(Arc::clone(&model), options, data, dir.path());
    assert!(resume(&options(), data()).unwrap().is_none());
    let mut run = Run::new(Arc::clone(&model), options(), "llama", data(), dir.path()).unwrap();
    train(&mut run, 1);
    let error = resume(&TrainOptions { lr: 1e-3, ..options() }, data()).err().unwrap().to_string();
    assert!(error.contains("lr = 0.005, not 0.001"), "{error}");
    let mut other = data();
    other.train[3].supervised[3] = false;
    let error = resume(&options(), other).err().unwrap().to_string();
    assert!(error.contains("other examples"), "{error}");
    let state = dir.path().join("checkpoints/step-00000001/state.json");
    fs::write(&state, "{}").unwrap();
    assert!(matches!(resume(&options(), data()), Err(TrainError::Checkpoint { .. })));
}

#[test]
fn a_run_ends_early_when_it_gets_worse_and_keeps_its_best() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    // Nothing can be learnt about tokens that the training examples do not have, at such a rate.
    let mut held_out = data();
    held_out
        .held_out
        .iter_mut()
        .for_each(|example| example.tokens.iter_mut().for_each(|token| *token = (*token * 37 + 11) % 512));
    let options = TrainOptions {
        lr: 0.05,
        epochs: 50,
        eval_every: Some(1),
        early_stopping_patience: Some(2),
        neftune_noise_alpha: None,
        ..options()
    };
    let mut run = Run::new(Arc::clone(&model), options.clone(), "llama", held_out.clone(), dir.path()).unwrap();
    let (end, events) = train(&mut run, usize::MAX);
    assert_eq!(end, End::EarlyStopped);
    let tokens =
        events.iter().rev().find_map(|event| if let Event::Step(step) = event { Some(step.tokens) } else { None });
    let last =
        events.iter().rev().find_map(|event| if let Event::Step(report) = event { Some(report.step) } else { None });
    assert!(last.unwrap() < run.steps());
    let of = |adapter: &Adapter| {
        let scores = cairn_trainer::score(&model, Some(adapter), &held_out.held_out, 64);
        scores.iter().map(|score| score.nll).sum::<f64>()
            / scores.iter().map(|score| score.tokens).sum::<usize>() as f64
    };
    let lowest =
        events.iter().filter_map(|event| if let Event::Evaluated { loss, .. } = event { Some(*loss) } else { None });
    let lowest = lowest.fold(f64::INFINITY, f64::min);
    assert!((of(&run.adapter().unwrap()) - lowest).abs() < 1e-5);
    assert!(of(run.session().adapter()) > lowest + 1e-3);
    // What came after its end may have failed: it has ended all the same, and learns no more.
    let mut again = Run::resume(Arc::clone(&model), &options, held_out.clone(), dir.path()).unwrap().unwrap();
    let (end, events) = train(&mut again, usize::MAX);
    assert!(end == End::EarlyStopped && events.is_empty(), "{end:?} {events:?}");
    assert_eq!(Some(again.tokens()), tokens);
}

#[test]
fn time_that_is_up_ends_a_run_with_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let options = TrainOptions { max_time: Some(0), ..options() };
    let mut run = Run::new(model(), options, "llama", data(), dir.path()).unwrap();
    let (end, events) = train(&mut run, usize::MAX);
    assert_eq!(end, End::TimeUp);
    assert!(matches!(events.last(), Some(Event::Checkpoint { step: 1, path }) if path.join("state.json").exists()));
}

/// From the files of a base to an adapter that is served, on a base in f16 and on one in NF4: what is rounded changes the numbers,
/// and nothing else.
#[test]
fn a_base_in_f16_or_nf4_is_trained_as_a_whole() {
    let base = golden().join("peft/llama/base");
    let reference = model();
    let first = |events: &[Event]| match &events[0] {
        Event::Step(report) => report.loss,
        other => panic!("{other:?}"),
    };
    let run = |method, base_form, name: &str| {
        let options = TrainOptions { method, base_form, ..options() };
        let model = Arc::new(Model::open(&base, options.form()).unwrap());
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::new(Arc::clone(&model), options.clone(), "llama", data(), &dir.path().join(name)).unwrap();
        let (end, events) = train(&mut run, usize::MAX);
        assert_eq!(end, End::Finished, "{name}");
        let evaluated: Vec<f64> = events
            .iter()
            .filter_map(|event| if let Event::Evaluated { loss, .. } = event { Some(*loss) } else { None })
            .collect();
        assert!(evaluated.last() < evaluated.first(), "{name}: {evaluated:?}");
        // Killed and resumed, it is the same run here too.
        let start =
            || Run::new(Arc::clone(&model), options.clone(), "llama", data(), &dir.path().join("parts")).unwrap();
        let (_, mut parts) = train(&mut start(), 3);
        let resumed = Run::resume(Arc::clone(&model), &options, data(), &dir.path().join("parts"));
        parts.extend(train(&mut resumed.unwrap().unwrap(), usize::MAX).1);
        assert_eq!(losses(&parts), losses(&events), "{name}");
        // What comes of it is an adapter that the lane attaches, and that changes what it says.
        let out = dir.path().join("adapter");
        run.adapter().unwrap().export(&out).unwrap();
        let lane = cairn_lane::Decoder::open(&base, &cairn_lane::Options { form: None, threads: 2 }).unwrap();
        lane.attach(&crate::support::adapter(&out)).unwrap();
        let held_out = data().held_out;
        let nll = |adapter: Option<&Adapter>| -> f64 {
            cairn_trainer::score(&model, adapter, &held_out, 64).iter().map(|score| score.nll).sum()
        };
        assert!(nll(Some(&run.adapter().unwrap())) < 0.99 * nll(None), "{name}");
        (first(&events), model.bytes())
    };
    let (exact, all) = run(Method::Lora, BaseForm::F32, "f32");
    let (half, half_bytes) = run(Method::Lora, BaseForm::F16, "f16");
    let (four, four_bytes) = run(Method::Qlora, BaseForm::Stored, "nf4");
    assert_eq!((all, half_bytes), (reference.bytes(), reference.bytes() / 2));
    assert!(four_bytes < all, "embeddings and head stay as stored, {four_bytes} of {all}");
    assert!((half - exact).abs() < 1e-3 && half != exact, "{half} and {exact}");
    assert!((four - exact).abs() < 0.2 && four != exact, "{four} and {exact}");
}

#[test]
fn what_cannot_be_trained_is_refused_before_it_starts() {
    let model = model();
    let refusal = |options: TrainOptions, data: Data| {
        Run::new(Arc::clone(&model), options, "llama", data, Path::new("unused")).err().unwrap().to_string()
    };
    let names = |name: &str| cairn_trainer::TargetModules::Names(vec!["q_proj".into(), name.into()]);
    let mut long = data();
    long.train[5].tokens.resize(40, 1);
    long.train[5].supervised.resize(40, true);
    let mut unknown = data();
    unknown.train[2].tokens[1] = 600;
    let mut nothing = data();
    nothing.train.iter_mut().for_each(|example| example.supervised.fill(false));
    let no_test = Data { held_out: vec![], ..data() };
    for (options, data, said) in [
        (options(), long, "row 5"),
        (options(), unknown, "token 600"),
        (options(), nothing, "no example has a token to learn"),
        (TrainOptions { early_stopping_patience: Some(2), ..options() }, no_test, "held-out"),
        (TrainOptions { max_length: 4096, ..options() }, data(), "context"),
        (TrainOptions { target_modules: names("kproj"), ..options() }, data(), "kproj"),
        (TrainOptions { target_modules: names("lm_head"), ..options() }, data(), "lm_head"),
        (TrainOptions { lr: -1.0, ..options() }, data(), "lr"),
    ] {
        let error = refusal(options, data);
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn a_run_that_diverges_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = TrainOptions { lr: 1.0, max_grad_norm: None, alpha: 1e30, epochs: 20, ..options() };
    let mut run = Run::new(model(), options, "llama", data(), dir.path()).unwrap();
    let error = run.train(&Control::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
}
