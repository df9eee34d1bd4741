//! `[database]`: which database keeps relational state. Its password is in no message and no log line.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use cairn_database::{PostgresSettings, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Relational state: keys, grants, requests, jobs, what answers committed to.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// A PostgreSQL server, as postgres://cairn@db.example.org/cairn, whose database sorts by bytes (LC_COLLATE 'C'). Over a
    /// network it must speak TLS with a certificate that is valid for its name, unless ?sslmode=disable is added. Empty: SQLite,
    /// `cairn.db` in the data directory.
    pub(crate) url: String,
    /// A file with the password, which then stands neither in `url` nor in the environment. Empty: none.
    pub(crate) password_file: PathBuf,
    /// Certificates (PEM) that vouch for the server. Empty: the system's.
    pub(crate) ca_file: PathBuf,
    /// Most connections to PostgreSQL at once.
    pub(crate) connections: usize,
}

impl Database {
    /// The database that is meant.
    pub(super) fn check(self, base: &Path, data_dir: &Path) -> anyhow::Result<Settings> {
        let given = |path: &Path| (!path.as_os_str().is_empty()).then(|| base.join(path));
        if self.connections == 0 {
            bail!("database.connections is 0; give at least 1");
        }
        if self.url.is_empty() {
            if let Some(path) = given(&self.password_file).or_else(|| given(&self.ca_file)) {
                bail!("{} is given for a database that database.url does not name", path.display());
            }
            return Ok(Settings::Sqlite(data_dir.join("cairn.db")));
        }
        let mut settings = PostgresSettings::new(&self.url, self.connections, given(&self.ca_file))?;
        if let Some(path) = given(&self.password_file) {
            let password = std::fs::read_to_string(&path)
                .with_context(|| format!("database.password_file: {} cannot be read", path.display()))?;
            settings.password(password.trim_end_matches(['\r', '\n']));
        }
        Ok(Settings::Postgres(Box::new(settings)))
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), password_file: PathBuf::new(), ca_file: PathBuf::new(), connections: 16 }
    }
}

/// Without the address, which may hold the password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = if self.url.is_empty() { "" } else { "(set)" };
        f.debug_struct("Database").field("url", &url).field("connections", &self.connections).finish_non_exhaustive()
    }
}
