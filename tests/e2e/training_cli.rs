//! `cairn train` and `cairn eval` on this machine alone, and on a datanet through the gateway: interrupted, resumed, evaluated.

use std::{fs, path::Path, time::Duration};

use cairn_tests::{Gateway, MODEL, Setup, copy, unique};
use serde_json::Value;

use crate::training::examples;

/// A recipe that takes seconds, in QLoRA, with a checkpoint only where the run is asked for one.
fn recipe(gateway: &Gateway, name: &str, data: &str, more: &str) -> String {
    let path = gateway.scratch().join(format!("{name}.toml"));
    let text = format!(
        "base = \"{MODEL}\"\ndata = \"{data}\"\noutput = \"{name}\"\nheld_out = 0.2\nsamples = 1\n{more}\n[options]\n\
         preset = \"fast\"\nmethod = \"qlora\"\nr = 4\ntarget_modules = [\"q_proj\", \"v_proj\"]\nmax_length = 64\n\
         batch_size = 2\npacking = false\nmax_steps = 10\ncheckpoint_every = 100\neval_every = 4\nseed = 7\n"
    );
    fs::write(&path, text).expect("a recipe can be written");
    path.to_string_lossy().into_owned()
}

/// Steps and evaluations of a run with their losses, bit by bit, as its events have them.
fn losses(run: &Path) -> Vec<(String, u64, u64)> {
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |event: Value| {
        let (kind, data) = (event["data"]["event"].as_str()?.to_owned(), &event["data"]);
        Some((kind, data["step"].as_u64()?, data["loss"].as_f64()?.to_bits()))
    };
    events.filter_map(of).collect()
}

