//! Unpacking an uploaded tar, tar.gz or zip, none of which is trusted.
//!
//! Only the files that an adapter consists of are written, and all to one private directory under their last name; so no
//! entry can leave it. An entry that tries to, a link, a device or an encrypted file is refused rather than skipped: no
//! tool that saves adapters makes one.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;

use super::StoreError;
use crate::peft::{CONFIG_FILE, Limits, WEIGHTS_FILE};

/// What is kept; the rest (README.md, checkpoints of the optimizer) is read past.
const KEPT: [&str; 7] = [
    CONFIG_FILE,
    WEIGHTS_FILE,
    "adapter_model.bin", // so that the refusal can name it
    "chat_template.jinja",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Entries of any kind.
const MAX_ENTRIES: usize = 1024;
/// What the files beside the weights may add up to when unpacked.
const MAX_REST: u64 = 256 << 20;

/// Unpacks `archive` into the empty directory `into`. Blocking.
pub(crate) fn unpack(archive: &Path, into: &Path, limits: &Limits) -> Result<(), StoreError> {
    let mut file = File::open(archive)?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    let mut target = Target {
        into,
        home: None,
        entries: 0,
        // Everything is counted, also what is read past: a small archive must not cost more than a large upload.
        left: limits.max_weights_bytes.saturating_add(limits.max_config_bytes).saturating_add(MAX_REST),
    };
    match &magic[..read] {
        [b'P', b'K', ..] => unpack_zip(BufReader::new(file), &mut target)?,
        [0x1f, 0x8b, ..] => unpack_tar(MultiGzDecoder::new(BufReader::new(file)), &mut target)?,
        _ => unpack_tar(BufReader::new(file), &mut target)?,
    }
    if target.home.is_none() {
        return Err(refused(format!("it holds no {CONFIG_FILE}; pack the directory that PEFT saved")));
    }
    Ok(())
}

/// Where entries go, and what is left of the limits.
struct Target<'a> {
    into: &'a Path,
    /// The directory in the archive that holds the adapter.
    home: Option<PathBuf>,
    entries: usize,
    left: u64,
}

impl Target<'_> {
    /// Takes one plain file.
    fn file(&mut self, path: &Path, mut content: impl Read) -> Result<(), StoreError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut limited = content.by_ref().take(self.left.saturating_add(1));
        let copied = if KEPT.contains(&name) {
            let parts = path.parent().into_iter().flat_map(Path::components);
            let home: PathBuf = parts.filter(|part| *part != Component::CurDir).collect(); // "./x" lies where "x" does
            if self.home.get_or_insert_with(|| home.clone()) != &home {
                return Err(refused(format!("it holds files of several adapters; {} is one too many", path.display())));
            }
            let mut file =
                File::options().write(true).create_new(true).open(self.into.join(name)).map_err(|error| match error
                    .kind()
                {
                    std::io::ErrorKind::AlreadyExists => refused(format!("{} is in it twice", path.display())),
                    _ => StoreError::Staging(error),
                })?;
            std::io::copy(&mut limited, &mut file)
        } else {
            std::io::copy(&mut limited, &mut std::io::sink())
        }
        .map_err(|error| refused(format!("{} does not unpack: {error}", path.display())))?;
        self.left = self.left.checked_sub(copied).ok_or_else(|| {
            refused("it unpacks to more than the adapters' limits allow; leave out checkpoints of the base".into())
        })?;
        Ok(())
    }

    /// Checks an entry's name, whatever its kind.
    fn entry(&mut self, path: &Path) -> Result<(), StoreError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(refused(format!("it has more than {MAX_ENTRIES} entries; pack the adapter's directory alone")));
        }
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let plain = path.to_str().is_some_and(|text| !text.contains(['\\', '\0']));
        if !inside || !plain {
            return Err(refused(format!("entry {path:?} would leave its directory")));
        }
        Ok(())
    }
}

fn unpack_tar(reader: impl Read, target: &mut Target<'_>) -> Result<(), StoreError> {
    let mut archive = tar::Archive::new(reader);
    let broken = |error: std::io::Error| refused(format!("it is no tar, tar.gz or zip that reads to its end: {error}"));
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        target.entry(&path)?;
        let kind = entry.header().entry_type();
        if kind.is_file() || kind.is_contiguous() {
            target.file(&path, entry)?;
        } else if !kind.is_dir() && !kind.is_pax_global_extensions() {
            return Err(refused(format!("entry {path:?} is a link or a device; pack plain files")));
        }
    }
    Ok(())
}

fn unpack_zip(reader: impl Read + Seek, target: &mut Target<'_>) -> Result<(), StoreError> {
    let broken = |error: zip::result::ZipError| refused(format!("the zip does not read: {error}"));
    let mut archive = zip::ZipArchive::new(reader).map_err(broken)?;
    if archive.len() > MAX_ENTRIES {
        return Err(refused(format!("it has more than {MAX_ENTRIES} entries; pack the adapter's directory alone")));
    }
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(broken)?;
        let path = PathBuf::from(String::from_utf8_lossy(entry.name_raw()).into_owned());
        target.entry(&path)?;
        if entry.is_dir() {
            continue;
        }
        if entry.is_symlink() || entry.encrypted() {
            return Err(refused(format!("entry {path:?} is a link or encrypted; pack plain files")));
        }
        target.file(&path, entry)?;
    }
    Ok(())
}

fn refused(reason: String) -> StoreError {
    StoreError::Archive(reason)
}
