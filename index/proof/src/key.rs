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
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rand::TryRngCore as _;
use sha2::{Digest, Sha256};

use crate::checkpoint::Origin;
use crate::error::{Error, Result};

/// The first four bytes of `SHA256(name || "\n" || 0x01 || key)`.
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

    /// Writes PKCS#8 PEM.
    pub fn to_pem(&self) -> Result<String> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF).map_err(Error::UnwritableSigningKey)?;
        Ok(pem.to_string())
    }

    /// Reads a key file, refusing one that others than its owner and group may read.
    pub fn load(path: &Path) -> Result<SigningKey> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
            if mode & 0o007 != 0 {
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
    /// The log it belongs to.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The key id on signature lines.
    pub fn key_id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.origin.as_str())
            .chain_update(b"\n")
            .chain_update([ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
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
        let bad = Error::BadVerifyingKey;
        let mut parts = line.splitn(3, '+');
        let mut part = || parts.next().ok_or(bad("three parts joined by + are needed"));
        let (name, id, blob) = (part()?, part()?, part()?);
        let blob = BASE64.decode(blob).map_err(|_| bad("the key is not base64"))?;
        let Some((&ED25519, bytes)) = blob.split_first() else {
            return Err(bad("only Ed25519 keys (type 1) are known"));
        };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| bad("the key is not 32 bytes"))?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| bad("the key is not a curve point"))?;
        let parsed = VerifyingKey { origin: Origin::new(name)?, key };
        if hex::encode(parsed.key_id()) != id {
            return Err(bad("the hash in the middle does not fit name and key"));
        }
        Ok(parsed)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [&[ED25519][..], self.key.as_bytes()].concat();
        write!(f, "{}+{}+{}", self.origin, hex::encode(self.key_id()), BASE64.encode(blob))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(secret)")
    }
}

/// Signature type Ed25519 of C2SP signed-note.
const ED25519: u8 = 1;

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
        assert_eq!(SigningKey::from_pem(&key.to_pem().unwrap()).unwrap().0, key.0);
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
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(SigningKey::load(&path), Err(Error::KeyExposed { .. })));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }
}
