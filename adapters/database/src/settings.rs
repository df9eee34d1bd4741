//! [`Settings`]: which database, and how to reach it. Printed, they show no password.

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_postgres::config::{Host, SslMode};

use crate::Error;

/// Which database.
#[derive(Debug, Clone)]
pub enum Settings {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PostgresSettings>),
}

/// How to reach a server.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// What the address says; its `Debug` leaves the password out.
    pub(crate) config: tokio_postgres::Config,
    /// Most connections at once.
    pub(crate) connections: usize,
    /// Whose certificates are trusted; none: the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

impl PostgresSettings {
    /// Reads an address such as `postgres://cairn@db.example.org/cairn`. Over a network the connection is encrypted and the
    /// server's certificate checked, unless the address says `sslmode=disable`; on this machine neither is needed.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn new(url: &str, connections: usize, ca_file: Option<PathBuf>) -> Result<Self, Error> {
        if !is_postgres(url) {
            return Err(Error::Address);
        }
        let mut config: tokio_postgres::Config = url.parse().map_err(|_| Error::Address)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::Address);
        }
        let here = config.get_hosts().iter().all(is_here) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        match config.get_ssl_mode() {
            SslMode::Prefer if here => config.ssl_mode(SslMode::Disable),
            SslMode::Prefer => config.ssl_mode(SslMode::Require),
            _ => &mut config,
        };
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        Ok(Self { config, connections, ca_file })
    }

    /// Names this process's connections, so that they can be told from those of one that was killed. Those of a process that
    /// only shares the database outlive the one that holds it.
    pub(crate) fn name_connections(&mut self, shared: bool) {
        let kind = if shared { "cairn-replica" } else { "cairn" };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.config.application_name(format!("{kind} {} {}", std::process::id(), now.as_micros()));
    }

    /// Sets the password, which then need not stand in the address.
    pub fn password(&mut self, password: &str) {
        self.config.password(password);
    }
}

/// Whether an address is one of a PostgreSQL server.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    }
}

impl From<&Settings> for Settings {
    fn from(settings: &Settings) -> Self {
        settings.clone()
    }
}

impl From<&PathBuf> for Settings {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

/// Longest wait for a connection to be made.
const CONNECT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_network_tls_is_the_default_and_here_it_is_not() {
        let mode = |url: &str| PostgresSettings::new(url, 1, None).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgres://cairn@db.example.org/cairn"), SslMode::Require);
        assert_eq!(mode("postgres://cairn@10.0.0.1/cairn"), SslMode::Require);
        assert_eq!(mode("postgres://cairn@db.example.org/cairn?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://cairn@127.0.0.1:5433/cairn"), SslMode::Disable);
        assert_eq!(mode("postgres://cairn@%2Fvar%2Frun%2Fpostgresql/cairn"), SslMode::Disable);
        assert_eq!(mode("postgres://cairn@localhost/cairn?sslmode=require"), SslMode::Require);
    }

    #[test]
    fn a_password_is_neither_printed_nor_part_of_an_error() {
        let settings = PostgresSettings::new("postgres://cairn:se%20cret-7@localhost/cairn", 1, None).unwrap();
        assert!(!format!("{settings:?}").contains("cret-7"), "{settings:?}");
        for url in ["mysql://a:cret-7@b/c", "postgres://u:cret-7@h:port/d", ""] {
            let error = PostgresSettings::new(url, 1, None).unwrap_err();
            assert!(!format!("{error:?} {error}").contains("cret-7"), "{error}");
        }
    }
}
