//! What limits Cairn, from the time that its lane counted in this very run.

use std::fmt::Write;

use crate::{
    Compare,
    cases::{PROMPT_CASE, STREAM_CASE},
    machine,
    samples::Found,
    shape::Shape,
};

/// The section of the report.
pub(crate) fn render(compare: &Compare, shape: &Shape, found: &Found) -> anyhow::Result<String> {
    let mut text = String::from("## What limits\n\n");
    if found.spent().is_empty() {
        return Ok(text);
    }
    text += "Where Cairn's time went, in percent of each case's wall time, as the lane counts it (`cairn_lane_…_seconds`): \
             products with the base's matrices alone; products with base and adapters, which are one hand-over; attention; the rest \
             of the decoder (norms, activations, embeddings, keys and values); choosing tokens and making text; and what is outside \
             the lane (HTTP, leases, prompts made into tokens, the record of each answer).\n\n\
             | | base products | base and adapters | attention | rest of the decoder | choosing | outside | the largest |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for (case, spent) in found.spent() {
        let parts = spent.parts();
        let largest = NAMES.iter().zip(parts).max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |(name, _)| name);
        let cells: Vec<String> = parts.iter().map(|part| format!("{:.0}", 100.0 * part)).collect();
        writeln!(text, "| {case} | {} | {largest} |", cells.join(" | "))?;
    }
    text.push('\n');
    let bytes = std::fs::metadata(&compare.gguf).map_or(0.0, |file| file.len() as f64);
    let (ceiling, per_weight) = (machine::read_bandwidth(), bytes / weights_in_file(shape));
    if let Some(spent) = found.spent_on(STREAM_CASE).filter(|spent| spent.lane.matrices > 0.0) {
        let read = shape.token_weights() as f64 * per_weight * spent.lane.steps;
        let rate = read / spent.lane.matrices;
        writeln!(
            text,
            "- An answer by itself reads all weights for each token: {:.0} MB a step, {:.1} GB/s while it multiplies, from huge \
             pages where the system has some. That is {:.0} % of what two threads that only read get from this machine's memory in \
             ordinary pages, {:.1} GB/s.",
            shape.token_weights() as f64 * per_weight / 1e6,
            rate / 1e9,
            100.0 * rate / ceiling,
            ceiling / 1e9
        )?;
    }
    if let Some(spent) = found.spent_on(PROMPT_CASE).filter(|spent| spent.lane.matrices > 0.0) {
        let operations = 2.0 * shape.layer_weights() as f64 * spent.lane.prompt_tokens;
        writeln!(
            text,
            "- A prompt costs two operations for each of {:.0} million weights and token: {:.0} billion a second while it \
             multiplies.",
            shape.layer_weights() as f64 / 1e6,
            operations / spent.lane.matrices / 1e9
        )?;
    }
    let (base, eight) = ("8 at once, base", "8 at once on 8 adapters");
    if let Some((base, eight)) = found.spent_on(base).zip(found.spent_on(eight)) {
        let step = |seconds: f64, steps: f64| 1e3 * seconds / steps;
        let (before, after) = (step(base.lane.decoding, base.lane.steps), step(eight.lane.decoding, eight.lane.steps));
        let batches = |spent: &crate::lane::Spent| spent.lane.generated_tokens / (8.0 * f64::from(compare.tokens));
        let outside = |spent: &crate::lane::Spent| spent.wall - spent.lane.decoding - spent.lane.choosing;
        writeln!(
            text,
            "- 8 adapters in the batch make a step of the decoder {before:.1} -> {after:.1} ms long ({:+.1} %); they read {:.0} MB \
             of factors beside the base's {:.0}. Outside the lane a batch spends {:.0} ms with the base and {:.0} with 8 adapters.",
            100.0 * (after / before - 1.0),
            eight.lane.resident / 1e6,
            shape.token_weights() as f64 * per_weight / 1e6,
            1e3 * outside(base) / batches(base),
            1e3 * outside(eight) / batches(eight),
        )?;
    }
    text += "- llama.cpp's server never puts two sets of adapters into one batch: requests on different adapters wait for each other.\n\
             - mistral.rs' Python Runner takes one call at a time: its figures for 8 at once are those of 8 in turn. On a CPU its \
             engine would batch only sequences of equal length. It refuses adapters on a Llama GGUF, so that its only figures are the \
             base's; the aim for 8 adapters takes its base's for what it could reach at best.\n\
             - llama.cpp's AMX path is off (it is known to crash on some processors); AVX-512 and VNNI are on.\n\n";
    Ok(text)
}

/// The parts of [`crate::lane::Spent::parts`], as one names them.
const NAMES: [&str; 6] =
    ["base products", "base and adapters", "attention", "rest of the decoder", "choosing tokens", "outside the lane"];

/// Numbers in the file: those of the layers, and the embeddings, once where they are the head.
fn weights_in_file(shape: &Shape) -> f64 {
    (shape.token_weights() + if shape.tied { 0 } else { shape.hidden * shape.vocabulary }) as f64
}
