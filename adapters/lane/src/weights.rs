//! [`Weights`]: the base model's one copy in memory, whatever file it came from.

use cairn_matrix::{Arena, Form, Matrix};

use crate::{
    Config, LoadError,
    names::{EMBEDDINGS, FINAL_NORM, HEAD, Norm, Projection},
    sequence::Kept,
    source::{Data, Source},
};

/// One block.
pub(crate) struct Layer {
    pub(crate) linears: [Linear; 7],
    pub(crate) input_norm: Vec<f32>,
    pub(crate) post_norm: Vec<f32>,
    pub(crate) query_norm: Option<Vec<f32>>,
    pub(crate) key_norm: Option<Vec<f32>>,
}

/// y = W x + bias
#[derive(Clone, Copy)]
pub(crate) struct Linear<M = Matrix, B = Vec<f32>> {
    pub(crate) matrix: M,
    pub(crate) bias: Option<B>,
}

impl Linear {
    pub(crate) fn as_ref(&self) -> Linear<&Matrix, &[f32]> {
        Linear { matrix: &self.matrix, bias: self.bias.as_deref() }
    }
}

/// All of it.
pub(crate) struct Weights {
    pub(crate) embeddings: Matrix,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// None = the embeddings.
    head: Option<Matrix>,
}

impl Weights {
    /// How keys and values are kept: as exactly as the matrices that make them.
    pub(crate) fn kept(&self) -> Kept {
        let forms = |layer: &Layer| [Projection::K, Projection::V].map(|of| layer.linears[of as usize].matrix.form());
        let exact = self.layers.iter().flat_map(forms).any(|form| form == Form::F32);
        if exact { Kept::F32 } else { Kept::F16 }
    }

    /// Reads everything; nothing may be missing, and nothing left over.
    pub(crate) fn read(config: &Config, source: &mut dyn Source, form: Option<Form>) -> Result<Self, LoadError> {
        let mut reader = Reader { source, form, arena: Arena::default() };
        let layer = |reader: &mut Reader<'_>, at: usize| {
            let mut linears = Vec::with_capacity(7);
            for of in Projection::ALL {
                let [outputs, inputs] = config.shape(of);
                let path = of.path(at);
                let bias = if config.has_bias(of) {
                    let name = format!("{path}.bias");
                    Some(reader.vector(&name, outputs)?.ok_or(LoadError::MissingTensor(name))?)
                } else {
                    None
                };
                linears.push(Linear { matrix: reader.matrix(&path, outputs, inputs)?, bias });
            }
            let mut norm = |of: Norm, width: usize| {
                let name = format!("{}.weight", of.path(at));
                reader.vector(&name, width)?.ok_or(LoadError::MissingTensor(name))
            };
            let head_norm = config.qk_norm.then_some(config.head_dim);
            Ok(Layer {
                input_norm: norm(Norm::Input, config.hidden_size)?,
                post_norm: norm(Norm::PostAttention, config.hidden_size)?,
                query_norm: head_norm.map(|width| norm(Norm::Query, width)).transpose()?,
                key_norm: head_norm.map(|width| norm(Norm::Key, width)).transpose()?,
                linears: linears.try_into().unwrap_or_else(|_| unreachable!("one for each of Projection::ALL")),
            })
        };
        let embeddings = reader.matrix(EMBEDDINGS, config.vocab_size, config.hidden_size)?;
        let layers = (0..config.layers).map(|at| layer(&mut reader, at)).collect::<Result<_, _>>()?;
        let norm = format!("{FINAL_NORM}.weight");
        let norm = reader.vector(&norm, config.hidden_size)?.ok_or(LoadError::MissingTensor(norm))?;
        let head = reader.optional(HEAD, config.vocab_size, config.hidden_size)?;
        if head.is_none() && !config.tied {
            return Err(LoadError::MissingTensor(format!("{HEAD}.weight")));
        }
        // Some files repeat the embeddings as the head.
        let head = head.filter(|_| !config.tied);
        source.left().map_or(Ok(()), |name| Err(LoadError::UnknownTensor(name)))?;
        Ok(Self { embeddings, layers, norm, head })
    }

    /// The head, [vocabulary, hidden].
    pub(crate) fn head(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embeddings)
    }

    /// Bytes of all matrices.
    pub(crate) fn bytes(&self) -> usize {
        let blocks = self.layers.iter().flat_map(|layer| &layer.linears).map(|linear| linear.matrix.bytes());
        blocks.sum::<usize>() + self.embeddings.bytes() + self.head.as_ref().map_or(0, Matrix::bytes)
    }
}

