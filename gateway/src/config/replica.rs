//! `[replica]`: a gateway that answers beside another, its primary, over the same datanets, adapters and database.

use std::path::{Path, PathBuf};

use anyhow::bail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::confidential;

/// A gateway that answers beside another, its primary, over the same datanets, adapters and database.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Replica {
    /// The primary's address, https unless it is this machine. It keeps the log; what does not answer questions is passed on to
    /// it. Empty: this gateway is a primary.
    pub(crate) primary: String,
    /// A file with an API key of the primary's that has the role replica and nothing more.
    pub(crate) key_file: PathBuf,
}

/// What a replica needs of its primary.
#[derive(Debug, Clone)]
pub(crate) struct OfPrimary {
    /// Its address, without a slash at the end.
    pub(crate) url: String,
    /// The key's file.
    pub(crate) key_file: PathBuf,
}

impl Replica {
    /// What is meant; `None` for a primary. `shared` says of each store that replicas share with their primary whether it is
    /// configured, by its key.
    pub(super) fn check(self, base: &Path, shared: &[(&str, bool)]) -> anyhow::Result<Option<OfPrimary>> {
        if self.primary.is_empty() {
            if !self.key_file.as_os_str().is_empty() {
                bail!("replica.key_file is given, but replica.primary is empty");
            }
            return Ok(None);
        }
        let url = Url::parse(&self.primary).ok().filter(confidential);
        if url.is_none_or(|url| url.query().is_some() || url.fragment().is_some()) {
            bail!("replica.primary is {:?}; give an https address, or an http one of this machine", self.primary);
        }
        if self.key_file.as_os_str().is_empty() {
            bail!("replica.key_file is empty; `cairn keys create NAME --role replica` on the primary makes a key");
        }
        if let Some((key, _)) = shared.iter().find(|(_, given)| !given) {
            bail!("{key} is empty; a replica shares it with its primary, so give both the same");
        }
        Ok(Some(OfPrimary { url: self.primary.trim_end_matches('/').to_owned(), key_file: base.join(&self.key_file) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(primary: &str, key_file: &str, shared: bool) -> String {
        let replica = Replica { primary: primary.into(), key_file: key_file.into() };
        replica.check(Path::new("/etc"), &[("database.url", shared)]).unwrap_err().to_string()
    }

    #[test]
    fn a_replica_names_its_primary_and_shares_its_stores() {
        let replica = Replica { primary: "https://cairn.example/".into(), key_file: "key".into() };
        let checked = replica.check(Path::new("/etc"), &[("database.url", true)]).unwrap().unwrap();
        assert_eq!((checked.url.as_str(), checked.key_file), ("https://cairn.example", "/etc/key".into()));
        assert!(refused("http://10.0.0.1", "key", true).contains("replica.primary"));
        assert!(refused("https://x?y", "key", true).contains("replica.primary"));
        assert!(refused("https://x", "", true).contains("replica.key_file"));
        assert!(refused("", "key", true).contains("replica.primary"));
        assert!(refused("https://x", "key", false).contains("database.url"));
    }
}
