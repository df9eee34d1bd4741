//! Staging: vectors of an ingest that is under way, on disk, so that a killed ingest resumes instead of starting over.
//!
//! `STAGING/DATANET-MODEL/part-00000.arrow`, … each hold some hundred rows: the SHA-256 of an embedded text and its
//! vector. A part is written beside its place, synced and renamed, so that it is there whole or not at all. Because a
//! vector depends on nothing but the text and the model, a part stays right whatever happened in between: other rows
//! ingested, a line of the file mended, duplicates removed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cairn_proof::Hash;
use sha2::{Digest, Sha256};

use crate::schema::{hash_at, hashes, vector_field, vectors};
use crate::{DatanetName, IndexError};

/// SHA-256 of the text that a vector belongs to.
pub(crate) type TextHash = [u8; 32];

/// The staged vectors of one datanet's ingest. Blocking.
pub(crate) struct Staging {
    dir: PathBuf,
    schema: SchemaRef,
    dimensions: usize,
    next_part: usize,
    vectors: HashMap<TextHash, Vec<f32>>,
}

impl Staging {
    /// Opens or creates the staging of a datanet's ingest under `base` and reads what an earlier run left.
    pub(crate) fn open(base: &Path, datanet: &DatanetName, model: Hash, dimensions: usize) -> Result<Self, IndexError> {
        let dir = base.join(format!("{datanet}-{}", &model.to_string()[..16]));
        fs::create_dir_all(&dir).map_err(|source| IndexError::Staging { path: dir.clone(), source })?;
        let schema = Arc::new(Schema::new(vec![
            Field::new("text_hash", DataType::FixedSizeBinary(32), false),
            vector_field("vector", dimensions),
        ]));
        let mut staging = Self { dir, schema, dimensions, next_part: 0, vectors: HashMap::new() };
        while staging.part(staging.next_part).exists() {
            let path = staging.part(staging.next_part);
            let bytes = fs::read(&path).map_err(|source| IndexError::Staging { path: path.clone(), source })?;
            for batch in lancedb::ipc::ipc_file_to_batches(bytes)? {
                staging.take(&batch?);
            }
            staging.next_part += 1;
        }
        Ok(staging)
    }

    /// The hash under which a text's vector is kept.
    pub(crate) fn key(text: &str) -> TextHash {
        Sha256::digest(text.as_bytes()).into()
    }

    /// Whether a text's vector is there.
    pub(crate) fn contains(&self, text: &TextHash) -> bool {
        self.vectors.contains_key(text)
    }

    /// The vector of a text.
    pub(crate) fn vector(&self, text: &TextHash) -> Option<&Vec<f32>> {
        self.vectors.get(text)
    }

    /// Adds vectors, durably.
    pub(crate) fn add(&mut self, rows: Vec<(TextHash, Vec<f32>)>) -> Result<(), IndexError> {
        let columns = vec![
            hashes(rows.iter().map(|(hash, _)| hash))?,
            vectors(rows.iter().map(|(_, vector)| vector.as_slice()), self.dimensions)?,
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        let bytes = lancedb::ipc::batches_to_ipc_file(&[batch])?;
        let path = self.part(self.next_part);
        let beside = path.with_extension("tmp");
        let written = File::create(&beside)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&beside, &path));
        written.map_err(|source| IndexError::Staging { path, source })?;
        self.next_part += 1;
        self.vectors.extend(rows);
        Ok(())
    }

    /// Removes everything: the ingest is committed.
    pub(crate) fn remove(self) -> Result<(), IndexError> {
        fs::remove_dir_all(&self.dir).map_err(|source| IndexError::Staging { path: self.dir, source })
    }

    /// Takes a part's rows, if it is of this shape; a part that is not is simply not used.
    fn take(&mut self, batch: &RecordBatch) {
        if batch.schema().fields() != self.schema.fields() {
            return;
        }
        let (hashes, vectors) = (batch.column(0).as_fixed_size_binary(), batch.column(1).as_fixed_size_list());
        for row in 0..batch.num_rows() {
            let vector = vectors.value(row).as_primitive::<Float32Type>().values().to_vec();
            self.vectors.insert(hash_at(hashes, row), vector);
        }
    }

    fn part(&self, number: usize) -> PathBuf {
        self.dir.join(format!("part-{number:05}.arrow"))
    }
}
