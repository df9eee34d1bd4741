//! What a log knows when it is opened: its files, compared with the guard and with what witnesses cosigned.

use super::load::{
    CHECKPOINT, Loaded, ROTATIONS, load, read_checkpoint, read_cosigned, read_rotations, rotations_text, tidy,
};
use super::storage::Storage;
use crate::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use crate::cosignature::CosignedCheckpoint;
use crate::error::{Error, Result};
use crate::key::VerifyingKey;
use crate::merkle::Tree;
use crate::rotation::{KeyHistory, Rotation};
use crate::signer::Signer;

/// The state of an opened log.
pub(crate) struct Restored {
    pub(crate) tree: Tree,
    pub(crate) tail: Vec<Vec<u8>>,
    pub(crate) checkpoint: SignedCheckpoint,
    pub(crate) cosigned: Option<CosignedCheckpoint>,
    pub(crate) rotations: Vec<Rotation>,
}

/// Reads and checks the log's files, decides from which checkpoint to go on, tidies up, and brings checkpoint and guard to
/// that same checkpoint.
pub(crate) fn restore<S: Storage>(
    storage: &S,
    guard: Option<&(S, String)>,
    signer: &dyn Signer,
    origin: &Origin,
) -> Result<Restored> {
    let public = signer.verifying_key(origin);
    let found = read_rotations(storage)?;
    let keys = KeyHistory::new(&public, &found)?;
    let own = read_checkpoint(storage, CHECKPOINT, &keys)?;
    let guarded = match guard {
        Some((storage, name)) => read_checkpoint(storage, name, &keys)?,
        None => None,
    };
    let (checkpoint, Loaded { tree, tail }) = match (own, guarded) {
        (None, None) => {
            if !storage.list()?.is_empty() {
                return Err(Error::MissingFile(CHECKPOINT.to_owned()));
            }
            let empty = Checkpoint { origin: origin.clone(), size: 0, root: Tree::new().root() };
            (SignedCheckpoint::sign_by(empty, signer)?, Loaded { tree: Tree::new(), tail: Vec::new() })
        }
        // A crash between the two writes leaves the guard ahead with all tiles there: go on from it.
        (own, Some(guarded)) if own.as_ref().is_none_or(|own| own.size() < guarded.size()) => {
            let size = own.as_ref().map_or(0, SignedCheckpoint::size);
            let behind = Error::BehindGuard { size, guard: guarded.size() };
            let loaded = load(storage, guarded.checkpoint()).map_err(|error| match error {
                Error::MissingFile(_) | Error::DamagedFile { .. } => behind,
                other => other,
            })?;
            if let Some(own) = own {
                agree(&loaded.tree, &own, false)?;
            }
            (guarded, loaded)
        }
        (Some(own), guarded) => {
            let loaded = load(storage, own.checkpoint())?;
            if let Some(guarded) = guarded {
                agree(&loaded.tree, &guarded, true)?;
            }
            (own, loaded)
        }
        (None, Some(_)) => unreachable!("a log without checkpoint is behind any guard"),
    };
    let cosigned = read_cosigned(storage, &keys)?;
    if let Some(cosigned) = &cosigned {
        not_behind(&tree, cosigned)?;
    }
    // A rotation counts once its entry is under a checkpoint; a crash may have left one that is not.
    let size = checkpoint.size();
    let rotations: Vec<Rotation> = found.iter().filter(|rotation| rotation.size < size).cloned().collect();
    in_force(&public, &rotations, &keys, &checkpoint)?;
    tidy(storage, size)?;
    if rotations.len() < found.len() {
        storage.write(ROTATIONS, &rotations_text(&rotations)?)?;
    }
    // To the guard first, so that it is never behind what was seen.
    let text = checkpoint.to_string();
    for (storage, name) in
        guard.map(|(storage, name)| (storage, name.as_str())).into_iter().chain([(storage, CHECKPOINT)])
    {
        let present = storage.read(name)?;
        if present.as_deref() != Some(text.as_bytes()) {
            storage.swap(name, present.as_deref(), text.as_bytes())?;
        }
    }
    Ok(Restored { tree, tail, checkpoint, cosigned, rotations })
}

/// Checks that the checkpoint that is behind, own or guard, is one of the tree that the other one led to.
fn agree(tree: &Tree, older: &SignedCheckpoint, older_is_guard: bool) -> Result<()> {
    let (size, found) = (older.size(), tree.root_at(older.size())?);
    let (guard, log) = if older_is_guard { (older.root(), found) } else { (found, older.root()) };
    if guard == log { Ok(()) } else { Err(Error::GuardMismatch { size, guard, log }) }
}

/// Checks that the log holds all that witnesses cosigned.
fn not_behind(tree: &Tree, cosigned: &CosignedCheckpoint) -> Result<()> {
    let witness = cosigned.cosignatures().first().map_or_else(String::new, |cosignature| cosignature.witness.clone());
    let (size, seen) = (tree.len(), cosigned.signed().size());
    if seen > size {
        return Err(Error::BehindWitness { size, witness, seen });
    }
    if tree.root_at(seen)? == cosigned.signed().root() {
        return Ok(());
    }
    Err(Error::ForkedFromWitness { size: seen, witness })
}

/// Checks that the key given is the one that signs from here on.
fn in_force(
    given: &VerifyingKey,
    rotations: &[Rotation],
    keys: &KeyHistory,
    checkpoint: &SignedCheckpoint,
) -> Result<()> {
    let size = checkpoint.size();
    let rotated = |advice| {
        let (signed, given) = (keys.at(size).to_string(), given.to_string());
        Err(Error::KeyRotated { size, signed, given, advice })
    };
    match KeyHistory::new(given, rotations) {
        Ok(committed) if committed.current() != given => {
            rotated("its key was rotated since: open it with the key that signed last")
        }
        Ok(committed) if committed.verify(checkpoint).is_ok() => Ok(()),
        _ => rotated(
            "the rotation to that key was cut short: open the log with the key that signed last, and rotate again",
        ),
    }
}
