//! BERT's encoder for texts of different lengths in one batch, without padding.
//!
//! The tokens of all texts stand below each other, x: [tokens, hidden]. Everything but attention treats tokens alike and
//! runs over all of them; attention runs text by text, so there is nothing to mask. Matrix products are candle's, the
//! steps between them are [`kernels`](super::kernels).
//!
//! candle-transformers' BERT gives the same vectors in 1.8 (14 tokens a text) to 2.6 times (256) the time, measured with
//! both at opt-level 3 on two cores: it pads, masks, allocates every intermediate, and threads that embed side by side wait for
//! each other in candle's one pool, which the adapter lane needs too. At opt-level 1 the kernels do not vectorise and most
//! of the gain is lost.

use cairn_matrix::{Form, Matrix, Threads};
use candle_core::{CpuStorage, D, Device, InplaceOp1, InplaceOp2, Layout, Result, Tensor, bail};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{Config, HiddenAct};

use super::{Precision, kernels};

/// The encoder with its embeddings.
pub(crate) struct Bert {
    /// [vocabulary, hidden]
    words: Tensor,
    /// [positions, hidden], the embedding of token type 0 added.
    positions: Tensor,
    /// [types, hidden]: what each token type has beyond type 0.
    types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    /// One, whichever calls: those that embed side by side share nothing but spare buffers.
    threads: Threads,
}

struct Layer {
    /// Query, key and value beside each other: [3 · hidden, hidden].
    qkv: Weight,
    qkv_bias: Vec<f32>,
    heads: usize,
    output: Weight,
    output_norm: Norm,
    /// [intermediate, hidden]
    up: Weight,
    up_bias: Vec<f32>,
    /// [hidden, intermediate]
    down: Weight,
    down_norm: Norm,
}

/// A weight [out, in], as its products read it fastest.
enum Weight {
    /// Turned to [in, out], the order for products with few rows.
    F32(Tensor),
    /// Eight bits and a scale for every 32 inputs, multiplied in integers.
    Q8(Matrix),
}

/// A bias, and the layer norm after it.
struct Norm {
    bias: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    eps: f32,
}

impl Bert {
    pub(crate) fn load(vb: VarBuilder, config: &Config, precision: Precision) -> Result<Self> {
        if config.hidden_act != HiddenAct::Gelu {
            bail!("hidden_act is {:?}, but only gelu is supported", config.hidden_act);
        }
        let hidden = config.hidden_size;
        let embeddings = vb.pp("embeddings");
        let types = embeddings.get((config.type_vocab_size, hidden), "token_type_embeddings.weight")?;
        let positions = embeddings.get((config.max_position_embeddings, hidden), "position_embeddings.weight")?;
        let layers = vb.pp("encoder.layer");
        let no_bias = vec![0.0; hidden];
        Ok(Self {
            words: embeddings.get((config.vocab_size, hidden), "word_embeddings.weight")?,
            positions: positions.broadcast_add(&types.narrow(0, 0, 1)?)?,
            types: types.broadcast_sub(&types.narrow(0, 0, 1)?)?,
            norm: Norm::load(embeddings.pp("LayerNorm"), no_bias, config)?,
            layers: (0..config.num_hidden_layers)
                .map(|n| Layer::load(layers.pp(n), config, precision))
                .collect::<Result<_>>()?,
            threads: Threads::new(1),
        })
    }

    /// ids: the tokens of all texts, `lengths` of each; types: those of the tokens, none where all are of type 0. Gives the last
    /// layer, [tokens, hidden].
    pub(crate) fn forward(&self, ids: Vec<u32>, types: Option<Vec<u32>>, lengths: &[usize]) -> Result<Tensor> {
        let tokens = ids.len();
        let places: Vec<u32> = lengths.iter().flat_map(|length| 0..*length as u32).collect();
        let mut x = self.words.index_select(&Tensor::from_vec(ids, tokens, &Device::Cpu)?, 0)?;
        let positions = self.positions.index_select(&Tensor::from_vec(places, tokens, &Device::Cpu)?, 0)?;
        if let Some(types) = types {
            x = (x + self.types.index_select(&Tensor::from_vec(types, tokens, &Device::Cpu)?, 0)?)?;
        }
        x.inplace_op2(&positions, &self.norm)?;
        for layer in &self.layers {
            x = layer.forward(&x, lengths, &self.threads)?;
        }
        Ok(x)
    }
}

