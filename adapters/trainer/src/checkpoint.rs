//! Checkpoints: a directory each, complete or absent. What is in one continues the very same run.
//!
//! ```text
//! step-00000120/  adapter_config.json, adapter_model.safetensors    as PEFT has them: the adapter can be used as it is
//!                 optimizer.safetensors                             AdamW's states
//!                 state.json                                        where the run is, and what it was asked to do
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use cairn_adapters::peft::{self, Limits};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{
    Adapter, TrainError, TrainOptions,
    dynamic::Blockwise,
    optimizer::{State, States},
};

/// Where a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    /// Optimizer steps made.
    pub(crate) step: usize,
    /// Batches that went through the model.
    pub(crate) batches: u64,
    /// Updates of the optimizer.
    pub(crate) updates: u64,
    /// Tokens that went through the model.
    pub(crate) tokens: u64,
    /// Seconds of all parts of the run.
    pub(crate) seconds: f64,
    /// Those of them in which held-out examples were evaluated.
    #[serde(default)]
    pub(crate) watching: f64,
    /// The lowest evaluation loss and its step.
    pub(crate) best: Option<(f64, usize)>,
    /// Evaluations since.
    pub(crate) worse: usize,
    /// Identity of the examples.
    pub(crate) data: String,
    /// What was asked for.
    pub(crate) options: TrainOptions,
}

/// A checkpoint that was read.
pub(crate) struct Loaded {
    pub(crate) adapter: peft::Adapter,
    pub(crate) states: BTreeMap<String, (Dtype, Vec<u8>)>,
    pub(crate) progress: Progress,
}

/// Checkpoints that are kept.
const KEPT: usize = 2;
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const PREFIX: &str = "step-";
const WRITING: &str = ".writing-";

/// Writes a checkpoint and removes those before the last ones. Returns its directory.
pub(crate) fn write(
    dir: &Path,
    adapter: &Adapter,
    states: &States,
    progress: &Progress,
) -> Result<PathBuf, TrainError> {
    let path = dir.join(format!("{PREFIX}{:08}", progress.step));
    replace(&path, |temporary| {
        adapter.to_peft().write(temporary)?;
        write_states(&temporary.join(OPTIMIZER), states)?;
        let state = serde_json::to_vec_pretty(progress).expect("plain values");
        write_file(&temporary.join(STATE), &state)
    })?;
    for (_, old) in list(dir)?.into_iter().rev().skip(KEPT) {
        fs::remove_dir_all(&old).map_err(TrainError::io(&old))?;
    }
    Ok(path)
}

/// Reads the last checkpoint, if there is one.
pub(crate) fn read_last(dir: &Path) -> Result<Option<(PathBuf, Loaded)>, TrainError> {
    let Some((_, path)) = list(dir)?.pop() else { return Ok(None) };
    let damaged = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
    let file = path.join(STATE);
    let state = fs::read(&file).map_err(TrainError::io(&file))?;
    let progress = serde_json::from_slice(&state).map_err(|error| damaged(format!("{STATE}: {error}")))?;
    let file = path.join(OPTIMIZER);
    let bytes = fs::read(&file).map_err(TrainError::io(&file))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| damaged(format!("{OPTIMIZER}: {error}")))?;
    let states = tensors.iter().map(|(name, view)| (name.to_owned(), (view.dtype(), view.data().to_vec()))).collect();
    let adapter = peft::Adapter::read(&path, &Limits::default())?;
    Ok(Some((path, Loaded { adapter, states, progress })))
}

