//! [`Attached`]: an adapter prepared for one base. Scales and DoRA's norms are folded into B, so that a step has little to do.
//!
//! With g = m / ‖W + s B A‖ (DoRA; 1 otherwise) an adapter of weight w changes a linear layer's y = W x + bias to
//! ```text
//! y = (1 + w (g - 1)) ⊙ W x + w B' (A x) + bias + w shift,    B' = g ⊙ s B,    shift = g ⊙ s lora_bias + (own bias - bias)
//! ```
//! which for w = 1 is PEFT's formula. Embeddings are the same with a one-hot x.

use std::collections::BTreeMap;

use cairn_adapters::peft::{self, Array};
use cairn_matrix::{Arena, Factor, FactorForm, Form, Matrix, vector};

use crate::{
    AttachError, Config,
    names::{EMBEDDINGS, FINAL_NORM, HEAD, Norm, Projection},
    weights::{Linear, Weights, fitting},
};

/// An adapter ready for the rows of a step; any number of sequences share one.
#[derive(Debug)]
pub struct Attached {
    layers: Vec<LayerChange>,
    head: Option<LinearChange>,
    /// A head trained whole: [vocabulary, hidden].
    pub(crate) saved_head: Option<Matrix>,
    pub(crate) embeddings: Option<EmbeddingChange>,
    /// Embeddings trained whole: [vocabulary, hidden].
    pub(crate) saved_embeddings: Option<Matrix>,
    /// The last norm, trained whole: [hidden].
    norm: Option<Vec<f32>>,
}

#[derive(Debug, Default)]
struct LayerChange {
    linears: [Option<LinearChange>; 7],
    input_norm: Option<Vec<f32>>,
    post_norm: Option<Vec<f32>>,
}

/// What an adapter changes in one linear layer.
#[derive(Debug, Default)]
pub(crate) struct LinearChange {
    /// A [r, in] and B' [out, r].
    pub(crate) low_rank: Option<(Factor, Factor)>,
    /// g - 1, [out].
    pub(crate) gain: Option<Vec<f32>>,
    /// [out]
    pub(crate) shift: Option<Vec<f32>>,
}

/// What an adapter changes in the embeddings.
#[derive(Debug)]
pub(crate) struct EmbeddingChange {
    /// A transposed: [vocabulary, r].
    a: Vec<f32>,
    /// B' transposed: [r, hidden].
    b: Vec<f32>,
    /// g - 1, [hidden].
    pub(crate) gain: Option<Vec<f32>>,
}

/// A linear layer of the model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Layer(usize, Projection),
    Head,
}

/// A norm over the residual stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NormPlace {
    Input(usize),
    Post(usize),
    Last,
}

impl Attached {
    /// Bytes it holds in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        let vector = |values: &Option<Vec<f32>>| values.as_ref().map_or(0, |values| size_of_val(values.as_slice()));
        let matrix = |matrix: &Option<Matrix>| matrix.as_ref().map_or(0, Matrix::bytes);
        let linear = |change: &LinearChange| {
            let low_rank = change.low_rank.as_ref().map_or(0, |(a, b)| a.bytes() + b.bytes());
            low_rank + vector(&change.gain) + vector(&change.shift)
        };
        let layer = |layer: &LayerChange| {
            let linears: usize = layer.linears.iter().flatten().map(linear).sum();
            linears + vector(&layer.input_norm) + vector(&layer.post_norm)
        };
        let embedding = |change: &EmbeddingChange| {
            size_of_val(change.a.as_slice()) + size_of_val(change.b.as_slice()) + vector(&change.gain)
        };
        self.layers.iter().map(layer).sum::<usize>()
            + self.head.as_ref().map_or(0, linear)
            + matrix(&self.saved_head)
            + self.embeddings.as_ref().map_or(0, embedding)
            + matrix(&self.saved_embeddings)
            + vector(&self.norm)
    }

    /// Moves all factors together, in the order in which a step reads them.
    fn settle(&mut self) {
        let linears = self.layers.iter_mut().flat_map(|layer| layer.linears.iter_mut().flatten()).chain(&mut self.head);
        let factors: Vec<&mut Factor> =
            linears.filter_map(|it| it.low_rank.as_mut()).flat_map(|(a, b)| [a, b]).collect();
        let mut arena = Arena::with_capacity(factors.iter().map(|factor| factor.bytes()).sum());
        factors.into_iter().for_each(|factor| factor.settle(&mut arena));
    }

    /// What it changes in a linear layer.
    pub(crate) fn linear(&self, place: Place) -> Option<&LinearChange> {
        match place {
            Place::Layer(layer, of) => self.layers[layer].linears[of as usize].as_ref(),
            Place::Head => self.head.as_ref(),
        }
    }

    /// Whether it changes the head.
    pub(crate) fn changes_head(&self) -> bool {
        self.head.is_some() || self.saved_head.is_some()
    }

    /// Its own weights of a norm: [hidden].
    pub(crate) fn norm(&self, place: NormPlace) -> Option<&[f32]> {
        match place {
            NormPlace::Input(layer) => self.layers[layer].input_norm.as_deref(),
            NormPlace::Post(layer) => self.layers[layer].post_norm.as_deref(),
            NormPlace::Last => self.norm.as_deref(),
        }
    }
}

