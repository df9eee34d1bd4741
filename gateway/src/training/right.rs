//! By what right a job learns from a datanet: the very grant that its rows were read under, for as long as it is in force.
//!
//! Another grant, even a wider one, is not what the log will name; and a narrower one may leave out rows that are being learnt.

use std::path::Path;

use cairn_policy::Purpose;
use cairn_trainer::job;
use serde::{Deserialize, Serialize};

use crate::{
    access::{self, Access},
    auth::Caller,
    error::{ApiError, Code},
    state::AppState,
    store::{now, training::StoredTraining},
};

/// What a job's directory keeps of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Right {
    pub(super) datanet: String,
    /// The grant; none for the datanet's owner and for administrators.
    pub(super) grant: Option<String>,
    /// The filter that the rows were read with; none: all rows.
    pub(super) rows: Option<String>,
    /// Whether the rows were removed since.
    #[serde(default)]
    pub(super) forgotten: bool,
}

impl Right {
    /// Of what is permitted now.
    pub(super) fn of(access: &Access) -> Self {
        Self {
            datanet: access.name.to_string(),
            grant: access.grant.as_ref().map(|grant| grant.id.clone()),
            rows: access.grant.as_ref().and_then(|grant| grant.rows.clone()),
            forgotten: false,
        }
    }

    /// That of a job; none where it learns from a file, or was made before rights were kept.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, job::JobError> {
        let path = dir.join(RIGHT);
        if path.exists() { job::read(&path).map(Some) } else { Ok(None) }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), job::JobError> {
        job::write(&dir.join(RIGHT), self)
    }

    /// Why it holds no longer, in words; none where it does.
    async fn ended(&self, state: &AppState, job: &StoredTraining) -> Result<Option<String>, ApiError> {
        let Self { datanet, grant, rows, .. } = self;
        let Some(id) = grant else {
            let described = state.store.datanet(datanet, None).await?;
            let holds = described.is_some_and(|described| job.unbounded || described.owner == job.owner);
            return Ok((!holds).then(|| format!("datanet {datanet} is no longer {}'s", job.owner)));
        };
        let why = match state.store.grant(id).await? {
            None => "is gone with its datanet",
            Some(grant) if grant.revoked_at.is_some() => "was revoked or replaced",
            Some(grant) if grant.ended(&now()) => "is over",
            Some(grant) if !grant.purposes.contains(&Purpose::Training) || grant.rows != *rows => {
                "covers something else"
            }
            Some(grant) if grant.log_index.is_none() => "is not in the log",
            Some(_) => return Ok(None),
        };
        Ok(Some(format!("training on datanet {datanet} is no longer granted to {}: {id} {why}", job.owner)))
    }
}

/// Why a job may not, or no longer, learn from its datanet; none where it may.
pub(super) async fn withdrawn(state: &AppState, job: &StoredTraining, dir: &Path) -> Result<Option<String>, ApiError> {
    match Right::read(dir).map_err(ApiError::internal)? {
        Some(right) => right.ended(state, job).await,
        None => withdrawn_by_request(state, job).await,
    }
}

/// The same for jobs of which no right was kept: any grant of training will do.
async fn withdrawn_by_request(state: &AppState, job: &StoredTraining) -> Result<Option<String>, ApiError> {
    let Some(datanet) = job.request["training_file"].as_str().and_then(|file| file.strip_prefix("datanet:")) else {
        return Ok(None);
    };
    if job.unbounded {
        return Ok(None);
    }
    // Whose the job is, without any role: an administrator's are unbounded.
    let owner = Caller { subject: job.owner.clone(), roles: Vec::new(), credential: "job", key: None };
    match access::permitted(state, &owner, datanet, Purpose::Training).await {
        Ok(_) => Ok(None),
        Err(error) if matches!(error.code, Code::InsufficientScope | Code::DatanetNotFound) => {
            Ok(Some(format!("training on datanet {datanet} is no longer granted to {}", job.owner)))
        }
        Err(error) => Err(error),
    }
}

const RIGHT: &str = "right.json";
