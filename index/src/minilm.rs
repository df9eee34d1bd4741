//! MiniLM: sentence embeddings from a local checkpoint, with candle.
//!
//! Reads a directory as sentence-transformers saves it (`model.safetensors`, `config.json`, `tokenizer.json`) and fetches
//! nothing. Blocking: asynchronous code embeds through [`Embedder`](crate::Embedder).
//!
//! The tokenizer.json of all-MiniLM-L6-v2 asks for truncation to 128 tokens and padding of every text to 128; its own
//! sentence_bert_config.json says 256. Both settings of the tokenizer are therefore replaced.

pub(crate) mod bert;
mod kernels;

use std::path::Path;

use cairn_proof::Hash;
use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::Config;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use self::bert::Bert;
use crate::IndexError;

/// An embedding model, loaded.
pub struct MiniLm {
    model: Bert,
    /// Neither pads nor truncates.
    tokenizer: Tokenizer,
    dimensions: usize,
    weights_hash: Hash,
}

/// How weights are kept and multiplied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Eight bits and a scale for every 32 of a row (GGML's Q8_0), activations likewise, products in integers.
    Q8,
}

/// Embeddings of some texts, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One vector a text, of length 1.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts, with the two that mark beginning and end, before truncation: for usage accounting.
    pub tokens: u64,
}

impl MiniLm {
    /// Loads the model from its directory, its weights as they are.
    pub fn load(dir: &Path) -> Result<Self, IndexError> {
        Self::load_in(dir, Precision::default())
    }

    /// Loads the model from its directory. Vectors of either precision may be searched together.
    pub fn load_in(dir: &Path, precision: Precision) -> Result<Self, IndexError> {
        let failed = |file: &str, reason: String| IndexError::Model { path: dir.join(file), reason };
        let read = |file: &str| std::fs::read(dir.join(file)).map_err(|e| failed(file, e.to_string()));
        let config: Config =
            serde_json::from_slice(&read("config.json")?).map_err(|e| failed("config.json", e.to_string()))?;
        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?)
            .map_err(|error| failed("tokenizer.json", error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(IndexError::Tokenise)?;

        let weights = read("model.safetensors")?;
        let weights_hash = Hash::new(Sha256::digest(&weights).into());
        let loaded = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .and_then(|weights| Bert::load(weights, &config, precision));
        let model = loaded.map_err(|error| failed("model.safetensors", error.to_string()))?;
        Ok(Self { model, tokenizer, dimensions: config.hidden_size, weights_hash })
    }

    /// Length of a vector.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// SHA-256 of model.safetensors: vectors of models that differ in it cannot be compared.
    pub fn weights_hash(&self) -> Hash {
        self.weights_hash
    }

    /// Tokens of a text, with the two that mark beginning and end, before truncation.
    pub fn count_tokens(&self, text: &str) -> Result<usize, IndexError> {
        Ok(self.tokenizer.encode_fast(text, true).map_err(IndexError::Tokenise)?.len())
    }

    /// Embeds texts, of each the first 256 tokens.
    pub fn embed(&self, texts: &[String]) -> Result<Embeddings, IndexError> {
        let mut vectors = vec![Vec::new(); texts.len()];
        let batches = self.batches(texts)?;
        let tokens = batches.tokens;
        for batch in batches.batches {
            for (place, vector) in self.embed_batch(batch)? {
                vectors[place] = vector;
            }
        }
        Ok(Embeddings { vectors, tokens })
    }

    /// Tokenises texts and groups them into batches of about the same work. Any thread may embed any batch.
    pub(crate) fn batches(&self, texts: &[String]) -> Result<Batches, IndexError> {
        let encodings = texts.iter().map(|text| self.tokenizer.encode_fast(text.as_str(), true));
        let mut tokens = 0;
        let mut rows = Vec::with_capacity(texts.len());
        for (place, encoding) in encodings.enumerate() {
            let encoding = encoding.map_err(IndexError::Tokenise)?;
            let mut ids = encoding.get_ids().to_vec();
            tokens += ids.len() as u64;
            if ids.len() > MAX_TOKENS {
                let end = ids[ids.len() - 1];
                ids.truncate(MAX_TOKENS - 1);
                ids.push(end);
            }
            rows.push(Row { place, ids });
        }
        let mut batches: Vec<Batch> = Vec::new();
        let mut filled = BATCH_TOKENS;
        for row in rows {
            if filled + row.ids.len() > BATCH_TOKENS || batches.is_empty() {
                batches.push(Batch { rows: Vec::new() });
                filled = 0;
            }
            filled += row.ids.len();
            if let Some(batch) = batches.last_mut() {
                batch.rows.push(row);
            }
        }
        Ok(Batches { batches, tokens })
    }

    /// v = m / |m|, m = mean of the last layer over the text's tokens.
    pub(crate) fn embed_batch(&self, batch: Batch) -> Result<Vec<(usize, Vec<f32>)>, IndexError> {
        let texts = self.last_layer(batch)?;
        let mean = |(place, tokens): (usize, Vec<f32>)| {
            // The sum is as good as the mean: its length is divided out.
            let mut vector = vec![0f32; self.dimensions];
            for token in tokens.chunks_exact(self.dimensions) {
                vector.iter_mut().zip(token).for_each(|(sum, x)| *sum += x);
            }
            normalise(&mut vector);
            (place, vector)
        };
        Ok(texts.into_iter().map(mean).collect())
    }

    /// v_t = h_t / |h_t|, h the last layer, for every token t of each text but the two that mark its beginning and end.
    pub(crate) fn token_vectors(&self, batch: Batch) -> Result<Vec<(usize, TokenVectors)>, IndexError> {
        let dimensions = self.dimensions;
        let texts = self.last_layer(batch)?.into_iter().map(|(place, mut tokens)| {
            tokens.truncate(tokens.len().saturating_sub(dimensions));
            tokens.drain(..dimensions.min(tokens.len()));
            tokens.chunks_exact_mut(dimensions).for_each(normalise);
            (place, TokenVectors { vectors: tokens, dimensions })
        });
        Ok(texts.collect())
    }

    /// The last layer of each text with its place: tokens x dimensions.
    fn last_layer(&self, batch: Batch) -> Result<Vec<(usize, Vec<f32>)>, IndexError> {
        let lengths: Vec<usize> = batch.rows.iter().map(|row| row.ids.len()).collect();
        let ids = batch.rows.iter().flat_map(|row| row.ids.iter().copied()).collect();
        let hidden = self.model.forward(ids, None, &lengths)?.flatten_all()?.to_vec1::<f32>()?; // tokens x dimensions
        let mut rest = hidden.as_slice();
        let mut texts = Vec::with_capacity(lengths.len());
        for (row, length) in batch.rows.iter().zip(lengths) {
            let (text, after) = rest.split_at(length * self.dimensions);
            rest = after;
            texts.push((row.place, text.to_vec()));
        }
        Ok(texts)
    }
}

fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= norm);
}

