//! Which models there are, which are loaded, and who makes room for whom.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cairn_adapters::{AdapterGeneration, AdapterShare, GenerateError, ModelName, peft::Adapter};
use mistralrs::IsqType;
use parking_lot::Mutex;
use tokenizers::Tokenizer;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    beside::{Beside, BesideEngine},
    budget::{Budget, Reservation},
    engine::{Engine, engine_error},
    load::{LoadError, check},
    manifest::{Kind, Manifest, ManifestError},
    merge::merge,
    models::{BaseConfig, EngineName, Listed, Status, WhenLoading},
};

/// The models of a directory and their engines.
pub(crate) struct Registry {
    config: BaseConfig,
    quantize: Option<IsqType>,
    beside: Option<Arc<dyn Beside>>,
    runtime: Handle,
    budget: Arc<Budget>,
    /// Guards what is known and loaded; held for look-ups and changes, never while loading. Written by `rescan`, by a
    /// load when it begins and ends, by `unload` and by whoever makes room.
    slots: Mutex<BTreeMap<ModelName, Slot>>,
}

struct Slot {
    directory: PathBuf,
    manifest: Arc<Manifest>,
    /// The engine beside mistral.rs can serve it.
    beside: bool,
    /// What is loaded, on its way, or failed; what is missing is not loaded.
    states: BTreeMap<With, State>,
    last_used: Option<SystemTime>,
    /// Read when first asked for.
    tokenizer: Option<Arc<Tokenizer>>,
}

/// What a model is loaded into. One model may be in several at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum With {
    /// mistral.rs.
    MistralRs,
    /// The engine beside it.
    Beside,
    /// mistral.rs, with an adapter merged into the weights: generation, and the bits of its weight.
    Merged(AdapterGeneration, u32),
}

/// A loaded model.
#[derive(Clone)]
pub(crate) enum Running {
    MistralRs(Arc<Engine>),
    Beside(Arc<BesideEngine>),
}

impl Running {
    /// Handles to it, the registry's own included.
    fn handles(&self) -> usize {
        match self {
            Self::MistralRs(engine) => Arc::strong_count(engine),
            Self::Beside(engine) => Arc::strong_count(engine),
        }
    }
}

enum State {
    Loading {
        outcome: watch::Receiver<Outcome>,
        /// It has its share of the budget already.
        reserved: bool,
    },
    Loaded {
        engine: Running,
        used: Instant,
    },
    Failed {
        error: GenerateError,
        at: Instant,
    },
}

/// None until a load has ended. All who wait for it take the engine from here, so that nobody can evict it before.
type Outcome = Option<Result<Running, GenerateError>>;

impl Registry {
    pub(crate) fn new(
        config: BaseConfig,
        quantize: Option<IsqType>,
        beside: Option<Arc<dyn Beside>>,
        runtime: Handle,
    ) -> Self {
        let budget = Budget::new(config.memory_budget);
        Self { config, quantize, beside, runtime, budget, slots: Mutex::default() }
    }

