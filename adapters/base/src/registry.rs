//! Which models there are, which are loaded, and who makes room for whom.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use cairn_adapters::{GenerateError, ModelName};
use mistralrs::IsqType;
use parking_lot::Mutex;
use tokenizers::Tokenizer;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    budget::{Budget, Reservation},
    engine::{Engine, engine_error},
    manifest::{Kind, Manifest, ManifestError},
    models::{BaseConfig, Listed, Status, WhenLoading},
};

/// The models of a directory and their engines.
pub(crate) struct Registry {
    config: BaseConfig,
    quantize: Option<IsqType>,
    runtime: Handle,
    budget: Arc<Budget>,
    /// Guards what is known and loaded; held for look-ups and changes, never while loading. Written by `rescan`, by a
    /// load when it begins and ends, by `unload` and by whoever makes room.
    slots: Mutex<BTreeMap<ModelName, Slot>>,
}

struct Slot {
    directory: PathBuf,
    manifest: Arc<Manifest>,
    state: State,
    last_used: Option<SystemTime>,
    /// Read when first asked for.
    tokenizer: Option<Arc<Tokenizer>>,
}

enum State {
    Unloaded,
    Loading {
        outcome: watch::Receiver<Outcome>,
        /// It has its share of the budget already.
        reserved: bool,
    },
    Loaded {
        engine: Arc<Engine>,
        used: Instant,
    },
    Failed {
        error: GenerateError,
        at: Instant,
    },
}

/// None until a load has ended. All who wait for it take the engine from here, so that nobody can evict it before.
type Outcome = Option<Result<Arc<Engine>, GenerateError>>;

