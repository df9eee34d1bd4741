//! The account that pays for anchors: its secp256k1 key and the file it is in.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use cairn_anchor_proof::{Address, Word, keccak};
use k256::ecdsa::{SigningKey, VerifyingKey};
use rand::TryRngCore as _;

use crate::error::{Error, Result};
use crate::transaction::Transaction;

/// The private key of an account.
#[derive(Clone)]
pub struct AccountKey(SigningKey);

impl AccountKey {
    /// A new key from the operating system's random generator.
    pub fn generate() -> Result<AccountKey> {
        loop {
            let mut bytes = [0; 32];
            rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(Error::NoRandomness)?;
            // Of 2^256 values, some 2^128 are no keys.
            if let Ok(key) = SigningKey::from_slice(&bytes) {
                return Ok(AccountKey(key));
            }
        }
    }

    /// Reads a key file, refusing one that its group may change or that others may read.
    pub fn load(path: &Path) -> Result<AccountKey> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
            if mode & EXPOSED != 0 {
                return Err(Error::KeyExposed { path: path.to_owned(), mode });
            }
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let digits = text.trim();
        let bytes = hex::decode(digits.strip_prefix("0x").unwrap_or(digits)).ok();
        let key = bytes.and_then(|bytes| SigningKey::from_slice(&bytes).ok());
        key.map(AccountKey).ok_or_else(|| Error::BadKey { path: path.to_owned() })
    }

    /// Writes a new key file with mode 0600. Never overwrites: there may be money on the account.
    pub fn save(&self, path: &Path) -> Result<()> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(io)?;
        writeln!(file, "{}", hex::encode(self.0.to_bytes())).and_then(|()| file.sync_all()).map_err(io)
    }

    /// The account's address.
    pub fn address(&self) -> Address {
        address(self.0.verifying_key())
    }

    /// Signs a transaction: its hash, and the bytes to send.
    pub(crate) fn sign(&self, transaction: &Transaction) -> (Word, Vec<u8>) {
        let signed = self.0.sign_prehash_recoverable(&keccak(&transaction.unsigned()));
        let (signature, parity) = signed.expect("a digest of 32 bytes is signed, whatever it is");
        let (r, s) = signature.split_bytes();
        let raw = transaction.signed(parity.is_y_odd(), &r, &s);
        (Word::from(keccak(&raw)), raw)
    }
}

/// The last 20 bytes of the hash of both coordinates.
pub(crate) fn address(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    let hash = keccak(&point.as_bytes()[1..]);
    Address::from(*hash.last_chunk().expect("a hash has more than 20 bytes"))
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({})", self.address())
    }
}

/// Permission bits a key file must not have: the group may read it, as Kubernetes hands out secrets.
const EXPOSED: u32 = 0o037;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_ethereums() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        // The first account of the phrase "test test … junk".
        let known = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        let key = AccountKey(SigningKey::from_slice(&hex::decode(known).unwrap()).unwrap());
        key.save(&path).unwrap();
        let loaded = AccountKey::load(&path).unwrap();
        assert_eq!(loaded.address().to_string(), "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266");
        assert!(!format!("{loaded:?}").contains(&known[..8]));
        assert!(matches!(key.save(&path), Err(Error::Io { .. })), "never overwrites");
    }

    #[cfg(unix)]
    #[test]
    fn an_exposed_or_broken_key_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        AccountKey::generate().unwrap().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = AccountKey::load(&path).unwrap_err();
        assert!(matches!(error, Error::KeyExposed { mode: 0o644, .. }), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["", "abc", &"0".repeat(64), &"f".repeat(64)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(AccountKey::load(&path), Err(Error::BadKey { .. })), "{bad}");
        }
    }
}
