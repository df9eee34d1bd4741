//! Lists a page at a time: how many are asked for, and whether there are more.

use cairn_openapi::paging::ListQuery;

use crate::error::ApiError;

/// How many are asked for.
pub(crate) fn list_limit(query: &ListQuery) -> Result<usize, ApiError> {
    match query.limit.unwrap_or(DEFAULT) {
        limit @ 1..=MOST => Ok(limit),
        limit => Err(ApiError::invalid("limit", format!("limit is {limit}; give 1 to {MOST}"))),
    }
}

/// Cuts off the one more that was read to learn whether there are more; says whether there are.
pub(crate) fn cut<T>(data: &mut Vec<T>, limit: usize) -> bool {
    let more = data.len() > limit;
    data.truncate(limit);
    more
}

const DEFAULT: usize = 100;
const MOST: usize = 1000;