    pub(crate) fn config(&self) -> &BaseConfig {
        &self.config
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn memory_used(&self) -> u64 {
        self.budget.used()
    }

    /// Takes up models that were pulled and forgets those that were deleted.
    pub(crate) fn rescan(&self) -> Result<(), ManifestError> {
        let mut found = BTreeMap::new();
        let models = &self.config.models_dir;
        let read = |source| ManifestError::Read { path: models.clone(), source };
        let entries = match std::fs::read_dir(models) {
            Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(read)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(read(error)),
        };
        for entry in entries {
            let directory = entry.path();
            // What is being pulled lies in a directory that starts with a dot.
            if entry.file_name().to_string_lossy().starts_with('.') || !directory.join("model.json").is_file() {
                continue;
            }
            match Manifest::read(&directory) {
                Ok(manifest) if manifest.kind == Kind::Chat => {
                    found.insert(manifest.name.clone(), (directory, Arc::new(manifest)));
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a model is left out"),
            }
        }
        let mut slots = self.slots.lock();
        slots.retain(|name, slot| found.contains_key(name) || slot.resident());
        for (name, (directory, manifest)) in found {
            match slots.get(&name) {
                Some(slot) if slot.resident() || slot.manifest == manifest => {}
                _ => {
                    let beside = self.beside.as_ref().is_some_and(|beside| beside.serves(&directory.join("serving")));
                    let states = BTreeMap::new();
                    let slot = Slot { directory, manifest, beside, states, last_used: None, tokenizer: None };
                    slots.insert(name, slot);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        self.slots.lock().values().map(|slot| slot.listed(self.config.engine)).collect()
    }

    pub(crate) fn get(&self, name: &ModelName) -> Result<Listed, GenerateError> {
        self.with(name, |slot| slot.listed(self.config.engine))
    }

    /// What a request to this model goes to. `constrained`: its answer has a form, or may call functions.
    pub(crate) fn choose(
        &self,
        name: &ModelName,
        adapters: &[AdapterShare],
        constrained: bool,
    ) -> Result<With, GenerateError> {
        let (served, family) = self.with(name, |slot| (slot.beside, slot.manifest.family.clone()))?;
        if served && (!adapters.is_empty() || constrained || self.config.engine.beside(served)) {
            return Ok(With::Beside);
        }
        let refuse = |what: &str| {
            Err(GenerateError::Unsupported(format!("{what} for models of the family {family:?}, as {name} is")))
        };
        match adapters {
            _ if self.config.engine == EngineName::Lane => {
                refuse("models.engine is \"lane\", which has no decoder; \"auto\" chooses mistral.rs")
            }
            _ if constrained => refuse("tools and response formats are not served"),
            [] => Ok(With::MistralRs),
            [one] => Ok(With::Merged(one.generation.clone(), one.weight.to_bits())),
            _ => refuse("several adapters at once are not served"),
        }
    }

    /// The engine beside mistral.rs, where the model is loaded in it.
    pub(crate) fn beside(&self, name: &ModelName) -> Option<Arc<BesideEngine>> {
        self.slots.lock().get(name).and_then(Slot::beside_engine)
    }

    /// Takes weights that an adapter was merged into out of service, and returns the engines that may hold the adapter.
    pub(crate) fn forget(&self, generation: &AdapterGeneration) -> Vec<Arc<BesideEngine>> {
        let (mut engines, mut merged) = (Vec::new(), Vec::new());
        for slot in self.slots.lock().values_mut() {
            engines.extend(slot.beside_engine());
            let of_it: Vec<With> = slot
                .states
                .keys()
                .filter(|with| matches!(with, With::Merged(of, _) if of == generation))
                .cloned()
                .collect();
            merged.extend(of_it.iter().filter_map(|with| slot.take(with)));
        }
        if !merged.is_empty() {
            // The last handle may go here, outside the lock.
            drop(merged);
            self.budget.notify();
        }
        engines
    }

    /// The figures of each model in the engine beside mistral.rs.
    pub(crate) fn figures(&self) -> Vec<(ModelName, Vec<(&'static str, f64)>)> {
        let running = |(name, slot): (&ModelName, &Slot)| Some((name.clone(), slot.beside_engine()?));
        let engines: Vec<_> = self.slots.lock().iter().filter_map(running).collect();
        engines.into_iter().map(|(name, engine)| (name, engine.figures())).collect()
    }

    /// A model that failed may be tried again at once.
    pub(crate) fn forget_failure(&self, name: &ModelName) -> Result<(), GenerateError> {
        self.with(name, |slot| slot.states.retain(|_, state| !matches!(state, State::Failed { .. })))
    }

    pub(crate) fn unload(&self, name: &ModelName) -> Result<(), GenerateError> {
        let taken = self.with(name, |slot| {
            let loaded: Vec<With> = slot.states.keys().cloned().collect();
            loaded.iter().filter_map(|with| slot.take(with)).collect::<Vec<_>>()
        })?;
        // The last handle may go here, outside the lock.
        drop(taken);
        self.budget.notify();
        Ok(())
    }

    pub(crate) fn tokenizer(&self, name: &ModelName) -> Result<Arc<Tokenizer>, GenerateError> {
        let (known, path) =
            self.with(name, |slot| (slot.tokenizer.clone(), slot.directory.join("serving/tokenizer.json")))?;
        if let Some(tokenizer) = known {
            return Ok(tokenizer);
        }
        let tokenizer = Arc::new(Tokenizer::from_file(path).map_err(engine_error)?);
        self.with(name, |slot| slot.tokenizer = Some(tokenizer.clone()))?;
        Ok(tokenizer)
    }

    /// The model's engine, loaded now if need be. One load serves all who wait for it.
    pub(crate) async fn engine(
        self: &Arc<Self>,
        name: &ModelName,
        with: With,
        waiting: WhenLoading,
    ) -> Result<Running, GenerateError> {
        let mut outcome = match self.with(name, |slot| self.look(slot, with))? {
            Look::There(engine) => return Ok(engine),
            Look::Failed(error) => return Err(error),
            Look::OnItsWay(outcome) => outcome,
        };
        if waiting == WhenLoading::Unavailable {
            let retry_after = self.config.retry_after;
            return Err(GenerateError::Loading { model: name.to_string(), retry_after });
        }
        let ended = outcome.wait_for(Option::is_some).await.map_err(|_| engine_error("loading was abandoned"))?;
        ended.clone().unwrap_or_else(|| Err(engine_error("loading was abandoned")))
    }

    /// What a request finds; begins to load where nobody has.
    fn look(self: &Arc<Self>, slot: &mut Slot, with: With) -> Look {
        slot.last_used = Some(SystemTime::now());
        slot.drop_old_failures(self.config.retry_after);
        match slot.states.get_mut(&with) {
            Some(State::Loaded { engine, used }) => {
                *used = Instant::now();
                Look::There(engine.clone())
            }
            Some(State::Loading { outcome, .. }) => Look::OnItsWay(outcome.clone()),
            // A model that failed a moment ago is not tried again by every request.
            Some(State::Failed { error, at }) if at.elapsed() < self.config.retry_after => Look::Failed(error.clone()),
            None | Some(State::Failed { .. }) => {
                let (sender, outcome) = watch::channel(None);
                slot.states.insert(with.clone(), State::Loading { outcome: outcome.clone(), reserved: false });
                let load = self.clone().load(slot.directory.clone(), slot.manifest.clone(), with, sender);
                self.runtime.spawn(load);
                Look::OnItsWay(outcome)
            }
        }
    }

    async fn load(
        self: Arc<Self>,
        directory: PathBuf,
        manifest: Arc<Manifest>,
        with: With,
        outcome: watch::Sender<Outcome>,
    ) {
        let loaded = match self.make_room(&manifest, &with).await {
            Ok(reservation) => self.load_on_a_thread(directory, &manifest, &with, reservation).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &loaded {
            tracing::error!(model = %manifest.name, %error, "a model could not be loaded");
        }
        if let Some(slot) = self.slots.lock().get_mut(&manifest.name) {
            let state = match &loaded {
                Ok(engine) => State::Loaded { engine: engine.clone(), used: Instant::now() },
                Err(error) => State::Failed { error: error.clone(), at: Instant::now() },
            };
            slot.states.insert(with, state);
        }
        outcome.send_replace(Some(loaded));
        // Whoever waits for room may now take this one's.
        self.budget.notify();
    }

    async fn load_on_a_thread(
        &self,
        directory: PathBuf,
        manifest: &Arc<Manifest>,
        with: &With,
        reservation: Reservation,
    ) -> Result<Running, GenerateError> {
        let name = manifest.name.to_string();
        let failed = |reason: String| GenerateError::Load { model: name.clone(), reason };
        let work = Work {
            serving: directory.join("serving"),
            scratch: self.config.models_dir.join(".merged"),
            manifest: manifest.clone(),
            quantize: self.quantize,
            runtime: self.runtime.clone(),
            reservation,
        };
        let merging = match (with, &self.beside) {
            (With::Merged(generation, _), Some(beside)) => Some(beside.adapter(generation).await?),
            _ => None,
        };
        let (with, beside) = (with.clone(), self.beside.clone());
        let (sender, loaded) = tokio::sync::oneshot::channel();
        let started = Instant::now();
        // A fresh thread each time: mistral.rs keeps what it was told to load in thread-locals.
        let thread = std::thread::Builder::new().name(format!("load {name}")).spawn(move || {
            let _ = sender.send(work.load(with, beside, merging));
        });
        thread.map_err(|error| failed(format!("no thread could be started: {error}")))?;
        let panicked = || failed("the engine panicked while loading; its message is in the log".into());
        let engine = loaded.await.map_err(|_| panicked())?;
        let engine = engine.map_err(|error| failed(format!("{:#}", anyhow::Error::from(error))))?;
        tracing::info!(model = name, seconds = started.elapsed().as_secs_f64(), "loaded");
        Ok(engine)
    }

    /// Bytes that a model takes in an engine.
    fn memory_bytes(&self, manifest: &Manifest, with: &With) -> u64 {
        match (with, &self.beside) {
            (With::Beside, Some(beside)) => beside.memory_bytes(manifest),
            _ => manifest.memory_bytes,
        }
    }

    /// Reserves memory for a model, unloading others; waits for requests that still hold theirs.
    async fn make_room(&self, manifest: &Manifest, with: &With) -> Result<Reservation, GenerateError> {
        let (needed, budget) = (self.memory_bytes(manifest, with), self.budget.total());
        if needed > budget {
            return Err(GenerateError::OverBudget { model: manifest.name.to_string(), needed, budget });
        }
        loop {
            let changed = self.budget.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(reservation) = self.budget.reserve(needed) {
                let _ = self.with(&manifest.name, |slot| {
                    if let Some(State::Loading { reserved, .. }) = slot.states.get_mut(with) {
                        *reserved = true;
                    }
                });
                return Ok(reservation);
            }
            match self.evict(needed) {
                Some((name, engine)) => {
                    tracing::info!(model = %name, "unloaded to make room");
                    drop(engine);
                }
                None => changed.await,
            }
        }
    }

    /// Takes the least recently used model out of service, idle ones first; none where those that are on their way out
    /// already leave room enough.
    fn evict(&self, needed: u64) -> Option<(ModelName, Running)> {
        let mut slots = self.slots.lock();
        let states = |slot: &Slot| -> u64 {
            let stays = |state: &State| matches!(state, State::Loaded { .. } | State::Loading { reserved: true, .. });
            let staying = slot.states.iter().filter(|(_, state)| stays(state));
            staying.map(|(with, _)| self.memory_bytes(&slot.manifest, with)).sum()
        };
        let staying: u64 = slots.values().map(states).sum();
        if staying.saturating_add(needed) <= self.budget.total() {
            return None;
        }
        let loaded = slots.iter().flat_map(|(name, slot)| {
            slot.states.iter().filter_map(move |(with, state)| match state {
                // One handle is the registry's own.
                State::Loaded { engine, used } => Some((engine.handles() > 1, *used, name.clone(), with.clone())),
                _ => None,
            })
        });
        let (_, _, name, with) = loaded.min()?;
        let engine = slots.get_mut(&name)?.take(&with)?;
        Some((name, engine))
    }

    /// Works on a model's slot, looking at the directory again where it is unknown.
    fn with<T>(&self, name: &ModelName, work: impl FnOnce(&mut Slot) -> T) -> Result<T, GenerateError> {
        if !self.slots.lock().contains_key(name) {
            self.rescan().map_err(engine_error)?;
        }
        let mut slots = self.slots.lock();
        slots.get_mut(name).map(work).ok_or_else(|| GenerateError::UnknownModel(name.to_string()))
    }
}

/// Loads one model, on a thread of its own.
struct Work {
    serving: PathBuf,
    /// Where merged weights lie while they are being loaded.
    scratch: PathBuf,
    manifest: Arc<Manifest>,
    quantize: Option<IsqType>,
    runtime: Handle,
    reservation: Reservation,
}

impl Work {
    fn load(self, with: With, beside: Option<Arc<dyn Beside>>, merging: Option<Adapter>) -> Result<Running, LoadError> {
        check(&self.serving, &self.manifest)?;
        match (with, beside, merging) {
            (With::Beside, Some(beside), _) => {
                let model = beside.open(&self.serving, &self.manifest).map_err(LoadError::Beside)?;
                Ok(Running::Beside(Arc::new(BesideEngine::new(model, self.runtime, self.reservation))))
            }
            (With::Merged(generation, weight), _, Some(adapter)) => {
                let merged = self.scratch.join(format!("{}-{weight:08x}", generation.0));
                let loaded = merge(&self.serving, &adapter, f32::from_bits(weight), &merged)
                    .map_err(LoadError::from)
                    .and_then(|()| self.mistral_rs(&merged, Some(generation)));
                // mistral.rs has read them; nothing of them is needed again.
                if let Err(error) = std::fs::remove_dir_all(&merged) {
                    tracing::warn!(directory = %merged.display(), %error, "merged weights were not removed");
                }
                loaded
            }
            _ => {
                let serving = self.serving.clone();
                self.mistral_rs(&serving, None)
            }
        }
    }

    fn mistral_rs(self, files: &Path, adapter: Option<AdapterGeneration>) -> Result<Running, LoadError> {
        let engine = Engine::load(files, &self.manifest, adapter, self.quantize, &self.runtime, self.reservation)?;
        Ok(Running::MistralRs(engine))
    }
}

enum Look {
    There(Running),
    OnItsWay(watch::Receiver<Outcome>),
    Failed(GenerateError),
}

impl Slot {
    fn resident(&self) -> bool {
        self.states.values().any(|state| matches!(state, State::Loading { .. } | State::Loaded { .. }))
    }

    fn beside_engine(&self) -> Option<Arc<BesideEngine>> {
        match self.states.get(&With::Beside) {
            Some(State::Loaded { engine: Running::Beside(engine), .. }) => Some(engine.clone()),
            _ => None,
        }
    }

    /// Failures of merged adapters are forgotten when they may be tried again: there may be any number of those, and nobody
    /// may ask for them ever again.
    fn drop_old_failures(&mut self, after: Duration) {
        self.states.retain(|with, state| match (with, state) {
            (With::Merged(..), State::Failed { at, .. }) => at.elapsed() < after,
            _ => true,
        });
    }

    fn listed(&self, engine: EngineName) -> Listed {
        let primary = if engine.beside(self.beside) { With::Beside } else { With::MistralRs };
        // What answers plain requests, or else whatever is loaded.
        let loaded = self.states.iter().find(|(_, state)| matches!(state, State::Loaded { .. }));
        let shown = self.states.get(&primary).or(loaded.map(|(_, state)| state));
        let status = match shown {
            None => Status::Unloaded,
            Some(State::Loading { .. }) => Status::Loading,
            Some(State::Loaded { .. }) => Status::Loaded,
            Some(State::Failed { error: GenerateError::Load { reason, .. }, .. }) => {
                Status::Failed { reason: reason.clone() }
            }
            Some(State::Failed { error, .. }) => Status::Failed { reason: error.to_string() },
        };
        let engine = if primary == With::Beside { EngineName::Lane } else { EngineName::MistralRs };
        Listed { manifest: self.manifest.clone(), status, engine, last_used: self.last_used }
    }

    /// The registry's handle, where there is one; the model is then unloaded.
    fn take(&mut self, with: &With) -> Option<Running> {
        match self.states.remove(with)? {
            State::Loaded { engine, .. } => Some(engine),
            loading @ State::Loading { .. } => {
                self.states.insert(with.clone(), loading);
                None
            }
            State::Failed { .. } => None,
        }
    }
}
