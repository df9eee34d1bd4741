//! `[retrieval]`: how passages are found.

use std::path::{Path, PathBuf};

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Retrieval from datanets.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retrieval {
    /// Passages that enter the prompt when the request does not say.
    pub(crate) top_k: usize,
    /// Candidates asked of each source (vector, full text) before fusion.
    pub(crate) candidates: usize,
    /// A passage longer than this many characters enters the prompt cut short.
    pub(crate) max_passage_chars: usize,
    /// Memory for what was found lately, in MiB: the same query over the same rows, by the same grant, is answered from it. 0:
    /// nothing is kept.
    pub(crate) cache_mib: u64,
    /// Memory for indices of datanets and metadata of their files, in MiB; what a search reads beyond that comes from the files.
    pub(crate) index_cache_mib: u64,
    /// Up to so many rows a search scans all vectors of a datanet, which is exact; a larger one gets partitions, and trees for
    /// look-ups.
    pub(crate) scanned_rows: usize,
    /// How texts are embedded: "q8_0", with weights in eight bits, or "f32", as the checkpoint has them. Vectors of both may be
    /// searched together; see docs/retrieval.md.
    pub(crate) embedding_form: EmbeddingForm,
    /// Directory of a cross-encoder (`model.safetensors`, `config.json`, `tokenizer.json` of a BertForSequenceClassification with
    /// one label), for requests that rerank with one; empty: there is none.
    pub(crate) cross_encoder: PathBuf,
}

impl Retrieval {
    pub(super) fn check(self, base: &Path) -> anyhow::Result<Self> {
        if !(1..=MAX_TOP_K).contains(&self.top_k) {
            bail!("retrieval.top_k is {}; give 1 to {MAX_TOP_K}", self.top_k);
        }
        if !(1..=MAX_CANDIDATES).contains(&self.candidates) {
            bail!("retrieval.candidates is {}; give 1 to {MAX_CANDIDATES}", self.candidates);
        }
        let cross_encoder = match self.cross_encoder.as_os_str().is_empty() {
            true => PathBuf::new(),
            false => base.join(&self.cross_encoder),
        };
        Ok(Self { cross_encoder, ..self })
    }
}

impl Default for Retrieval {
    fn default() -> Self {
        Self {
            top_k: 4,
            candidates: 50,
            max_passage_chars: 800,
            cache_mib: 64,
            index_cache_mib: 1024,
            scanned_rows: 50_000,
            embedding_form: EmbeddingForm::Q8,
            cross_encoder: PathBuf::new(),
        }
    }
}

/// How the embedding model's weights are kept and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum EmbeddingForm {
    /// 32-bit floats.
    #[serde(rename = "f32")]
    F32,
    /// 8-bit blocks.
    #[serde(rename = "q8_0")]
    Q8,
}

/// Most passages in a prompt.
pub(crate) const MAX_TOP_K: usize = 20;

/// Most candidates asked of one source: a record of both sources' candidates stays below a log entry's 65,535 bytes.
pub(crate) const MAX_CANDIDATES: usize = 50;
