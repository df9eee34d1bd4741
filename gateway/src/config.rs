//! Configuration: one TOML file, overridden by the environment, checked once at the start.
//!
//! [`RawConfig`] is what people write (unknown keys are errors; every key has a default and a comment that becomes
//! `cairn.example.toml`). [`Config`] is what the rest of the program reads. The environment is read nowhere else.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use cairn_database::Settings;
use cairn_openapi::attribution::InfluenceMethod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod adapters;
mod anchor;
mod database;
pub(crate) mod example;
mod jwt;
mod models;
mod oidc;
mod replica;
mod retrieval;

pub(crate) use adapters::Adapters;
pub(crate) use anchor::Anchor;
pub(crate) use database::Database;
pub(crate) use jwt::Jwt;
pub(crate) use models::{EngineChoice, Models, WhenLoading};
pub(crate) use oidc::{Oidc, SUBJECT_PREFIX, confidential};
pub(crate) use replica::{OfPrimary, Replica};
pub(crate) use retrieval::{EmbeddingForm, MAX_CANDIDATES, MAX_TOP_K, Retrieval};

/// Everything that can be configured.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    /// The HTTP server.
    pub(crate) server: Server,
    /// Where state is kept.
    pub(crate) data: Data,
    /// Relational state: keys, grants, requests, jobs, what answers committed to.
    pub(crate) database: Database,
    /// The transparency log.
    pub(crate) log: Log,
    /// Witnesses that are asked to cosign the log's checkpoints.
    pub(crate) witnesses: Witnesses,
    /// The log's checkpoints on a blockchain with contracts (EVM). Give `rpc_url` to switch it on.
    pub(crate) anchor: Anchor,
    /// Base models.
    pub(crate) models: Models,
    /// Answers with LoRA adapters.
    pub(crate) adapters: Adapters,
    /// Fine-tuning.
    pub(crate) training: Training,
    /// Retrieval from datanets.
    pub(crate) retrieval: Retrieval,
    /// What is found out about answers.
    pub(crate) attribution: Attribution,
    /// Tokens of an identity provider, accepted beside API keys.
    pub(crate) jwt: Jwt,
    /// Sign-in to the studio through an OpenID Connect provider. Give `issuer` to switch it on.
    pub(crate) oidc: Oidc,
    /// A gateway that answers beside another, its primary. Give `primary` to make this one a replica.
    pub(crate) replica: Replica,
    /// Logs of the program itself.
    pub(crate) telemetry: Telemetry,
}

/// The HTTP server.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Address and port to listen on.
    pub(crate) listen: SocketAddr,
    /// The address that callers see, used in citations and for sign-in; empty: http:// and `listen`.
    pub(crate) public_url: String,
    /// Threads that serve HTTP.
    pub(crate) workers: usize,
    /// Largest JSON body, in KiB.
    pub(crate) body_limit_kib: usize,
    /// Largest upload to ingest, in MiB.
    pub(crate) upload_limit_mib: usize,
    /// Longest time from a request's start to its answer's first byte, and between the parts of a stream, in seconds; in
    /// the adapter lane also to its last byte. A request may ask for less (`timeout_s`).
    pub(crate) timeout_s: u64,
    /// How long a shutdown waits for answers in flight, in seconds.
    pub(crate) shutdown_grace_s: u64,
}

/// Where state is kept.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Data {
    /// Directory of everything that Cairn keeps; relative to the configuration file.
    pub(crate) dir: PathBuf,
    /// Where LanceDB keeps datanets: empty for a directory inside `dir`, or an object store such as s3://bucket/prefix.
    pub(crate) datanets_uri: String,
    /// Options of that object store, such as {region = "eu-central-1", endpoint = "https://…"}. Credentials are best left to the
    /// environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).
    pub(crate) datanets_storage: BTreeMap<String, String>,
}

/// The transparency log.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// The log's name for ever, a schema-less URL that you control; it is part of every checkpoint. Set it before `cairn init`.
    pub(crate) origin: String,
    /// A second copy of the latest checkpoint, best on another disk: with it, a data directory restored from a backup
    /// refuses to start rather than fork the log. Empty: none.
    pub(crate) guard: PathBuf,
}

