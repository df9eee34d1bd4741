//! Cosignatures: the statement of a witness that, at a time, a checkpoint was the largest it had seen of a log and
//! consistent with all before (C2SP tlog-cosignature, `cosignature/v1`, Ed25519).
//!
//! ```text
//! signed message = "cosignature/v1\n" "time <seconds>\n" <body of the checkpoint>
//! signature line = — <witness> base64(key id || 64-bit big-endian seconds || 64-byte signature)
//! key id         = SHA256(<witness> || "\n" || 0x04 || public key)[..4]
//! ```

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::checkpoint::{Origin, SignedCheckpoint};
use crate::error::{Error, Result};
use crate::key::{KeyId, SigningKey, VerifyingKey, key_id, parse_vkey, vkey};
use crate::note::{self, Note, NoteSignature};

/// The public key of a witness; its text is the verifier key line `name+id+base64(0x04 || key)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: Origin,
    key: ed25519_dalek::VerifyingKey,
}

/// A witness's signature on a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Name of the witness, as on the line.
    pub witness: String,
    /// When it signed, in seconds since 1970 by its own clock.
    pub time: u64,
    key_id: KeyId,
    signature: [u8; 64],
}

/// A checkpoint with the log's signature and, after it, those of witnesses; its text is a C2SP note that any client reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignedCheckpoint {
    signed: SignedCheckpoint,
    cosignatures: Vec<Cosignature>,
}

impl WitnessKey {
    /// The public half of a witness's key under its name.
    pub fn of(name: &Origin, key: &SigningKey) -> WitnessKey {
        WitnessKey { name: name.clone(), key: *key.verifying_key(name).dalek() }
    }

    /// Name of the witness.
    pub fn name(&self) -> &Origin {
        &self.name
    }

    /// The key id on its signature lines.
    pub fn key_id(&self) -> [u8; 4] {
        key_id(&self.name, COSIGNATURE, self.key.as_bytes())
    }

    /// Reads a file of witness keys: one a line, empty lines and lines that begin with `#` aside.
    pub fn load_all(path: &Path) -> Result<Vec<WitnessKey>> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::parse).collect()
    }

    /// Whether both are one key, under whatever names.
    pub(crate) fn same_key(&self, other: &WitnessKey) -> bool {
        self.key == other.key
    }

    /// Signs the body of a checkpoint at a time. Only a witness does, after its checks.
    pub(crate) fn cosign(name: &Origin, key: &SigningKey, body: &str, time: u64) -> Cosignature {
        let signature = key.sign(message(body, time).as_bytes());
        Cosignature { witness: name.to_string(), time, key_id: WitnessKey::of(name, key).key_id(), signature }
    }

    /// Whether the cosignature is this witness's on this body.
    pub(crate) fn verifies(&self, body: &str, cosignature: &Cosignature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&cosignature.signature);
        cosignature.witness == self.name.as_str()
            && cosignature.key_id == self.key_id()
            && self.key.verify_strict(message(body, cosignature.time).as_bytes(), &signature).is_ok()
    }

    /// Checks the cosignature of a checkpoint.
    pub fn verify(&self, signed: &SignedCheckpoint, cosignature: &Cosignature) -> Result<()> {
        let checkpoint = signed.checkpoint();
        if self.verifies(&checkpoint.body(), cosignature) {
            return Ok(());
        }
        let (witness, origin) = (self.name.to_string(), checkpoint.origin.to_string());
        Err(Error::WrongCosignature { witness, origin, size: checkpoint.size })
    }
}

impl Cosignature {
    /// Reads a signature line of a note; `None` if it is none of the form of a cosignature.
    pub(crate) fn from_note(line: &NoteSignature<'_>) -> Option<Cosignature> {
        let (time, signature) = line.bytes.split_first_chunk::<8>()?;
        let time = u64::from_be_bytes(*time);
        // The specification's limit.
        if time > i64::MAX as u64 {
            return None;
        }
        let witness = line.name.to_owned();
        Some(Cosignature { witness, time, key_id: line.key_id, signature: signature.try_into().ok()? })
    }

    /// The key id on the line.
    pub fn key_id(&self) -> [u8; 4] {
        self.key_id
    }
}

impl CosignedCheckpoint {
    /// A checkpoint without cosignatures yet.
    pub fn new(signed: SignedCheckpoint) -> CosignedCheckpoint {
        CosignedCheckpoint { signed, cosignatures: Vec::new() }
    }

