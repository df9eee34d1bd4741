//! [`Decoder`]: the base's weights, and one forward pass over any rows.
//!
//! ```text
//! x = E[token]
//! for each block:  x += O attention(rope(Q n), rope(K n), V n)    with n = norm(x)
//!                  x += Down (silu(Gate n) ⊙ Up n)                with n = norm(x)
//! logits = Head norm(x)
//! ```
//! Tokens of all rows stand below one another, rows of the same adapters together: every matrix is `[tokens, width]`.

use std::{fs, path::Path, sync::Arc};

use cairn_adapters::peft;
use cairn_matrix::{Form, Matrix, Threads, vector};
use parking_lot::Mutex;

use crate::{
    AttachError, Attached, Config, LoadError, Sequence, StepError, attach,
    attention::{self, Token},
    cache::Layout,
    delta::{self, Output, Place, Segment},
    gguf::Gguf,
    names::Projection as P,
    safetensors::{Checkpoint, damaged},
    weights::{Layer, Source, Weights},
};

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The form of the weight matrices; none = as stored, types without a kernel of their own in f32. Where a row does not
    /// divide into a form's blocks, the next more exact form is taken.
    pub form: Option<Form>,
    /// Threads of a step.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { form: None, threads: std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

/// Part of a sequence in a step.
pub struct Row<'a> {
    /// New tokens, at least one.
    pub tokens: &'a [u32],
    /// Where they go on.
    pub sequence: &'a mut Sequence,
    /// Adapters with their weights; empty = the base.
    pub adapters: &'a [(Arc<Attached>, f32)],
    /// Which logits are wanted.
    pub wanted: Wanted,
}

/// The logits of a row that a step returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None: a part of a prompt.
    None,
    /// After the last new token.
    Last,
    /// After each new token.
    All,
}

/// A base model that rows with any adapters run through.
pub struct Decoder {
    config: Config,
    weights: Weights,
    threads: Threads,
    /// Buffers of a step; a second one at the same time waits.
    scratch: Mutex<Scratch>,
}

