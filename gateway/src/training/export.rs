//! What a job learns from or an evaluation reads, copied into its directory: rows of a datanet, or an uploaded file.

use std::{collections::BTreeMap, fs::File, io::Write, path::Path, sync::Arc};

use anyhow::Context;
use cairn_openapi::access::AccessBasis;
use cairn_policy::Purpose;
use cairn_proof::training::{Consent, TrainingSource};
use cairn_trainer::job::Exported;
use serde_json::Value;

use super::{file_path, provenance, right::Right};
use crate::{access, auth::Caller, error::ApiError, state::AppState};

/// Copies an uploaded file, so that the job has it whatever becomes of the original.
pub(crate) async fn file(
    state: &AppState,
    caller: &Caller,
    param: &str,
    id: &str,
    to: &Path,
) -> Result<TrainingSource, ApiError> {
    let file = state.store.file(id, caller.bounds()).await?;
    let file = file.ok_or_else(|| {
        ApiError::invalid(
            param,
            format!("there is no file {id:?}; POST /v1/files uploads one, and datanet:NAME names a datanet"),
        )
    })?;
    tokio::fs::copy(file_path(&state.config, &file.id), to).await.map_err(|error| ApiError::file(&error))?;
    let copied = to.to_owned();
    tokio::task::spawn_blocking(move || provenance::of_file(&copied)).await.map_err(ApiError::internal)?
}

/// Writes the rows of a datanet that the caller may use for a purpose; says which snapshot they are of, and by what right.
pub(crate) async fn datanet(
    state: &Arc<AppState>,
    caller: &Caller,
    (name, purpose): (&str, Purpose),
    to: &Path,
) -> Result<(TrainingSource, Right), ApiError> {
    let access = access::permitted(state, caller, name, purpose).await?;
    let right = Right::of(&access);
    let leaf = access.grant.as_ref().and_then(|grant| grant.leaf.as_deref());
    let grant = leaf.map(str::parse).transpose().map_err(ApiError::internal)?;
    let consent = match access.basis {
        AccessBasis::Owner => Consent::Own,
        AccessBasis::Administrator => Consent::Operator,
        AccessBasis::Grant | AccessBasis::Public | AccessBasis::OnRequest => Consent::Grant,
    };
    let (parsed, rows) = (access.name, access.rows);
    let (index, to) = (state.index.clone(), to.to_owned());
    let written = state.runtime.spawn(async move {
        let mut file = std::io::BufWriter::new(File::create(&to)?);
        let snapshot = index.snapshot(&parsed)?;
        let (size, root) = (snapshot.size, snapshot.root);
        let mut at = 0;
        while at < size {
            // Not a place beyond the snapshot: what was added since is not under its root.
            let places = EXPORTED_AT_ONCE.min(size - at);
            let page = index.page(&parsed, at, places as usize, rows.as_ref()).await?;
            at += places;
            for datapoint in page {
                let metadata = datapoint.metadata.as_object().into_iter().flatten();
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let row = Exported {
                    id: format!("{}/{}", datapoint.datanet, datapoint.id),
                    leaf: datapoint.leaf.to_string(),
                    title: datapoint.title().unwrap_or_default().to_owned(),
                    text: datapoint.text.clone(),
                    contributor: datapoint.contributor.clone(),
                    metadata: metadata.map(|(name, value)| (name.clone(), text(value))).collect::<BTreeMap<_, _>>(),
                };
                serde_json::to_writer(&mut file, &row)?;
                file.write_all(b"\n")?;
            }
        }
        file.flush().context("the rows cannot be written")?;
        let datanet = Some(parsed.to_string());
        Ok(TrainingSource { datanet, size: Some(size), root: Some(root), file: None, consent, grant })
    });
    let written = written.await.map_err(ApiError::internal)?;
    written.map(|source| (source, right)).map_err(|error: anyhow::Error| match error.downcast_ref::<std::io::Error>() {
        Some(io) => ApiError::file(io),
        None => ApiError::internal(error),
    })
}

/// Places of a datanet that are read at once.
const EXPORTED_AT_ONCE: u64 = 2000;
