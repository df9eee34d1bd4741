//! Uploads as tar, tar.gz and zip: real ones, and ones made to do harm.
#![allow(clippy::unwrap_used, reason = "a panic here is a failed test")]

mod common;

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use cairn_adapters::{
    peft::{FormatError, Limits},
    store::{Caller, Source, Store, StoreError, StoreOptions, Upload, Uploaded},
};
use common::{open, open_with, options, small, small_base, stored_objects, upload, write};

/// Name and content of an archive's entry.
type Entry = (&'static str, Vec<u8>);

fn adapter(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let (config, tensors) = small(0.0);
    write(dir.path(), &config, &tensors);
    ["adapter_config.json", "adapter_model.safetensors"]
        .map(|name| (format!("{prefix}{name}"), std::fs::read(dir.path().join(name)).unwrap()))
        .into()
}

fn tar(dir: &Path, entries: &[(String, Vec<u8>)]) -> PathBuf {
    let path = dir.join("upload.tar");
    let mut builder = tar::Builder::new(File::create(&path).unwrap());
    for (name, content) in entries {
        let mut header = tar::Header::new_ustar();
        // Directly, because the crate itself refuses to write names that escape.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap();
    path
}

fn gzip(path: &Path) -> PathBuf {
    let packed = path.with_extension("tgz");
    let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
    encoder.write_all(&std::fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
    packed
}

fn zip(dir: &Path, entries: &[(String, Vec<u8>)]) -> PathBuf {
    let path = dir.join("upload.zip");
    let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
    for (name, content) in entries {
        writer.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap();
    path
}

async fn send(store: &Store, archive: PathBuf) -> Result<Uploaded, StoreError> {
    let request = Upload { source: Source::Archive(archive), base: small_base(), owner: "alice".into() };
    store.upload(request, &Caller::new("alice")).await
}

#[tokio::test]
async fn real_archives_give_the_same_generation_as_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let expected = upload(&store, 0.0, "alice").await.generation;
    let mut entries = adapter("out/checkpoint-100/");
    // As trainers leave them: a pickle that nobody opens, and a README.
    entries.push(("out/checkpoint-100/training_args.bin".into(), b"\x80\x02}q\x00.".to_vec()));
    entries.push(("out/README.md".into(), b"# adapter".to_vec()));
    let flat = adapter("./");
    let plain = tar(dir.path(), &entries);
    for archive in [gzip(&plain), plain, zip(dir.path(), &entries)] {
        assert_eq!(send(&store, archive).await.unwrap().generation, expected);
    }
    assert_eq!(send(&store, tar(dir.path(), &flat)).await.unwrap().generation, expected);
    assert_eq!(std::fs::read_dir(dir.path().join("staging")).unwrap().count(), 0, "nothing stays staged");
}

#[tokio::test]
async fn the_systems_own_tar_and_zip_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let expected = upload(&store, 0.0, "alice").await.generation;
    let files = dir.path().join("adapter with a rather long name, such as those that trainers put together from their settings, r=16, alpha=32, all-linear");
    let (config, tensors) = small(0.0);
    write(&files, &config, &tensors);
    let packed = dir.path().join("a.tar.gz");
    let status = std::process::Command::new("tar")
        .arg("czf")
        .arg(&packed)
        .arg("-C")
        .arg(dir.path())
        .arg(files.file_name().unwrap())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(send(&store, packed).await.unwrap().generation, expected);
}

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_weights_bytes: 1 << 20, ..Limits::default() };
    let store = open_with(dir.path(), StoreOptions { limits, ..options(dir.path()) }).await;
    let with = |entry: Entry| {
        let mut entries = adapter("");
        entries.insert(0, (entry.0.into(), entry.1));
        entries
    };
    for name in ["../adapter_config.json", "/etc/cron.d/x", "a/../../b", "a\\..\\b"] {
        for archive in [tar(dir.path(), &with((name, b"x".to_vec()))), zip(dir.path(), &with((name, b"x".to_vec())))] {
            let error = send(&store, archive).await.unwrap_err();
            assert!(matches!(&error, StoreError::Archive(reason) if reason.contains("leave")), "{name}: {error}");
        }
    }
    let twice = with(("adapter_config.json", b"{}".to_vec()));
    assert!(send(&store, tar(dir.path(), &twice)).await.unwrap_err().to_string().contains("twice"));
    let two = with(("other/adapter_config.json", b"{}".to_vec()));
    assert!(send(&store, tar(dir.path(), &two)).await.unwrap_err().to_string().contains("several"));
    let many: Vec<_> = (0..1025).map(|index| (format!("f{index}"), Vec::new())).collect();
    for archive in [tar(dir.path(), &many), zip(dir.path(), &many)] {
        assert!(send(&store, archive).await.unwrap_err().to_string().contains("1024"));
    }
    // 300 MB of zeros in 300 kB: more than the limits allow, although the file itself is one that nobody keeps.
    let bomb = vec![("zeros".to_owned(), vec![0; 300 << 20])];
    let packed = zip(dir.path(), &bomb);
    assert!(packed.metadata().unwrap().len() < 1 << 20);
    assert!(send(&store, packed).await.unwrap_err().to_string().contains("limits"));
    let large = vec![
        ("adapter_config.json".to_owned(), b"{}".to_vec()),
        ("adapter_model.safetensors".into(), vec![0; 2 << 20]),
    ];
    assert!(matches!(
        send(&store, zip(dir.path(), &large)).await,
        Err(StoreError::Format(FormatError::TooLarge { .. }))
    ));
    let pickle = vec![("adapter_config.json".to_owned(), b"{}".to_vec()), ("adapter_model.bin".into(), vec![0x80, 2])];
    assert!(matches!(
        send(&store, tar(dir.path(), &pickle)).await,
        Err(StoreError::Format(FormatError::Pickle { .. }))
    ));
    for (name, content) in [
        ("noise", vec![7u8; 4096]),
        ("empty", Vec::new()),
        ("cut", std::fs::read(gzip(&tar(dir.path(), &adapter("")))).unwrap()[..200].to_vec()),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert!(matches!(send(&store, path).await, Err(StoreError::Archive(_))), "{name}");
    }
    assert!(stored_objects(dir.path()).is_empty());
    assert_eq!(std::fs::read_dir(dir.path().join("staging")).unwrap().count(), 0);
}

