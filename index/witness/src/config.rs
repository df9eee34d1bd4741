//! The witness's configuration, one TOML file.
//!
//! ```toml
//! name = "witness.example/w1"
//! listen = "127.0.0.1:8381"
//! key_file = "witness.key"      # relative to this file
//! state_dir = "state"
//!
//! [limits]
//! requests_per_minute = 600
//!
//! [[logs]]
//! origin = "example.com/log"
//! keys = ["example.com/log+1a2b3c4d+AQ…"]
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cairn_proof::{Origin, VerifyingKey};
use serde::Deserialize;

use crate::error::{Error, Result};

/// What a witness is and whom it serves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The witness's name, a schema-less URL by custom; it is part of every cosignature.
    pub name: String,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Path before `/add-checkpoint`, the end of the submission prefix; empty or beginning with `/`.
    #[serde(default)]
    pub prefix: String,
    /// The private key, PKCS#8 PEM; its mode must be 0600 or 0640.
    pub key_file: PathBuf,
    /// Directory of what was cosigned. Losing it ends the witness: see [`cairn_proof::Error::NotAWitness`].
    pub state_dir: PathBuf,
    /// How much strangers may ask.
    #[serde(default)]
    pub limits: Limits,
    /// The logs that are witnessed.
    #[serde(default)]
    pub logs: Vec<LogConfig>,
}

/// How much strangers may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a minute for each peer, over time; beyond, 429.
    pub requests_per_minute: u32,
    /// Requests a peer may make at once.
    pub burst: u32,
    /// Requests that may wait for the disk; beyond, 503.
    pub waiting: usize,
    /// Whether a proxy stands before the witness: then the peer is the last address of `X-Forwarded-For`.
    pub behind_proxy: bool,
}

/// A log that is witnessed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Its name.
    pub origin: String,
    /// Its verifier keys; two while it changes its key.
    pub keys: Vec<String>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { requests_per_minute: 600, burst: 60, waiting: 64, behind_proxy: false }
    }
}

impl Config {
    /// Reads the file; paths in it are relative to where it is.
    pub fn load(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let parsed = toml::from_str(&text);
        let mut config: Config =
            parsed.map_err(|source| Error::Config { path: path.to_owned(), source: Box::new(source) })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        config.key_file = dir.join(&config.key_file);
        config.state_dir = dir.join(&config.state_dir);
        config.origin()?;
        config.keys()?;
        Ok(config)
    }

    /// The witness's name, checked.
    pub(crate) fn origin(&self) -> Result<Origin> {
        Ok(Origin::new(self.name.clone())?)
    }

    /// The keys of all logs, checked with the other values.
    pub(crate) fn keys(&self) -> Result<Vec<VerifyingKey>> {
        let bad = |key: String, problem: String| Error::BadConfig { key, problem };
        if !self.prefix.is_empty() && (!self.prefix.starts_with('/') || self.prefix.ends_with('/')) {
            return Err(bad("prefix".into(), "it must be empty, or begin with / and not end with one".into()));
        }
        if self.prefix.contains(['{', '}', '?', '#', ' ']) {
            return Err(bad("prefix".into(), "it must be a plain path".into()));
        }
        let limits = [self.limits.requests_per_minute as usize, self.limits.burst as usize, self.limits.waiting];
        if limits.contains(&0) {
            return Err(bad("limits".into(), "every limit must be at least 1".into()));
        }
        let (mut keys, mut seen) = (Vec::new(), HashSet::new());
        for log in &self.logs {
            let name = format!("logs, {}", log.origin);
            if log.keys.is_empty() || !seen.insert(&log.origin) {
                return Err(bad(name, "it must be there once, with at least one key".into()));
            }
            for line in &log.keys {
                let key: VerifyingKey = line.parse().map_err(|error| bad(name.clone(), format!("{error}")))?;
                if key.origin().as_str() != log.origin {
                    return Err(bad(name, format!("the key is of log {}", key.origin())));
                }
                keys.push(key);
            }
        }
        Ok(keys)
    }
}