impl EmbeddingChange {
    /// x += weight · B' A[:, token]
    pub(crate) fn add(&self, token: usize, weight: f32, x: &mut [f32]) {
        let r = self.b.len() / x.len();
        for (a, b) in self.a[token * r..][..r].iter().zip(self.b.chunks_exact(x.len())) {
            vector::axpy(weight * a, b, x);
        }
    }
}

/// Fits every part of an adapter to the base, or says which does not.
pub(crate) fn attach(adapter: &peft::Adapter, config: &Config, weights: &Weights) -> Result<Attached, AttachError> {
    let modules: BTreeMap<String, (usize, Projection)> =
        (0..config.layers).flat_map(|layer| Projection::ALL.map(|of| (of.path(layer), (layer, of)))).collect();
    let mut attached = Attached {
        layers: (0..config.layers).map(|_| LayerChange::default()).collect(),
        head: None,
        saved_head: None,
        embeddings: None,
        saved_embeddings: None,
        norm: None,
    };
    let layers: Vec<(&String, &peft::Delta)> = adapter.layers.iter().collect();
    for change in on_all_threads(&layers, |(path, delta)| change(path, delta, &modules, weights))? {
        match change {
            Change::Linear(Place::Layer(layer, of), change) => {
                attached.layers[layer].linears[of as usize] = Some(change)
            }
            Change::Linear(Place::Head, change) => attached.head = Some(change),
            Change::Embeddings(change) => attached.embeddings = Some(change),
        }
    }
    for (name, array) in &adapter.saved {
        save(&mut attached, name, array, &modules, (config, weights))?;
    }
    attached.settle();
    Ok(attached)
}

/// What a module of an adapter changes, and where.
enum Change {
    Linear(Place, LinearChange),
    Embeddings(EmbeddingChange),
}

fn change(
    path: &str,
    delta: &peft::Delta,
    modules: &BTreeMap<String, (usize, Projection)>,
    weights: &Weights,
) -> Result<Change, AttachError> {
    match modules.get(path) {
        Some((layer, of)) if !delta.embedding => {
            let linear = &weights.layers[*layer].linears[*of as usize];
            Ok(Change::Linear(Place::Layer(*layer, *of), linear_change(path, delta, linear.as_ref())?))
        }
        None if path == HEAD && !delta.embedding => {
            let linear = Linear { matrix: weights.head(), bias: None };
            Ok(Change::Linear(Place::Head, linear_change(path, delta, linear)?))
        }
        None if path == EMBEDDINGS && delta.embedding => {
            Ok(Change::Embeddings(embedding_change(path, delta, &weights.embeddings)?))
        }
        _ => Err(AttachError::Module(path.to_owned())),
    }
}