#[tokio::test]
async fn links_and_devices_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo, tar::EntryType::Char] {
        let path = dir.path().join("links.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, "adapter_config.json", "/etc/passwd").unwrap();
        builder.into_inner().unwrap();
        let error = send(&store, path).await.unwrap_err();
        assert!(error.to_string().contains("link or a device"), "{kind:?}: {error}");
    }
    let path = dir.path().join("links.zip");
    let mut writer = zip::ZipWriter::new(File::create(&path).unwrap());
    writer.add_symlink("adapter_config.json", "/etc/passwd", zip::write::SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap();
    assert!(send(&store, path).await.unwrap_err().to_string().contains("link"));

    // A link in a directory is not followed either.
    let files = dir.path().join("files");
    let (config, tensors) = small(0.0);
    write(&files, &config, &tensors);
    let secret = dir.path().join("secret.json");
    std::fs::rename(files.join("adapter_config.json"), &secret).unwrap();
    std::os::unix::fs::symlink(&secret, files.join("adapter_config.json")).unwrap();
    let request = Upload { source: Source::Directory(files), base: small_base(), owner: "alice".into() };
    let refused = store.upload(request, &Caller::new("alice")).await;
    assert!(matches!(refused, Err(StoreError::Format(FormatError::Io { .. }))));
}

#[tokio::test]
async fn leftovers_in_the_staging_directory_are_swept_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("staging/upload-abc123");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("adapter_model.safetensors"), b"half").unwrap();
    drop(open(dir.path()).await);
    assert!(!left.exists());
}
