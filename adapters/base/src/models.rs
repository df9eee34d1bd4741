//! [`BaseModels`]: the models of a directory, served on demand.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use cairn_adapters::{
    AdapterGeneration, AdapterShare, EventStream, GenerateError, Generation, Generator, ModelName, ResponseFormat,
    Sampling, ScoredToken,
};
use tokio::runtime::Runtime;

use crate::{
    admission::{Admission, Admitted},
    beside::Beside,
    engine::{Prompt, engine_error},
    load::on_cpu,
    manifest::{Manifest, ManifestError},
    registry::{Registry, Running, With},
};

/// How models are served.
#[derive(Debug, Clone)]
pub struct BaseConfig {
    /// Where pulled models are.
    pub models_dir: PathBuf,
    /// Bytes that loaded models may take together, by estimate.
    pub memory_budget: u64,
    /// What a request does while its model is being loaded.
    pub when_loading: WhenLoading,
    /// What callers are told to wait when there is no room or no model yet.
    pub retry_after: Duration,
    /// Requests under way at once, over all models; more are refused. A tenant may have as many as there are places left.
    pub max_in_flight: usize,
    /// What serves models that both engines know.
    pub engine: EngineName,
    /// Quantize safetensors weights while loading: mistral.rs' names, such as `Q8_0`; none = as they are.
    pub quantize: Option<String>,
}

/// Which engine serves a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineName {
    /// On the CPU the lane for the families that it knows, where it measures faster; mistral.rs for the others, and on a
    /// GPU, which the lane does not use.
    Auto,
    /// The adapter lane, for every request; models that it does not know are refused.
    Lane,
    /// mistral.rs; requests with adapters load the model a second time, into the lane.
    MistralRs,
}

impl EngineName {
    /// Whether a model goes to the engine beside mistral.rs, which can serve it or not.
    pub(crate) fn beside(self, can: bool) -> bool {
        can && match self {
            Self::Auto => on_cpu(),
            Self::Lane => true,
            Self::MistralRs => false,
        }
    }
}

/// What a request does while its model is being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLoading {
    /// It waits.
    Wait,
    /// It fails with [`GenerateError::Loading`].
    Unavailable,
}

/// The models of a directory, loaded on demand under a memory budget.
///
/// Callable from any tokio runtime, single-threaded ones included: the engines run on a runtime of their own.
pub struct BaseModels {
    registry: Arc<Registry>,
    in_flight: Admission,
    /// None only while it is being dropped.
    runtime: Option<Runtime>,
}

/// A model and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub manifest: Arc<Manifest>,
    /// How it stands.
    pub status: Status,
    /// What answers requests without adapters: the lane or mistral.rs.
    pub engine: EngineName,
    /// When a request last asked for it, since this process started.
    pub last_used: Option<SystemTime>,
}

/// How a model stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// On disk only.
    Unloaded,
    /// On its way.
    Loading,
    /// Ready.
    Loaded,
    /// The last try failed.
    Failed {
        /// What the engine said.
        reason: String,
    },
}

/// Why the model directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// `quantize` names no quantization.
    #[error("{name:?} is not a quantization that mistral.rs knows: {reason}")]
    Quantization {
        /// As it was given.
        name: String,
        /// What mistral.rs said.
        reason: String,
    },
    /// The engines' threads cannot be started.
    #[error("the engines' threads cannot be started")]
    Runtime(#[source] std::io::Error),
}

impl BaseModels {
    /// Reads the model directory, which may not be there yet; every model is served by mistral.rs.
    ///
    /// # Errors
    /// The directory cannot be read, or `quantize` names no quantization.
    pub fn open(config: BaseConfig) -> Result<Self, OpenError> {
        Self::build(config, None)
    }

    /// As [`BaseModels::open`]; `beside` serves what `config.engine` gives it, and every request with adapters that it can.
    ///
    /// # Errors
    /// As [`BaseModels::open`].
    pub fn open_beside(config: BaseConfig, beside: Arc<dyn Beside>) -> Result<Self, OpenError> {
        Self::build(config, Some(beside))
    }