/// `f` of every item, in their order, each thread of the machine taking some neighbours; the error is that of the first item
/// that has one.
fn on_all_threads<T: Sync, U: Send, E: Send>(items: &[T], f: impl Fn(&T) -> Result<U, E> + Sync) -> Result<Vec<U>, E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let all = |items: &[T]| items.iter().map(&f).collect::<Result<Vec<U>, E>>();
    std::thread::scope(|scope| {
        let shares = items.chunks(items.len().div_ceil(threads).max(1));
        let threads: Vec<_> = shares.map(|share| scope.spawn(|| all(share))).collect();
        let mut results = Vec::with_capacity(items.len());
        for thread in threads {
            results.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(results)
    })
}

/// Puts one tensor that was trained whole in its place.
fn save(
    attached: &mut Attached,
    name: &str,
    array: &Array,
    modules: &BTreeMap<String, (usize, Projection)>,
    (config, weights): (&Config, &Weights),
) -> Result<(), AttachError> {
    let norms = |path: &str| {
        (0..config.layers).find_map(|layer| {
            [Norm::Input, Norm::PostAttention].into_iter().find(|of| of.path(layer) == path).map(|of| (layer, of))
        })
    };
    match name.rsplit_once('.') {
        Some((HEAD, "weight")) => attached.saved_head = Some(matrix(name, array, weights.head())?),
        Some((EMBEDDINGS, "weight")) => {
            attached.saved_embeddings = Some(matrix(name, array, &weights.embeddings)?);
        }
        Some((FINAL_NORM, "weight")) => attached.norm = Some(vector_of(name, array, config.hidden_size)?),
        Some((path, "weight")) => {
            let (layer, of) = norms(path).ok_or_else(|| AttachError::Module(name.to_owned()))?;
            let values = Some(vector_of(name, array, config.hidden_size)?);
            let layer = &mut attached.layers[layer];
            *(if of == Norm::Input { &mut layer.input_norm } else { &mut layer.post_norm }) = values;
        }
        Some((path, "bias")) => {
            let (layer, of) = *modules.get(path).ok_or_else(|| AttachError::Module(name.to_owned()))?;
            let bias = weights.layers[layer].linears[of as usize].bias.as_deref();
            let bias = bias.ok_or_else(|| AttachError::Module(name.to_owned()))?;
            let own = vector_of(name, array, bias.len())?;
            let change = attached.layers[layer].linears[of as usize].get_or_insert_default();
            change.shift = Some(own.iter().zip(bias).map(|(own, bias)| own - bias).collect());
        }
        _ => return Err(AttachError::Module(name.to_owned())),
    }
    Ok(())
}

fn linear_change(path: &str, delta: &peft::Delta, base: Linear<&Matrix, &[f32]>) -> Result<LinearChange, AttachError> {
    let (outputs, inputs, r) = (base.matrix.outputs(), base.matrix.inputs(), delta.r());
    check(path, &[delta.outputs(), delta.inputs()], &[outputs, inputs])?;
    let gain = delta.magnitude.as_ref().map(|magnitude| {
        let mut row = vec![0.0; inputs];
        let norm = |(o, m): (usize, &f32)| {
            base.matrix.row(o, &mut row);
            for (b, a) in delta.b.data[o * r..][..r].iter().zip(delta.a.data.chunks_exact(inputs)) {
                vector::axpy(delta.scale * b, a, &mut row);
            }
            m / vector::dot(&row, &row).sqrt()
        };
        magnitude.iter().enumerate().map(norm).collect::<Vec<f32>>()
    });
    let scale = |o: usize| delta.scale * gain.as_ref().map_or(1.0, |gain| gain[o]);
    let mut folded = Vec::with_capacity(delta.b.data.len());
    for (o, row) in delta.b.data.chunks_exact(r).enumerate() {
        let scale = scale(o);
        folded.extend(row.iter().map(|b| scale * b));
    }
    let mut shift = delta
        .lora_bias
        .as_ref()
        .map(|bias| bias.iter().enumerate().map(|(o, bias)| scale(o) * bias).collect::<Vec<f32>>());
    if let Some(own) = &delta.bias {
        let bias = base.bias.ok_or_else(|| AttachError::Module(format!("{path}.bias")))?;
        let shift = shift.get_or_insert_with(|| vec![0.0; outputs]);
        shift.iter_mut().zip(own.iter().zip(bias)).for_each(|(shift, (own, bias))| *shift += own - bias);
    }
    let form = base.matrix.form();
    Ok(LinearChange {
        low_rank: Some((factor(&delta.a.data, r, inputs, form), factor(&folded, outputs, r, form))),
        gain: gain.map(|gain| gain.iter().map(|gain| gain - 1.0).collect()),
        shift,
    })
}

