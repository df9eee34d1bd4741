//! A datanet's table: its columns, and the conversions between rows and datapoints.
//!
//! | column | type | |
//! | --- | --- | --- |
//! | `seq` | u64 | place in the datanet, dense from 0 |
//! | `id` | text | unique |
//! | `titles` | text | title and aliases; searched, with more weight than `text`; no part of the commitment |
//! | `text` | text | searched |
//! | `contributor`, `contributed_at`, `licence` | text | |
//! | `source` | text or null | |
//! | `metadata` | text | a JSON object |
//! | `content_hash`, `salt`, `leaf` | 32 bytes | |
//! | `vector` | 384 x f32 | of length 1 |
//! | `attributes` | binary or null | the metadata once more, in Lance's binary JSON, which filters can ask |
//!
//! The schema's own metadata name the weights that made the vectors.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::UInt64Array;
use arrow_array::builder::LargeBinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use cairn_proof::Hash;
use cairn_proof::commitment::Salt;
use serde_json::Value;

use crate::datapoint::Checked;
use crate::{DatanetName, Datapoint, Embedder, IndexError, SaltedDatapoint, erase};

/// A row that is about to be written.
pub(crate) struct NewRow {
    pub(crate) seq: u64,
    pub(crate) checked: Checked,
    pub(crate) salt: [u8; 32],
    pub(crate) leaf: Hash,
    pub(crate) vector: Vec<f32>,
}

/// The columns of a datapoint: all but those that only searches read.
pub(crate) const DATAPOINT_COLUMNS: [&str; 11] = [
    "seq",
    "id",
    "text",
    "contributor",
    "contributed_at",
    "source",
    "licence",
    "metadata",
    "content_hash",
    "salt",
    "leaf",
];

/// The schema of a datanet that this embedder fills.
pub(crate) fn datanet_schema(embedder: &Embedder) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let hash = |name: &str| Field::new(name, DataType::FixedSizeBinary(32), false);
    let fields = vec![
        Field::new("seq", DataType::UInt64, false),
        text("id"),
        text("titles"),
        text("text"),
        text("contributor"),
        text("contributed_at"),
        Field::new("source", DataType::Utf8, true),
        text("licence"),
        text("metadata"),
        hash("content_hash"),
        hash("salt"),
        hash("leaf"),
        vector_field("vector", embedder.dimensions()),
        attributes_field(),
    ];
    let metadata = HashMap::from([(WEIGHTS_HASH.to_owned(), embedder.weights_hash().to_string())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// The metadata for filters. Last, because older tables get it added.
pub(crate) fn attributes_field() -> Field {
    Field::new("attributes", DataType::LargeBinary, true)
}

/// Metadata, as JSON text, in the form that filters ask.
pub(crate) fn attributes<'a>(metadata: impl Iterator<Item = &'a str>) -> Result<ArrayRef, IndexError> {
    let mut column = LargeBinaryBuilder::new();
    for text in metadata {
        // What was erased has nothing that a filter could ask.
        let text = if text.contains(erase::ERASED) { "{}" } else { text };
        let value = lance_jsonb::parse_value(text.as_bytes());
        let value = value.map_err(|error| arrow_schema::ArrowError::ExternalError(Box::new(error)))?;
        column.append_value(value.to_vec());
    }
    Ok(Arc::new(column.finish()))
}

pub(crate) fn vector_field(name: &str, dimensions: usize) -> Field {
    Field::new(name, DataType::FixedSizeList(item_field(), dimensions as i32), false)
}

/// The hash of the weights that made a table's vectors; empty if it does not say.
pub(crate) fn weights_hash(schema: &Schema) -> &str {
    schema.metadata().get(WEIGHTS_HASH).map_or("", String::as_str)
}

/// Rows as a batch.
pub(crate) fn batch(schema: &SchemaRef, rows: &[NewRow]) -> Result<RecordBatch, IndexError> {
    let texts = |of: fn(&Checked) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| of(&row.checked))))
    };
    let metadata: Vec<String> = rows.iter().map(|row| row.checked.metadata.to_string()).collect();
    let dimensions = rows.first().map_or(0, |row| row.vector.len());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.seq))),
        texts(|row| row.id.as_str()),
        texts(|row| &row.titles),
        texts(|row| &row.text),
        texts(|row| &row.contributor),
        texts(|row| &row.contributed_at),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.checked.source.as_deref()))),
        texts(|row| &row.licence),
        Arc::new(StringArray::from_iter_values(&metadata)),
        hashes(rows.iter().map(|row| &row.checked.content_hash))?,
        hashes(rows.iter().map(|row| &row.salt))?,
        hashes(rows.iter().map(|row| row.leaf.as_bytes()))?,
        vectors(rows.iter().map(|row| row.vector.as_slice()), dimensions)?,
        attributes(metadata.iter().map(String::as_str))?,
    ];
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

