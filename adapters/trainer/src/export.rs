//! A trained adapter as a directory that PEFT, the adapter store and the lane read.

use std::path::Path;

use cairn_adapters::peft::{self, Limits};

use crate::{Adapter, TrainError, checkpoint};

impl Adapter {
    /// Writes `adapter_config.json` and `adapter_model.safetensors` into a directory of their own, which appears whole or not
    /// at all, and reads them back.
    ///
    /// # Errors
    /// [`TrainError::Io`] or [`TrainError::Format`]: the disk is full, or a number of the adapter is not finite.
    pub fn export(&self, dir: &Path) -> Result<(), TrainError> {
        checkpoint::replace(dir, |temporary| {
            self.to_peft().write(temporary)?;
            peft::Adapter::read(temporary, &Limits::default())?;
            Ok(())
        })
    }
}
