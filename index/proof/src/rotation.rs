//! Changing the log's key: a statement signed by the old key and the new one, logged as an entry, and which key was in
//! force at which size.
//!
//! ```text
//! signed message = "cairn/rotation/v1\n" <origin> "\n" <size> "\n" <previous key line> "\n" <next key line> "\n" <time> "\n"
//! ```
//!
//! The entry of a rotation has index `size`. Checkpoints up to that size are signed by the previous key, larger ones by the
//! next. Someone who trusts either key can so trust the other: the old vouches for the new, and the new for what the old
//! signed before.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::canonical::to_canonical;
use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::cosignature::CosignedCheckpoint;
use crate::error::{Error, Result};
use crate::hash::{Hash, leaf_hash};
use crate::key::VerifyingKey;
use crate::signer::Signer;

/// A log entry: from the next checkpoint on, another key signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Always `cairn/rotation/v1`.
    #[serde(rename = "type")]
    pub kind: RotationKind,
    /// Name of the log.
    pub origin: String,
    /// Index of this entry: the largest size that the previous key signed, or could have.
    pub size: u64,
    /// Line of the key that signed until now.
    pub previous: String,
    /// Line of the key that signs from now on.
    pub next: String,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// The previous key's signature, base64.
    pub by_previous: String,
    /// The next key's signature, base64: it agrees, and so nobody can adopt another's key.
    pub by_next: String,
}

/// The type string of a [`Rotation`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RotationKind {
    /// `cairn/rotation/v1`
    #[default]
    #[serde(rename = "cairn/rotation/v1")]
    V1,
}

/// Which key signed a log's checkpoints at which sizes, as far as it follows from one trusted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHistory {
    /// In order; each with the largest size it signs, the last without end.
    keys: Vec<(VerifyingKey, u64)>,
}

impl Rotation {
    /// Makes and signs a rotation at the size that the log has now.
    pub(crate) fn sign(
        origin: &Origin,
        size: u64,
        time: String,
        previous: &dyn Signer,
        next: &dyn Signer,
    ) -> Result<Rotation> {
        let mut rotation = Rotation {
            kind: RotationKind::V1,
            origin: origin.to_string(),
            size,
            previous: previous.verifying_key(origin).to_string(),
            next: next.verifying_key(origin).to_string(),
            time,
            by_previous: String::new(),
            by_next: String::new(),
        };
        let message = rotation.message();
        rotation.by_previous = BASE64.encode(previous.sign(message.as_bytes())?);
        rotation.by_next = BASE64.encode(next.sign(message.as_bytes())?);
        rotation.verify()?;
        Ok(rotation)
    }

    /// Checks both signatures, and that the keys are two keys of this log; returns the previous and the next.
    pub fn verify(&self) -> Result<(VerifyingKey, VerifyingKey)> {
        let wrong = |problem: &str| Error::BadRotation { size: self.size, problem: problem.to_owned() };
        let (previous, next): (VerifyingKey, VerifyingKey) = (self.previous.parse()?, self.next.parse()?);
        if previous.origin().as_str() != self.origin || next.origin().as_str() != self.origin {
            return Err(wrong("a key is of another log"));
        }
        if previous == next {
            return Err(wrong("both keys are the same"));
        }
        let message = self.message();
        for (key, signature, problem) in [
            (&previous, &self.by_previous, "the previous key did not sign it"),
            (&next, &self.by_next, "the next key did not sign it"),
        ] {
            let signature = BASE64.decode(signature).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
            if !signature.is_some_and(|signature| key.verifies(message.as_bytes(), &signature)) {
                return Err(wrong(problem));
            }
        }
        Ok((previous, next))
    }

    /// The canonical JSON: the bytes of the log entry.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        to_canonical(self)
    }

    /// The leaf hash in the log's tree.
    pub fn leaf(&self) -> Result<Hash> {
        Ok(leaf_hash(&self.to_bytes()?))
    }

    fn message(&self) -> String {
        let Rotation { origin, size, previous, next, time, .. } = self;
        let mut message = String::from("cairn/rotation/v1\n");
        // Writing to a string does not fail.
        let _ = write!(message, "{origin}\n{size}\n{previous}\n{next}\n{time}\n");
        message
    }
}

impl KeyHistory {
    /// What follows from trusting `key` and these rotations, in any order. Rotations that lead to no trusted key are
    /// an error, and so are two that contradict each other.
    pub fn new(key: &VerifyingKey, rotations: &[Rotation]) -> Result<KeyHistory> {
        let mut links = Vec::new();
        for rotation in rotations {
            let (previous, next) = rotation.verify()?;
            let link = (rotation.size, previous, next);
            if !links.contains(&link) {
                links.push(link);
            }
        }
        links.sort_by_key(|(size, ..)| *size);
        let wrong = |size: u64, problem: &str| Error::BadRotation { size, problem: problem.to_owned() };
        for pair in links.windows(2) {
            let ((earlier, _, next), (later, previous, _)) = (&pair[0], &pair[1]);
            if earlier == later || next != previous {
                return Err(wrong(*later, "it does not go on from the rotation before it"));
            }
        }
        let mut keys: Vec<(VerifyingKey, u64)> =
            links.iter().map(|(size, previous, _)| (previous.clone(), *size)).collect();
        let last = links.last().map_or(key, |(.., next)| next);
        keys.push((last.clone(), u64::MAX));
        if !keys.iter().any(|(known, _)| known == key) {
            return Err(wrong(links[0].0, "neither of its keys leads to the trusted one"));
        }
        if (1..keys.len()).any(|at| keys[..at].iter().any(|(known, _)| *known == keys[at].0)) {
            return Err(wrong(links[0].0, "a key is used a second time"));
        }
        Ok(KeyHistory { keys })
    }

