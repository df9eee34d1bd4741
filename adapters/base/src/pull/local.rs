//! A directory or a file on this machine.

use std::{fs, path::Path};

use super::{PullError, wanted};
use crate::normalise::link;

/// Links (or copies) the files of a model.
pub(super) fn fetch(path: &Path, original: &Path) -> Result<(), PullError> {
    let put = |from: &Path| {
        let to = original.join(from.file_name().unwrap_or_default());
        if to.exists() {
            fs::remove_file(&to).map_err(|error| PullError::io(&to, error))?;
        }
        Ok::<_, PullError>(link(from, &to)?)
    };
    if path.is_file() {
        return put(path);
    }
    for entry in fs::read_dir(path).map_err(|error| PullError::io(path, error))? {
        let entry = entry.map_err(|error| PullError::io(path, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && (wanted(&name) || name.ends_with(".gguf")) {
            put(&entry.path())?;
        }
    }
    Ok(())
}