struct Reader<'a> {
    source: &'a mut dyn Source,
    form: Option<Form>,
    /// Where all matrices lie.
    arena: Arena,
}

impl Reader<'_> {
    fn vector(&mut self, name: &str, width: usize) -> Result<Option<Vec<f32>>, LoadError> {
        let Some(raw) = self.source.take(name)? else { return Ok(None) };
        check(name, &raw.shape, &[width])?;
        match raw.data {
            Data::Numbers(numbers, _) => Ok(Some(numbers)),
            Data::Blocks(bytes, form) => {
                let matrix = Matrix::from_blocks(&bytes, 1, width, form);
                let matrix = matrix.map_err(|source| LoadError::Form { name: name.to_owned(), source })?;
                let mut numbers = vec![0.0; width];
                matrix.row(0, &mut numbers);
                Ok(Some(numbers))
            }
        }
    }

    fn matrix(&mut self, path: &str, outputs: usize, inputs: usize) -> Result<Matrix, LoadError> {
        self.optional(path, outputs, inputs)?.ok_or_else(|| LoadError::MissingTensor(format!("{path}.weight")))
    }

    fn optional(&mut self, path: &str, outputs: usize, inputs: usize) -> Result<Option<Matrix>, LoadError> {
        let name = format!("{path}.weight");
        let Some(raw) = self.source.take(&name)? else { return Ok(None) };
        check(&name, &raw.shape, &[outputs, inputs])?;
        let matrix = match (raw.data, self.form) {
            (Data::Blocks(bytes, stored), None) => Matrix::from_blocks(&bytes, outputs, inputs, stored),
            (Data::Blocks(bytes, stored), Some(form)) if form == stored => {
                Matrix::from_blocks(&bytes, outputs, inputs, stored)
            }
            (Data::Blocks(bytes, stored), Some(form)) => Matrix::from_blocks(&bytes, outputs, inputs, stored)
                .and_then(|matrix| Matrix::quantize(&numbers(&matrix), outputs, inputs, fitting(form, inputs))),
            (Data::Numbers(numbers, stored), form) => {
                Matrix::quantize(&numbers, outputs, inputs, fitting(form.unwrap_or(stored), inputs))
            }
        };
        let mut matrix = matrix.map_err(|source| LoadError::Form { name, source })?;
        matrix.settle(&mut self.arena);
        Ok(Some(matrix))
    }
}

/// The form itself, or the next more exact one whose blocks divide a row.
pub(crate) fn fitting(form: Form, inputs: usize) -> Form {
    let fits = |form: &Form| inputs.is_multiple_of(form.block());
    [form, Form::Q8_0].into_iter().find(fits).unwrap_or(Form::F32)
}

/// All rows of a matrix: [outputs, inputs].
pub(crate) fn numbers(matrix: &Matrix) -> Vec<f32> {
    let mut numbers = vec![0.0; matrix.outputs() * matrix.inputs()];
    for (i, row) in numbers.chunks_mut(matrix.inputs()).enumerate() {
        matrix.row(i, row);
    }
    numbers
}

fn check(name: &str, actual: &[usize], expected: &[usize]) -> Result<(), LoadError> {
    if actual == expected {
        return Ok(());
    }
    Err(LoadError::Shape { name: name.to_owned(), actual: actual.to_vec(), expected: expected.to_vec() })
}
