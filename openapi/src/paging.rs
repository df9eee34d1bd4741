//! Which part of a list to give. Lists go from the newest to the oldest; `after` is the id of the last one that was given.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Which part of a list to give.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The id after which to go on: the last of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many, 1 to 1000; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}