    fn build(config: BaseConfig, beside: Option<Arc<dyn Beside>>) -> Result<Self, OpenError> {
        let quantize = match &config.quantize {
            None => None,
            Some(name) => {
                let parsed = mistralrs::parse_isq_value(name, None);
                Some(parsed.map_err(|reason| OpenError::Quantization { name: name.clone(), reason })?)
            }
        };
        // Two are enough: computing is done on the engines' threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("base models")
            .enable_all()
            .build()
            .map_err(OpenError::Runtime)?;
        let in_flight = Admission::new(config.max_in_flight);
        let registry = Arc::new(Registry::new(config, quantize, beside, runtime.handle().clone()));
        registry.rescan()?;
        Ok(Self { registry, in_flight, runtime: Some(runtime) })
    }

    /// Every model that generates text, those included that were pulled since. A damaged one is left out and logged.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, ManifestError> {
        self.registry.rescan()?;
        Ok(self.registry.list())
    }

    /// One model.
    ///
    /// # Errors
    /// No such model was pulled.
    pub fn get(&self, name: &ModelName) -> Result<Listed, GenerateError> {
        self.registry.get(name)
    }

    /// Loads a model and waits until it is there; the least recently used make room.
    ///
    /// # Errors
    /// It is unknown, does not fit the budget, or fails to load (the others go on serving).
    pub async fn load(&self, name: &ModelName) -> Result<Listed, GenerateError> {
        self.registry.forget_failure(name)?;
        let with = self.registry.choose(name, &[], false)?;
        self.registry.engine(name, with, WhenLoading::Wait).await?;
        self.get(name)
    }

    /// Takes a model out of service at once; answers under way on it are finished first, then its memory is free.
    /// A model that is being loaded stays.
    ///
    /// # Errors
    /// It is unknown.
    pub fn unload(&self, name: &ModelName) -> Result<Listed, GenerateError> {
        self.registry.unload(name)?;
        self.get(name)
    }

    /// Generates from a prompt that may be token ids, with mistral.rs.
    ///
    /// # Errors
    /// As [`Generator::generate`].
    pub async fn generate_from(
        &self,
        model: &ModelName,
        prompt: Prompt,
        sampling: Sampling,
    ) -> Result<EventStream, GenerateError> {
        check(&sampling)?;
        let permit = self.permit("")?;
        let engine = self.registry.engine(model, With::MistralRs, self.registry.config().when_loading).await?;
        match engine {
            Running::MistralRs(engine) => self.start(engine.generate(prompt, sampling, permit)).await,
            Running::Beside(_) => Err(engine_error("token ids are continued by mistral.rs only")),
        }
    }

    /// How likely an answer is to a request, token by token, on the weights and adapters that the request names; by the
    /// engine beside mistral.rs, whichever generates. Work for later, so it waits for a model that is being loaded, and
    /// takes no place among the requests under way.
    ///
    /// # Errors
    /// [`GenerateError::Unsupported`] where that engine does not know the model's family; otherwise as
    /// [`Generator::generate`].
    pub async fn score(&self, request: Generation, answer: String) -> Result<Vec<ScoredToken>, GenerateError> {
        let model = request.model.clone();
        match self.registry.choose(&model, &request.adapters, true)? {
            With::Beside => {}
            _ => {
                return Err(GenerateError::Unsupported(format!(
                    "{model} is of a family that the adapter lane does not serve, and only the lane can score answers"
                )));
            }
        }
        match self.registry.engine(&model, With::Beside, WhenLoading::Wait).await? {
            Running::Beside(engine) => {
                let scoring = engine.score(request, answer);
                self.registry.runtime().spawn(scoring).await.map_err(engine_error)?
            }
            Running::MistralRs(_) => Err(engine_error("answers are scored by the adapter lane only")),
        }
    }

    fn permit(&self, tenant: &str) -> Result<Admitted, GenerateError> {
        let retry_after = self.registry.config().retry_after;
        self.in_flight.admit(tenant).ok_or(GenerateError::Overloaded { retry_after })
    }

    /// Brings what a request would name into memory, and waits until it is there: the model in the engine that would answer,
    /// and the adapters in that.
    ///
    /// # Errors
    /// As [`Generator::generate`], before the request is let in.
    pub async fn prepare(&self, model: &ModelName, adapters: &[AdapterShare]) -> Result<(), GenerateError> {
        let with = self.registry.choose(model, adapters, false)?;
        match self.registry.engine(model, with, WhenLoading::Wait).await? {
            Running::Beside(engine) => {
                let generations = adapters.iter().map(|share| share.generation.clone()).collect();
                self.registry.runtime().spawn(engine.attach(generations)).await.map_err(engine_error)?
            }
            // The adapter is in the weights.
            Running::MistralRs(_) => Ok(()),
        }
    }

    /// Begins to bring adapters into memory that a request will soon name, where their model is in the engine beside
    /// mistral.rs. Returns at once; a failure is left to that request to report.
    pub fn prefetch(&self, model: &ModelName, adapters: &[AdapterShare]) {
        let Some(engine) = self.registry.beside(model) else { return };
        let generations = adapters.iter().map(|share| share.generation.clone()).collect();
        drop(self.registry.runtime().spawn(engine.attach(generations)));
    }

    /// Lets go of a generation that was deleted, wherever it is in memory; answers under way finish with it.
    pub async fn forget(&self, generation: &AdapterGeneration) {
        for engine in self.registry.forget(generation) {
            engine.forget(generation).await;
        }
    }

    /// A task of its own, because it must not be cancelled half-way; its stream, dropped, cancels the rest.
    async fn start(
        &self,
        generating: impl Future<Output = Result<EventStream, GenerateError>> + Send + 'static,
    ) -> Result<EventStream, GenerateError> {
        self.registry.runtime().spawn(generating).await.map_err(engine_error)?
    }

    /// Figures of the engine beside mistral.rs, for each model in it, by the names of Prometheus metrics.
    #[must_use]
    pub fn figures(&self) -> Vec<(ModelName, Vec<(&'static str, f64)>)> {
        self.registry.figures()
    }

    /// Tokens of a text, without those that a template adds. Does not load the model; reads its tokenizer when first asked.
    ///
    /// # Errors
    /// The model is unknown or its tokenizer cannot be read.
    pub fn count_tokens(&self, model: &ModelName, text: &str) -> Result<usize, GenerateError> {
        let tokenizer = self.registry.tokenizer(model)?;
        Ok(tokenizer.encode_fast(text, false).map_err(engine_error)?.len())
    }

    /// Longest prompt and answer of a model together, in tokens.
    ///
    /// # Errors
    /// The model is unknown.
    pub fn context_length(&self, model: &ModelName) -> Result<usize, GenerateError> {
        Ok(self.get(model)?.manifest.context_length)
    }

    /// Bytes of models in memory, by estimate: loaded ones, and unloaded ones whose last answer is under way.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.registry.memory_used()
    }
}