#[tokio::test]
async fn an_interrupted_run_goes_on_as_the_very_same_run_and_is_evaluated() {
    let gateway = Setup::new().prepare();
    let dir = gateway.scratch();
    fs::write(dir.join("examples.jsonl"), examples(24)).expect("data can be written");
    let whole = gateway.cli(&["train", &recipe(&gateway, "whole", "examples.jsonl", "")]);
    assert!(whole.ok(), "{whole}");
    for said in ["Predicted: 10 steps", "memory  ", "weights ", "time    ", "step 10/10", "Perplexity"] {
        assert!(whole.stderr.contains(said), "{said}: {whole}");
    }
    for said in ["adapter  ", "report   ", "cairn adapters push"] {
        assert!(whole.stdout.contains(said), "{said}: {whole}");
    }
    let expected = losses(&dir.join("whole"));
    assert_eq!(expected.iter().filter(|(kind, ..)| kind == "step").count(), 10, "{expected:?}");

    // Ctrl-C after a few steps: a checkpoint, and 130 as shells have it.
    let parts = recipe(&gateway, "parts", "examples.jsonl", "");
    let mut running = gateway.started(&["train", &parts]);
    while losses(&dir.join("parts")).len() < 3 {
        assert!(!running.ended(), "it ended before it was interrupted: {}", running.finish());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.interrupt();
    let stopped = running.finish();
    assert_eq!(stopped.code(), 130, "{stopped}");
    assert!(stopped.stdout.contains("with a checkpoint; `cairn train --resume"), "{stopped}");
    let first = losses(&dir.join("parts"));
    assert!(first.len() < expected.len(), "it stopped on the way");
    assert_eq!(fs::read_dir(dir.join("parts/checkpoints")).expect("checkpoints").count(), 1);
    // Without --resume a run that is there is refused, as the help says.
    let refused = gateway.cli(&["train", &parts]);
    assert!(refused.code() == 2 && refused.stderr.contains("--resume goes on with it"), "{refused}");
    assert!(gateway.cli(&["train", "--help"]).stdout.contains("command with --resume goes on"));

    let resumed = gateway.cli(&["train", "--resume", "--json", &parts]);
    assert!(resumed.ok(), "{resumed}");
    let outcome: Value = serde_json::from_str(resumed.stdout.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((&outcome["end"], &outcome["adapter"]), (&"finished".into(), &true.into()), "{resumed}");
    assert_eq!(losses(&dir.join("parts")), expected, "the very same run");
    let weights = |run: &str| fs::read(dir.join(run).join("adapter/adapter_model.safetensors")).expect("an adapter");
    assert!(weights("parts") == weights("whole"), "and the very same adapter");

    let adapter = dir.join("whole/adapter").to_string_lossy().into_owned();
    let held = examples(40).lines().skip(30).collect::<Vec<_>>().join("\n");
    fs::write(dir.join("held.jsonl"), held).expect("data can be written");
    let eval = |more: &[&str]| {
        let all = [&["eval", "held.jsonl", "--base", MODEL, "--adapter", &adapter, "--samples", "1"], more].concat();
        gateway.cli(&all)
    };
    let found = eval(&["--json", "--output", "first"]).json();
    assert_eq!((&found["held_out"]["rows"], &found["held_out"]["generated"]), (&10.into(), &1.into()), "{found:#}");
    let perplexity = &found["metrics"][0];
    assert_eq!(perplexity["kind"], "perplexity", "{found:#}");
    assert!(perplexity["adapter"]["value"].as_f64() < perplexity["base"]["value"].as_f64(), "{perplexity:#}");
    let memory = &found["memory"];
    assert!(memory["evaluation_peak"].as_u64() > Some(50 << 20) && memory["measured_peak"].is_null(), "{memory:#}");
    assert!(memory["predicted"]["weights"].as_u64() < memory["half_lora"]["weights"].as_u64(), "{memory:#}");
    let text = eval(&["--rows", "4", "--output", "second"]);
    assert!(text.ok() && text.stdout.contains("Perplexity, ") && text.stdout.contains("report   second"), "{text}");
    let page = fs::read_to_string(dir.join("second/report.html")).expect("a report");
    assert!(page.contains("evaluated on 4 rows of") && page.contains("Evaluating it took"), "{page}");

    let none = gateway.cli(&["eval", "held.jsonl", "--base", MODEL, "--adapter", "nowhere"]);
    assert!(none.code() == 2 && none.stderr.contains("nowhere"), "{none}");
    let bad = gateway.cli(&["train", &recipe(&gateway, "bad", "examples.jsonl", "colour = \"red\"")]);
    assert!(bad.code() == 2 && bad.stderr.contains("colour"), "{bad}");
}

#[tokio::test]
async fn a_datanet_is_trained_on_and_evaluated_on_through_the_gateway() {
    let gateway = copy().await;
    let name = unique("terms");
    let template = "[template]\nuser = \"Define: {title}\"\nassistant = \"{text}\"";
    let without = gateway.cli(&["train", &recipe(&gateway, "without", "datanet:jargon", "")]);
    assert!(without.code() == 2 && without.stderr.contains("template"), "{without}");
    let path = recipe(&gateway, "terms", "datanet:jargon", &format!("suffix = \"{name}\"\n{template}"));
    let trained = gateway.cli(&["train", &path]);
    assert!(trained.ok(), "{trained}");
    assert!(trained.stdout.contains(&format!("answers as {MODEL}:{name}")), "{trained}");
    assert!(trained.stderr.contains("Predicted: 10 steps") && trained.stderr.contains("step 10/10"), "{trained}");
    let output = gateway.scratch().join("terms");
    for file in ["evaluation.json", "report.html", "provenance.json"] {
        assert!(output.join(file).is_file(), "{file}");
    }
    let again = gateway.cli(&["train", &path]);
    assert!(again.code() == 2 && again.stderr.contains("--resume follows it"), "{again}");

    let (user, assistant) = ("Define: {title}", "{text}");
    let eval = ["eval", "datanet:foldoc", "--base", MODEL, "--adapter", &name, "--rows", "6", "--samples", "1"];
    let evaluated = gateway.cli(&[&eval[..], &["--json", "--user", user, "--assistant", assistant]].concat());
    let found = evaluated.json();
    assert!((1..=6).contains(&found["held_out"]["rows"].as_u64().unwrap_or(0)), "{found:#}");
    assert!(found["adapter"].as_str().is_some_and(|said| said.contains(&format!("{MODEL}:{name}"))), "{found:#}");
    let untold = gateway.cli(&eval);
    assert!(untold.code() == 2 && untold.stderr.contains("--assistant"), "{untold}");
}
