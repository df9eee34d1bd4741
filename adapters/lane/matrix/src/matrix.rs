//! A frozen weight matrix and its product with rows of activations.

use crate::{Arena, Form, MatrixError, Product, Threads, Write, blocks, multiply_all, packed::Packed};

/// A frozen weight W [out, in], repacked for the kernels.
pub struct Matrix {
    pub(crate) packed: Packed,
}

impl Matrix {
    /// A matrix of f32 from its rows.
    ///
    /// # Panics
    /// If `data` is not `out * inp` long or `inp` is 0.
    #[must_use]
    pub fn from_f32(data: Vec<f32>, out: usize, inp: usize) -> Self {
        assert!(inp > 0, "a matrix without inputs");
        assert_eq!(data.len(), out * inp, "a {out} x {inp} matrix");
        Self { packed: Packed::from_f32(&data, out, inp) }
    }

    /// Brings rows of f32 into any form, with GGML's own quantizers.
    ///
    /// # Errors
    /// If the form cannot hold rows of this length, or `data` is not `out * inp` long.
    pub fn quantize(data: &[f32], out: usize, inp: usize, form: Form) -> Result<Self, MatrixError> {
        check_shape(form, inp)?;
        check_length(out, inp, "elements", out * inp, data.len())?;
        Ok(Self {
            packed: match form {
                Form::F32 => Packed::from_f32(data, out, inp),
                Form::F16 => Packed::f16_from_f32(data, out, inp),
                Form::Q8_0 => Packed::from_blocks(&blocks::to_q8_0(data), out, inp, form),
                Form::Q4K => Packed::from_blocks(&blocks::to_q4_k(data), out, inp, form),
            },
        })
    }

    /// Takes GGML blocks as a GGUF holds them, row after row; plain little-endian numbers for f32 and f16.
    ///
    /// # Errors
    /// If the form cannot hold rows of this length, or the number of bytes is not that of the shape.
    pub fn from_blocks(bytes: &[u8], out: usize, inp: usize, form: Form) -> Result<Self, MatrixError> {
        check_shape(form, inp)?;
        check_length(out, inp, "bytes", out * (inp / form.block()) * form.block_bytes(), bytes.len())?;
        Ok(Self { packed: Packed::from_blocks(bytes, out, inp, form) })
    }

    /// Rows of W: the length of y.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.packed.outputs
    }

    /// Columns of W: the length of x.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.packed.inputs
    }

    /// How the weights are stored.
    #[must_use]
    pub fn form(&self) -> Form {
        self.packed.form
    }

    /// Bytes in memory, padding included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    /// Moves the weights into an arena.
    pub fn settle(&mut self, arena: &mut Arena) {
        arena.settle(&mut self.packed.lines);
    }

    /// Dequantizes row `i` of W into `out` [in]: an embedding look-up.
    ///
    /// # Panics
    /// If there is no such row or `out` is not as long as a row.
    pub fn row(&self, i: usize, out: &mut [f32]) {
        assert!(i < self.outputs(), "row {i} of {}", self.outputs());
        assert_eq!(out.len(), self.inputs(), "a row of a {} x {} matrix", self.outputs(), self.inputs());
        self.packed.row(i, out);
    }

    /// y = x Wᵀ, with x [rows, in] and y [rows, out].
    ///
    /// # Panics
    /// If `x` or `y` is not as long as its shape says.
    pub fn multiply(&self, threads: &Threads, x: &[f32], rows: usize, y: &mut [f32]) {
        multiply_all(threads, &mut [Product { matrix: self, x, rows, y, write: Write::Set }]);
    }

    /// Several products of one x in one hand-over, x prepared once: q, k and v, or gate and up.
    ///
    /// # Panics
    /// If `x` or a `y` is not as long as its shape says.
    pub fn multiply_many(threads: &Threads, products: &mut [(&Self, &mut [f32])], x: &[f32], rows: usize) {
        let mut products: Vec<Product<'_>> =
            products.iter_mut().map(|(matrix, y)| Product { matrix, x, rows, y, write: Write::Set }).collect();
        multiply_all(threads, &mut products);
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Matrix({} x {}, {})", self.outputs(), self.inputs(), self.form())
    }
}

pub(crate) fn check_shape(form: Form, inputs: usize) -> Result<(), MatrixError> {
    let block = form.block();
    if inputs > 0 && inputs.is_multiple_of(block) { Ok(()) } else { Err(MatrixError::Shape { form, block, inputs }) }
}

pub(crate) fn check_length(
    outputs: usize,
    inputs: usize,
    unit: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), MatrixError> {
    if expected == found { Ok(()) } else { Err(MatrixError::Length { outputs, inputs, unit, expected, found }) }
}
