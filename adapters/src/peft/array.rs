//! [`Array`]: numbers with a shape, and their way out of and into safetensors.

use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};

use super::FormatError;

/// A dense row-major array of `f32`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The product of `shape` numbers.
    pub data: Vec<f32>,
}

impl Array {
    /// Converts a stored tensor of F32, F16 or BF16 (exactly: `f32` holds them all).
    pub(crate) fn from_view(name: &str, view: &TensorView<'_>) -> Result<Self, FormatError> {
        let bytes = view.data();
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|word| f16::from_le_bytes(*word).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|word| bf16::from_le_bytes(*word).to_f32()).collect(),
            other => return Err(FormatError::Dtype { name: name.to_owned(), dtype: format!("{other:?}") }),
        };
        // The whole is looked at without leaving early, which the compiler turns into vector instructions.
        let finite = data.iter().fold(true, |finite, value| finite & value.is_finite());
        if !finite && let Some(index) = data.iter().position(|value| !value.is_finite()) {
            return Err(FormatError::NotFinite { name: name.to_owned(), index, value: data[index] });
        }
        Ok(Self { shape: view.shape().to_vec(), data })
    }

    /// The numbers as stored: F32, little-endian.
    pub(crate) fn to_le_bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }
}