/// A vector of length 1 for each token of a text.
pub(crate) struct TokenVectors {
    /// tokens x dimensions
    vectors: Vec<f32>,
    dimensions: usize,
}

impl TokenVectors {
    /// Late interaction (Khattab and Zaharia, "ColBERT", 2020): of each token of this query the best cosine among the passage's
    /// tokens; the mean of these, -1 to 1. 0 if either has no tokens.
    pub(crate) fn late_interaction(&self, passage: &Self) -> f64 {
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let best = self.vectors.chunks_exact(self.dimensions).map(|token| {
            let cosines = passage.vectors.chunks_exact(self.dimensions).map(|other| cosine(token, other));
            f64::from(cosines.fold(f32::NEG_INFINITY, f32::max))
        });
        let count = self.vectors.len() / self.dimensions.max(1);
        if count == 0 || passage.vectors.is_empty() { 0.0 } else { best.sum::<f64>() / count as f64 }
    }
}

/// Texts ready to embed.
pub(crate) struct Batches {
    pub(crate) batches: Vec<Batch>,
    pub(crate) tokens: u64,
}

/// Texts that are embedded together.
pub(crate) struct Batch {
    rows: Vec<Row>,
}

struct Row {
    /// Index among the texts.
    place: usize,
    ids: Vec<u32>,
}

/// The length all-MiniLM-L6-v2 was trained for, in tokens.
const MAX_TOKENS: usize = 256;
/// Tokens of a batch: enough rows for matrix products at full speed, few enough to stay in the cache.
const BATCH_TOKENS: usize = 1024;