    /// Adds a cosignature that `witness` made of this checkpoint; it replaces an earlier one of the same witness.
    pub fn add(&mut self, witness: &WitnessKey, cosignature: Cosignature) -> Result<()> {
        witness.verify(&self.signed, &cosignature)?;
        self.put(cosignature);
        Ok(())
    }

    /// Adds those of another copy of the same checkpoint that are not here.
    pub(crate) fn merge(&mut self, other: &CosignedCheckpoint) {
        for cosignature in &other.cosignatures {
            if !self.cosignatures.iter().any(|own| own.key_id == cosignature.key_id) {
                self.put(cosignature.clone());
            }
        }
    }

    fn put(&mut self, cosignature: Cosignature) {
        self.cosignatures.retain(|own| own.key_id != cosignature.key_id);
        self.cosignatures.push(cosignature);
        self.cosignatures.sort_by(|a, b| (&a.witness, a.key_id).cmp(&(&b.witness, b.key_id)));
    }

    /// Reads a checkpoint without checking signatures. After the log's signature line there may be lines of witnesses,
    /// in the order of their names, and nothing else.
    pub fn parse(text: &str) -> Result<CosignedCheckpoint> {
        let note = Note::parse(text)?;
        let (own, others) = note.lines.split_at(1);
        let signed = SignedCheckpoint::parse(&[note.body, "\n", own[0]].concat())?;
        let cosignatures = note.signatures[1..].iter().map(Cosignature::from_note);
        let cosignatures: Vec<Cosignature> = cosignatures
            .collect::<Option<_>>()
            .ok_or(Error::MalformedCheckpoint("a signature after the log's own is not that of a witness"))?;
        let mut parsed = CosignedCheckpoint::new(signed);
        cosignatures.into_iter().for_each(|cosignature| parsed.put(cosignature));
        if parsed.cosignatures.len() != others.len() || parsed.to_string() != text {
            return Err(Error::MalformedCheckpoint(
                "its signatures of witnesses are not in order, or one is there twice",
            ));
        }
        Ok(parsed)
    }

    /// Reads a checkpoint and checks the log's signature. Cosignatures are checked by [`CosignedCheckpoint::by`].
    pub fn open(text: &str, key: &VerifyingKey) -> Result<CosignedCheckpoint> {
        let parsed = CosignedCheckpoint::parse(text)?;
        parsed.signed.verify(key)?;
        Ok(parsed)
    }

    /// The checkpoint with the log's signature alone.
    pub fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// All cosignatures on it, checked or not, in the order of the witnesses' names.
    pub fn cosignatures(&self) -> &[Cosignature] {
        &self.cosignatures
    }

    /// The cosignature of a witness, checked; `None` if there is none of its, or a wrong one.
    pub fn by(&self, witness: &WitnessKey) -> Option<&Cosignature> {
        self.cosignatures.iter().find(|cosignature| witness.verify(&self.signed, cosignature).is_ok())
    }
}

/// The message a witness signs.
fn message(body: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{body}")
}

impl FromStr for WitnessKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<WitnessKey> {
        let otherwise = "a witness key must be of type 4, an Ed25519 key for cosignature/v1";
        let (name, key) = parse_vkey(line, COSIGNATURE, otherwise)?;
        Ok(WitnessKey { name, key })
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey(&self.name, COSIGNATURE, self.key.as_bytes()))
    }
}

impl fmt::Display for Cosignature {
    /// The signature line with its newline.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&note::line(&self.witness, &self.key_id, &[&self.time.to_be_bytes(), &self.signature]))
    }
}

impl fmt::Display for CosignedCheckpoint {
    /// The note's exact text: the log's signature line, then those of the witnesses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.signed.fmt(f)?;
        self.cosignatures.iter().try_for_each(|cosignature| cosignature.fmt(f))
    }
}

