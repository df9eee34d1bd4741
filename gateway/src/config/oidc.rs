//! `[oidc]`: how people sign in to the studio.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use cairn_openapi::keys::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Sign-in to the studio through an OpenID Connect provider, with the gateway as its client.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Oidc {
    /// The provider's issuer, exactly as it names itself ("issuer" in its /.well-known/openid-configuration); https, but for
    /// loopback. Register the redirect URI {server.public_url}/auth/callback with it. Empty: no sign-in of this kind.
    pub(crate) issuer: String,
    /// What the provider calls this gateway.
    pub(crate) client_id: String,
    /// A file with the client's secret; empty: a public client.
    pub(crate) client_secret_file: PathBuf,
    /// What the sign-in page calls the provider; empty: the issuer's host.
    pub(crate) name: String,
    /// Scopes to ask for; add the one that brings the roles, where the provider has such a scope.
    pub(crate) scopes: Vec<String>,
    /// The claim that names the person for ever. Subjects are "oidc:" and its value.
    pub(crate) subject_claim: String,
    /// The claim that lists the person's roles or groups, in the ID token or at the UserInfo endpoint; a path such as
    /// "realm_access.roles" leads into objects.
    pub(crate) roles_claim: String,
    /// What the provider's roles or groups are here, such as {"cairn-admins" = "admin", "research" = "trainer"}; what is not listed is
    /// nothing. Empty: the provider uses Cairn's own names.
    #[schemars(with = "BTreeMap<String, String>")]
    pub(crate) role_map: BTreeMap<String, Role>,
    /// Roles of everyone whom the provider lets sign in; who has no role at all is turned away.
    #[schemars(with = "Vec<String>")]
    pub(crate) default_roles: Vec<Role>,
    /// How long a session lasts, in hours. Its roles are those of the sign-in.
    pub(crate) session_hours: u32,
}

/// What the subjects of people begin with, so that nobody's name at the provider is the subject of a key.
pub(crate) const SUBJECT_PREFIX: &str = "oidc:";

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret_file: PathBuf::new(),
            name: String::new(),
            scopes: vec!["openid".into(), "profile".into()],
            subject_claim: "sub".into(),
            roles_claim: "roles".into(),
            role_map: BTreeMap::new(),
            default_roles: Vec::new(),
            session_hours: 8,
        }
    }
}

impl Oidc {
    /// With its path absolute and its name filled in; `None` if sign-in is off.
    pub(super) fn check(self, base: &Path, public_url: &str) -> anyhow::Result<Option<Self>> {
        if self.issuer.is_empty() {
            return Ok(None);
        }
        let issuer = Url::parse(&self.issuer).with_context(|| format!("oidc.issuer {:?} is no URL", self.issuer))?;
        if !confidential(&issuer) || issuer.query().is_some() || issuer.fragment().is_some() {
            bail!("oidc.issuer is {issuer}; it must be https (http on loopback only), without query and fragment");
        }
        let own = Url::parse(public_url).with_context(|| format!("server.public_url {public_url:?} is no URL"))?;
        if !confidential(&own) {
            bail!(
                "server.public_url is {public_url}; sign-in needs https there (http on loopback only), or sessions could be \
                 read on the way. Set it to the address that people open"
            );
        }
        if self.client_id.is_empty() {
            bail!("oidc.client_id is empty; give what the provider calls this gateway");
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            bail!("oidc.scopes lacks \"openid\", without which the provider says nothing of who signs in");
        }
        if self.subject_claim.is_empty() {
            bail!("oidc.subject_claim is empty; \"sub\" is every provider's");
        }
        if !(1..=MAX_SESSION_HOURS).contains(&self.session_hours) {
            bail!("oidc.session_hours is {}; give 1 to {MAX_SESSION_HOURS}", self.session_hours);
        }
        let client_secret_file = match self.client_secret_file.as_os_str().is_empty() {
            true => PathBuf::new(),
            false => base.join(&self.client_secret_file),
        };
        let name = match self.name.trim() {
            "" => issuer.host_str().unwrap_or("your provider").to_owned(),
            name => name.to_owned(),
        };
        Ok(Some(Self { client_secret_file, name, ..self }))
    }
}

