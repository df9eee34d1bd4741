//! The adapter lane as the base models' registry loads it, and how requests name what is attached to a base.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use cairn_adapters::{
    AdapterGeneration, AdapterShare, EventStream, GenerateError, Generation, Generator, ModelName, ScoredToken, peft,
    store::{Lease, Prepared, Reference, Resident, Store, StoreError},
};
use cairn_base::{Beside, BesideModel, Manifest};
use cairn_lane::{AttachError, Attached, Description, Lane, LaneAdapter, LaneOptions, LaneRequest, Options};
use futures::StreamExt;

use crate::{auth::Caller, config, error::ApiError, state::AppState};

/// Opens lanes, which attach adapters from the store.
pub(crate) struct Lanes {
    pub(crate) adapters: Source,
    pub(crate) config: config::Adapters,
}

/// Where the weights of adapters come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// The gateway's store.
    Store(Store),
    /// Files that were given, by the generation they are.
    Files(Arc<BTreeMap<String, peft::Files>>),
}

impl Source {
    /// As [`Store::prepare`].
    async fn prepare<T: Send + 'static>(
        &self,
        generation: &AdapterGeneration,
        prepare: impl FnOnce(peft::Adapter) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        match self {
            Self::Store(store) => store.prepare(generation, prepare).await,
            Self::Files(files) => {
                let (known, generation) = (files.clone(), generation.0.clone());
                let work = move || {
                    let missing =
                        || StoreError::NotFound { base: "the given files".into(), reference: generation.clone() };
                    let files = known.get(&generation).ok_or_else(missing)?;
                    Ok(prepare(peft::Adapter::parse(&files.config, &files.weights, &peft::Limits::default())?))
                };
                tokio::task::spawn_blocking(work).await?
            }
        }
    }
}

#[async_trait::async_trait]
impl Beside for Lanes {
    fn serves(&self, serving: &Path) -> bool {
        Description::read(serving).is_ok()
    }

    fn memory_bytes(&self, manifest: &Manifest) -> u64 {
        manifest.memory_bytes.saturating_add((self.config.kv_mib + self.config.resident_mib) << 20)
    }

    fn open(&self, serving: &Path, manifest: &Manifest) -> Result<Arc<dyn BesideModel>, String> {
        let config::Adapters { resident_mib, kv_mib, form, .. } = &self.config;
        let options = LaneOptions {
            decoder: Options { form: form.form(), ..Options::default() },
            weights: manifest.serving_hash.clone(),
            kv_bytes: kv_mib << 20,
            ..LaneOptions::default()
        };
        let lane = Lane::open(serving, options).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        let weigh = |attached: &Arc<Attached>| attached.resident_bytes() as u64;
        Ok(Arc::new(Served {
            lane,
            resident: Resident::new(resident_mib << 20, weigh),
            adapters: self.adapters.clone(),
        }))
    }

    async fn adapter(&self, generation: &AdapterGeneration) -> Result<peft::Adapter, GenerateError> {
        self.adapters.prepare(generation, |adapter| adapter).await.map_err(unreadable)
    }
}

/// A base in its lane, and the adapters that are ready there.
struct Served {
    lane: Lane,
    resident: Resident<Arc<Attached>>,
    adapters: Source,
}

#[async_trait::async_trait]
impl Generator for Served {
    async fn generate(&self, request: Generation) -> Result<EventStream, GenerateError> {
        let (request, held) = self.attach(request).await?;
        let events = self.lane.generate(request).await?;
        Ok(holding(events, held))
    }
}

impl Served {
    /// The request with its adapters attached, and what holds them in memory.
    async fn attach(&self, request: Generation) -> Result<(LaneRequest, Vec<Prepared<Arc<Attached>>>), GenerateError> {
        let started = std::time::Instant::now();
        let mut held = Vec::with_capacity(request.adapters.len());
        for share in &request.adapters {
            held.push(self.attached(&share.generation).await?);
        }
        if !held.is_empty() {
            metrics::histogram!("cairn_adapter_ready_seconds").record(started.elapsed().as_secs_f64());
        }
        let attached = request.adapters.iter().zip(&held).map(|(share, attached)| LaneAdapter {
            generation: share.generation.clone(),
            attached: Arc::clone(attached),
            weight: share.weight,
        });
        let attached = attached.collect();
        Ok((LaneRequest::of(request, attached), held))
    }