#[derive(Default)]
struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    added: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    head: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Decoder {
    /// Loads a model: a directory with a `.gguf` file, or with `config.json` and `.safetensors` files.
    ///
    /// # Errors
    /// [`LoadError`]: a file is missing or damaged, or the model computes what the lane cannot.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, LoadError> {
        let Opened { config, mut source } = open_source(dir)?;
        let weights = Weights::read(&config, source.as_mut(), options.form)?;
        Ok(Self { config, weights, threads: Threads::new(options.threads.max(1)), scratch: Mutex::default() })
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A sequence without tokens.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence::new(Layout::new(&self.config))
    }

    /// Prepares an adapter for this base.
    ///
    /// # Errors
    /// [`AttachError`], naming the module that does not fit.
    pub fn attach(&self, adapter: &peft::Adapter) -> Result<Attached, AttachError> {
        attach::attach(adapter, &self.config, &self.weights, &self.threads)
    }

    /// Bytes of the weights in memory.
    #[must_use]
    pub fn weights_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Bytes of keys and values a token.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> usize {
        self.config.layers * 2 * self.config.kv_width() * size_of::<f32>()
    }

    /// One forward pass over all rows. Appends the wanted logits to `logits`, `[vocabulary]` each, in the order of the rows.
    ///
    /// # Errors
    /// [`StepError`], before anything was changed.
    pub fn step(&self, rows: &mut [Row<'_>], logits: &mut Vec<f32>) -> Result<(), StepError> {
        self.check(rows)?;
        let mut order: Vec<usize> = (0..rows.len()).filter(|at| !rows[*at].tokens.is_empty()).collect();
        order.sort_by_cached_key(|at| adapter_key(rows[*at].adapters));
        let segments = segments(rows, &order);
        let places: Vec<(usize, usize)> = order
            .iter()
            .flat_map(|at| {
                let start = rows[*at].sequence.len();
                (start..start + rows[*at].tokens.len()).map(move |position| (*at, position))
            })
            .collect();
        let mut scratch = self.scratch.lock();
        for at in &order {
            let tokens = rows[*at].tokens.len();
            rows[*at].sequence.reserve(tokens);
        }
        self.embed(rows, &order, &segments, &mut scratch);
        self.angles(&places, &mut scratch);
        for (at, layer) in self.weights.layers.iter().enumerate() {
            self.attention(at, layer, rows, &places, &segments, &mut scratch);
            self.feed_forward(at, layer, &segments, &mut scratch);
        }
        self.head(rows, &order, &segments, &mut scratch, logits);
        for at in order {
            let tokens = rows[at].tokens.len();
            rows[at].sequence.advance(tokens);
        }
        Ok(())
    }

    fn check(&self, rows: &[Row<'_>]) -> Result<(), StepError> {
        for row in rows {
            let tokens = row.sequence.len() + row.tokens.len();
            if tokens > self.config.context_length {
                return Err(StepError::Context { tokens, context: self.config.context_length });
            }
            if let Some(token) = row.tokens.iter().find(|token| **token as usize >= self.config.vocab_size) {
                return Err(StepError::Token { token: *token, vocabulary: self.config.vocab_size });
            }
        }
        Ok(())
    }

    /// x = E[token], as the adapters have it.
    fn embed(&self, rows: &[Row<'_>], order: &[usize], segments: &[Segment<'_>], scratch: &mut Scratch) {
        let width = self.config.hidden_size;
        let tokens: Vec<u32> = order.iter().flat_map(|at| rows[*at].tokens).copied().collect();
        scratch.x.resize(tokens.len() * width, 0.0);
        let mut other = vec![0.0; width];
        for segment in segments {
            for at in segment.rows.clone() {
                let (token, x) = (tokens[at] as usize, &mut scratch.x[at * width..][..width]);
                self.weights.embeddings.row(token, x);
                let base = segment.adapters.iter().any(|(it, _)| it.saved_embeddings.is_some()).then(|| x.to_vec());
                for (adapter, weight) in segment.adapters {
                    if let (Some(saved), Some(base)) = (&adapter.saved_embeddings, &base) {
                        saved.row(token, &mut other);
                        instead(x, base, &other, *weight);
                    }
                    if let Some(delta) = &adapter.embeddings {
                        let a = &delta.a[token * delta.r..][..delta.r];
                        delta.b.multiply(&self.threads, a, 1, &mut other);
                        vector::axpy(delta.scale * weight, &other, x);
                    }
                }
            }
        }
    }

    /// cos and sin of every token's position: [tokens, head_dim / 2].
    fn angles(&self, places: &[(usize, usize)], scratch: &mut Scratch) {
        let angles = || {
            let frequencies = &self.config.rope.inverse_frequencies;
            places.iter().flat_map(move |(_, position)| frequencies.iter().map(move |f| *position as f32 * f))
        };
        scratch.cos.clear();
        scratch.sin.clear();
        scratch.cos.extend(angles().map(f32::cos));
        scratch.sin.extend(angles().map(f32::sin));
    }

    fn attention(
        &self,
        at: usize,
        layer: &Layer,
        rows: &mut [Row<'_>],
        places: &[(usize, usize)],
        segments: &[Segment<'_>],
        scratch: &mut Scratch,
    ) {
        let (config, count) = (&self.config, places.len());
        let Scratch { x, normed, q, k, v, attended, added, cos, sin, .. } = scratch;
        self.norm(x, &layer.input_norm, segments, |it| it.layers[at].input_norm.as_deref(), normed);
        q.resize(count * config.q_width(), 0.0);
        k.resize(count * config.kv_width(), 0.0);
        v.resize(count * config.kv_width(), 0.0);
        self.project(at, layer, segments, normed, &mut [(P::Q, q), (P::K, k), (P::V, v)]);

        let half = config.head_dim / 2;
        for (heads, norm) in [(&mut *q, &layer.query_norm), (&mut *k, &layer.key_norm)] {
            let width = heads.len() / count;
            for (token, heads) in heads.chunks_mut(width).enumerate() {
                if let Some(norm) = norm {
                    for head in heads.chunks_mut(config.head_dim) {
                        let plain = head.to_vec();
                        vector::rms_norm(&plain, norm, config.norm_eps, head);
                    }
                }
                vector::rope(heads, &cos[token * half..][..half], &sin[token * half..][..half]);
            }
        }
        let width = config.kv_width();
        for ((row, position), (k, v)) in places.iter().zip(k.chunks(width).zip(v.chunks(width))) {
            rows[*row].sequence.write(at, *position, k, v);
        }
        attended.resize(count * config.q_width(), 0.0);
        let tokens: Vec<Token<'_>> =
            places.iter().map(|(row, position)| Token { sequence: rows[*row].sequence, position: *position }).collect();
        let layout = Layout::new(config);
        attention::attend(&self.threads, layout, at, config.windows[at], &tokens, q, attended);
        added.resize(x.len(), 0.0);
        self.project(at, layer, segments, attended, &mut [(P::O, added)]);
        vector::axpy(1.0, added, x);
    }

    fn feed_forward(&self, at: usize, layer: &Layer, segments: &[Segment<'_>], scratch: &mut Scratch) {
        let Scratch { x, normed, added, gate, up, .. } = scratch;
        self.norm(x, &layer.post_norm, segments, |it| it.layers[at].post_norm.as_deref(), normed);
        let count = x.len() / self.config.hidden_size;
        gate.resize(count * self.config.intermediate_size, 0.0);
        up.resize(count * self.config.intermediate_size, 0.0);
        self.project(at, layer, segments, normed, &mut [(P::Gate, gate), (P::Up, up)]);
        vector::silu_mul(gate, up);
        self.project(at, layer, segments, gate, &mut [(P::Down, added)]);
        vector::axpy(1.0, added, x);
    }

    /// Appends the logits that are wanted.
    fn head(
        &self,
        rows: &[Row<'_>],
        order: &[usize],
        segments: &[Segment<'_>],
        scratch: &mut Scratch,
        logits: &mut Vec<f32>,
    ) {
        let (hidden, vocabulary) = (self.config.hidden_size, self.config.vocab_size);
        // Wanted tokens by their place in x, with the row they belong to; segments over them.
        let mut wanted: Vec<(usize, usize)> = Vec::new();
        let mut start = 0;
        for at in order {
            let end = start + rows[*at].tokens.len();
            match rows[*at].wanted {
                Wanted::None => {}
                Wanted::Last => wanted.push((end - 1, *at)),
                Wanted::All => wanted.extend((start..end).map(|token| (token, *at))),
            }
            start = end;
        }
        if wanted.is_empty() {
            return;
        }
        let mut done = 0;
        let segments: Vec<Segment<'_>> = segments
            .iter()
            .map(|segment| {
                let count = wanted.iter().filter(|(token, _)| segment.rows.contains(token)).count();
                done += count;
                Segment { rows: done - count..done, adapters: segment.adapters }
            })
            .filter(|segment| !segment.rows.is_empty())
            .collect();
        let Scratch { x, normed, head, added, .. } = scratch;
        added.clear();
        wanted.iter().for_each(|(token, _)| added.extend_from_slice(&x[token * hidden..][..hidden]));
        self.norm(added, &self.weights.norm, &segments, |it| it.norm.as_deref(), normed);
        head.resize(wanted.len() * vocabulary, 0.0);
        let base = self.weights.head.as_ref().unwrap_or(&self.weights.embeddings);
        base.multiply(&self.threads, normed, wanted.len(), head);
        for segment in &segments {
            let (from, to) = (segment.rows.start, segment.rows.end);
            if !segment.adapters.iter().any(|(it, _)| it.saved_head.is_some()) {
                continue;
            }
            let y = &mut head[from * vocabulary..to * vocabulary];
            let base = y.to_vec();
            for (adapter, weight) in segment.adapters {
                let Some(saved) = &adapter.saved_head else { continue };
                let mut other = vec![0.0; y.len()];
                saved.multiply(&self.threads, &normed[from * hidden..to * hidden], to - from, &mut other);
                instead(y, &base, &other, *weight);
            }
        }
        let output = Output { bias: None, y: head, place: Place::Head };
        delta::add(&self.threads, &segments, normed, wanted.len(), &mut [output]);
        // Back into the order of the rows; a row's tokens stay in theirs.
        let mut back: Vec<usize> = (0..wanted.len()).collect();
        back.sort_by_key(|i| wanted[*i].1);
        back.into_iter().for_each(|i| logits.extend_from_slice(&head[i * vocabulary..][..vocabulary]));
    }

    /// Linear layers that read one x, with what the adapters change in them.
    fn project(
        &self,
        at: usize,
        layer: &Layer,
        segments: &[Segment<'_>],
        x: &[f32],
        outputs: &mut [(P, &mut Vec<f32>)],
    ) {
        let rows = segments.last().map_or(0, |segment| segment.rows.end);
        let mut products: Vec<(&Matrix, &mut [f32])> =
            outputs.iter_mut().map(|(of, y)| (&layer.projections[*of as usize].matrix, y.as_mut_slice())).collect();
        Matrix::multiply_many(&self.threads, &mut products, x, rows);
        let adapted = segments.iter().any(|segment| !segment.adapters.is_empty());
        if !adapted && outputs.iter().all(|(of, _)| layer.projections[*of as usize].bias.is_none()) {
            return;
        }
        let mut outputs: Vec<Output<'_, '_>> = outputs
            .iter_mut()
            .map(|(of, y)| {
                let bias = layer.projections[*of as usize].bias.as_deref();
                Output { bias, y, place: Place::Block(at, *of) }
            })
            .collect();
        delta::add(&self.threads, segments, x, rows, &mut outputs);
    }

    /// out = norm(x), with each segment's own weights where an adapter has them.
    fn norm(
        &self,
        x: &[f32],
        base: &[f32],
        segments: &[Segment<'_>],
        saved: impl Fn(&Attached) -> Option<&[f32]>,
        out: &mut Vec<f32>,
    ) {
        let (width, eps) = (base.len(), self.config.norm_eps);
        out.resize(x.len(), 0.0);
        for segment in segments {
            let mut own = None;
            for (adapter, weight) in segment.adapters {
                if let Some(saved) = saved(adapter) {
                    instead(own.get_or_insert_with(|| base.to_vec()), base, saved, *weight);
                }
            }
            let weights = own.as_deref().unwrap_or(base);
            let part = segment.rows.start * width..segment.rows.end * width;
            for (x, out) in x[part.clone()].chunks(width).zip(out[part].chunks_mut(width)) {
                vector::rms_norm(x, weights, eps, out);
            }
        }
    }
}

/// A model's files, nothing of its weights read yet.
pub(crate) struct Opened {
    pub(crate) config: Config,
    pub(crate) source: Box<dyn Source>,
}

pub(crate) fn open_source(dir: &Path) -> Result<Opened, LoadError> {
    let io = |source| LoadError::Io { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let gguf = entries.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|it| it == "gguf"));
    if let Some(path) = gguf {
        let source = Gguf::open(&path)?;
        return Ok(Opened { config: source.config(), source: Box::new(source) });
    }
    let path = dir.join("config.json");
    let json = fs::read(&path).map_err(|_| LoadError::NoModel(dir.to_owned()))?;
    let json = serde_json::from_slice(&json).map_err(|error| damaged(&path, error))?;
    Ok(Opened { config: Config::from_json(&json)?, source: Box::new(Checkpoint::open(dir)?) })
}

/// value += weight · (other - base); exactly `other` where the weight is 1 and nothing else was added.
fn instead(value: &mut [f32], base: &[f32], other: &[f32], weight: f32) {
    if weight.to_bits() == 1f32.to_bits() && value == base {
        value.copy_from_slice(other);
        return;
    }
    for ((value, base), other) in value.iter_mut().zip(base).zip(other) {
        *value += weight * (other - base);
    }
}

/// Equal for rows that use the same adapters with the same weights in the same order.
fn adapter_key(adapters: &[(Arc<Attached>, f32)]) -> Vec<(usize, u32)> {
    adapters.iter().map(|(adapter, weight)| (Arc::as_ptr(adapter).addr(), weight.to_bits())).collect()
}

fn segments<'a>(rows: &[Row<'a>], order: &[usize]) -> Vec<Segment<'a>> {
    let mut segments: Vec<Segment<'a>> = Vec::new();
    let mut end = 0;
    for at in order {
        let (start, adapters) = (end, rows[*at].adapters);
        end += rows[*at].tokens.len();
        match segments.last_mut() {
            Some(last) if adapter_key(last.adapters) == adapter_key(adapters) => last.rows.end = end,
            _ => segments.push(Segment { rows: start..end, adapters }),
        }
    }
    segments
}
