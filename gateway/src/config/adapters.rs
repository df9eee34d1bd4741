//! `[adapters]`: the adapter lane, and the store of adapters.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The adapter lane. What it may take counts towards models.memory_budget_mib: the weights and both figures below.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Adapters {
    /// Memory for adapters that are ready to answer, in MiB for each base; the least recently used make room.
    pub(crate) resident_mib: u64,
    /// Memory for keys and values of answers under way and of the prefix cache, in MiB for each base.
    pub(crate) kv_mib: u64,
    /// How the base's weights are kept: "stored" (as they were pulled), "f32", "f16", "q8_0" or "q4_k".
    pub(crate) form: LaneForm,
    /// Where the weights of adapters lie: empty for a directory inside `data.dir`, or an object store such as
    /// s3://bucket/prefix. A gateway and its replicas may use it, and no other gateway.
    pub(crate) objects_uri: String,
    /// Options of that object store, such as {region = "eu-central-1", endpoint = "https://…"}. Credentials are best left to the
    /// environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).
    pub(crate) objects_storage: BTreeMap<String, String>,
    /// Generations that an owner may keep.
    pub(crate) quota_count: u64,
    /// What an owner's generations may take in storage together, in MiB.
    pub(crate) quota_mib: u64,
    /// Directory that adapters may be uploaded from by path (POST /v1/load_lora_adapter, as vLLM has it); empty: none.
    pub(crate) import_dir: PathBuf,
}

impl Default for Adapters {
    fn default() -> Self {
        let quota = cairn_adapters::store::Quota::default();
        Self {
            resident_mib: 512,
            kv_mib: 1024,
            form: LaneForm::Stored,
            objects_uri: String::new(),
            objects_storage: BTreeMap::new(),
            quota_count: quota.max_count,
            quota_mib: quota.max_bytes >> 20,
            import_dir: PathBuf::new(),
        }
    }
}

impl Adapters {
    /// What the object store is opened with: the configured options, and below them what the environment says to AWS'
    /// own tools (AWS_REGION, AWS_ACCESS_KEY_ID, …).
    pub(crate) fn objects_options(&self) -> BTreeMap<String, String> {
        let from_environment = std::env::vars().filter(|(key, _)| key.starts_with("AWS_"));
        let mut options: BTreeMap<String, String> =
            from_environment.map(|(key, value)| (key.to_lowercase(), value)).collect();
        options.extend(self.objects_storage.clone());
        options
    }
}

/// How the adapter lane keeps weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum LaneForm {
    /// As they were pulled.
    #[serde(rename = "stored")]
    Stored,
    /// 32-bit floats.
    #[serde(rename = "f32")]
    F32,
    /// 16-bit floats.
    #[serde(rename = "f16")]
    F16,
    /// 8-bit blocks.
    #[serde(rename = "q8_0")]
    Q8,
    /// 4-bit blocks.
    #[serde(rename = "q4_k")]
    Q4,
}

impl LaneForm {
    /// None = as stored.
    pub(crate) fn form(self) -> Option<cairn_lane::Form> {
        match self {
            Self::Stored => None,
            Self::F32 => Some(cairn_lane::Form::F32),
            Self::F16 => Some(cairn_lane::Form::F16),
            Self::Q8 => Some(cairn_lane::Form::Q8_0),
            Self::Q4 => Some(cairn_lane::Form::Q4K),
        }
    }
}
