//! Parquet: its rows as JSON lines.
//!
//! Dates are written as `1994-11-08`, times as RFC 3339, those without a zone as UTC; what is null is left out.

use std::fs::File;
use std::io::Write;

use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::DocumentError;

/// Writes each row of a Parquet file as a line of JSON, and says how many there are. Needs the memory of one row group's pages.
pub fn parquet_rows(file: File, out: impl Write) -> Result<u64, DocumentError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(DocumentError::Parquet)?;
    let reader = builder.with_batch_size(ROWS).build().map_err(DocumentError::Parquet)?;
    let times = WriterBuilder::new().with_timestamp_format("%Y-%m-%dT%H:%M:%S%.fZ".to_owned());
    let mut writer = times.build::<_, LineDelimited>(out);
    let mut rows = 0;
    for batch in reader {
        let batch = batch.map_err(|error| match error {
            ArrowError::ParquetError(reason) => DocumentError::Parquet(parquet::errors::ParquetError::General(reason)),
            other => DocumentError::Column(other),
        })?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(DocumentError::Column)?;
    }
    writer.finish().map_err(DocumentError::Column)?;
    Ok(rows)
}

/// Rows decoded at once.
const ROWS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn rows_are_json_lines() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("body", Arc::new(StringArray::from(vec!["one \"quoted\"", "two"]))),
            ("year", Arc::new(Int64Array::from(vec![Some(1994), None]))),
            ("day", Arc::new(Date32Array::from(vec![9077, 0]))),
            ("naive", Arc::new(TimestampMillisecondArray::from(vec![784_252_800_500, 0]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![784_252_800_000, 0]).with_timezone("UTC"))),
        ];
        let mut file = tempfile::tempfile().unwrap();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let mut lines = Vec::new();
        assert_eq!(parquet_rows(file, &mut lines).unwrap(), 2);
        assert_eq!(
            String::from_utf8(lines).unwrap(),
            "{\"body\":\"one \\\"quoted\\\"\",\"year\":1994,\"day\":\"1994-11-08\",\"naive\":\"1994-11-08T00:00:00.500Z\",\"at\":\"1994-11-08T00:00:00Z\"}\n\
             {\"body\":\"two\",\"day\":\"1970-01-01\",\"naive\":\"1970-01-01T00:00:00Z\",\"at\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }

    #[test]
    fn what_is_no_parquet_is_said() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"text,licence\n").unwrap();
        assert!(matches!(parquet_rows(file, Vec::new()), Err(DocumentError::Parquet(_))));
    }
}
