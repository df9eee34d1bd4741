//! Answers with adapters: one lane for each base that is asked for with one, and the adapters that are ready in it.

use std::{collections::HashMap, sync::Arc};

use cairn_adapters::{
    AdapterShare, EventStream, GenerateError, Generation, ModelName,
    store::{Lease, Prepared, Reference, Resident, StoreError},
};
use cairn_base::BaseModels;
use cairn_lane::{AttachError, Attached, Lane, LaneAdapter, LaneOptions, LaneRequest, Options};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{
    adapters::Adapters,
    auth::Caller,
    config::{self, Config},
    error::{ApiError, Code},
};

/// The lanes of a gateway. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lanes {
    adapters: Adapters,
    config: Arc<Config>,
    /// One entry a base, opened by its first request; others wait for it. Written by [`Lanes::open`].
    open: Arc<Mutex<HashMap<ModelName, Arc<OnceCell<Served>>>>>,
}

/// A base in its lane.
#[derive(Clone)]
struct Served {
    lane: Lane,
    resident: Resident<Arc<Attached>>,
}

/// A base and what is attached to it, as a request writes it.
pub(crate) struct Addressed {
    pub(crate) model: ModelName,
    pub(crate) adapters: Vec<(Reference, f32)>,
}

impl Lanes {
    pub(crate) fn new(adapters: Adapters, config: Config) -> Self {
        Self { adapters, config: Arc::new(config), open: Arc::default() }
    }

    /// Generates with adapters. Their generations are pinned until the stream is dropped, whatever becomes of the aliases.
    pub(crate) async fn generate(
        &self,
        models: &BaseModels,
        addressed: Addressed,
        mut generation: Generation,
        caller: &Caller,
        request_key: &str,
    ) -> Result<EventStream, ApiError> {
        // The base first: an unknown one is no reason to speak of adapters.
        let weights = models.get(&addressed.model)?.manifest.serving_hash.clone();
        let mut leases = Vec::with_capacity(addressed.adapters.len());
        for (reference, weight) in addressed.adapters {
            let by = caller.into();
            let lease = self.adapters.store.resolve(addressed.model.as_str(), &reference, request_key, &by);
            let lease = lease.await.map_err(|error| unknown_adapter(error, &addressed.model, &reference))?;
            leases.push((lease, weight));
        }
        let served = self.open(&addressed.model, weights).await?;
        let mut attached = Vec::with_capacity(leases.len());
        for (lease, _) in &leases {
            attached.push(self.attached(&served, lease).await?);
        }
        let of = |((lease, weight), attached): (&(Lease, f32), &Prepared<Arc<Attached>>)| LaneAdapter {
            generation: lease.generation.clone(),
            attached: Arc::clone(attached),
            weight: *weight,
        };
        let adapters: Vec<LaneAdapter> = leases.iter().zip(&attached).map(of).collect();
        generation.adapters = adapters
            .iter()
            .map(|adapter| AdapterShare { generation: adapter.generation.clone(), weight: adapter.weight })
            .collect();
        let events = served.lane.generate(LaneRequest::of(generation, adapters)).await?;
        let held = (leases, attached);
        Ok(events
            .map(move |event| {
                let _pinned = &held;
                event
            })
            .boxed())
    }

    async fn open(&self, model: &ModelName, weights: cairn_adapters::WeightsHash) -> Result<Served, ApiError> {
        let cell = self.open.lock().entry(model.clone()).or_default().clone();
        let served = cell.get_or_try_init(|| async {
            let serving = self.config.models_dir.join(model.as_str()).join("serving");
            let config::Adapters { resident_mib, kv_mib, form } = &self.config.adapters;
            let options = LaneOptions {
                decoder: Options { form: form.form(), ..Options::default() },
                weights,
                kv_bytes: kv_mib << 20,
                ..LaneOptions::default()
            };
            let started = std::time::Instant::now();
            let lane = tokio::task::spawn_blocking(move || Lane::open(&serving, options)).await;
            let lane = lane.map_err(ApiError::internal)?.map_err(|error| {
                let reason = format!("{:#}", anyhow::Error::from(error));
                ApiError::from(GenerateError::Load { model: model.to_string(), reason })
            })?;
            tracing::info!(%model, ms = started.elapsed().as_millis() as u64, "opened the adapter lane");
            let weigh = |attached: &Arc<Attached>| attached.resident_bytes() as u64;
            Ok::<_, ApiError>(Served { lane, resident: Resident::new(resident_mib << 20, weigh) })
        });
        served.await.cloned()
    }

    /// The adapter, ready in the lane: from memory, or loaded once for all that wait.
    async fn attached(&self, served: &Served, lease: &Lease) -> Result<Prepared<Arc<Attached>>, ApiError> {
        let load = || async {
            let adapter = self.adapters.store.load(lease).await?;
            let lane = served.lane.clone();
            let attached = tokio::task::spawn_blocking(move || lane.attach(&adapter)).await;
            Ok::<_, NotAttached>(Arc::new(attached.map_err(StoreError::from)??))
        };
        served.resident.get(&lease.generation, load).await.map_err(|error| match &*error {
            NotAttached::Fit(error) => ApiError::new(Code::AdapterIncompatible, error.to_string()),
            NotAttached::Load(error) => ApiError::internal(error),
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum NotAttached {
    #[error("the adapter cannot be read")]
    Load(#[from] StoreError),
    #[error(transparent)]
    Fit(#[from] AttachError),
}

/// Reads `base`, `base:alias` or `base:alias@generation`, and the adapters that the request names beside it.
pub(crate) fn address(model: &str, beside: &[(String, f32)]) -> Result<Addressed, ApiError> {
    let unknown = |name: &str| ApiError::from(GenerateError::UnknownModel(name.to_owned()));
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

/// An adapter that is not there is, to applications, a model that is not there.
fn unknown_adapter(error: StoreError, model: &ModelName, reference: &Reference) -> ApiError {
    match error {
        StoreError::NotFound { .. } => GenerateError::UnknownModel(format!("{model}:{reference}")).into(),
        other => other.into(),
    }
}
