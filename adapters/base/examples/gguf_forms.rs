//! How fast mistral.rs runs the forms that a GGUF file without SIMD kernels can take, and whether they keep its answers.
//!
//! `gguf_forms MODEL.gguf [GOLDEN.json [FORM ...]]`, on an idle machine. Each form is measured several times, in turns; what
//! counts is the ratio to the first form in the same run. GOLDEN.json is a list of `{prompt, greedy_text}`
//! as in `tests/golden/smollm2`: the texts that the model gives in float32.

use std::{path::Path, time::Instant};

use anyhow::Context;
use cairn_adapters::{ChatMessage, Completion, Event, Generation, Generator, Input, ModelName, Role, Sampling};
use cairn_base::{
    BaseConfig, BaseModels, EngineName, Format, Manifest, Status, WhenLoading, hash_directory,
    normalise::{GgmlDType, requantize},
    pull::{PullOptions, pull},
};
use futures::StreamExt;
use serde::Deserialize;

const ROUNDS: usize = 5;
const TOKENS: usize = 48;

/// What tensors without SIMD kernels become; none = they stay. In the last form, all others become float32 too.
const FORMS: [(&str, Option<GgmlDType>); 6] = [
    ("Q8_0", Some(GgmlDType::Q8_0)),
    ("original", None),
    ("Q4_0", Some(GgmlDType::Q4_0)),
    ("F16", Some(GgmlDType::F16)),
    ("F32", Some(GgmlDType::F32)),
    (ALL_F32, Some(GgmlDType::F32)),
];
const ALL_F32: &str = "F32-all";
const SLOW: [GgmlDType; 3] = [GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1];

#[derive(Deserialize)]
struct Golden {
    prompt: String,
    input_ids: Vec<u32>,
    greedy_text: String,
}

#[derive(Default)]
struct Speed {
    prompt: Vec<f64>,
    decode: Vec<f64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let source = args.next().context("give a .gguf file")?;
    let golden: Vec<Golden> = match args.next() {
        Some(path) => serde_json::from_slice(&std::fs::read(path)?)?,
        None => Vec::new(),
    };
    let only: Vec<String> = args.collect();
    let dir = tempfile::tempdir()?;
    let mut speeds: Vec<(&str, Speed)> = Vec::new();
    for (name, form) in FORMS.into_iter().filter(|(name, _)| only.is_empty() || only.iter().any(|it| it == name)) {
        prepare(Path::new(&source), dir.path(), name, form).await?;
        speeds.push((name, Speed::default()));
    }
    let models = BaseModels::open(BaseConfig {
        models_dir: dir.path().to_owned(),
        memory_budget: u64::MAX,
        when_loading: WhenLoading::Wait,
        engine: EngineName::MistralRs,
        retry_after: std::time::Duration::from_secs(1),
        max_in_flight: 1,
        quantize: None,
    })?;
    for (form, _) in &speeds {
        let name: ModelName = form.parse()?;
        let (before, started) = (resident(), Instant::now());
        models.load(&name).await?;
        println!(
            "{form}: loaded in {:.2} s; {} MiB more resident",
            started.elapsed().as_secs_f64(),
            (resident().saturating_sub(before)) >> 20
        );
        for row in &golden {
            compare(&models, &name, row).await?;
        }
    }
    for round in 0..ROUNDS {
        for (form, speed) in &mut speeds {
            let (prompt, decode) = measure(&models, &form.parse()?).await?;
            println!("round {round} {form}: {prompt:.0} prompt tokens/s, {decode:.1} tokens/s");
            speed.prompt.push(prompt);
            speed.decode.push(decode);
        }
    }
    let reference = (median(&speeds[0].1.prompt), median(&speeds[0].1.decode));
    println!(
        "\n| form | prompt tokens/s | decode tokens/s | prompt, ratio | decode, ratio |\n| --- | --- | --- | --- | --- |"
    );
    for (form, speed) in &speeds {
        let (prompt, decode) = (median(&speed.prompt), median(&speed.decode));
        let ratios = (prompt / reference.0, decode / reference.1);
        println!("| {form} | {prompt:.0} | {decode:.1} | {:.2} | {:.2} |", ratios.0, ratios.1);
    }
    for (form, _) in &speeds {
        let before = resident();
        models.unload(&form.parse()?)?;
        while models.get(&form.parse()?)?.status == Status::Loaded || models.memory_used() > 0 && *form == ALL_F32 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        println!("{form}: unloaded, {} MiB less resident", before.saturating_sub(resident()) >> 20);
    }
    Ok(())
}

/// Pulls the model and serves it in a form; none = as it is. With no regard to what normalisation chose.
async fn prepare(source: &Path, dir: &Path, name: &str, form: Option<GgmlDType>) -> anyhow::Result<()> {
    let pulled = pull(&source.to_string_lossy(), Some(name.parse()?), dir, &PullOptions::default(), &|_| {}).await?;
    let directory = dir.join(name);
    let Format::Gguf { file } = &pulled.format else { anyhow::bail!("not a GGUF file") };
    let serving = directory.join("serving");
    std::fs::remove_file(serving.join(file))?;
    match form {
        Some(form) => {
            requantize(source, &serving.join(file), |of| (SLOW.contains(&of) || name == ALL_F32).then_some(form))?
        }
        None => std::fs::copy(source, serving.join(file)).map(drop)?,
    }
    let manifest = Manifest { serving_hash: hash_directory(&serving)?, ..pulled };
    std::fs::write(directory.join("model.json"), serde_json::to_vec(&manifest)?)?;
    Ok(())
}

fn generation(model: &ModelName, input: Input, max_tokens: usize) -> Generation {
    let sampling = Sampling { temperature: 0.0, max_tokens: Some(max_tokens), ..Sampling::default() };
    Generation::new(model.clone(), input, sampling)
}

/// Prompt tokens and generated tokens a second.
async fn measure(models: &BaseModels, model: &ModelName) -> anyhow::Result<(f64, f64)> {
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(30);
    let started = Instant::now();
    let mut events = models.generate(generation(model, Input::Text(prompt), TOKENS)).await?;
    let mut first = None;
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta { .. } => first = first.or_else(|| Some(started.elapsed().as_secs_f64())),
            Event::Done(usage) => {
                let (first, all) = (first.context("nothing was generated")?, started.elapsed().as_secs_f64());
                let decoded = usage.completion_tokens.saturating_sub(1) as f64;
                return Ok((usage.prompt_tokens as f64 / first, decoded / (all - first)));
            }
            _ => {}
        }
    }
    anyhow::bail!("the stream ended early")
}

async fn compare(models: &BaseModels, model: &ModelName, row: &Golden) -> anyhow::Result<()> {
    let say = |role, content: &str| ChatMessage::new(role, content);
    let chat = Input::Chat(vec![say(Role::User, &row.prompt)]);
    let completion = Completion::collect(models.generate(generation(model, chat, 32)).await?).await?;
    let text = &completion.choices[0].text;
    let same = text.chars().zip(row.greedy_text.chars()).take_while(|(a, b)| a == b).count();
    let expected = row.input_ids.len();
    println!(
        "  {:?}: {} prompt tokens (golden {expected}), text equal for {same} of {} characters: {text:?}",
        row.prompt,
        completion.usage.prompt_tokens,
        row.greedy_text.chars().count()
    );
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Bytes of this process in memory; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
