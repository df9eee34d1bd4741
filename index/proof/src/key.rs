//! The log's Ed25519 keys and their files.
//!
//! The private key is a PKCS#8 PEM file, as `openssl genpkey -algorithm ed25519` writes it. The public key is one line,
//! the C2SP verifier key `name+hash+base64(0x01 || key)`, kept in a file such as `cairn.pub`; it carries the log's name.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use rand::TryRngCore as _;
use sha2::{Digest, Sha256};

use crate::checkpoint::Origin;
use crate::error::{Error, Result};
use crate::signer::Signer;

/// The first four bytes of `SHA256(name || "\n" || algorithm || key)`.
pub(crate) type KeyId = [u8; 4];

/// The private key that signs checkpoints.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The public key that checks them, together with the name of the log it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    origin: Origin,
    key: ed25519_dalek::VerifyingKey,
}

impl SigningKey {
    /// A new key from the operating system's random generator.
    pub fn generate() -> Result<SigningKey> {
        let mut seed = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(Error::NoRandomness)?;
        Ok(SigningKey::from_seed(seed))
    }

    /// The key of a 32-byte seed (RFC 8032). Fixed seeds are for tests.
    pub fn from_seed(seed: [u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// Reads PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<SigningKey> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(SigningKey).map_err(Error::BadSigningKey)
    }

    /// Writes PKCS#8 PEM, of version 1: OpenSSL 3.0 does not read version 2, which holds the public key as well.
    pub fn to_pem(&self) -> Result<String> {
        let seed = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = seed.to_pkcs8_pem(LineEnding::LF).map_err(Error::UnwritableSigningKey)?;
        Ok(pem.to_string())
    }

    /// Reads a key file, refusing one that its group may change or that others may read. The group may read it: that is
    /// how Kubernetes hands a secret to a process that is not root.
    pub fn load(path: &Path) -> Result<SigningKey> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
            if mode & EXPOSED != 0 {
                return Err(Error::KeyExposed { path: path.to_owned(), mode });
            }
        }
        SigningKey::from_pem(&fs::read_to_string(path).map_err(io)?)
    }

    /// Writes a new key file with mode 0600. Never overwrites: a lost signing key cannot be made again.
    pub fn save(&self, path: &Path) -> Result<()> {
        let pem = self.to_pem()?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let write = || -> io::Result<()> {
            let mut file = options.open(path)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|source| Error::Io { path: path.to_owned(), source })
    }

    /// The public half, named after the log.
    pub fn verifying_key(&self, origin: &Origin) -> VerifyingKey {
        VerifyingKey { origin: origin.clone(), key: self.0.verifying_key() }
    }

    /// Signs `message`; Ed25519 is deterministic.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl VerifyingKey {
    /// The public key in its 32 bytes (RFC 8032), as a KMS shows it, named after the log.
    pub fn from_bytes(origin: &Origin, key: &[u8; 32]) -> Result<VerifyingKey> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(key)
            .map_err(|_| Error::BadVerifyingKey("the key is not a curve point"))?;
        Ok(VerifyingKey { origin: origin.clone(), key })
    }

    /// The log it belongs to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key itself.
    pub(crate) fn dalek(&self) -> &ed25519_dalek::VerifyingKey {
        &self.key
    }

    /// The same key under another log's name.
    pub(crate) fn named(&self, origin: &Origin) -> VerifyingKey {
        VerifyingKey { origin: origin.clone(), key: self.key }
    }

    /// The key id on signature lines.
    pub fn key_id(&self) -> [u8; 4] {
        key_id(&self.origin, ED25519, self.key.as_bytes())
    }

    /// Reads a file whose only content is the key line.
    pub fn load(path: &Path) -> Result<VerifyingKey> {
        let text = fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        text.trim_end().parse()
    }

    /// Whether `signature` is this key's over `message`, by the strict rules (no small-order keys, no malleability).
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl FromStr for VerifyingKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<VerifyingKey> {
        let (origin, key) = parse_vkey(line, ED25519, "only Ed25519 keys (type 1) are known")?;
        Ok(VerifyingKey { origin, key })
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey(&self.origin, ED25519, self.key.as_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

impl Signer for SigningKey {
    fn verifying_key(&self, origin: &Origin) -> VerifyingKey {
        SigningKey::verifying_key(self, origin)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64]> {
        Ok(SigningKey::sign(self, message))
    }
}

/// The first four bytes of `SHA256(name || "\n" || algorithm || key)` (C2SP signed-note).
pub(crate) fn key_id(name: &Origin, algorithm: u8, key: &[u8; 32]) -> KeyId {
    let hash =
        Sha256::new().chain_update(name.as_str()).chain_update(b"\n").chain_update([algorithm]).chain_update(key);
    let hash = hash.finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The verifier key line `name+id+base64(algorithm || key)` (C2SP signed-note).
pub(crate) fn vkey(name: &Origin, algorithm: u8, key: &[u8; 32]) -> String {
    let blob = [&[algorithm][..], key].concat();
    format!("{name}+{}+{}", hex::encode(key_id(name, algorithm, key)), BASE64.encode(blob))
}

/// Reads a verifier key line of one algorithm; `otherwise` says what is wrong with another.
pub(crate) fn parse_vkey(
    line: &str,
    algorithm: u8,
    otherwise: &'static str,
) -> Result<(Origin, ed25519_dalek::VerifyingKey)> {
    let bad = Error::BadVerifyingKey;
    let mut parts = line.splitn(3, '+');
    let mut part = || parts.next().ok_or(bad("three parts joined by + are needed"));
    let (name, id, blob) = (part()?, part()?, part()?);
    let blob = BASE64.decode(blob).map_err(|_| bad("the key is not base64"))?;
    let Some((_, bytes)) = blob.split_first().filter(|(first, _)| **first == algorithm) else {
        return Err(bad(otherwise));
    };
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| bad("the key is not 32 bytes"))?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| bad("the key is not a curve point"))?;
    let name = Origin::new(name)?;
    if hex::encode(key_id(&name, algorithm, &bytes)) != id {
        return Err(bad("the hash in the middle does not fit name and key"));
    }
    Ok((name, key))
}

/// Signature type Ed25519 of C2SP signed-note.
const ED25519: u8 = 1;

/// Permission bits that a key file must not have: anything for others, more than reading for the group.
#[cfg(unix)]
const EXPOSED: u32 = 0o037;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_line_round_trips() {
        let key = SigningKey::from_seed([1; 32]).verifying_key(&Origin::new("example.com/log").unwrap());
        let line = key.to_string();
        assert_eq!(line.parse::<VerifyingKey>().unwrap(), key);
        signed_note::StandardVerifier::new(&line).unwrap();
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).unwrap().parse::<VerifyingKey>().is_err(), "byte {at}");
        }
        assert!(line.to_uppercase().parse::<VerifyingKey>().is_err());
    }

    #[test]
    fn reads_what_openssl_writes() {
        // The private key of RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(pem).unwrap();
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        assert_eq!(hex::encode(key.0.verifying_key().as_bytes()), public);
        assert_eq!(key.to_pem().unwrap(), pem, "and writes the same");
    }

    #[cfg(unix)]
    #[test]
    fn key_files_are_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let key = SigningKey::generate().unwrap();
        key.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(SigningKey::load(&path).unwrap().0, key.0);
        assert!(key.save(&path).is_err(), "a key file is never overwritten");
        for (mode, fine) in
            [(0o400, true), (0o440, true), (0o660, false), (0o604, false), (0o602, false), (0o601, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match SigningKey::load(&path) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(error) => assert!(!fine && matches!(error, Error::KeyExposed { .. }), "{mode:o}: {error}"),
            }
        }
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
}
