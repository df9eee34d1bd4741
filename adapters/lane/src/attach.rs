//! [`Attached`]: an adapter prepared for one base. Factors packed for the kernels, DoRA's norms computed once.

use std::collections::BTreeMap;

use cairn_adapters::peft::{self, Array};
use cairn_matrix::{Matrix, Threads};
use parking_lot::Mutex;

use crate::{
    AttachError, Config,
    names::{EMBEDDINGS, FINAL_NORM, HEAD, Norm, Projection},
    weights::Weights,
};

/// An adapter ready for rows of a step. Shared by all that use it.
#[derive(Debug, Default)]
pub struct Attached {
    pub(crate) layers: Vec<LayerDeltas>,
    pub(crate) head: Option<Delta>,
    /// A head trained whole: [vocabulary, hidden].
    pub(crate) saved_head: Option<Matrix>,
    pub(crate) embeddings: Option<EmbeddingDelta>,
    /// Embeddings trained whole: [vocabulary, hidden].
    pub(crate) saved_embeddings: Option<Matrix>,
    pub(crate) norm: Option<Vec<f32>>,
    bytes: usize,
}

/// What an adapter changes in one block.
#[derive(Debug, Default)]
pub(crate) struct LayerDeltas {
    pub(crate) projections: [Option<Delta>; 7],
    pub(crate) input_norm: Option<Vec<f32>>,
    pub(crate) post_norm: Option<Vec<f32>>,
}

/// What an adapter changes in one linear layer; see [`peft::Delta`] for the formulas.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// A [r, in], B [out, r] and the scale.
    pub(crate) low_rank: Option<(Matrix, Matrix, f32)>,
    /// DoRA: m / ‖W + scale · B A‖, [out].
    pub(crate) gain: Option<Vec<f32>>,
    /// scale · bias of B, [out].
    pub(crate) lora_bias: Option<Vec<f32>>,
    /// Instead of the base's bias, [out].
    pub(crate) bias: Option<Vec<f32>>,
}

/// e(token) += scale · B A[:, token]
#[derive(Debug)]
pub(crate) struct EmbeddingDelta {
    /// A transposed: [vocabulary, r].
    pub(crate) a: Vec<f32>,
    /// [hidden, r]
    pub(crate) b: Matrix,
    pub(crate) r: usize,
    pub(crate) scale: f32,
}

impl Attached {
    /// Bytes it holds in memory.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.bytes
    }
}

/// Fits every part of an adapter to the base, or says which does not.
pub(crate) fn attach(
    adapter: &peft::Adapter,
    config: &Config,
    weights: &Weights,
    threads: &Threads,
) -> Result<Attached, AttachError> {
    let mut attached = Attached { layers: Vec::new(), bytes: adapter.resident_bytes(), ..Attached::default() };
    attached.layers.resize_with(config.layers, LayerDeltas::default);
    let modules: BTreeMap<String, (usize, Projection)> =
        (0..config.layers).flat_map(|layer| Projection::ALL.map(|of| (of.path(layer), (layer, of)))).collect();
    let hidden = [config.vocab_size, config.hidden_size];
    for (path, given) in &adapter.layers {
        if let Some((layer, of)) = modules.get(path).filter(|_| !given.embedding) {
            let base = &weights.layers[*layer].projections[*of as usize].matrix;
            attached.layers[*layer].projections[*of as usize] = Some(delta(path, given, base, threads)?);
        } else if path == HEAD && !given.embedding {
            let base = weights.head.as_ref().unwrap_or(&weights.embeddings);
            attached.head = Some(delta(path, given, base, threads)?);
        } else if path == EMBEDDINGS && given.embedding && given.magnitude.is_none() {
            check(path, [given.inputs(), given.outputs()], hidden)?;
            let (r, vocabulary) = (given.r(), config.vocab_size);
            let transposed =
                (0..vocabulary).flat_map(|token| (0..r).map(move |i| given.a.data[i * vocabulary + token])).collect();
            let b = Matrix::from_f32(given.b.data.clone(), given.outputs(), r);
            attached.embeddings = Some(EmbeddingDelta { a: transposed, b, r, scale: given.scale });
        } else {
            return Err(AttachError::Module(path.clone()));
        }
    }
    for (name, array) in &adapter.saved {
        let matrix = |expected: [usize; 2]| {
            let actual = <[usize; 2]>::try_from(array.shape.as_slice()).unwrap_or([array.data.len(), 1]);
            check(name, actual, expected).map(|()| Matrix::from_f32(array.data.clone(), expected[0], expected[1]))
        };
        match name.rsplit_once('.') {
            Some((HEAD, "weight")) => attached.saved_head = Some(matrix(hidden)?),
            Some((EMBEDDINGS, "weight")) => attached.saved_embeddings = Some(matrix(hidden)?),
            Some((FINAL_NORM, "weight")) => attached.norm = Some(vector(name, array, config.hidden_size)?),
            Some((path, "weight")) => {
                let norm = (0..config.layers).find_map(|layer| {
                    let deltas = [Norm::Input, Norm::PostAttention].into_iter().find(|of| of.path(layer) == path);
                    deltas.map(|of| (layer, of))
                });
                let (layer, of) = norm.ok_or_else(|| AttachError::Module(name.clone()))?;
                let values = Some(vector(name, array, config.hidden_size)?);
                let layer = &mut attached.layers[layer];
                *(if of == Norm::Input { &mut layer.input_norm } else { &mut layer.post_norm }) = values;
            }
            Some((path, "bias")) => {
                let (layer, of) = *modules.get(path).ok_or_else(|| AttachError::Module(name.clone()))?;
                let values = vector(name, array, config.shape(of)[0])?;
                attached.layers[layer].projections[of as usize].get_or_insert_default().bias = Some(values);
            }
            _ => return Err(AttachError::Module(name.clone())),
        }
    }
    Ok(attached)
}

