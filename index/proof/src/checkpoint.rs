//! Checkpoints: the signed statement "this log holds `size` entries with this root" (C2SP tlog-checkpoint, as a C2SP
//! signed note with one Ed25519 signature).
//!
//! Only one spelling of a checkpoint is accepted: three body lines, an empty line, one signature line. Extension lines
//! are refused; signature lines of witnesses after the log's own are read by [`crate::cosignature`].

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::{Error, Result};
use crate::hash::Hash;
use crate::key::{KeyId, SigningKey, VerifyingKey};
use crate::signer::Signer;

/// Name of a log, the first line of its checkpoints and the name of its key: usually its URL without the scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// The size and root of a log, not signed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: Origin,
    /// Number of entries.
    pub size: u64,
    /// Root hash of the tree of that size.
    pub root: Hash,
}

/// A checkpoint with its signature, and the exact text of both.
///
/// [`SignedCheckpoint::parse`] checks the form only; [`SignedCheckpoint::verify`] checks the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    signer: String,
    key_id: KeyId,
    signature: [u8; 64],
}

impl Origin {
    /// Checks and wraps a name: 1 to 255 bytes without spaces, control characters or `+`.
    pub fn new(name: impl Into<String>) -> Result<Origin> {
        let name = name.into();
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > 255 || name.contains(forbidden) {
            return Err(Error::BadOrigin(name));
        }
        Ok(Origin(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Checkpoint {
    /// The text that is signed: origin, size and base64 root, each on a line.
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.as_bytes()))
    }
}

impl SignedCheckpoint {
    /// Signs a checkpoint. The key's name on the signature line is the checkpoint's origin.
    pub fn sign(checkpoint: Checkpoint, key: &SigningKey) -> SignedCheckpoint {
        let signature = key.sign(checkpoint.body().as_bytes());
        let key_id = key.verifying_key(&checkpoint.origin).key_id();
        SignedCheckpoint { signer: checkpoint.origin.to_string(), checkpoint, key_id, signature }
    }

    /// Signs a checkpoint by a [`Signer`], which may be a program or a service and fail.
    pub fn sign_by(checkpoint: Checkpoint, signer: &dyn Signer) -> Result<SignedCheckpoint> {
        let signature = signer.sign(checkpoint.body().as_bytes())?;
        let key_id = signer.verifying_key(&checkpoint.origin).key_id();
        Ok(SignedCheckpoint { signer: checkpoint.origin.to_string(), checkpoint, key_id, signature })
    }

    /// Reads the text of a signed checkpoint without checking its signature.
    pub fn parse(text: &str) -> Result<SignedCheckpoint> {
        let bad = Error::MalformedCheckpoint;
        let mut lines = text.split('\n');
        let mut line = |what| lines.next().ok_or(bad(what));
        let origin = Origin::new(line("no origin line")?)?;
        let size = line("no size line")?.parse().map_err(|_| bad("the size is not a number"))?;
        let root = BASE64.decode(line("no root line")?).map_err(|_| bad("the root is not base64"))?;
        let root: [u8; 32] = root.try_into().map_err(|_| bad("the root is not 32 bytes"))?;
        if !line("no empty line after the body")?.is_empty() {
            return Err(bad("there must be an empty line after the root"));
        }
        let signature = line("no signature line")?;
        let signature = signature.strip_prefix("\u{2014} ").ok_or(bad("the signature line must begin with a dash"))?;
        let (signer, blob) = signature.split_once(' ').ok_or(bad("the signature line has no signature"))?;
        let blob = BASE64.decode(blob).map_err(|_| bad("the signature is not base64"))?;
        let (key_id, signature) = blob.split_at_checked(4).ok_or(bad("the signature is too short"))?;
        let parsed = SignedCheckpoint {
            checkpoint: Checkpoint { origin, size, root: Hash::new(root) },
            signer: signer.to_owned(),
            key_id: key_id.try_into().map_err(|_| bad("the key id is not 4 bytes"))?,
            signature: signature.try_into().map_err(|_| bad("the signature is not 64 bytes"))?,
        };
        // Writing it again catches every other spelling: "+1", "007", a second signature, a missing last newline.
        if parsed.to_string() != text {
            return Err(bad("it is not spelled the one way a checkpoint is written"));
        }
        Ok(parsed)
    }

    /// Reads the text of a signed checkpoint and checks that `key` signed it.
    pub fn open(text: &str, key: &VerifyingKey) -> Result<SignedCheckpoint> {
        let signed = SignedCheckpoint::parse(text)?;
        signed.verify(key)?;
        Ok(signed)
    }