/// Witnesses that are asked to cosign the log's checkpoints.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Witnesses {
    /// Whom to ask, each as {url = "https://…", key = "name+id+base64"}: the submission prefix and the verifier key line.
    pub(crate) list: Vec<WitnessAt>,
    /// A checkpoint counts as cosigned from so many on; bundles are then made under it. Answers never wait for it.
    pub(crate) quorum: usize,
    /// Longest wait for one of them, in seconds.
    pub(crate) timeout_s: u64,
}

/// A witness.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WitnessAt {
    /// Its submission prefix.
    pub(crate) url: String,
    /// Its verifier key line.
    pub(crate) key: String,
}

/// Fine-tuning jobs.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Training {
    /// Jobs that run at a time; each has all cores and a memory limit of its own, so more than one seldom pays.
    pub(crate) jobs_at_once: usize,
    /// Memory that a job's process may have, in MiB: what will not fit is refused, what grows beyond it ends with an error.
    pub(crate) memory_limit_mib: u64,
}

/// What is found out about answers that drew on datanets, where the request does not say.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Attribution {
    /// How the influence of each passage is measured, after the answer and while no other is being written: "none",
    /// "leave_one_out" (scores the answer under 2n + 2 prompts for n passages) or "shapley" (2^n up to five passages, about
    /// 64 above).
    #[schemars(with = "String")]
    pub(crate) influence: InfluenceMethod,
}

/// How the program's own log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs of the program itself.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// "text" or "json".
    pub(crate) format: LogFormat,
    /// A filter such as "info" or "info,cairn=debug".
    pub(crate) filter: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: String::new(),
            workers: 2,
            body_limit_kib: 2048,
            upload_limit_mib: 1024,
            timeout_s: 600,
            shutdown_grace_s: 30,
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from(".cairn"), datanets_uri: String::new(), datanets_storage: BTreeMap::new() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { origin: "cairn.local/log".into(), guard: PathBuf::new() }
    }
}

impl Default for Witnesses {
    fn default() -> Self {
        Self { list: Vec::new(), quorum: 0, timeout_s: 10 }
    }
}

impl Default for Training {
    fn default() -> Self {
        Self { jobs_at_once: 1, memory_limit_mib: 8192 }
    }
}

impl Default for Attribution {
    fn default() -> Self {
        Self { influence: InfluenceMethod::Shapley }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info,mistralrs_core=warn,mistralrs=warn,lance=warn,tantivy=warn".into(),
        }
    }
}

/// Checked configuration: paths are absolute, values are in range.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: String,
    pub(crate) workers: usize,
    pub(crate) body_limit: usize,
    pub(crate) upload_limit: usize,
    pub(crate) timeout: Duration,
    pub(crate) shutdown_grace: Duration,
    pub(crate) data_dir: PathBuf,
    pub(crate) datanets_uri: String,
    pub(crate) datanets_storage: BTreeMap<String, String>,
    pub(crate) database: Settings,
    pub(crate) origin: String,
    pub(crate) guard: Option<PathBuf>,
    pub(crate) witnesses: Witnesses,
    pub(crate) anchor: Option<cairn_anchor::Config>,
    pub(crate) models_dir: PathBuf,
    pub(crate) preload: Vec<String>,
    pub(crate) memory_budget: u64,
    pub(crate) engine: EngineChoice,
    pub(crate) when_loading: WhenLoading,
    pub(crate) retry_after: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) quantize: Option<String>,
    pub(crate) embedding_model: String,
    pub(crate) adapters: Adapters,
    pub(crate) training: Training,
    pub(crate) retrieval: Retrieval,
    pub(crate) attribution: Attribution,
    pub(crate) jwt: Option<Jwt>,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) replica: Option<OfPrimary>,
    pub(crate) telemetry: Telemetry,
}