fn delta(path: &str, given: &peft::Delta, base: &Matrix, threads: &Threads) -> Result<Delta, AttachError> {
    check(path, [given.outputs(), given.inputs()], [base.outputs(), base.inputs()])?;
    let gain = given.magnitude.as_ref().map(|magnitude| {
        let norms = norms(given, base, threads);
        magnitude.iter().zip(norms).map(|(m, norm)| m / norm).collect()
    });
    let a = Matrix::from_f32(given.a.data.clone(), given.r(), given.inputs());
    let b = Matrix::from_f32(given.b.data.clone(), given.outputs(), given.r());
    Ok(Delta {
        low_rank: Some((a, b, given.scale)),
        gain,
        lora_bias: given.lora_bias.as_ref().map(|bias| bias.iter().map(|value| value * given.scale).collect()),
        bias: given.bias.clone(),
    })
}

/// ‖W + scale · B A‖ of each output row.
fn norms(given: &peft::Delta, base: &Matrix, threads: &Threads) -> Vec<f32> {
    let (outputs, inputs, r) = (given.outputs(), given.inputs(), given.r());
    let mut norms = vec![0.0; outputs];
    let rows = outputs.div_ceil(threads.count() * 4).max(1);
    let parts: Vec<Mutex<&mut [f32]>> = norms.chunks_mut(rows).map(Mutex::new).collect();
    threads.run(parts.len(), |part| {
        let mut row = vec![0.0; inputs];
        for (i, norm) in parts[part].lock().iter_mut().enumerate() {
            let output = part * rows + i;
            base.row(output, &mut row);
            for (b, a) in given.b.data[output * r..][..r].iter().zip(given.a.data.chunks(inputs)) {
                cairn_matrix::vector::axpy(given.scale * b, a, &mut row);
            }
            *norm = cairn_matrix::vector::dot(&row, &row).sqrt();
        }
    });
    norms
}

fn vector(name: &str, array: &Array, width: usize) -> Result<Vec<f32>, AttachError> {
    if array.shape == [width] {
        return Ok(array.data.clone());
    }
    Err(AttachError::Shape { name: name.to_owned(), actual: array.shape.clone(), expected: vec![width] })
}

fn check(name: &str, actual: [usize; 2], expected: [usize; 2]) -> Result<(), AttachError> {
    if actual == expected {
        return Ok(());
    }
    Err(AttachError::Shape { name: name.to_owned(), actual: actual.to_vec(), expected: expected.to_vec() })
}