impl Layer {
    fn load(vb: VarBuilder, config: &Config, precision: Precision) -> Result<Self> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let attention = vb.pp("attention.self");
        let (mut weights, mut qkv_bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            weights.push(attention.get((hidden, hidden), &format!("{part}.weight"))?);
            qkv_bias.extend(attention.get(hidden, &format!("{part}.bias"))?.to_vec1::<f32>()?);
        }
        let (output, up, down) = (vb.pp("attention.output"), vb.pp("intermediate.dense"), vb.pp("output"));
        Ok(Self {
            qkv: Weight::new(&Tensor::cat(&weights, 0)?, precision)?,
            qkv_bias,
            heads: config.num_attention_heads,
            output: Weight::new(&output.get((hidden, hidden), "dense.weight")?, precision)?,
            output_norm: Norm::load(output.pp("LayerNorm"), bias(&output, hidden)?, config)?,
            up: Weight::new(&up.get((intermediate, hidden), "weight")?, precision)?,
            up_bias: up.get(intermediate, "bias")?.to_vec1()?,
            down: Weight::new(&down.get((hidden, intermediate), "dense.weight")?, precision)?,
            down_norm: Norm::load(down.pp("LayerNorm"), bias(&down, hidden)?, config)?,
        })
    }

    /// y = norm(x + attention(x)); norm(y + down · gelu(up · y))
    fn forward(&self, x: &Tensor, lengths: &[usize], threads: &Threads) -> Result<Tensor> {
        let qkv = self.qkv.multiply(x, threads)?; // [tokens, 3 · hidden]
        qkv.inplace_op1(&Rows("bias", |rows: &mut [f32]| kernels::add_bias(rows, &self.qkv_bias)))?;
        let y = self.output.multiply(&self.attend(&qkv, lengths)?, threads)?;
        y.inplace_op2(x, &self.output_norm)?;
        let z = self.up.multiply(&y, threads)?; // [tokens, intermediate]
        z.inplace_op1(&Rows("gelu", |rows: &mut [f32]| kernels::bias_gelu(rows, &self.up_bias)))?;
        let z = self.down.multiply(&z, threads)?;
        z.inplace_op2(&y, &self.down_norm)?;
        Ok(z)
    }

    /// softmax(q kᵀ / √d) v, text by text and head by head: [tokens, hidden]
    fn attend(&self, qkv: &Tensor, lengths: &[usize]) -> Result<Tensor> {
        let (tokens, width) = qkv.dims2()?;
        let size = width / 3 / self.heads;
        let scale = 1.0 / (size as f32).sqrt();
        let heads = qkv.reshape((tokens, 3, self.heads, size))?.permute((1, 2, 0, 3))?; // [3, heads, tokens, size]
        let (q, k, v) = (heads.get(0)?, heads.get(1)?, heads.get(2)?);
        let mut start = 0;
        let mut attended = Vec::with_capacity(lengths.len());
        for &length in lengths {
            let text = |part: &Tensor| part.narrow(1, start, length); // [heads, length, size]
            let weights = text(&q)?.matmul(&text(&k)?.transpose(1, 2)?)?; // [heads, length, length]
            weights.inplace_op1(&Rows("softmax", |rows: &mut [f32]| kernels::softmax(rows, length, scale)))?;
            attended.push(weights.matmul(&text(&v)?)?.transpose(0, 1)?); // [length, heads, size]
            start += length;
        }
        Tensor::cat(&attended, 0)?.flatten_from(D::Minus2)
    }
}

impl Weight {
    fn new(weight: &Tensor, precision: Precision) -> Result<Self> {
        match precision {
            Precision::F32 => Ok(Self::F32(weight.t()?.contiguous()?)),
            Precision::Q8 => {
                let (out, inputs) = weight.dims2()?;
                let rows = weight.flatten_all()?.to_vec1::<f32>()?;
                Matrix::quantize(&rows, out, inputs, Form::Q8_0).map(Self::Q8).map_err(candle_core::Error::wrap)
            }
        }
    }

    /// x Wᵀ, x: [tokens, in]
    fn multiply(&self, x: &Tensor, threads: &Threads) -> Result<Tensor> {
        match self {
            Self::F32(weight) => x.matmul(weight),
            Self::Q8(matrix) => {
                let tokens = x.dim(0)?;
                let mut y = vec![0.0; tokens * matrix.outputs()];
                matrix.multiply(threads, &x.flatten_all()?.to_vec1::<f32>()?, tokens, &mut y);
                Tensor::from_vec(y, (tokens, matrix.outputs()), &Device::Cpu)
            }
        }
    }
}

impl Norm {
    fn load(vb: VarBuilder, bias: Vec<f32>, config: &Config) -> Result<Self> {
        let vector = |name: &str| vb.get(config.hidden_size, name)?.to_vec1();
        Ok(Self { bias, gamma: vector("weight")?, beta: vector("bias")?, eps: config.layer_norm_eps as f32 })
    }
}

fn bias(vb: &VarBuilder, length: usize) -> Result<Vec<f32>> {
    vb.get(length, "dense.bias")?.to_vec1()
}

/// A kernel over the whole of a contiguous tensor.
struct Rows<F>(&'static str, F);

impl<F: Fn(&mut [f32])> InplaceOp1 for Rows<F> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.1)(elements_mut(storage, layout)?);
        Ok(())
    }
}

/// x <- norm(x + bias + residual)
impl InplaceOp2 for Norm {
    fn name(&self) -> &'static str {
        "add-norm"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout, residual: &CpuStorage, of: &Layout) -> Result<()> {
        let Some((start, end)) = of.contiguous_offsets() else { bail!("the residual is not contiguous") };
        let residual = &residual.as_slice::<f32>()?[start..end];
        kernels::add_norm(elements_mut(x, layout)?, residual, &self.bias, (&self.gamma, &self.beta), self.eps);
        Ok(())
    }
}

fn elements_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(elements), Some((start, end))) => Ok(&mut elements[start..end]),
        _ => bail!("expected contiguous f32"),
    }
}
