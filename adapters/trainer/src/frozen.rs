//! [`Frozen`]: a weight matrix of the base, as it is stored, and its products. Weights are made f32 panel by panel while they
//! are multiplied; there is never a whole matrix of them.

use cairn_lane::{Form, LoadError, source::Data};
use half::{f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use crate::{
    buffers::Buffers,
    nf4::Nf4,
    view::{On, View, ViewMut, multiply},
};

/// In what form the matrices of the base are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseForm {
    /// As in the file; bf16 as f16, and quantized types without a kernel as Q8_0: what the lane serves.
    #[default]
    Stored,
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// NF4 with double quantization: QLoRA.
    Nf4,
}

/// W [out, in].
#[derive(Debug)]
pub struct Frozen {
    outputs: usize,
    inputs: usize,
    storage: Storage,
}

#[derive(Debug)]
enum Storage {
    F32(Vec<f32>),
    F16(Vec<f16>),
    /// GGML blocks, row after row.
    Blocks(Vec<u8>, Form),
    Nf4(Nf4),
}

/// Weights that are f32 at once: 8 MiB, a good part of the last cache and enough to keep a product busy.
const PANEL: usize = 2 << 20;

impl Frozen {
    /// Takes a tensor from a file into a form.
    ///
    /// # Errors
    /// [`LoadError::Form`]: the blocks do not fill the rows.
    pub fn new(name: &str, data: Data, [outputs, inputs]: [usize; 2], form: BaseForm) -> Result<Self, LoadError> {
        let storage = match (data, form) {
            (Data::Blocks(bytes, of), BaseForm::Stored) => Storage::Blocks(bytes, of),
            (Data::Blocks(bytes, of), form) => {
                let mut numbers = vec![0.0; outputs * inputs];
                of.decode(&bytes, &mut numbers);
                drop(bytes);
                return Self::new(name, Data::Numbers(numbers, of), [outputs, inputs], form);
            }
            (Data::Numbers(numbers, _), BaseForm::F32) | (Data::Numbers(numbers, Form::F32), BaseForm::Stored) => {
                Storage::F32(numbers)
            }
            (Data::Numbers(numbers, _), BaseForm::F16) | (Data::Numbers(numbers, Form::F16), BaseForm::Stored) => {
                Storage::F16(halves(&numbers))
            }
            (Data::Numbers(numbers, _), BaseForm::Nf4) => Storage::Nf4(Nf4::quantize(&numbers, true)),
            (Data::Numbers(numbers, of), BaseForm::Stored) => {
                if inputs.is_multiple_of(of.block()) {
                    Storage::Blocks(of.encode(&numbers), of)
                } else {
                    Storage::F32(numbers)
                }
            }
        };
        let matrix = Self { outputs, inputs, storage };
        matrix.check(name)?;
        Ok(matrix)
    }

    /// A matrix in NF4, from its rows.
    #[must_use]
    pub fn nf4(weights: &[f32], [outputs, inputs]: [usize; 2]) -> Self {
        Self { outputs, inputs, storage: Storage::Nf4(Nf4::quantize(weights, true)) }
    }

    /// A matrix in f16, from its rows.
    #[must_use]
    pub fn f16(weights: &[f32], [outputs, inputs]: [usize; 2]) -> Self {
        Self { outputs, inputs, storage: Storage::F16(halves(weights)) }
    }