pub(crate) fn hashes<'a>(hashes: impl Iterator<Item = &'a [u8; 32]>) -> Result<ArrayRef, IndexError> {
    let hashes = hashes.map(|hash| Some(hash.as_slice()));
    Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(hashes, 32)?))
}

pub(crate) fn vectors<'a>(vectors: impl Iterator<Item = &'a [f32]>, dimensions: usize) -> Result<ArrayRef, IndexError> {
    let values: Vec<f32> = vectors.flatten().copied().collect();
    let values = Arc::new(Float32Array::from(values));
    Ok(Arc::new(FixedSizeListArray::try_new(item_field(), dimensions as i32, values, None)?))
}

/// The datapoints of a batch that has [`DATAPOINT_COLUMNS`].
pub(crate) fn datapoints(datanet: &DatanetName, batch: &RecordBatch) -> Result<Vec<SaltedDatapoint>, IndexError> {
    let columns = Columns { datanet, batch };
    let (seq, content_hash) = (columns.u64s("seq")?, columns.hashes("content_hash")?);
    let (salt, leaf) = (columns.hashes("salt")?, columns.hashes("leaf")?);
    let (id, text, contributor) = (columns.texts("id")?, columns.texts("text")?, columns.texts("contributor")?);
    let (contributed_at, source) = (columns.texts("contributed_at")?, columns.texts("source")?);
    let (licence, metadata) = (columns.texts("licence")?, columns.texts("metadata")?);
    let row = |at: usize| {
        let metadata: Value = serde_json::from_str(metadata.value(at))
            .map_err(|error| columns.corrupt(format!("metadata of datapoint {}: {error}", id.value(at))))?;
        let erased = erase::commitment(datanet, &metadata)?;
        let metadata = if erased.is_some() { Value::Object(Default::default()) } else { metadata };
        let datapoint = Datapoint {
            datanet: datanet.clone(),
            id: id.value(at).parse()?,
            seq: seq.value(at),
            text: text.value(at).to_owned(),
            contributor: contributor.value(at).to_owned(),
            contributed_at: contributed_at.value(at).to_owned(),
            source: source.is_valid(at).then(|| source.value(at).to_owned()),
            licence: licence.value(at).to_owned(),
            metadata,
            content_hash: Hash::new(hash_at(content_hash, at)),
            leaf: Hash::new(hash_at(leaf, at)),
        };
        Ok(SaltedDatapoint { datapoint, salt: Salt::new(hash_at(salt, at)), erased })
    };
    (0..batch.num_rows()).map(row).collect()
}

/// Typed access to a batch that LanceDB returned: a column that is missing or of another type is damage, not a panic.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) datanet: &'a DatanetName,
    pub(crate) batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    pub(crate) fn u64s(&self, name: &str) -> Result<&'a UInt64Array, IndexError> {
        self.column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| self.wrong_type(name))
    }

    pub(crate) fn texts(&self, name: &str) -> Result<&'a StringArray, IndexError> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| self.wrong_type(name))
    }

    pub(crate) fn f32s(&self, name: &str) -> Result<&'a Float32Array, IndexError> {
        self.column(name)?.as_primitive_opt::<Float32Type>().ok_or_else(|| self.wrong_type(name))
    }

    pub(crate) fn hashes(&self, name: &str) -> Result<&'a FixedSizeBinaryArray, IndexError> {
        let column = self.column(name)?.as_fixed_size_binary_opt();
        column.filter(|column| column.value_length() == 32).ok_or_else(|| self.wrong_type(name))
    }

    /// The vectors of a column, one a row.
    pub(crate) fn vectors(&self, name: &str) -> Result<std::slice::ChunksExact<'a, f32>, IndexError> {
        let column = self.column(name)?.as_fixed_size_list_opt().ok_or_else(|| self.wrong_type(name))?;
        let values = column.values().as_primitive_opt::<Float32Type>().ok_or_else(|| self.wrong_type(name))?;
        let length = usize::try_from(column.value_length()).unwrap_or(0).max(1);
        Ok(values.values()[column.offset() * length..][..column.len() * length].chunks_exact(length))
    }

    fn column(&self, name: &str) -> Result<&'a ArrayRef, IndexError> {
        self.batch.column_by_name(name).ok_or_else(|| self.corrupt(format!("column {name} is missing")))
    }

    fn wrong_type(&self, name: &str) -> IndexError {
        self.corrupt(format!("column {name} is not of its type"))
    }

    fn corrupt(&self, reason: String) -> IndexError {
        IndexError::Corrupt { datanet: self.datanet.clone(), reason }
    }
}

/// Row `at` of a column of 32-byte values.
pub(crate) fn hash_at(column: &FixedSizeBinaryArray, at: usize) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(column.value(at));
    hash
}

fn item_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Float32, true))
}

const WEIGHTS_HASH: &str = "cairn.weights_sha256";