impl Config {
    /// Reads `path` (or, without one, `cairn.toml` in the working directory where there is one), then the environment:
    /// `CAIRN__SERVER__LISTEN` overrides `listen` in `[server]`; lists are comma-separated.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let default = Path::new("cairn.toml");
        let path = path.or_else(|| default.exists().then_some(default));
        let mut builder = config::Config::builder();
        if let Some(path) = path {
            builder = builder.add_source(config::File::from(path).format(config::FileFormat::Toml).required(true));
        }
        let environment = config::Environment::with_prefix("CAIRN")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true)
            .list_separator(",")
            .with_list_parse_key("models.preload")
            .with_list_parse_key("jwt.algorithms")
            .with_list_parse_key("oidc.scopes")
            .with_list_parse_key("oidc.default_roles");
        let raw: RawConfig =
            builder.add_source(environment).build().and_then(config::Config::try_deserialize).with_context(|| {
                match path {
                    Some(path) => format!("the configuration ({} and CAIRN__… variables) is not valid", path.display()),
                    None => "the CAIRN__… variables are not valid".to_owned(),
                }
            })?;
        let base = match path.and_then(Path::parent) {
            Some(parent) if parent != Path::new("") => std::path::absolute(parent)?,
            _ => std::env::current_dir()?,
        };
        Self::check(raw, &base)
    }

    fn check(raw: RawConfig, base: &Path) -> anyhow::Result<Self> {
        let RawConfig {
            server,
            data,
            database,
            log,
            witnesses,
            anchor,
            models,
            adapters,
            training,
            retrieval,
            attribution,
            jwt,
            oidc,
            replica,
            telemetry,
        } = raw;
        let data_dir = base.join(&data.dir);
        let positive = |name: &str, value: u64| {
            if value == 0 { bail!("{name} is 0; give at least 1") } else { Ok(()) }
        };
        positive("server.workers", server.workers as u64)?;
        positive("server.body_limit_kib", server.body_limit_kib as u64)?;
        positive("server.upload_limit_mib", server.upload_limit_mib as u64)?;
        positive("server.timeout_s", server.timeout_s)?;
        positive("models.memory_budget_mib", models.memory_budget_mib)?;
        positive("adapters.resident_mib", adapters.resident_mib)?;
        positive("adapters.kv_mib", adapters.kv_mib)?;
        positive("adapters.quota_count", adapters.quota_count)?;
        positive("adapters.quota_mib", adapters.quota_mib)?;
        positive("training.jobs_at_once", training.jobs_at_once as u64)?;
        positive("training.memory_limit_mib", training.memory_limit_mib)?;
        positive("models.max_in_flight", models.max_in_flight as u64)?;
        positive("retrieval.max_passage_chars", retrieval.max_passage_chars as u64)?;
        positive("retrieval.index_cache_mib", retrieval.index_cache_mib)?;
        positive("retrieval.scanned_rows", retrieval.scanned_rows as u64)?;
        positive("witnesses.timeout_s", witnesses.timeout_s)?;
        if witnesses.quorum > witnesses.list.len() {
            bail!("witnesses.quorum is {}, but witnesses.list has {}", witnesses.quorum, witnesses.list.len());
        }
        let public_url = match server.public_url.trim_end_matches('/') {
            "" => format!("http://{}", server.listen),
            url => url.to_owned(),
        };
        let shared = [
            ("database.url", !database.url.is_empty()),
            ("data.datanets_uri", !data.datanets_uri.is_empty()),
            ("adapters.objects_uri", !adapters.objects_uri.is_empty()),
        ];
        Ok(Self {
            listen: server.listen,
            replica: replica.check(base, &shared)?,
            oidc: oidc.check(base, &public_url)?,
            public_url,
            workers: server.workers,
            body_limit: server.body_limit_kib * 1024,
            upload_limit: server.upload_limit_mib * 1024 * 1024,
            timeout: Duration::from_secs(server.timeout_s),
            shutdown_grace: Duration::from_secs(server.shutdown_grace_s),
            datanets_uri: if data.datanets_uri.is_empty() {
                data_dir.join("datanets").to_string_lossy().into_owned()
            } else {
                data.datanets_uri
            },
            datanets_storage: data.datanets_storage,
            database: database.check(base, &data_dir)?,
            origin: log.origin,
            guard: (!log.guard.as_os_str().is_empty()).then(|| base.join(&log.guard)),
            witnesses,
            anchor: anchor.check(base, &data_dir)?,
            models_dir: if models.dir.as_os_str().is_empty() {
                data_dir.join("models")
            } else {
                base.join(&models.dir)
            },
            preload: models.preload,
            memory_budget: models.memory_budget_mib * 1024 * 1024,
            engine: models.engine,
            when_loading: models.when_loading,
            retry_after: Duration::from_secs(models.retry_after_s),
            max_in_flight: models.max_in_flight,
            quantize: (!models.quantize.is_empty()).then_some(models.quantize),
            embedding_model: models.embedding,
            adapters,
            training,
            retrieval: retrieval.check(base)?,
            attribution,
            jwt: jwt.check(base)?,
            telemetry,
            data_dir,
        })
    }

    /// Lists of what ingests could not take.
    pub(crate) fn rejections_dir(&self) -> PathBuf {
        self.data_dir.join("rejections")
    }

    /// The transparency log's tiles.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.data_dir.join("log")
    }

    /// The log's private key.
    pub(crate) fn signing_key(&self) -> PathBuf {
        self.data_dir.join("log.key")
    }

    /// The log's public key, for verifiers.
    pub(crate) fn public_key(&self) -> PathBuf {
        self.data_dir.join("cairn.pub")
    }

    /// Proofs of anchors, and transactions under way.
    pub(crate) fn anchors_dir(&self) -> PathBuf {
        self.data_dir.join("anchors")
    }

    /// The administrator's API key, for the command line on this machine.
    pub(crate) fn admin_key(&self) -> PathBuf {
        self.data_dir.join("admin.key")
    }

    /// Where uploads are that are looked at and not kept.
    pub(crate) fn examined_dir(&self) -> PathBuf {
        self.data_dir.join("examined")
    }

    /// Files uploaded for jobs, and what jobs stage.
    pub(crate) fn jobs_dir(&self) -> PathBuf {
        self.data_dir.join("jobs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<Config> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("cairn.toml");
        std::fs::write(&path, text)?;
        Config::load(Some(&path))
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = format!("{:#}", load("[server]\nlissten = \"127.0.0.1:1\"\n").unwrap_err());
        assert!(error.contains("lissten"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (text, word) in [
            ("[retrieval]\ntop_k = 0", "top_k"),
            ("[retrieval]\ncandidates = 1000", "candidates"),
            ("[database]\nurl = \"mysql://a/b\"", "database.url"),
            ("[database]\npassword_file = \"secret\"", "database.url"),
            ("[database]\nconnections = 0", "database.connections"),
            ("[jwt]\njwks_url = \"http://x\"", "audience"),
            ("[jwt]\nkey_file = \"k\"\njwks_url = \"http://x\"\naudience = \"x\"", "choose one"),
            ("[replica]\nprimary = \"https://x\"\nkey_file = \"k\"", "database.url"),
            ("[witnesses]\nquorum = 1", "quorum"),
            ("[anchor]\nrpc_url = \"http://x\"\ncontract = \"0x12\"", "anchor.contract"),
            ("[anchor]\nrpc_url = \"http://x\"\ncontract = \"0x1111111111111111111111111111111111111111\"", "chain_id"),
        ] {
            let error = format!("{:#}", load(text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn the_example_file_is_the_default_configuration() {
        let example: RawConfig = config::Config::builder()
            .add_source(config::File::from_str(&example::example(), config::FileFormat::Toml))
            .build()
            .and_then(config::Config::try_deserialize)
            .unwrap();
        let json = |raw: &RawConfig| serde_json::to_value(raw).unwrap();
        assert_eq!(json(&example), json(&RawConfig::default()));
    }

    #[test]
    fn the_checked_in_example_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../cairn.example.toml");
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert_eq!(checked_in, example::example(), "run: cairn config example > cairn.example.toml");
    }
}
