//! [`Model`]: a frozen base in memory, read from the same files as the lane's decoder.

use std::path::Path;

use cairn_lane::{
    Config, LoadError,
    names::{EMBEDDINGS, FINAL_NORM, HEAD, Norm, Projection},
    source::{self, Data, Raw, Source},
};

use crate::{BaseForm, frozen::Frozen, random::Key};

/// A base model that adapters are trained on.
#[derive(Debug)]
pub struct Model {
    config: Config,
    pub(crate) embeddings: Frozen,
    pub(crate) blocks: Vec<Block>,
    /// [hidden]
    pub(crate) norm: Vec<f32>,
    /// None = the embeddings.
    head: Option<Frozen>,
}

/// One block.
#[derive(Debug)]
pub(crate) struct Block {
    linears: Vec<Frozen>,
    biases: Vec<Option<Vec<f32>>>,
    pub(crate) input_norm: Vec<f32>,
    pub(crate) post_norm: Vec<f32>,
    /// Of each query head and of each key head: [head_dim].
    pub(crate) head_norms: Option<[Vec<f32>; 2]>,
}

impl Block {
    pub(crate) fn linear(&self, of: Projection) -> &Frozen {
        &self.linears[of as usize]
    }

    pub(crate) fn bias(&self, of: Projection) -> Option<&[f32]> {
        self.biases[of as usize].as_deref()
    }
}

impl Model {
    /// Loads a directory with a `.gguf` file, or with `config.json` and `.safetensors` files. Tensors are read one by one; in
    /// NF4 the embeddings and the head stay as stored.
    ///
    /// # Errors
    /// [`LoadError`]: a file is missing or damaged, or the model computes what the decoder cannot.
    pub fn open(dir: &Path, form: BaseForm) -> Result<Self, LoadError> {
        let source::Opened { config, mut source } = source::open(dir)?;
        let source = source.as_mut();
        let outer = if form == BaseForm::Nf4 { BaseForm::Stored } else { form };
        let vocabulary = [config.vocab_size, config.hidden_size];
        let embeddings = matrix(source, EMBEDDINGS, vocabulary, outer)?;
        let embeddings = embeddings.ok_or_else(|| LoadError::MissingTensor(format!("{EMBEDDINGS}.weight")))?;
        let blocks = (0..config.layers).map(|at| block(source, &config, at, form)).collect::<Result<_, _>>()?;
        let norm = vector(source, &format!("{FINAL_NORM}.weight"), config.hidden_size)?;
        let head = matrix(source, HEAD, vocabulary, outer)?;
        if head.is_none() && !config.tied {
            return Err(LoadError::MissingTensor(format!("{HEAD}.weight")));
        }
        // Some files repeat the embeddings as the head.
        let head = head.filter(|_| !config.tied);
        source.left().map_or(Ok(()), |name| Err(LoadError::UnknownTensor(name)))?;
        Ok(Self { config, embeddings, blocks, norm, head })
    }

    /// Random weights of a shape, layer by layer: to measure what a real model of it needs. Embeddings and head are in f16, the
    /// other matrices in NF4.
    #[must_use]
    pub fn random(config: Config, seed: u64) -> Self {
        let key = Key::new(seed);
        let numbers = |at: usize, [outputs, inputs]: [usize; 2]| -> Vec<f32> {
            use rayon::prelude::*;
            let (key, bound) = (key.with(at as u64), 1.0 / (inputs as f32).sqrt());
            (0..(outputs * inputs) as u64).into_par_iter().map(|i| bound * key.uniform(i)).collect()
        };
        let vocabulary = [config.vocab_size, config.hidden_size];
        let embeddings = Frozen::f16(&numbers(0, vocabulary), vocabulary);
        let head = (!config.tied).then(|| Frozen::f16(&numbers(1, vocabulary), vocabulary));
        let block = |layer: usize| Block {
            linears: Projection::ALL
                .map(|of| Frozen::nf4(&numbers(2 + layer * 7 + of as usize, config.shape(of)), config.shape(of)))
                .into(),
            biases: Projection::ALL.map(|of| config.has_bias(of).then(|| vec![0.0; config.shape(of)[0]])).into(),
            input_norm: vec![1.0; config.hidden_size],
            post_norm: vec![1.0; config.hidden_size],
            head_norms: config.qk_norm.then(|| [vec![1.0; config.head_dim], vec![1.0; config.head_dim]]),
        };
        let blocks = (0..config.layers).map(block).collect();
        Self { embeddings, blocks, norm: vec![1.0; config.hidden_size], head, config }
    }

    /// The model's shape.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of the weight matrices in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().flat_map(|block| &block.linears).map(Frozen::bytes).sum();
        blocks + self.embeddings.bytes() + self.head.as_ref().map_or(0, Frozen::bytes)
    }

    pub(crate) fn layers(&self) -> std::ops::Range<usize> {
        0..self.blocks.len()
    }

    pub(crate) fn linear(&self, layer: usize, of: Projection) -> &Frozen {
        self.blocks[layer].linear(of)
    }

    /// [vocabulary, hidden]
    pub(crate) fn head(&self) -> &Frozen {
        self.head.as_ref().unwrap_or(&self.embeddings)
    }
}

fn block(source: &mut dyn Source, config: &Config, at: usize, form: BaseForm) -> Result<Block, LoadError> {
    let (mut linears, mut biases) = (Vec::with_capacity(7), Vec::with_capacity(7));
    for of in Projection::ALL {
        let (path, shape) = (of.path(at), config.shape(of));
        let linear = matrix(source, &path, shape, form)?;
        linears.push(linear.ok_or_else(|| LoadError::MissingTensor(format!("{path}.weight")))?);
        let bias = config.has_bias(of).then(|| vector(source, &format!("{path}.bias"), shape[0]));
        biases.push(bias.transpose()?);
    }
    let mut norm = |of: Norm, width: usize| vector(source, &format!("{}.weight", of.path(at)), width);
    Ok(Block {
        linears,
        biases,
        input_norm: norm(Norm::Input, config.hidden_size)?,
        post_norm: norm(Norm::PostAttention, config.hidden_size)?,
        head_norms: match config.qk_norm {
            true => Some([norm(Norm::Query, config.head_dim)?, norm(Norm::Key, config.head_dim)?]),
            false => None,
        },
    })
}

fn matrix(source: &mut dyn Source, path: &str, shape: [usize; 2], form: BaseForm) -> Result<Option<Frozen>, LoadError> {
    let name = format!("{path}.weight");
    let Some(Raw { shape: actual, data }) = source.take(&name)? else { return Ok(None) };
    if actual != shape {
        return Err(LoadError::Shape { name, expected: shape.to_vec(), actual });
    }
    Frozen::new(&name, data, shape, form).map(Some)
}

fn vector(source: &mut dyn Source, name: &str, width: usize) -> Result<Vec<f32>, LoadError> {
    let raw = source.take(name)?.ok_or_else(|| LoadError::MissingTensor(name.to_owned()))?;
    if raw.shape != [width] {
        return Err(LoadError::Shape { name: name.to_owned(), expected: vec![width], actual: raw.shape });
    }
    match raw.data {
        Data::Numbers(numbers, _) => Ok(numbers),
        Data::Blocks(bytes, form) => {
            let mut numbers = vec![0.0; width];
            form.decode(&bytes, &mut numbers);
            Ok(numbers)
        }
    }
}