    /// Checks name, key id and signature against `key`.
    pub fn verify(&self, key: &VerifyingKey) -> Result<()> {
        let named_alike = self.checkpoint.origin == *key.origin() && self.signer == key.origin().as_str();
        if !named_alike || self.key_id != key.key_id() {
            return Err(Error::WrongSigner {
                expected: format!("{}+{}", key.origin(), hex::encode(key.key_id())),
                found: format!("{}+{}", self.signer, hex::encode(self.key_id)),
            });
        }
        if !key.verifies(self.checkpoint.body().as_bytes(), &self.signature) {
            return Err(Error::WrongSignature {
                origin: self.checkpoint.origin.to_string(),
                size: self.checkpoint.size,
            });
        }
        Ok(())
    }

    /// What is signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Root hash.
    pub fn root(&self) -> Hash {
        self.checkpoint.root
    }

    /// The key id on the signature line.
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }
}

impl fmt::Display for SignedCheckpoint {
    /// The note's exact text, as served, stored and put into bundles.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [self.key_id.as_slice(), &self.signature].concat();
        write!(f, "{}\n\u{2014} {} {}\n", self.checkpoint.body(), self.signer, BASE64.encode(blob))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = Error;

    fn from_str(name: &str) -> Result<Origin> {
        Origin::new(name)
    }
}

#[cfg(test)]
mod tests {
    use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed([7; 32])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: Origin::new("example.com/log").unwrap(), size: 20, root: Hash::of(b"root") }
    }

    #[test]
    fn another_implementation_accepts_ours() {
        let signed = SignedCheckpoint::sign(checkpoint(), &key());
        let note = Note::from_bytes(signed.to_string().as_bytes()).unwrap();
        let vkey = key().verifying_key(&checkpoint().origin).to_string();
        let verifiers = VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);
        let (verified, unverified) = note.verify(&verifiers).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 0));
        let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!((theirs.origin(), theirs.size()), ("example.com/log", 20));
        assert_eq!(theirs.hash().0, *checkpoint().root.as_bytes());
    }

    #[test]
    fn we_accept_another_implementation() {
        use signed_note::Signer as _;
        let body = tlog_tiles::Checkpoint::new("example.com/log", 3, tlog_tiles::Hash([9; 32]), "").unwrap().to_bytes();
        let vkey = key().verifying_key(&checkpoint().origin);
        let blob = [&[1][..], &[7; 32]].concat();
        let skey = format!("PRIVATE+KEY+example.com/log+{}+{}", hex::encode(vkey.key_id()), BASE64.encode(blob));
        let signer = StandardSigner::new(&skey).unwrap();
        let signature =
            signed_note::Signature::new(signer.name().into(), signer.key_id(), signer.sign(&body).unwrap()).unwrap();
        let note = Note::new(&body, &[signature]).unwrap().to_bytes();
        let signed = SignedCheckpoint::open(std::str::from_utf8(&note).unwrap(), &vkey).unwrap();
        assert_eq!((signed.size(), signed.root()), (3, Hash::new([9; 32])));
    }

    #[test]
    fn no_changed_byte_verifies() {
        let text = SignedCheckpoint::sign(checkpoint(), &key()).to_string();
        let vkey = key().verifying_key(&checkpoint().origin);
        SignedCheckpoint::open(&text, &vkey).unwrap();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                assert!(SignedCheckpoint::open(&changed, &vkey).is_err(), "byte {at} bit {bit}");
            }
        }
        for extra in ["\n", "x", "\u{2014} other aaaa\n"] {
            assert!(SignedCheckpoint::open(&format!("{text}{extra}"), &vkey).is_err());
        }
    }

    #[test]
    fn another_key_or_name_is_refused() {
        let signed = SignedCheckpoint::sign(checkpoint(), &key());
        let other = SigningKey::from_seed([8; 32]).verifying_key(&checkpoint().origin);
        assert!(matches!(signed.verify(&other), Err(Error::WrongSigner { .. })));
        let renamed = key().verifying_key(&Origin::new("example.com/other").unwrap());
        assert!(matches!(signed.verify(&renamed), Err(Error::WrongSigner { .. })));
    }

    #[test]
    fn origins_are_checked() {
        for bad in ["", "a b", "a+b", "a\n", "a\u{2003}b", "a\u{7f}", &"x".repeat(256)] {
            assert!(Origin::new(bad).is_err(), "{bad:?}");
        }
    }
}
