//! Adapters in the gateway: the store, what each base demands of an adapter, and their way into the transparency log.

use std::{collections::HashMap, path::Path, sync::Arc};

use anyhow::Context;
use cairn_adapters::{
    ModelName,
    compatibility::{Base, template_hash, tokenizer_hash},
    store::{Caller as StoreCaller, Objects, Quota, Store, StoreError, StoreOptions},
};
use cairn_base::{Kind, Manifest};
use cairn_lane::Description;
use cairn_proof::log::Draft;
use parking_lot::Mutex;

use crate::{
    auth::Caller,
    config::Config,
    error::{ApiError, Code},
    ledger::Ledger,
};

/// The adapters of a gateway. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Adapters {
    pub(crate) store: Store,
    ledger: Ledger,
    models_dir: Arc<Path>,
    /// What adapters of a base must fit, read once. Written by [`Adapters::base`].
    bases: Arc<Mutex<HashMap<ModelName, Base>>>,
    /// One writer of changes to the log at a time, so that they stand there in their order.
    publishing: Arc<tokio::sync::Mutex<()>>,
}

impl Adapters {
    /// Opens the store in the gateway's database, and logs what a crash kept from the log; of a replica that is its primary's.
    pub(crate) async fn open(config: &Config, pool: cairn_database::Database, ledger: Ledger) -> anyhow::Result<Self> {
        let dir = config.data_dir.join("adapters");
        let objects = match config.adapters.objects_uri.as_str() {
            "" => Objects::local(dir.join("objects")).context("the adapters' directory cannot be opened")?,
            uri => {
                let options = config.adapters.objects_options();
                let options = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
                Objects::at(uri, options).context("adapters.objects_uri and adapters.objects_storage cannot be used")?
            }
        };
        let mut options = StoreOptions::new(dir.join("staging"));
        options.shared = config.replica.is_some();
        options.quota = Quota {
            max_count: config.adapters.quota_count,
            max_bytes: config.adapters.quota_mib.saturating_mul(1 << 20),
        };
        options.limits.max_weights_bytes = options.limits.max_weights_bytes.min(config.upload_limit as u64);
        let store = Store::open(pool, objects, options).await.context("the adapters cannot be opened")?;
        let adapters = Self {
            store,
            ledger,
            models_dir: config.models_dir.as_path().into(),
            bases: Arc::default(),
            publishing: Arc::default(),
        };
        if config.replica.is_none() {
            adapters.log_changes().await?;
        }
        Ok(adapters)
    }

    /// Appends every change that is not in the log yet; returns once they are durable there.
    pub(crate) async fn log_changes(&self) -> anyhow::Result<()> {
        let _one = self.publishing.lock().await;
        loop {
            let pending = self.store.pending_changes(CHANGES).await?;
            if pending.is_empty() {
                return Ok(());
            }
            for change in pending {
                let placed = self.ledger.append(Draft::Entry(change.entry.into_bytes())).await?;
                self.store.mark_logged(change.id, i64::try_from(placed.index)?).await?;
            }
        }
    }

    /// What an adapter of this base must fit.
    pub(crate) async fn base(&self, name: &str) -> Result<Base, ApiError> {
        let unknown = || ApiError::from(cairn_adapters::GenerateError::UnknownModel(name.to_owned()));
        let parsed: ModelName = name.parse().map_err(|_| unknown())?;
        if let Some(base) = self.bases.lock().get(&parsed) {
            return Ok(base.clone());
        }
        let directory = self.models_dir.join(name);
        let manifest = Manifest::read(&directory).map_err(|_| unknown())?;
        if manifest.kind != Kind::Chat {
            return Err(ApiError::invalid("base", format!("{parsed} takes no adapters: it is an embedding model")));
        }
        let serving = directory.join("serving");
        let name = name.to_owned();
        let described = tokio::task::spawn_blocking(move || describe(&serving, name));
        let base = described.await.map_err(ApiError::internal)?.map_err(|error| {
            ApiError::invalid("base", format!("{parsed} takes no adapters: {:#}", anyhow::Error::from(error)))
        })?;
        self.bases.lock().insert(parsed, base.clone());
        Ok(base)
    }
}

impl Adapters {
    /// The bases on which the caller may use an alias of this name.
    pub(crate) async fn bases_of(
        &self,
        models: &cairn_base::BaseModels,
        alias: &str,
        caller: &Caller,
    ) -> Result<Vec<ModelName>, ApiError> {
        let Ok(alias) = alias.parse() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for listed in models.list().map_err(ApiError::internal)? {
            let base = &listed.manifest.name;
            match self.store.alias(base.as_str(), &alias, &caller.into()).await {
                Ok(_) => found.push(base.clone()),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }
}

/// Changes read from the outbox at once.
const CHANGES: u32 = 64;

fn describe(serving: &Path, name: String) -> Result<Base, cairn_lane::LoadError> {
    let (architecture, linears, embeddings, others) = match Description::read(serving) {
        Ok(Description { config, linears, embeddings, others }) => {
            (config.family.to_string(), linears, embeddings, others)
        }
        // A family that the lane does not know: adapters are merged into its weights.
        Err(error) => match cairn_adapters::compatibility::checkpoint(serving) {
            Ok(found) => (found.architecture, found.linears, found.embeddings, found.others),
            Err(_) => return Err(error),
        },
    };
    let template = std::fs::read_to_string(serving.join("chat_template.jinja")).ok().or_else(|| {
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(serving.join("tokenizer_config.json")).ok()?).ok()?;
        json["chat_template"].as_str().map(str::to_owned)
    });
    Ok(Base {
        name,
        architecture,
        linears,
        embeddings,
        others,
        tokenizer_hash: std::fs::read(serving.join("tokenizer.json")).ok().and_then(|json| tokenizer_hash(&json)),
        chat_template_hash: template.map(|text| template_hash(&text)),
    })
}

impl From<&Caller> for StoreCaller {
    fn from(caller: &Caller) -> Self {
        Self { subject: caller.subject.clone(), admin: caller.bounds().is_none() }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Name(_)
            | StoreError::Ambiguous { .. }
            | StoreError::NothingEarlier { .. }
            | StoreError::Percent(_)
            | StoreError::Archive(_)
            | StoreError::Format(_) => Self::new(Code::InvalidRequest, message),
            StoreError::Incompatible(_) => Self::new(Code::AdapterIncompatible, message),
            StoreError::NotFound { .. } => Self::new(Code::AdapterNotFound, message),
            StoreError::NotOwner { .. } => Self::new(Code::InsufficientScope, message),
            StoreError::Taken { .. } | StoreError::InUse { .. } | StoreError::BeingDeleted { .. } => {
                Self::new(Code::AlreadyExists, message)
            }
            StoreError::OverQuota { .. } => Self::new(Code::QuotaExceeded, message),
            StoreError::Database(nul @ cairn_database::Error::Nul) => Self::new(Code::InvalidRequest, nul.to_string()),
            StoreError::Corrupt { .. }
            | StoreError::Database(_)
            | StoreError::Address(_)
            | StoreError::Objects(_)
            | StoreError::Staging(_)
            | StoreError::Damaged(_)
            | StoreError::Task(_) => Self::internal(anyhow::Error::from(error)),
        }
    }
}
