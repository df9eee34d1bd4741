//! Uploading: staged, checked, reported, and then visible all at once.

use std::path::{Path, PathBuf};

use cairn_database::query;

use super::{
    Action, Caller, ChangeEntry, Store, StoreError, archive, changes::CHANGES, generation::generation, quota::signed,
    schema,
};
use crate::{
    AdapterGeneration,
    compatibility::{Base, Report, Stated, report},
    peft::{Adapter, Files, Limits},
};

/// Where an adapter comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory as PEFT saves it.
    Directory(PathBuf),
    /// A tar, tar.gz or zip of such a directory. It is known by its content, not its name.
    Archive(PathBuf),
}

/// An adapter to be stored.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Where it comes from.
    pub source: Source,
    /// The base it is for.
    pub base: Base,
    /// Whose it will be; only an administrator may name another than itself.
    pub owner: String,
}

/// What became of an upload.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// Its name.
    pub generation: AdapterGeneration,
    /// False when the owner already had it on this base; then nothing changed.
    pub created: bool,
    /// How it fits the base.
    pub report: Report,
    /// Bytes of its files.
    pub bytes: u64,
}

/// An adapter read and checked, not yet stored.
struct Checked {
    files: Files,
    generation: AdapterGeneration,
    report: Report,
}

impl Store {
    /// Reports how an adapter fits a base, storing nothing.
    ///
    /// # Errors
    /// [`StoreError::Format`] or [`StoreError::Archive`] when it is no adapter at all.
    pub async fn inspect(&self, source: Source, base: Base) -> Result<Report, StoreError> {
        Ok(self.check(source, base).await?.report)
    }

    /// Stores an adapter as a generation of its own. The same again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Format`], [`StoreError::Archive`], [`StoreError::Incompatible`] with the report,
    /// [`StoreError::OverQuota`]; after any error nothing of it is visible.
    pub async fn upload(&self, upload: Upload, caller: &Caller) -> Result<Uploaded, StoreError> {
        let Upload { source, base, owner } = upload;
        if !caller.owns(&owner) {
            return Err(StoreError::NotOwner { name: base.name, owner });
        }
        let base_name = base.name.clone();
        let Checked { files, generation, report } = self.check(source, base).await?;
        if !report.accepted {
            return Err(StoreError::Incompatible(Box::new(report)));
        }
        let bytes = (files.config.len() + files.weights.len()) as u64;

        let _shared = self.inner.contents.read().await;
        let known = query("SELECT owner, base, state FROM adapter_generations WHERE generation = ?")
            .bind(&generation.0)
            .fetch_all(&self.inner.pool)
            .await?;
        let own = known.iter().find(|row| row.get::<&str, _>(0) == owner && row.get::<&str, _>(1) == base_name);
        match own.map(|row| row.get::<&str, _>(2)) {
            Some("deleting") => return Err(StoreError::BeingDeleted { generation: generation.0 }),
            Some(_) => return Ok(Uploaded { generation, created: false, report, bytes }),
            None => {}
        }
        // Early, so that a refused upload costs no write; decided below.
        self.check_quota(&mut self.inner.pool.begin().await?, &owner, bytes).await?;
        if known.is_empty() {
            query("INSERT INTO adapter_intents VALUES (?) ON CONFLICT DO NOTHING")
                .bind(&generation.0)
                .execute(&self.inner.pool)
                .await?;
            self.inner.objects.put(&generation, files).await?;
        }

        let mut transaction = self.inner.pool.begin_alone(CHANGES).await?;
        self.check_quota(&mut transaction, &owner, bytes).await?;
        let inserted = query(
            "INSERT INTO adapter_generations (generation, owner, base, bytes, report, created_at, created_by)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(&generation.0)
        .bind(&owner)
        .bind(&base_name)
        .bind(signed(bytes))
        .bind(serde_json::to_string(&report)?)
        .bind(schema::now())
        .bind(&caller.subject)
        .execute(&mut transaction)
        .await?;
        let created = inserted.rows_affected() == 1;
        if created {
            let mut entry = ChangeEntry::new(Action::Upload, &base_name, &owner, &caller.subject);
            entry.generation = Some(generation.0.clone());
            entry.record(&mut transaction).await?;
        }
        query("DELETE FROM adapter_intents WHERE generation = ?").bind(&generation.0).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(Uploaded { generation, created, report, bytes })
    }

    /// Reads, unpacks where needed, and checks; off the async threads.
    async fn check(&self, source: Source, base: Base) -> Result<Checked, StoreError> {
        let (staging, limits) = (self.inner.options.staging.clone(), self.inner.options.limits);
        tokio::task::spawn_blocking(move || match source {
            Source::Directory(dir) => check(&dir, &limits, &base),
            Source::Archive(file) => {
                // Readable by this user alone; removed when this returns.
                let dir = tempfile::Builder::new().prefix(STAGED).tempdir_in(staging)?;
                archive::unpack(&file, dir.path(), &limits)?;
                check(dir.path(), &limits, &base)
            }
        })
        .await?
    }
}

/// What names in the staging directory begin with.
const STAGED: &str = "upload-";

fn check(dir: &Path, limits: &Limits, base: &Base) -> Result<Checked, StoreError> {
    let files = Files::read(dir, limits)?;
    let adapter = Adapter::parse(&files.config, &files.weights, limits)?;
    let stated = Stated::read(dir, &adapter.config.raw);
    let generation = generation(&files)?;
    Ok(Checked { generation, report: report(&adapter, &stated, base), files })
}

/// Removes what an earlier process left in the staging directory, and creates it where it is missing. Blocking.
pub(crate) fn sweep(staging: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(staging)?;
    for entry in std::fs::read_dir(staging)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGED) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