impl Registry {
    pub(crate) fn new(config: BaseConfig, quantize: Option<IsqType>, runtime: Handle) -> Self {
        let budget = Budget::new(config.memory_budget);
        Self { config, quantize, runtime, budget, slots: Mutex::default() }
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
        let resident = |state: &State| matches!(state, State::Loading { .. } | State::Loaded { .. });
        slots.retain(|name, slot| found.contains_key(name) || resident(&slot.state));
        for (name, (directory, manifest)) in found {
            match slots.get(&name) {
                Some(slot) if resident(&slot.state) || slot.manifest == manifest => {}
                _ => {
                    let slot = Slot { directory, manifest, state: State::Unloaded, last_used: None, tokenizer: None };
                    slots.insert(name, slot);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        self.slots.lock().values().map(Slot::listed).collect()
    }

    pub(crate) fn get(&self, name: &ModelName) -> Result<Listed, GenerateError> {
        self.with(name, |slot| slot.listed())
    }

    /// A model that failed may be tried again at once.
    pub(crate) fn forget_failure(&self, name: &ModelName) -> Result<(), GenerateError> {
        self.with(name, |slot| {
            if matches!(slot.state, State::Failed { .. }) {
                slot.state = State::Unloaded;
            }
        })
    }

    pub(crate) fn unload(&self, name: &ModelName) -> Result<(), GenerateError> {
        let taken = self.with(name, Slot::take_engine)?;
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
        waiting: WhenLoading,
    ) -> Result<Arc<Engine>, GenerateError> {
        let mut outcome = match self.with(name, |slot| self.look(slot))? {
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
    fn look(self: &Arc<Self>, slot: &mut Slot) -> Look {
        slot.last_used = Some(SystemTime::now());
        match &mut slot.state {
            State::Loaded { engine, used } => {
                *used = Instant::now();
                Look::There(engine.clone())
            }
            State::Loading { outcome, .. } => Look::OnItsWay(outcome.clone()),
            // A model that failed a moment ago is not tried again by every request.
            State::Failed { error, at } if at.elapsed() < self.config.retry_after => Look::Failed(error.clone()),
            State::Unloaded | State::Failed { .. } => {
                let (sender, outcome) = watch::channel(None);
                slot.state = State::Loading { outcome: outcome.clone(), reserved: false };
                self.runtime.spawn(self.clone().load(slot.directory.clone(), slot.manifest.clone(), sender));
                Look::OnItsWay(outcome)
            }
        }
    }

    async fn load(self: Arc<Self>, directory: PathBuf, manifest: Arc<Manifest>, outcome: watch::Sender<Outcome>) {
        let loaded = match self.make_room(&manifest).await {
            Ok(reservation) => self.load_on_a_thread(directory, &manifest, reservation).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &loaded {
            tracing::error!(model = %manifest.name, %error, "a model could not be loaded");
        }
        if let Some(slot) = self.slots.lock().get_mut(&manifest.name) {
            slot.state = match &loaded {
                Ok(engine) => State::Loaded { engine: engine.clone(), used: Instant::now() },
                Err(error) => State::Failed { error: error.clone(), at: Instant::now() },
            };
        }
        outcome.send_replace(Some(loaded));
        // Whoever waits for room may now take this one's.
        self.budget.notify();
    }

    async fn load_on_a_thread(
        &self,
        directory: PathBuf,
        manifest: &Arc<Manifest>,
        reservation: Reservation,
    ) -> Result<Arc<Engine>, GenerateError> {
        let name = manifest.name.to_string();
        let failed = |reason: String| GenerateError::Load { model: name.clone(), reason };
        let (sender, loaded) = tokio::sync::oneshot::channel();
        let started = Instant::now();
        let (runtime, manifest, quantize) = (self.runtime.clone(), manifest.clone(), self.quantize);
        // A fresh thread each time: mistral.rs keeps what it was told to load in thread-locals.
        let thread = std::thread::Builder::new().name(format!("load {name}")).spawn(move || {
            let _ = sender.send(Engine::load(&directory, &manifest, quantize, &runtime, reservation));
        });
        thread.map_err(|error| failed(format!("no thread could be started: {error}")))?;
        let panicked = || failed("mistral.rs panicked while loading; its message is in the log".into());
        let engine = loaded.await.map_err(|_| panicked())?;
        let engine = engine.map_err(|error| failed(format!("{:#}", anyhow::Error::from(error))))?;
        tracing::info!(model = name, seconds = started.elapsed().as_secs_f64(), "loaded");
        Ok(engine)
    }

    /// Reserves memory for a model, unloading others; waits for requests that still hold theirs.
    async fn make_room(&self, manifest: &Manifest) -> Result<Reservation, GenerateError> {
        let (needed, budget) = (manifest.memory_bytes, self.budget.total());
        if needed > budget {
            return Err(GenerateError::OverBudget { model: manifest.name.to_string(), needed, budget });
        }
        loop {
            let changed = self.budget.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(reservation) = self.budget.reserve(needed) {
                let _ = self.with(&manifest.name, |slot| {
                    if let State::Loading { reserved, .. } = &mut slot.state {
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
    fn evict(&self, needed: u64) -> Option<(ModelName, Arc<Engine>)> {
        let mut slots = self.slots.lock();
        let stays = |slot: &&Slot| matches!(slot.state, State::Loaded { .. } | State::Loading { reserved: true, .. });
        let staying: u64 = slots.values().filter(stays).map(|slot| slot.manifest.memory_bytes).sum();
        if staying.saturating_add(needed) <= self.budget.total() {
            return None;
        }
        let loaded = slots.iter().filter_map(|(name, slot)| match &slot.state {
            // One handle is the registry's own.
            State::Loaded { engine, used } => Some((Arc::strong_count(engine) > 1, *used, name.clone())),
            _ => None,
        });
        let (_, _, name) = loaded.min()?;
        let engine = slots.get_mut(&name)?.take_engine()?;
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

enum Look {
    There(Arc<Engine>),
    OnItsWay(watch::Receiver<Outcome>),
    Failed(GenerateError),
}

impl Slot {
    fn listed(&self) -> Listed {
        let status = match &self.state {
            State::Unloaded => Status::Unloaded,
            State::Loading { .. } => Status::Loading,
            State::Loaded { .. } => Status::Loaded,
            State::Failed { error: GenerateError::Load { reason, .. }, .. } => {
                Status::Failed { reason: reason.clone() }
            }
            State::Failed { error, .. } => Status::Failed { reason: error.to_string() },
        };
        Listed { manifest: self.manifest.clone(), status, last_used: self.last_used }
    }

    /// The registry's handle, where there is one; the model is then unloaded.
    fn take_engine(&mut self) -> Option<Arc<Engine>> {
        match std::mem::replace(&mut self.state, State::Unloaded) {
            State::Loaded { engine, .. } => Some(engine),
            State::Loading { outcome, reserved } => {
                self.state = State::Loading { outcome, reserved };
                None
            }
            State::Unloaded | State::Failed { .. } => None,
        }
    }
}
