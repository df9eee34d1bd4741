//! The forms a weight may be stored in, and what can go wrong on the way into one.

use std::{fmt, str::FromStr};

use half::f16;

use crate::{blocks, packed};

/// How the elements of a [`crate::Matrix`] are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// GGML Q8_0: blocks of 32 signed bytes with one f16 scale.
    Q8_0,
    /// GGML Q4_K: super-blocks of 256 four-bit values, eight 6-bit scales and minima, two f16 factors.
    Q4K,
}

impl Form {
    /// Elements of a row that are stored together; a row must be a multiple of it long.
    #[must_use]
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 1,
            Self::Q8_0 => 32,
            Self::Q4K => 256,
        }
    }

    /// Bytes of one block in a GGUF file.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
        }
    }

    /// Numbers in this form, block after block, as a GGUF file holds them.
    ///
    /// # Panics
    /// If the numbers do not divide into blocks.
    #[must_use]
    pub fn encode(self, numbers: &[f32]) -> Vec<u8> {
        assert!(numbers.len().is_multiple_of(self.block()), "{} numbers in {self}", numbers.len());
        match self {
            Self::F32 => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            Self::F16 => packed::to_f16(numbers),
            Self::Q8_0 => blocks::to_q8_0(numbers),
            Self::Q4K => blocks::to_q4_k(numbers),
        }
    }

    /// The numbers of whole blocks.
    ///
    /// # Panics
    /// If the bytes are not as many as the numbers need.
    pub fn decode(self, bytes: &[u8], numbers: &mut [f32]) {
        assert_eq!(
            bytes.len(),
            numbers.len() / self.block() * self.block_bytes(),
            "{} numbers in {self}",
            numbers.len()
        );
        let blocks = bytes.chunks_exact(self.block_bytes()).zip(numbers.chunks_exact_mut(self.block()));
        match self {
            Self::F32 => {
                bytes.as_chunks().0.iter().zip(numbers).for_each(|(word, number)| *number = f32::from_le_bytes(*word));
            }
            Self::F16 => bytes
                .as_chunks()
                .0
                .iter()
                .zip(numbers)
                .for_each(|(word, number)| *number = f16::from_le_bytes(*word).to_f32()),
            Self::Q8_0 => blocks.for_each(|(bytes, numbers)| blocks::from_q8_0(bytes, numbers)),
            Self::Q4K => blocks.for_each(|(bytes, numbers)| blocks::Q4K::read(bytes).decode(numbers)),
        }
    }

    /// Whether products run on int8 activations.
    pub(crate) fn quantized(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4K)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
        })
    }
}

impl FromStr for Form {
    type Err = MatrixError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "q8_0" => Ok(Self::Q8_0),
            "q4_k" => Ok(Self::Q4K),
            _ => Err(MatrixError::UnknownForm { value: value.to_owned() }),
        }
    }
}

/// Why a matrix could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// The row length is 0 or does not divide into blocks of the form.
    #[error(
        "{form} stores rows in blocks of {block}, and {inputs} inputs are not a positive multiple of that: use f16 or f32"
    )]
    Shape {
        /// The form asked for.
        form: Form,
        /// Its block length.
        block: usize,
        /// The row length given.
        inputs: usize,
    },
    /// The data is shorter or longer than the shape says.
    #[error("a {outputs} x {inputs} matrix needs {expected} {unit}, {found} were given")]
    Length {
        /// Rows of the matrix.
        outputs: usize,
        /// Columns of the matrix.
        inputs: usize,
        /// What is counted: "elements" or "bytes".
        unit: &'static str,
        /// How many the shape needs.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// The name is not that of a form.
    #[error("{value:?} is not a weight form: use f32, f16, q8_0 or q4_k")]
    UnknownForm {
        /// The name as it was given.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Matrix;

    #[test]
    fn names_read_back() {
        for form in [Form::F32, Form::F16, Form::Q8_0, Form::Q4K] {
            assert_eq!(form.to_string().parse::<Form>(), Ok(form));
        }
        assert!("Q8_0".parse::<Form>().is_err());
    }

    #[test]
    fn decoded_blocks_are_the_rows_of_their_matrix() {
        let numbers: Vec<f32> = (0..2 * 256).map(|i| ((i * 37) % 101) as f32 * 0.02 - 1.0).collect();
        for form in [Form::F32, Form::F16, Form::Q8_0, Form::Q4K] {
            let bytes = form.encode(&numbers);
            let mut decoded = vec![0.0; numbers.len()];
            form.decode(&bytes, &mut decoded);
            let matrix = Matrix::from_blocks(&bytes, 2, 256, form).unwrap();
            let mut rows = vec![0.0; numbers.len()];
            rows.chunks_mut(256).enumerate().for_each(|(i, row)| matrix.row(i, row));
            assert!(decoded.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-6), "{form}");
            let most = decoded.iter().zip(&numbers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most < 0.1, "{form}: {most}");
        }
    }
}
