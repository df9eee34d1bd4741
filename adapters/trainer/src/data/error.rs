//! Why data cannot be trained on, and how to mend it.

use super::{BadRow, Format};

/// What went wrong before training started.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("the data cannot be read")]
    Io(#[from] std::io::Error),
    /// Nothing in it says what it is.
    #[error(
        "line {line}: this is none of the known formats: {found}; each row is to be a JSON object with \"messages\" (chat), \
         \"conversations\" (sharegpt), \"instruction\" and \"output\" (alpaca), \"prompt\" and \"completion\", or \"text\""
    )]
    UnknownFormat {
        /// Where the first row is, from 1.
        line: usize,
        /// What is there instead.
        found: String,
    },
    /// A file without rows.
    #[error("there are no rows in the data")]
    Empty,
    /// The file as a whole is not what its beginning promises.
    #[error("line {line}: {reason}")]
    Broken {
        /// Where, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// More than is taken in one run.
    #[error("the data has more than {limit} {what}: split it, or raise the limit")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// No row is usable.
    #[error("none of {rows} rows is usable as {format}; the first: {first}")]
    NothingGood {
        /// Rows there are.
        rows: usize,
        /// What they were read as.
        format: Format,
        /// The first bad row.
        first: BadRow,
    },
    /// A template that cannot be used.
    #[error("the row template {template:?} cannot be used: {reason}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// A field that no row has.
    #[error("the row template names {{{field}}}, which rows do not have; they have {}", known.join(", "))]
    UnknownField {
        /// The field.
        field: String,
        /// What rows have.
        known: Vec<String>,
    },
    /// Rows that are too long, where that is an error.
    #[error(
        "{count} rows are longer than {max_length} tokens, the first in {first}: raise max_length, or set \
         too_long to truncate_right or drop"
    )]
    TooLong {
        /// How many.
        count: usize,
        /// What is allowed.
        max_length: usize,
        /// The first.
        first: String,
    },
    /// The model's text side can use no row.
    #[error("none of {rows} rows can be trained on; the first: {first}")]
    NothingUsable {
        /// Rows there are.
        rows: usize,
        /// The first bad row.
        first: BadRow,
    },
    /// There is nothing to learn.
    #[error(
        "no token of {rows} rows is supervised: rows need an assistant's message whose weight is not 0, and max_length must \
         leave room for it"
    )]
    NothingSupervised {
        /// Usable rows.
        rows: usize,
    },
    /// An option that cannot work.
    #[error("{option} = {value}: {reason}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and how to mend it.
        reason: &'static str,
    },
}
