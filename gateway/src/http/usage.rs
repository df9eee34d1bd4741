//! How much was used.

use actix_web::{
    get,
    web::{Data, Json, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    keys::Role,
    usage::{UsageQuery, UsageReport},
};

use crate::{
    auth::{Allowed, Anyone},
    error::ApiError,
    state::AppState,
};

/// Requests and tokens by day, subject, key and model, latest day first. Auditors and administrators see everyone's, others
/// their own.
#[utoipa::path(operation_id = "usage", tag = "keys", params(UsageQuery), responses((status = 200, body = UsageReport), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/usage")]
pub(crate) async fn usage(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    query: Query<UsageQuery>,
) -> Result<Json<UsageReport>, ApiError> {
    let mut query = query.into_inner();
    for (param, day) in [("from", &query.from), ("to", &query.to)] {
        if let Some(day) = day
            && (day.len() != 10 || chrono::NaiveDate::parse_from_str(day, DAY).is_err())
        {
            return Err(ApiError::invalid(param, format!("{param} is {day:?}; give a day such as 2026-11-23")));
        }
    }
    let month_ago = || (chrono::Utc::now() - chrono::Duration::days(30)).format(DAY).to_string();
    query.from.get_or_insert_with(month_ago);
    let bound = (!caller.has(&[Role::Admin, Role::Auditor])).then_some(caller.subject.as_str());
    let mut data = state.store.usage(&query, bound, LINES as u32 + 1).await?;
    let has_more = data.len() > LINES;
    data.truncate(LINES);
    Ok(Json(UsageReport { object: "list".into(), data, has_more }))
}

/// A day as the table has it.
const DAY: &str = "%Y-%m-%d";

/// Most lines of an answer.
const LINES: usize = 10_000;