/// Puts states that were read in the place of fresh ones; the error says what does not fit.
pub(crate) fn restore(
    fresh: &mut States,
    updates: u64,
    mut stored: BTreeMap<String, (Dtype, Vec<u8>)>,
) -> Result<(), String> {
    fresh.updates = updates;
    let mut take = |name: String, dtype: Dtype, bytes: usize| match stored.remove(&name) {
        Some((of, data)) if of == dtype && data.len() == bytes => Ok(data),
        _ => Err(format!("{OPTIMIZER} has no fitting {name}")),
    };
    for (i, (_, state)) in fresh.tensors.iter_mut().enumerate() {
        match state {
            State::Whole { m, v } => {
                for (name, values) in [("m", m), ("v", v)] {
                    numbers(&take(format!("{i}.{name}"), Dtype::F32, values.len() * 4)?, values);
                }
            }
            State::Bytes { m, v } => {
                for (name, values) in [("m", m), ("v", v)] {
                    values.codes = take(format!("{i}.{name}.codes"), Dtype::U8, values.codes.len())?;
                    let scales = take(format!("{i}.{name}.scales"), Dtype::F32, values.scales.len() * 4)?;
                    numbers(&scales, &mut values.scales);
                }
            }
        }
    }
    Ok(())
}

/// Writes a directory beside its place, flushes it to the disk, and puts it there, whole; one that is there is replaced.
pub(crate) fn replace(path: &Path, fill: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<(), TrainError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(TrainError::io(parent))?;
    let temporary = tempfile::Builder::new().prefix(WRITING).tempdir_in(parent).map_err(TrainError::io(parent))?;
    fill(temporary.path())?;
    sync(temporary.path())?;
    if path.exists() {
        // A directory cannot be replaced in one step: between these two there is none, and the one before it still is.
        let old = tempfile::Builder::new().prefix(".old-").tempdir_in(parent).map_err(TrainError::io(parent))?;
        fs::rename(path, old.path()).map_err(TrainError::io(path))?;
    }
    let temporary = temporary.keep();
    if let Err(source) = fs::rename(&temporary, path) {
        // What cannot be put in its place must not stay either; the first error is the one that counts.
        let _ = fs::remove_dir_all(&temporary);
        return Err(TrainError::Io { path: path.to_owned(), source });
    }
    sync(parent)
}

/// Removes what a kill left half-written in a directory.
pub(crate) fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(WRITING) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Complete checkpoints by step.
fn list(dir: &Path) -> Result<Vec<(usize, PathBuf)>, TrainError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(TrainError::io(dir))?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.map_err(TrainError::io(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(step) = name.strip_prefix(PREFIX).and_then(|step| step.parse().ok()) {
            all.push((step, path));
        }
    }
    all.sort_unstable();
    Ok(all)
}

fn write_states(path: &Path, states: &States) -> Result<(), TrainError> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors: Vec<(String, Dtype, Vec<u8>)> = Vec::new();
    for (i, (_, state)) in states.tensors.iter().enumerate() {
        match state {
            State::Whole { m, v } => {
                tensors.push((format!("{i}.m"), Dtype::F32, bytes(m)));
                tensors.push((format!("{i}.v"), Dtype::F32, bytes(v)));
            }
            State::Bytes { m, v } => {
                for (name, Blockwise { codes, scales }) in [("m", m), ("v", v)] {
                    tensors.push((format!("{i}.{name}.codes"), Dtype::U8, codes.clone()));
                    tensors.push((format!("{i}.{name}.scales"), Dtype::F32, bytes(scales)));
                }
            }
        }
    }
    let views = tensors.iter().map(|(name, dtype, bytes)| {
        let size = if *dtype == Dtype::F32 { 4 } else { 1 };
        let view = TensorView::new(*dtype, vec![bytes.len() / size], bytes).expect("as many bytes as the shape says");
        (name.as_str(), view)
    });
    let bytes = safetensors::serialize(views, None).expect("plain tensors under different names");
    write_file(path, &bytes)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    fs::write(path, bytes).map_err(TrainError::io(path))?;
    File::open(path).and_then(|file| file.sync_all()).map_err(TrainError::io(path))
}

/// Makes names in a directory outlast a loss of power.
fn sync(dir: &Path) -> Result<(), TrainError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(TrainError::io(dir))
}

fn numbers(bytes: &[u8], values: &mut [f32]) {
    bytes.as_chunks().0.iter().zip(values).for_each(|(word, value)| *value = f32::from_le_bytes(*word));
}
