//! Golden files.

use std::path::{Path, PathBuf};

use cairn_adapters::peft::{Adapter, Limits};

/// Where the golden files are: `CAIRN_GOLDEN`, or `tests/golden` of the workspace.
pub(crate) fn golden() -> PathBuf {
    std::env::var_os("CAIRN_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"), PathBuf::from)
}

pub(crate) fn json<T: for<'a> serde::Deserialize<'a>>(path: &Path) -> T {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

pub(crate) fn adapter(dir: &Path) -> Adapter {
    Adapter::read(dir, &Limits::default()).unwrap()
}