    /// The adapter, ready in the lane: from memory, or loaded once for all that wait.
    async fn attached(&self, generation: &AdapterGeneration) -> Result<Prepared<Arc<Attached>>, GenerateError> {
        let load = || async {
            let started = std::time::Instant::now();
            let lane = self.lane.clone();
            let attached = Arc::new(self.adapters.prepare(generation, move |adapter| lane.attach(&adapter)).await??);
            metrics::histogram!("cairn_adapter_attach_seconds").record(started.elapsed().as_secs_f64());
            Ok::<_, NotAttached>(attached)
        };
        self.resident.get(generation, load).await.map_err(|error| match &*error {
            NotAttached::Fit(error) => GenerateError::AdapterIncompatible(error.to_string()),
            NotAttached::Load(error) => unreadable(error),
        })
    }
}

#[async_trait::async_trait]
impl BesideModel for Served {
    async fn score(&self, request: Generation, answer: String) -> Result<Vec<ScoredToken>, GenerateError> {
        let (request, _held) = self.attach(request).await?;
        self.lane.score(request, answer).await
    }

    async fn attach(&self, generations: &[AdapterGeneration]) -> Result<(), GenerateError> {
        for generation in generations {
            self.attached(generation).await?;
        }
        Ok(())
    }

    async fn forget(&self, generation: &AdapterGeneration) {
        self.resident.forget(generation).await;
    }

    fn in_memory(&self) -> Box<dyn Fn() -> bool + Send + Sync> {
        let decoder = Arc::downgrade(self.lane.decoder());
        Box::new(move || decoder.strong_count() > 0)
    }

    fn figures(&self) -> Vec<(&'static str, f64)> {
        let stats = self.lane.stats();
        vec![
            ("cairn_lane_running", stats.running as f64),
            ("cairn_lane_waiting", (stats.waiting + stats.parked) as f64),
            ("cairn_lane_kv_bytes", stats.kv_bytes as f64),
            ("cairn_lane_kv_bytes_in_use", stats.kv_bytes_in_use as f64),
            ("cairn_lane_kv_budget_bytes", stats.kv_budget as f64),
            ("cairn_lane_prompt_tokens", stats.prompt_tokens as f64),
            ("cairn_lane_prefilled_tokens", stats.prefilled_tokens as f64),
            ("cairn_lane_prefix_hit_tokens", stats.prefix_hit_tokens as f64),
            ("cairn_lane_generated_tokens", stats.generated_tokens as f64),
            ("cairn_lane_steps", stats.steps as f64),
            ("cairn_lane_decoding_seconds", stats.decoding.as_secs_f64()),
            ("cairn_lane_matrices_seconds", stats.profile.matrices.as_secs_f64()),
            ("cairn_lane_adapted_seconds", stats.profile.adapted.as_secs_f64()),
            ("cairn_lane_attention_seconds", stats.profile.attention.as_secs_f64()),
            ("cairn_lane_choosing_seconds", stats.choosing.as_secs_f64()),
            ("cairn_lane_finished", stats.finished as f64),
            ("cairn_lane_cancelled", stats.cancelled as f64),
            ("cairn_lane_refused", stats.refused as f64),
            ("cairn_lane_preempted", stats.preempted as f64),
            ("cairn_lane_adapters_resident", self.resident.count() as f64),
            ("cairn_lane_adapters_resident_bytes", self.resident.bytes() as f64),
        ]
    }
}

