//! The crate's error.

use std::io;
use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the value that was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The configuration is not TOML of the right form.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },

    /// A value of the configuration.
    #[error("{key}: {problem}")]
    BadConfig {
        /// Which key.
        key: String,
        /// What is wrong with it, and how to mend it.
        problem: String,
    },

    /// The key file of a new witness is there already.
    #[error(
        "{0} is there already: a key that may have cosigned must not begin with an empty state. Restore its state, or \
         choose a new key file, state directory and name"
    )]
    KeyExists(PathBuf),

    /// The witness's key or state.
    #[error("{0}")]
    Witness(#[from] cairn_proof::Error),

    /// The port cannot be had, or the server failed.
    #[error("cannot serve on {listen}: {source}")]
    Serve {
        /// The address.
        listen: String,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// The HTTP client could not be made.
    #[error("no HTTP client can be made: {0}")]
    Client(#[source] reqwest::Error),

    /// A witness did not answer.
    #[error("witness {witness} does not answer: {source}")]
    Unreachable {
        /// Its name.
        witness: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },

    /// A witness did not answer in time.
    #[error("witness {0} did not answer in time")]
    TimedOut(String),

    /// The witness has a later checkpoint already.
    #[error("witness {0} has cosigned a later checkpoint of this log already")]
    Outrun(String),
}
