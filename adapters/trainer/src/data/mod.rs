//! From a file or a datanet to examples: read ([`read`]), rendered with the model's own chat template and masked
//! ([`Renderer`]), split ([`Split`]), and told about before training starts ([`Validation`]).

mod error;
mod format;
mod mask;
mod records;
mod row;
mod split;
mod template;
mod validate;

pub use error::DataError;
pub use format::{BadRow, Dataset, Format, Limits, read};
pub use mask::{Chat, Question, Rendered, Renderer, Segment};
pub use row::{Content, Message, Role, Row};
pub use split::{Split, SplitOptions};
pub use template::{DatanetRow, RowTemplate};
pub use validate::{
    Duplicate, HeldOut, Prepared, Sample, TokenCounts, TooLong, Validation, ValidationOptions, prepare,
};