/// Signature type of Ed25519 cosignatures.
const COSIGNATURE: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::hash::Hash;

    fn signed() -> SignedCheckpoint {
        let checkpoint = Checkpoint { origin: Origin::new("example.com/log").unwrap(), size: 20, root: Hash::of(b"r") };
        SignedCheckpoint::sign(checkpoint, &SigningKey::from_seed([7; 32]))
    }

    fn witness(seed: u8) -> (Origin, SigningKey) {
        (Origin::new(format!("witness.example/w{seed}")).unwrap(), SigningKey::from_seed([seed; 32]))
    }

    fn cosigned(seeds: &[u8]) -> CosignedCheckpoint {
        let mut cosigned = CosignedCheckpoint::new(signed());
        for seed in seeds {
            let (name, key) = witness(*seed);
            let cosignature = WitnessKey::cosign(&name, &key, &signed().checkpoint().body(), 1_700_000_000);
            cosigned.add(&WitnessKey::of(&name, &key), cosignature).unwrap();
        }
        cosigned
    }

    #[test]
    fn the_vector_of_the_specification_verifies() {
        // C2SP tlog-cosignature gives this checkpoint and cosignature; its time is 1679315147.
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
            \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
            \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
        let cosigned = CosignedCheckpoint::parse(text).unwrap();
        assert_eq!(cosigned.to_string(), text);
        let [cosignature] = cosigned.cosignatures() else { panic!("one cosignature") };
        assert_eq!((cosignature.witness.as_str(), cosignature.time), ("witness.example.com/w1", 1_679_315_147));
    }

    #[test]
    fn cosignatures_are_checked_one_by_one() {
        let two = cosigned(&[2, 1]);
        assert_eq!(CosignedCheckpoint::parse(&two.to_string()).unwrap(), two);
        let names: Vec<&str> = two.cosignatures().iter().map(|c| c.witness.as_str()).collect();
        assert_eq!(names, ["witness.example/w1", "witness.example/w2"]);
        let key = |seed| WitnessKey::of(&witness(seed).0, &witness(seed).1);
        assert!(two.by(&key(1)).is_some() && two.by(&key(2)).is_some() && two.by(&key(3)).is_none());
        let line = key(1).to_string();
        assert_eq!(line.parse::<WitnessKey>().unwrap(), key(1));
        assert!(line.parse::<VerifyingKey>().is_err(), "a witness key is no log key");
        // Same key, other name; same name, other key.
        assert!(two.by(&WitnessKey::of(&witness(3).0, &witness(1).1)).is_none());
        assert!(two.by(&WitnessKey::of(&witness(1).0, &witness(3).1)).is_none());
    }

    #[test]
    fn no_changed_bit_verifies() {
        let (text, key) = (cosigned(&[1]).to_string(), WitnessKey::of(&witness(1).0, &witness(1).1));
        let log = SigningKey::from_seed([7; 32]).verifying_key(&signed().checkpoint().origin);
        assert!(CosignedCheckpoint::open(&text, &log).unwrap().by(&key).is_some());
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let accepted = CosignedCheckpoint::open(&changed, &log).is_ok_and(|c| c.by(&key).is_some());
                assert!(!accepted, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn one_spelling_only() {
        let text = cosigned(&[1, 2]).to_string();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let swapped = [&lines[..5], &[lines[6], lines[5]]].concat().concat();
        let doubled = [&lines[..], &lines[5..6]].concat().concat();
        let foreign = [&lines[..], &[lines[4]]].concat().concat();
        for bad in [swapped, doubled, foreign, format!("{text}\n"), text.trim_end().to_owned()] {
            assert!(CosignedCheckpoint::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        use base64::Engine as _;
        use sha2::Digest as _;
        let (name, key) = witness(1);
        let text = cosigned(&[1]).to_string();
        let log = SigningKey::from_seed([7; 32]).verifying_key(&signed().checkpoint().origin).to_string();
        let log = signed_note::StandardVerifier::new(&log).unwrap();
        let theirs = signed_note::Note::from_bytes(text.as_bytes()).unwrap();
        let (verified, unverified) = theirs.verify(&signed_note::VerifierList::new(vec![Box::new(log)])).unwrap();
        assert_eq!((verified.len(), unverified.len()), (1, 1), "any client reads the note");
        let blob = text.trim_end().rsplit(' ').next().unwrap();
        let blob = base64::engine::general_purpose::STANDARD.decode(blob).unwrap();
        let public = WitnessKey::of(&name, &key).key;
        let id = sha2::Sha256::digest([b"witness.example/w1\n\x04".as_slice(), public.as_bytes()].concat());
        assert_eq!((&blob[..4], &blob[4..12]), (&id[..4], 1_700_000_000u64.to_be_bytes().as_slice()));
        let message = format!("cosignature/v1\ntime 1700000000\n{}", signed().checkpoint().body());
        let signature = ed25519_dalek::Signature::from_slice(&blob[12..]).unwrap();
        public.verify_strict(message.as_bytes(), &signature).unwrap();
    }
}
