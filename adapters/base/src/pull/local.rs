//! A directory or a file on this machine.

use std::{fs, path::Path};

use super::{PullError, wanted};
use crate::normalise::{NormaliseError, file_names, link, pickle_alone};

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
        if path.extension().is_none_or(|extension| extension != "gguf") {
            return Err(PullError::Source(path.to_string_lossy().into_owned()));
        }
        return put(path);
    }
    let names = file_names(path)?;
    if let Some(name) = pickle_alone(&names) {
        return Err(NormaliseError::Pickle { name: name.clone() }.into());
    }
    for name in names.iter().filter(|name| wanted(name) || name.ends_with(".gguf")) {
        put(&path.join(name))?;
    }
    Ok(())
}