    /// Rows: the length of y.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns: the length of x.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.storage {
            Storage::F32(weights) => size_of_val(weights.as_slice()),
            Storage::F16(weights) => size_of_val(weights.as_slice()),
            Storage::Blocks(bytes, _) => bytes.len(),
            Storage::Nf4(weights) => weights.bytes(),
        }
    }

    /// Row `i` into `out` [in]: an embedding look-up.
    pub(crate) fn row(&self, i: usize, out: &mut [f32]) {
        self.rows(i, out);
    }

    /// y = x Wᵀ, with x [rows, in] and y [rows, out].
    pub(crate) fn forward(&self, x: View<'_>, y: &mut ViewMut<'_>, buffers: &mut Buffers) {
        let rows = y.height();
        self.panels(buffers, |first, panel, count| {
            multiply(On::All, 1.0, x, panel.transposed(), 0.0, &mut y.block(0..rows, first..first + count));
        });
    }

    /// dx = keep · dx + dy W, with dy [rows, out] and dx [rows, in].
    pub(crate) fn backward(&self, dy: View<'_>, rows: usize, keep: f32, dx: &mut ViewMut<'_>, buffers: &mut Buffers) {
        self.panels(buffers, |first, panel, count| {
            let keep = if first == 0 { keep } else { 1.0 };
            multiply(On::All, 1.0, dy.block(0..rows, first..first + count), panel, keep, dx);
        });
    }

    /// Calls `work(first row, panel [count, in], count)` for all rows in f32.
    pub(crate) fn panels(&self, buffers: &mut Buffers, mut work: impl FnMut(usize, View<'_>, usize)) {
        if let Storage::F32(weights) = &self.storage {
            return work(0, View::new(weights, self.outputs, self.inputs), self.outputs);
        }
        let count = (PANEL / self.inputs).clamp(1, self.outputs);
        let mut panel = buffers.take(count * self.inputs);
        for first in (0..self.outputs).step_by(count) {
            let count = count.min(self.outputs - first);
            let panel = &mut panel[..count * self.inputs];
            panel.par_chunks_mut(ROWS * self.inputs).enumerate().for_each(|(i, rows)| {
                self.rows(first + i * ROWS, rows);
            });
            work(first, View::new(panel, count, self.inputs), count);
        }
        buffers.give([panel]);
    }

    /// Whole rows from `first` on.
    fn rows(&self, first: usize, out: &mut [f32]) {
        let range = first * self.inputs..first * self.inputs + out.len();
        match &self.storage {
            Storage::F32(weights) => out.copy_from_slice(&weights[range]),
            Storage::F16(weights) => weights[range].convert_to_f32_slice(out),
            Storage::Blocks(bytes, form) => {
                let bytes_of = |weight: usize| weight / form.block() * form.block_bytes();
                form.decode(&bytes[bytes_of(range.start)..bytes_of(range.end)], out);
            }
            Storage::Nf4(weights) => weights.dequantize(range, out),
        }
    }

    /// Whether there are as many weights as the shape says.
    fn check(&self, name: &str) -> Result<(), LoadError> {
        let (found, expected) = match &self.storage {
            Storage::F32(weights) => (weights.len(), self.outputs * self.inputs),
            Storage::F16(weights) => (weights.len(), self.outputs * self.inputs),
            Storage::Blocks(bytes, form) => {
                (bytes.len(), self.outputs * (self.inputs / form.block()) * form.block_bytes())
            }
            Storage::Nf4(weights) => (weights.len, self.outputs * self.inputs),
        };
        if found == expected {
            return Ok(());
        }
        let shape = vec![self.outputs, self.inputs];
        Err(LoadError::Shape { name: name.to_owned(), expected: shape, actual: vec![found] })
    }
}

/// Rows that one task makes f32.
const ROWS: usize = 8;

fn halves(numbers: &[f32]) -> Vec<f16> {
    let mut halves = vec![f16::ZERO; numbers.len()];
    halves.convert_from_f32_slice(numbers);
    halves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    #[test]
    fn every_form_multiplies_like_its_rows() {
        let (outputs, inputs, rows) = (40, 256, 3);
        let numbers: Vec<f32> = (0..(outputs * inputs) as u64).map(|i| Key::new(1).uniform(i)).collect();
        let x: Vec<f32> = (0..(rows * inputs) as u64).map(|i| Key::new(2).uniform(i)).collect();
        let dy: Vec<f32> = (0..(rows * outputs) as u64).map(|i| Key::new(3).uniform(i)).collect();
        let blocks = |form: Form| Data::Blocks(form.encode(&numbers), form);
        let cases = [
            (Data::Numbers(numbers.clone(), Form::F32), BaseForm::Stored, 1e-7),
            (Data::Numbers(numbers.clone(), Form::F16), BaseForm::Stored, 3e-4),
            (blocks(Form::Q8_0), BaseForm::Stored, 5e-3),
            (blocks(Form::Q4K), BaseForm::Stored, 0.1),
            (blocks(Form::Q8_0), BaseForm::F32, 5e-3),
            (Data::Numbers(numbers.clone(), Form::F32), BaseForm::Nf4, 0.2),
        ];
        for (data, form, tolerance) in cases {
            let frozen = Frozen::new("w", data, [outputs, inputs], form).unwrap();
            let mut weights = vec![0.0; outputs * inputs];
            weights.chunks_mut(inputs).enumerate().for_each(|(i, row)| frozen.row(i, row));
            assert!(weights.iter().zip(&numbers).all(|(a, b)| (a - b).abs() < tolerance), "{form:?}");
            let (mut y, mut dx, mut buffers) =
                (vec![0.0; rows * outputs], vec![1.0; rows * inputs], Buffers::default());
            frozen.forward(View::new(&x, rows, inputs), &mut ViewMut::new(&mut y, rows, outputs), &mut buffers);
            let mut to = ViewMut::new(&mut dx, rows, inputs);
            frozen.backward(View::new(&dy, rows, outputs), rows, 1.0, &mut to, &mut buffers);
            for r in 0..rows {
                for o in 0..outputs {
                    let expected: f32 = (0..inputs).map(|i| x[r * inputs + i] * weights[o * inputs + i]).sum();
                    assert!((y[r * outputs + o] - expected).abs() < 1e-4);
                }
                for i in 0..inputs {
                    let expected: f32 = (0..outputs).map(|o| dy[r * outputs + o] * weights[o * inputs + i]).sum();
                    assert!((dx[r * inputs + i] - expected - 1.0).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn too_few_weights_are_refused() {
        let data = Data::Numbers(vec![0.0; 10], Form::F32);
        assert!(Frozen::new("w", data, [3, 4], BaseForm::Stored).is_err());
    }
}
