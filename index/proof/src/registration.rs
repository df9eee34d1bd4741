//! Registrations: the digest of a datanet's creation, or a contributor's pseudonym, on a chain.
//!
//! ```text
//! digest      = SHA-256(canonical JSON of what was registered); of a contributor, its pseudonym itself
//! kind        = what was registered says it: cairn/datanet/v1 or cairn/contributor/v1
//! block hash  → header → receipt → event Registered(sender, keccak256(kind), digest)
//! ```
//!
//! The file stands beside proof bundles: it shows that what an answer's trail ends at was there when the block was made. It needs
//! no key, for the log does not sign it; who registered is the account that the operator has published.

use cairn_anchor_proof::{Error as AnchorError, Pins, Proved, Registration, Word, kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::VerifyError;
use crate::canonical::{from_canonical, to_canonical};
use crate::error::Result;
use crate::hash::Hash;
use crate::report::utc;
use crate::trust::Trust;

/// A registration with what was registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationProof {
    /// What kind of file this is.
    #[serde(rename = "type")]
    pub format: RegistrationFormat,
    /// What was registered.
    pub registered: Registered,
    /// Where the chain says so.
    pub registration: Registration,
}

/// `cairn/registration/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistrationFormat {
    /// The first version.
    #[serde(rename = "cairn/registration/v1")]
    V1,
}

/// What can be registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Registered {
    /// The creation of a datanet.
    #[serde(rename = "cairn/datanet/v1")]
    Datanet {
        /// Its name.
        name: String,
        /// Whose it was then.
        owner: String,
        /// Its licence.
        licence: String,
        /// When (RFC 3339, UTC), by the operator's clock.
        created_at: String,
    },
    /// A contributor whose datapoints an answer drew on for the first time.
    #[serde(rename = "cairn/contributor/v1")]
    Contributor {
        /// Its pseudonym, as records and use statements have it.
        contributor: Hash,
    },
}

/// What was proved of a registration.
#[derive(Clone, Debug, Serialize)]
pub struct RegistrationReport {
    /// What was registered.
    pub registered: Registered,
    /// Where.
    pub anchor: Proved,
    /// What was proved, in order, a sentence each.
    pub proved: Vec<String>,
    /// What this file does not show, a sentence each.
    pub not_shown: Vec<String>,
}

impl Registered {
    /// Its name on the chain, before hashing.
    pub fn kind(&self) -> &'static str {
        match self {
            Registered::Datanet { .. } => "cairn/datanet/v1",
            Registered::Contributor { .. } => "cairn/contributor/v1",
        }
    }

    /// What the chain has of it.
    pub fn digest(&self) -> Result<Hash> {
        match self {
            Registered::Datanet { .. } => Ok(Hash::of(&to_canonical(self)?)),
            Registered::Contributor { contributor } => Ok(*contributor),
        }
    }
}

/// Verifies the bytes of a registration's file, with the pins that are trusted.
pub fn verify_registration(bytes: &[u8], trust: &Trust) -> std::result::Result<RegistrationReport, VerifyError> {
    let body = bytes.strip_suffix(b"\n").ok_or(VerifyError::NoNewline)?;
    let RegistrationProof { registered, registration, .. } = from_canonical(body).map_err(VerifyError::Form)?;
    let digest = Word::from(*registered.digest().map_err(VerifyError::Form)?.as_bytes());
    agree("kind", kind(registered.kind()), registration.kind)?;
    agree("digest", digest, registration.digest)?;
    let pins: Pins = trust.anchor().copied().unwrap_or_default();
    let anchor = registration.verify(&pins).map_err(VerifyError::Anchor)?;
    let what = match &registered {
        Registered::Datanet { name, owner, licence, created_at } => format!(
            "datanet {name}, owned by {owner}, licence {}, created at {created_at} by the operator's clock",
            if licence.is_empty() { "not stated" } else { licence }
        ),
        Registered::Contributor { contributor } => format!("contributor {contributor}"),
    };
    let (number, chain, time) = (anchor.block_number, anchor.chain_id, utc(anchor.time));
    let mut proved = vec![
        format!("The file is a registration in canonical form, of {what}."),
        match anchor.on_chain {
            true => format!(
                "It was registered in block {number} of blockchain {chain}, whose time is {time}: it existed by then."
            ),
            false => format!(
                "It is registered in a block that calls itself number {number} of blockchain {chain}, made at {time}."
            ),
        },
    ];
    proved.extend(anchor.proved.iter().cloned());
    let not_shown = anchor.open.clone();
    Ok(RegistrationReport { registered, anchor, proved, not_shown })
}

fn agree(what: &'static str, expected: Word, found: Word) -> std::result::Result<(), VerifyError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(VerifyError::Anchor(AnchorError::EventMismatch { what, expected, found }))
}

/// Whether a file says that it is a registration.
pub(crate) fn is_registration(value: &Value) -> bool {
    value["type"] == "cairn/registration/v1"
}