#[async_trait::async_trait]
impl Generator for BaseModels {
    async fn generate(&self, request: Generation) -> Result<EventStream, GenerateError> {
        check(&request.sampling)?;
        let permit = self.permit(&request.tenant)?;
        let constrained = !request.tools.is_empty() || request.format != ResponseFormat::Text;
        let with = self.registry.choose(&request.model, &request.adapters, constrained)?;
        let engine = self.registry.engine(&request.model, with, self.registry.config().when_loading).await?;
        match engine {
            Running::Beside(engine) => self.start(engine.generate(request, permit)).await,
            Running::MistralRs(engine) => {
                self.start(engine.generate(Prompt::Input(request.input), request.sampling, permit)).await
            }
        }
    }
}

impl Drop for BaseModels {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waiting: this may be dropped on an async thread.
            runtime.shutdown_background();
        }
    }
}

/// Most answers to one request, as OpenAI has it.
const MOST_ANSWERS: usize = 128;

fn check(sampling: &Sampling) -> Result<(), GenerateError> {
    if sampling.n == 0 || sampling.n > MOST_ANSWERS {
        let n = sampling.n;
        return Err(GenerateError::Unsupported(format!("n is {n}; ask for 1 to {MOST_ANSWERS} answers")));
    }
    if sampling.max_tokens == Some(0) {
        return Err(GenerateError::Unsupported("max_tokens is 0; ask for at least one token".into()));
    }
    if !(sampling.temperature.is_finite() && sampling.top_p.is_finite()) {
        return Err(GenerateError::Unsupported("temperature and top_p must be finite numbers".into()));
    }
    Ok(())
}
