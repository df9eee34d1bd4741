//! How many adapters owners may store.

use actix_web::{
    HttpResponse, delete, get, put,
    web::{Data, Json, Path},
};
use cairn_adapters::store::{Quota, QuotaInfo};
use cairn_openapi::{
    adapters::{AdapterQuota, AdapterQuotas, QuotaLimits},
    error::ErrorEnvelope,
};

use super::keys::valid_subject;
use crate::{
    auth::{Administrators, Allowed},
    error::ApiError,
    state::AppState,
};

/// What every owner of adapters stores, and may store.
#[utoipa::path(operation_id = "list_adapter_quotas", tag = "adapters", responses((status = 200, body = AdapterQuotas)))]
#[get("/v1/adapter_quotas")]
pub(crate) async fn list(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
) -> Result<Json<AdapterQuotas>, ApiError> {
    let data = state.adapters.store.quotas().await?.into_iter().map(described).collect();
    let default = limits(state.adapters.store.default_quota());
    Ok(Json(AdapterQuotas { object: "list".into(), data, default }))
}

/// Gives an owner a quota of its own. What is stored already stays; more is refused.
#[utoipa::path(operation_id = "set_adapter_quota", tag = "adapters", params(("owner" = String, Path,)), request_body = QuotaLimits, responses((status = 204), (status = 400, body = ErrorEnvelope)))]
#[put("/v1/adapter_quotas/{owner}")]
pub(crate) async fn set(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    owner: Path<String>,
    limits: Json<QuotaLimits>,
) -> Result<HttpResponse, ApiError> {
    valid_subject(&owner)?;
    let quota = Quota { max_count: limits.max_generations, max_bytes: limits.max_bytes };
    state.adapters.store.set_quota(&owner, Some(quota)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives an owner the default quota again.
#[utoipa::path(operation_id = "reset_adapter_quota", tag = "adapters", params(("owner" = String, Path,)), responses((status = 204)))]
#[delete("/v1/adapter_quotas/{owner}")]
pub(crate) async fn reset(
    _caller: Allowed<Administrators>,
    state: Data<AppState>,
    owner: Path<String>,
) -> Result<HttpResponse, ApiError> {
    state.adapters.store.set_quota(&owner, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn described(info: QuotaInfo) -> AdapterQuota {
    AdapterQuota {
        owner: info.owner,
        generations: info.count,
        bytes: info.bytes,
        limits: limits(info.quota),
        own: info.own,
    }
}

fn limits(quota: Quota) -> QuotaLimits {
    QuotaLimits { max_generations: quota.max_count, max_bytes: quota.max_bytes }
}
