//! Loading a model's files into a mistral.rs engine of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use mistralrs::{
    AutoDeviceMapParams, DefaultSchedulerMethod, DeviceMapSetting, IsqType, Model, ModelDType, SchedulerConfig,
    TokenSource, best_device,
    core::{
        GGUFLoaderBuilder, GGUFSpecificConfig, MistralRsBuilder, NormalLoaderBuilder, NormalSpecificConfig, Pipeline,
    },
    llguidance::toktrie::TokEnv,
};
use tokenizers::Tokenizer;
use tokio::runtime::Handle;

use crate::{
    manifest::{Format, Manifest, ManifestError, hash_directory},
    merge::MergeError,
};

/// Sequences that one engine runs at once; more wait for their turn.
///
/// On the CPU one: when mistral.rs 0.8.1 decodes several there, each gets the attention of the last one, whoever asked for
/// it (`flash_attn_cpu_single_q` has room for one row). Two sequences share a step whenever they are equally long.
pub(crate) fn sequences_at_once() -> usize {
    if on_cpu() { 1 } else { 32 }
}

pub(crate) fn on_cpu() -> bool {
    !cfg!(any(feature = "cuda", feature = "metal"))
}

/// Why a model could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("the files in {} are not those that were pulled; pull the model again", directory.display())]
    Changed { directory: PathBuf },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("{} is not a tokenizer: {reason}", path.display())]
    Tokenizer { path: PathBuf, reason: String },
    #[error("the engine was given no tokenizer")]
    NoVocabulary,
    #[error(transparent)]
    Merge(#[from] MergeError),
    #[error("{0}")]
    Beside(String),
    #[error("mistral.rs: {0:#}")]
    Engine(anyhow::Error),
    #[error("it was loaded, but does not generate: {0}")]
    Probe(cairn_adapters::GenerateError),
}

/// What mistral.rs made of a model's files.
pub(crate) struct Loaded {
    pub(crate) model: Model,
    /// Whether the weights are still in memory. mistral.rs' thread frees them after its last step, and tells nobody.
    pub(crate) in_memory: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) vocabulary: TokEnv,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    pub(crate) context_length: usize,
    pub(crate) has_template: bool,
}

/// Whether the files in `serving` are those that were pulled.
pub(crate) fn check(serving: &Path, manifest: &Manifest) -> Result<(), LoadError> {
    if hash_directory(serving)? != manifest.serving_hash {
        return Err(LoadError::Changed { directory: serving.to_owned() });
    }
    Ok(())
}

/// Loads a model, for as long as that takes. Call it on a fresh thread: mistral.rs keeps what it was told to load in
/// thread-locals and never clears them.
pub(crate) fn load(
    serving: &Path,
    manifest: &Manifest,
    quantize: Option<IsqType>,
    runtime: &Handle,
) -> Result<Loaded, LoadError> {
    let path = serving.join("tokenizer.json");
    let tokenizer =
        Tokenizer::from_file(&path).map_err(|error| LoadError::Tokenizer { path, reason: error.to_string() })?;
    let pipeline = pipeline(serving, &manifest.format, quantize).map_err(LoadError::Engine)?;
    let (metadata, template) = {
        let pipeline = runtime.block_on(pipeline.lock());
        (pipeline.get_metadata(), pipeline.get_chat_template())
    };
    // A pipeline drops its weights before its metadata.
    let last = Arc::downgrade(&metadata);
    // No prefix cache. On the CPU mistral.rs 0.8.1 evicts from it only what lies on another device, so it keeps the keys
    // and values of every answer for ever; and it hands the same storage to two sequences, which both append to it.
    let builder = MistralRsBuilder::new(pipeline, scheduler(), false, None)
        .with_no_prefix_cache(true)
        .with_prefix_cache_n(0)
        .with_model_id(manifest.name.to_string());
    let model = Model::new(runtime.block_on(builder.build()));
    Ok(Loaded {
        model,
        in_memory: Arc::new(move || last.strong_count() > 0),
        tokenizer: Arc::new(tokenizer),
        vocabulary: metadata.tok_env().ok_or(LoadError::NoVocabulary)?,
        ends: metadata.eos_tok.clone(),
        context_length: manifest.context_length.min(metadata.max_seq_len),
        has_template: template.is_some_and(|template| template.has_chat_template()),
    })
}

fn scheduler() -> SchedulerConfig {
    let most = std::num::NonZeroUsize::new(sequences_at_once()).unwrap_or(std::num::NonZeroUsize::MIN);
    SchedulerConfig::DefaultScheduler { method: DefaultSchedulerMethod::Fixed(most) }
}

fn pipeline(
    serving: &Path,
    format: &Format,
    quantize: Option<IsqType>,
) -> anyhow::Result<Arc<tokio::sync::Mutex<dyn Pipeline>>> {
    let place = serving.to_string_lossy().into_owned();
    // mistral.rs reads the tokenizer and the template from the directory, so that they are those of the manifest.
    let (loader, quantize) = match format {
        Format::Gguf { file } => {
            let config = GGUFSpecificConfig::default();
            let files = vec![file.clone()];
            let builder = GGUFLoaderBuilder::new(None, Some(place.clone()), place, files, config, false, None);
            (builder.build(), None)
        }
        Format::Safetensors => {
            let config = NormalSpecificConfig::default();
            (NormalLoaderBuilder::new(config, None, None, Some(place), false, None).build(None)?, quantize)
        }
    };
    let cpu = on_cpu();
    // Auto lands on F16 on a CPU, which emulates it, and BF16 matmul is missing there.
    let dtype = if cpu { ModelDType::F32 } else { ModelDType::Auto };
    let device = best_device(cpu)?;
    let map = DeviceMapSetting::Auto(AutoDeviceMapParams::default_text());
    Ok(loader.load_model_from_hf(None, TokenSource::None, &dtype, &device, true, map, quantize, None)?)
}