/// Thirty days: roles are not asked for again within a session.
const MAX_SESSION_HOURS: u32 = 720;

/// Whether what travels to this address cannot be read on the way: https, or http that does not leave the machine.
pub(crate) fn confidential(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && loopback(url))
}

/// Whether an address is this machine's own.
fn loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(change: impl FnOnce(&mut Oidc), public_url: &str) -> anyhow::Result<Oidc> {
        let mut oidc = Oidc { issuer: "https://id.example".into(), client_id: "cairn".into(), ..Oidc::default() };
        change(&mut oidc);
        oidc.check(Path::new("/etc/cairn"), public_url).map(|checked| checked.expect("it is on"))
    }

    #[test]
    fn off_without_an_issuer() {
        assert!(Oidc::default().check(Path::new("/"), "http://10.0.0.1").unwrap().is_none());
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let oidc = checked(|oidc| oidc.client_secret_file = "secret".into(), "https://cairn.example").unwrap();
        assert_eq!((oidc.name.as_str(), oidc.client_secret_file), ("id.example", "/etc/cairn/secret".into()));
    }

    #[test]
    fn what_would_be_read_on_the_way_is_refused() {
        for issuer in ["http://id.example", "http://localhost.example", "ftp://localhost", "no URL", "https://x/?a"] {
            let error = checked(|oidc| oidc.issuer = issuer.into(), "https://cairn.example").unwrap_err();
            assert!(format!("{error:#}").contains("oidc.issuer"), "{issuer}: {error:#}");
        }
        for issuer in ["http://localhost:9000", "http://127.0.0.1:9000/realm", "http://[::1]:9000"] {
            checked(|oidc| oidc.issuer = issuer.into(), "http://127.0.0.1:8080").unwrap();
        }
        let error = checked(|_| {}, "http://192.168.0.7:8080").unwrap_err();
        assert!(format!("{error:#}").contains("server.public_url"), "{error:#}");
    }

    #[test]
    fn the_provider_s_names_are_kept_to_the_letter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cairn.toml");
        let names = ["Cairn Admins", "CN=a,DC=example", "a.b[0]", "https://x/y"];
        let map: Vec<String> = names.iter().map(|name| format!("{name:?} = \"admin\"")).collect();
        let text = format!("[oidc]\nissuer = \"https://x\"\nclient_id = \"c\"\nrole_map = {{ {} }}\n", map.join(", "));
        std::fs::write(&path, format!("[server]\npublic_url = \"https://cairn.example/\"\n{text}")).unwrap();
        let oidc = super::super::Config::load(Some(&path)).unwrap().oidc.unwrap();
        let mut kept: Vec<&str> = oidc.role_map.keys().map(String::as_str).collect();
        kept.sort_by_key(|name| names.iter().position(|known| known == name));
        assert_eq!(kept, names);
        std::fs::write(&path, text.replace("admin", "emperor")).unwrap();
        assert!(super::super::Config::load(Some(&path)).is_err());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (change, named) in [
            ((|oidc| oidc.client_id.clear()) as fn(&mut Oidc), "oidc.client_id"),
            (|oidc| oidc.scopes = vec!["profile".into()], "oidc.scopes"),
            (|oidc| oidc.subject_claim.clear(), "oidc.subject_claim"),
            (|oidc| oidc.session_hours = 0, "oidc.session_hours"),
            (|oidc| oidc.session_hours = 10_000, "oidc.session_hours"),
        ] {
            let error = checked(change, "https://cairn.example").unwrap_err();
            assert!(format!("{error:#}").contains(named), "{error:#}");
        }
    }
}
