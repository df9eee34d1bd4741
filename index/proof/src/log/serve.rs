//! Reading tiles for an HTTP server, from a path that a stranger sent.

use std::fs;
use std::path::Path;

use super::storage::{Directory, Storage as _};
use super::tile::TilePath;
use crate::error::{Error, Result};

/// The bytes of the tile or entry bundle `path`, such as `tile/0/x001/067` or `tile/entries/000.p/12`.
///
/// Only well-formed tile paths are accepted, so no other file can be named. A partial tile that has grown since is cut
/// from the wider one, of which it is the beginning: every partial tile that ever belonged to a checkpoint is served.
pub fn read_tile(dir: &Path, path: &str) -> Result<Vec<u8>> {
    let tile: TilePath = path.parse()?;
    let storage = Directory::shared(dir);
    // Between listing and reading, the writer may replace a partial tile by a wider one.
    for _ in 0..4 {
        if let Some(bytes) = storage.read(path)? {
            return Ok(bytes);
        }
        if tile == tile.full() {
            break;
        }
        if let Some(bytes) = storage.read(&tile.full().to_string())? {
            return tile.cut(bytes);
        }
        let Some(wider) = wider(dir, &tile) else { break };
        if let Some(bytes) = storage.read(&wider.to_string())? {
            return tile.cut(bytes);
        }
    }
    Err(Error::NoSuchTile(path.to_owned()))
}

/// The narrowest stored partial version of `tile` that is wider than it.
fn wider(dir: &Path, tile: &TilePath) -> Option<TilePath> {
    let path = dir.join(tile.to_string());
    let widths = fs::read_dir(path.parent()?).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let width = widths.filter(|width: &u16| *width > tile.width).min()?;
    Some(TilePath { width, ..*tile })
}
