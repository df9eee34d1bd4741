//! Changing the log's key.

use super::{Log, Storage, Turn};
use crate::error::{Error, Result};
use crate::rotation::Rotation;
use crate::signer::Signer;

impl<S: Storage> Log<S> {
    /// Changes the log's key: appends a rotation entry signed by the present key and by `next`, under a checkpoint signed
    /// by `next`, which signs from then on. Returns the entry; `time` is RFC 3339 in UTC.
    ///
    /// The checkpoint is the moment of change: after a crash the log opens with the one key or with the other, and says
    /// which. So the next key must be stored durably before, and the present one kept until this returns.
    pub fn rotate(&mut self, next: impl Signer + 'static, time: String) -> Result<Rotation> {
        if let Some(why) = &self.stopped {
            return Err(Error::Stopped(why.clone()));
        }
        if self.uncertain {
            return Err(Error::NeedsReopen);
        }
        let rotation = Rotation::sign(&self.origin, self.size(), time, self.signer.as_ref(), &next)?;
        let mut rotations = self.rotations.clone();
        rotations.push(rotation.clone());
        let turn = Turn { next: Box::new(next), rotations };
        // A key that signed before must not come back: at which sizes it counts would be ambiguous.
        crate::rotation::KeyHistory::new(&turn.next.verifying_key(&self.origin), &turn.rotations)?;
        self.advance(&[rotation.to_bytes()?], Some(&turn))?;
        (self.signer, self.rotations) = (turn.next, turn.rotations);
        Ok(rotation)
    }
}