    /// The key in force for a checkpoint of this size.
    pub fn at(&self, size: u64) -> &VerifyingKey {
        let last = self.keys.len() - 1;
        let at = self.keys.iter().position(|(_, until)| size <= *until).unwrap_or(last);
        &self.keys[at].0
    }

    /// The key that signs now.
    pub fn current(&self) -> &VerifyingKey {
        &self.keys[self.keys.len() - 1].0
    }

    /// All keys, the oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// Checks that a checkpoint is signed by the key that was in force at its size.
    pub fn verify(&self, signed: &SignedCheckpoint) -> Result<()> {
        let key = self.at(signed.size());
        let other = self.keys.iter().position(|(known, _)| known != key && known.key_id() == signed.key_id());
        let Some(position) = other else { return signed.verify(key) };
        let (found, until) = &self.keys[position];
        let from = position.checked_sub(1).map(|before| self.keys[before].1);
        let problem = match from.filter(|from| signed.size() <= *from) {
            Some(from) => format!("it signs sizes above {from}"),
            None => format!("it signs sizes up to {until}"),
        };
        Err(Error::KeyNotInForce { size: signed.size(), key: found.to_string(), problem })
    }

    /// Reads a checkpoint, cosigned or not, and checks the log's signature on it.
    pub fn open(&self, text: &str) -> Result<CosignedCheckpoint> {
        let parsed = CosignedCheckpoint::parse(text)?;
        self.verify(parsed.signed())?;
        Ok(parsed)
    }
}

impl From<VerifyingKey> for KeyHistory {
    fn from(key: VerifyingKey) -> KeyHistory {
        KeyHistory { keys: vec![(key, u64::MAX)] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::key::SigningKey;

    fn origin() -> Origin {
        Origin::new("example.com/log").unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed([seed; 32])
    }

    fn public(seed: u8) -> VerifyingKey {
        key(seed).verifying_key(&origin())
    }

    fn rotation(size: u64, from: u8, to: u8) -> Rotation {
        Rotation::sign(&origin(), size, "2026-01-02T03:04:05Z".into(), &key(from), &key(to)).unwrap()
    }

    fn signed(size: u64, seed: u8) -> SignedCheckpoint {
        SignedCheckpoint::sign(Checkpoint { origin: origin(), size, root: Hash::of(b"r") }, &key(seed))
    }

    #[test]
    fn any_key_of_the_chain_leads_to_the_others() {
        let rotations = [rotation(20, 2, 3), rotation(10, 1, 2)];
        for trusted in [1, 2, 3] {
            let history = KeyHistory::new(&public(trusted), &rotations).unwrap();
            for (size, seed) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3), (u64::MAX, 3)] {
                assert_eq!(*history.at(size), public(seed), "size {size}");
                history.verify(&signed(size, seed)).unwrap();
                for other in (1..=3).filter(|other| *other != seed) {
                    let error = history.verify(&signed(size, other)).unwrap_err();
                    assert!(matches!(error, Error::KeyNotInForce { .. }), "{size} by {other}: {error}");
                }
                assert!(matches!(history.verify(&signed(size, 4)), Err(Error::WrongSigner { .. })));
            }
        }
        assert!(KeyHistory::new(&public(4), &rotations).is_err(), "an unrelated key");
    }

    #[test]
    fn a_contradiction_is_refused() {
        let cases = [
            vec![rotation(10, 1, 2), rotation(10, 1, 3)],
            vec![rotation(10, 1, 2), rotation(12, 1, 3)],
            vec![rotation(10, 1, 2), rotation(20, 3, 4)],
            vec![rotation(10, 1, 2), rotation(20, 2, 1)],
        ];
        for rotations in cases {
            assert!(matches!(KeyHistory::new(&public(1), &rotations), Err(Error::BadRotation { .. })));
        }
        KeyHistory::new(&public(1), &[rotation(10, 1, 2), rotation(10, 1, 2)]).unwrap();
    }

    #[test]
    fn both_keys_must_have_signed_every_word() {
        let good = rotation(10, 1, 2);
        good.verify().unwrap();
        let changes: [fn(&mut Rotation); 7] = [
            |r| r.size = 11,
            |r| r.time = "2026-01-02T03:04:06Z".into(),
            |r| r.origin = "example.com/other".into(),
            |r| r.next = public(3).to_string(),
            |r| r.previous = public(3).to_string(),
            |r| r.by_next = r.by_previous.clone(),
            |r| r.by_previous = String::new(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = good.clone();
            change(&mut changed);
            assert!(matches!(changed.verify(), Err(Error::BadRotation { .. })), "change {number}");
        }
        let same = Rotation::sign(&origin(), 1, "2026-01-02T03:04:05Z".into(), &key(1), &key(1));
        assert!(matches!(same, Err(Error::BadRotation { .. })));
    }
}
