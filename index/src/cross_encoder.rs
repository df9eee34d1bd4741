//! Cross-encoders: a BERT that reads query and passage together and says how well the one answers the other.
//!
//! Reads a directory as transformers saves a `BertForSequenceClassification` with one label, such as the MiniLM cross-encoders
//! trained on MS MARCO (`model.safetensors`, `config.json`, `tokenizer.json`), and fetches nothing. Blocking: it runs on the
//! embedding threads.
//!
//! ```text
//! x = [CLS] query [SEP] passage [SEP], token types 0 … 0 1 … 1
//! score = w · tanh(W h + b) + c, h the last layer at [CLS]
//! ```

use std::path::Path;

use cairn_proof::Hash;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Linear, Module, VarBuilder};
use candle_transformers::models::bert::Config;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use crate::IndexError;
use crate::minilm::Precision;
use crate::minilm::bert::Bert;

/// A cross-encoder, loaded.
pub struct CrossEncoder {
    bert: Bert,
    pooler: Linear,
    classifier: Linear,
    /// Neither pads nor truncates, and adds no marks.
    tokenizer: Tokenizer,
    /// `[CLS]` and `[SEP]`.
    marks: (u32, u32),
    most_tokens: usize,
    weights_hash: Hash,
}

/// A query and a passage, as tokens.
pub(crate) struct Pair {
    ids: Vec<u32>,
    /// How many tokens are of type 0: the query's, with both its marks.
    of_query: usize,
}

impl CrossEncoder {
    /// Loads the model from its directory.
    pub fn load(dir: &Path) -> Result<Self, IndexError> {
        let failed = |file: &str, reason: String| IndexError::CrossEncoder { path: dir.join(file), reason };
        let read = |file: &str| std::fs::read(dir.join(file)).map_err(|error| failed(file, error.to_string()));
        let config: Config =
            serde_json::from_slice(&read("config.json")?).map_err(|error| failed("config.json", error.to_string()))?;
        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?)
            .map_err(|error| failed("tokenizer.json", error.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(IndexError::Tokenise)?;
        let mark = |token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| failed("tokenizer.json", format!("it has no token {token}")))
        };
        let marks = (mark("[CLS]")?, mark("[SEP]")?);
        if config.type_vocab_size < 2 {
            return Err(failed(
                "config.json",
                "type_vocab_size must be 2: query and passage are of different types".to_owned(),
            ));
        }

        let weights = read("model.safetensors")?;
        let weights_hash = Hash::new(Sha256::digest(&weights).into());
        let hidden = config.hidden_size;
        let loaded = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).and_then(|weights| {
            let bert = Bert::load(weights.pp("bert"), &config, Precision::F32)?;
            let pooler = candle_nn::linear(hidden, hidden, weights.pp("bert.pooler.dense"))?;
            Ok((bert, pooler, candle_nn::linear(hidden, 1, weights.pp("classifier"))?))
        });
        let (bert, pooler, classifier) = loaded.map_err(|error| {
            let reason = format!("{error} (a BertForSequenceClassification with one label is needed)");
            failed("model.safetensors", reason)
        })?;
        let most_tokens = config.max_position_embeddings.min(MOST_TOKENS);
        Ok(Self { bert, pooler, classifier, tokenizer, marks, most_tokens, weights_hash })
    }

    /// SHA-256 of model.safetensors.
    pub fn weights_hash(&self) -> Hash {
        self.weights_hash
    }

    /// The score of each passage for a query. Of a long query the first half of what the model takes is read, of a passage what
    /// then has room.
    pub fn scores(&self, query: &str, passages: &[String]) -> Result<Vec<f32>, IndexError> {
        let batches = self.batches(self.pairs(query, passages)?);
        let mut scores = Vec::with_capacity(passages.len());
        for batch in batches {
            scores.extend(self.score(batch)?);
        }
        Ok(scores)
    }

    pub(crate) fn pairs(&self, query: &str, passages: &[String]) -> Result<Vec<Pair>, IndexError> {
        let tokens = |text: &str| {
            let encoded = self.tokenizer.encode_fast(text, false).map_err(IndexError::Tokenise)?;
            Ok::<_, IndexError>(encoded.get_ids().to_vec())
        };
        let (begin, end) = self.marks;
        let mut query = tokens(query)?;
        query.truncate(self.most_tokens / 2 - 2);
        let head: Vec<u32> = std::iter::once(begin).chain(query).chain([end]).collect();
        let pair = |passage: &String| {
            let mut ids = head.clone();
            ids.extend(tokens(passage)?.into_iter().take(self.most_tokens - head.len() - 1));
            ids.push(end);
            Ok(Pair { ids, of_query: head.len() })
        };
        passages.iter().map(pair).collect()
    }

    /// Batches of about the same work, in order. Any thread may score any batch.
    pub(crate) fn batches(&self, pairs: Vec<Pair>) -> Vec<Vec<Pair>> {
        let mut batches: Vec<Vec<Pair>> = Vec::new();
        let mut filled = BATCH_TOKENS;
        for pair in pairs {
            if filled + pair.ids.len() > BATCH_TOKENS {
                batches.push(Vec::new());
                filled = 0;
            }
            filled += pair.ids.len();
            if let Some(batch) = batches.last_mut() {
                batch.push(pair);
            }
        }
        batches
    }

    pub(crate) fn score(&self, batch: Vec<Pair>) -> Result<Vec<f32>, IndexError> {
        let lengths: Vec<usize> = batch.iter().map(|pair| pair.ids.len()).collect();
        let types = batch.iter().flat_map(|pair| (0..pair.ids.len()).map(|at| u32::from(at >= pair.of_query)));
        let types = types.collect();
        let ids = batch.iter().flat_map(|pair| pair.ids.iter().copied()).collect();
        let starts = lengths.iter().scan(0_u32, |next, length| {
            let start = *next;
            *next += *length as u32;
            Some(start)
        });
        let starts = Tensor::from_vec(starts.collect::<Vec<_>>(), batch.len(), &Device::Cpu)?;
        let hidden = self.bert.forward(ids, Some(types), &lengths)?; // [tokens, hidden]
        let first = hidden.index_select(&starts, 0)?; // [pairs, hidden]
        let scores = self.classifier.forward(&self.pooler.forward(&first)?.tanh()?)?; // [pairs, 1]
        Ok(scores.flatten_all()?.to_vec1()?)
    }
}

/// What BERT reads at most, in tokens.
const MOST_TOKENS: usize = 512;
/// Tokens of a batch, as when embedding.
const BATCH_TOKENS: usize = 1024;