/// The factors are as exact as the base, but for f16 numbers that f16 does not hold.
fn factor(data: &[f32], outputs: usize, inputs: usize, base: Form) -> Factor {
    const MOST: f32 = 60_000.0; // f16 ends at 65,504
    // The whole is looked at without leaving early, which the compiler turns into vector instructions.
    let small = || data.iter().fold(true, |small, value| small & (value.abs() < MOST));
    let form = match base {
        Form::Q8_0 | Form::Q4K => FactorForm::I8,
        Form::F16 if small() => FactorForm::F16,
        Form::F16 | Form::F32 => FactorForm::F32,
    };
    Factor::new(data, outputs, inputs, form).expect("the data is as long as the shape says, and has been checked")
}

fn embedding_change(path: &str, delta: &peft::Delta, base: &Matrix) -> Result<EmbeddingChange, AttachError> {
    let (vocabulary, hidden, r) = (base.outputs(), base.inputs(), delta.r());
    check(path, &[delta.outputs(), delta.inputs()], &[hidden, vocabulary])?;
    let transposed = |data: &[f32], rows: usize, columns: usize| -> Vec<f32> {
        (0..columns).flat_map(|column| (0..rows).map(move |row| data[row * columns + column])).collect()
    };
    let scaled: Vec<f32> = delta.b.data.iter().map(|b| delta.scale * b).collect();
    let mut change =
        EmbeddingChange { a: transposed(&delta.a.data, r, vocabulary), b: transposed(&scaled, hidden, r), gain: None };
    if let Some(magnitude) = &delta.magnitude {
        // ‖W + s B A‖ of each element of the residual stream, over the vocabulary.
        let (mut row, mut squares) = (vec![0.0; hidden], vec![0.0f32; hidden]);
        for token in 0..vocabulary {
            base.row(token, &mut row);
            change.add(token, 1.0, &mut row);
            squares.iter_mut().zip(&row).for_each(|(square, value)| *square += value * value);
        }
        let gain: Vec<f32> = magnitude.iter().zip(&squares).map(|(m, square)| m / square.sqrt()).collect();
        for row in change.b.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&gain).for_each(|(b, gain)| *b *= gain);
        }
        change.gain = Some(gain.iter().map(|gain| gain - 1.0).collect());
    }
    Ok(change)
}

/// A whole matrix in the base's form.
fn matrix(name: &str, array: &Array, base: &Matrix) -> Result<Matrix, AttachError> {
    let (outputs, inputs) = (base.outputs(), base.inputs());
    check(name, &array.shape, &[outputs, inputs])?;
    let matrix = Matrix::quantize(&array.data, outputs, inputs, fitting(base.form(), inputs));
    Ok(matrix.expect("the form fits the row, and the data has been checked"))
}

fn vector_of(name: &str, array: &Array, width: usize) -> Result<Vec<f32>, AttachError> {
    check(name, &array.shape, &[width])?;
    Ok(array.data.clone())
}

fn check(name: &str, actual: &[usize], expected: &[usize]) -> Result<(), AttachError> {
    if actual == expected {
        return Ok(());
    }
    Err(AttachError::Shape { name: name.to_owned(), actual: actual.to_vec(), expected: expected.to_vec() })
}