#[derive(Debug, thiserror::Error)]
enum NotAttached {
    #[error("the adapter cannot be read")]
    Load(#[from] StoreError),
    #[error(transparent)]
    Fit(#[from] AttachError),
}

fn unreadable(error: impl std::error::Error) -> GenerateError {
    GenerateError::Engine { message: format!("the adapter cannot be read: {error}") }
}

/// What leases stand for in a request to the engines.
pub(crate) fn shares(leases: &[(Lease, f32)]) -> Vec<AdapterShare> {
    let share = |(lease, weight): &(Lease, f32)| AdapterShare { generation: lease.generation.clone(), weight: *weight };
    leases.iter().map(share).collect()
}

/// The events, holding something until their last.
pub(crate) fn holding(events: EventStream, held: impl Send + 'static) -> EventStream {
    events
        .map(move |event| {
            let _held = &held;
            event
        })
        .boxed()
}

/// A base and what is attached to it, as a request writes it.
pub(crate) struct Addressed {
    pub(crate) model: ModelName,
    pub(crate) adapters: Vec<(Reference, f32)>,
}

/// Reads `base`, `base:alias` or `base:alias@generation`, and the adapters that the request names beside it. A name that
/// is no base but an alias on exactly one means that alias, as vLLM's clients write it.
pub(crate) async fn address(
    state: &AppState,
    caller: &Caller,
    model: &str,
    beside: &[(String, f32)],
) -> Result<Addressed, ApiError> {
    let mut addressed = parse(model, beside)?;
    if addressed.adapters.is_empty() && state.models.get(&addressed.model).is_err() {
        let found = state.adapters.bases_of(&state.models, addressed.model.as_str(), caller).await?;
        if let [base] = found.as_slice() {
            let alias = addressed.model.as_str().parse().map_err(|_| unknown(model))?;
            addressed = Addressed { model: base.clone(), adapters: vec![(alias, 1.0)] };
        }
    }
    Ok(addressed)
}

/// Pins what the names mean now; until the leases are dropped it stays, whatever becomes of the aliases.
pub(crate) async fn lease(
    state: &AppState,
    caller: &Caller,
    addressed: &Addressed,
    request_key: &str,
) -> Result<Vec<(Lease, f32)>, ApiError> {
    // The base first: an unknown one is no reason to speak of adapters.
    state.models.get(&addressed.model)?;
    let started = std::time::Instant::now();
    let by = caller.into();
    let mut leases = Vec::with_capacity(addressed.adapters.len());
    for (reference, weight) in &addressed.adapters {
        let lease = state.adapters.store.resolve(addressed.model.as_str(), reference, request_key, &by);
        let lease = lease.await.map_err(|error| match error {
            // An adapter that is not there is, to applications, a model that is not there.
            StoreError::NotFound { .. } => unknown(&format!("{}:{reference}", addressed.model)),
            other => other.into(),
        })?;
        leases.push((lease, *weight));
    }
    if !leases.is_empty() {
        metrics::histogram!("cairn_adapter_lease_seconds").record(started.elapsed().as_secs_f64());
    }
    Ok(leases)
}

fn unknown(model: &str) -> ApiError {
    GenerateError::UnknownModel(model.to_owned()).into()
}

fn parse(model: &str, beside: &[(String, f32)]) -> Result<Addressed, ApiError> {
    let (base, inline) = match model.split_once(':') {
        Some((base, alias)) => (base, Some(alias)),
        None => (model, None),
    };
    if inline.is_some() && !beside.is_empty() {
        return Err(ApiError::invalid("adapter", "the model names an adapter already; name it in one place"));
    }
    if beside.len() > MAX_ADAPTERS {
        return Err(ApiError::invalid(
            "adapters",
            format!("{} adapters are named; give at most {MAX_ADAPTERS}", beside.len()),
        ));
    }
    let model_name = base.parse().map_err(|_| unknown(base))?;
    let given = inline.map(|alias| (alias.to_owned(), 1.0)).into_iter().chain(beside.iter().cloned());
    let adapters = given.map(|(name, weight)| {
        if !weight.is_finite() || weight.abs() > MAX_WEIGHT {
            return Err(ApiError::invalid(
                "adapters",
                format!("the weight of {name:?} is {weight}; give -{MAX_WEIGHT} to {MAX_WEIGHT}"),
            ));
        }
        name.parse().map(|reference| (reference, weight)).map_err(|_| unknown(&format!("{base}:{name}")))
    });
    Ok(Addressed { model: model_name, adapters: adapters.collect::<Result<_, _>>()? })
}

/// Adapters of one request.
const MAX_ADAPTERS: usize = 8;
/// Largest factor on an adapter, either way.
const MAX_WEIGHT: f32 = 16.0;
