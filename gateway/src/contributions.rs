//! Contributions: files that others than its owner offer to a datanet.
//!
//! What is offered is read and checked at once. By the datanet's terms it is then taken, or waits for the owner, who sees what
//! is in it. What is accepted is added by a job like any other and never changes; the decision is an entry of the log.

use std::{path::PathBuf, sync::Arc};

use cairn_openapi::{
    contributions::{Contribution, ContributionQuery, ContributionState, NewReview},
    datanets::{IngestQuery, NearDuplicates},
    jobs::{Job, JobState},
};
use cairn_policy::Answer;
use cairn_proof::{
    Entry, Hash, Salt,
    access::{ContributionBy, ContributionEntry, ContributionKind, ContributionOutcome},
};
use sha2::{Digest, Sha256};

use crate::{
    access::log_pending,
    auth::Caller,
    error::{ApiError, Code},
    ingest,
    jobs::{self, IngestSpec},
    state::AppState,
    store::{contributions::StoredContribution, datanets::Description, now},
};

/// What the terms say to a contribution by a caller: taken, looked at first, or not taken.
pub(crate) async fn answer(state: &AppState, caller: &Caller, datanet: &Description) -> Result<Answer, ApiError> {
    if caller.bounds().is_none() || caller.subject == datanet.owner {
        return Ok(Answer::Allow);
    }
    let terms = state.store.terms(&datanet.name).await?.into_iter().next();
    // Without terms the owner looks at everything.
    Ok(terms.map_or(Answer::Refer, |terms| terms.terms.contribution(&caller.subject)))
}

/// What the terms say to datapoints that nearly repeat others.
async fn near_duplicates(state: &AppState, datanet: &Description) -> Result<NearDuplicates, ApiError> {
    let terms = state.store.terms(&datanet.name).await?.into_iter().next();
    Ok(match terms.map(|terms| terms.terms.contributions.near_duplicates).unwrap_or_default() {
        cairn_policy::NearDuplicates::Report => NearDuplicates::Report,
        cairn_policy::NearDuplicates::Refuse => NearDuplicates::Refuse,
    })
}

/// Where the files of a contribution are until it is decided.
pub(crate) fn directory(state: &AppState, id: &str) -> PathBuf {
    state.config.data_dir.join("contributions").join(id)
}

/// Takes an upload whose files are in [`directory`] already.
pub(crate) async fn offer(
    state: &Arc<AppState>,
    caller: &Caller,
    datanet: &Description,
    id: String,
    files: Vec<String>,
    query: ContributionQuery,
) -> Result<StoredContribution, ApiError> {
    let answer = answer(state, caller, datanet).await?;
    if answer == Answer::Deny {
        let message = format!("the terms of {} take no contributions by {}", datanet.name, caller.subject);
        return Err(ApiError::new(Code::InsufficientScope, message));
    }
    if let Some(before) = &query.supersedes {
        let known = state.store.contribution(before).await?;
        if known.is_none_or(|known| known.subject != caller.subject || known.datanet != datanet.name) {
            let message = format!("{before:?} is no contribution of yours to {}", datanet.name);
            return Err(ApiError::invalid("supersedes", message));
        }
    }
    let note = query.note.clone().unwrap_or_default();
    if note.chars().count() > MOST_NOTE {
        return Err(ApiError::invalid("note", format!("is longer than {MOST_NOTE} characters")));
    }
    let spec = IngestSpec {
        datanet: datanet.name.clone(),
        files: files.clone(),
        contributed_at: query.contributed_at.clone().unwrap_or_else(now),
        query: IngestQuery {
            format: query.format,
            contributor: Some(query.contributor.unwrap_or_else(|| caller.subject.clone())),
            contributed_at: query.contributed_at,
            source: query.source,
            licence: query.licence,
            keep_good: false,
            columns: query.columns,
            passage_characters: query.passage_characters,
            passage_overlap: query.passage_overlap,
            near_duplicates: near_duplicates(state, datanet).await?,
        },
        licence: datanet.licence.clone(),
        contribution: Some(id.clone()),
    };
    let files_at = directory(state, &id);
    ingest::check(&spec)?;
    let examined = ingest::examine(state, &spec, &files_at).await?;
    if examined.rejected_total > 0 || examined.new == 0 {
        let lines = examined.rejected.iter().take(20).map(|it| format!("line {}: {}", it.line, it.reason));
        let message = match examined.rejected_total {
            0 if examined.near_duplicates_total > 0 => format!(
                "nothing in it is new to {}: {} datapoints are there already, {} nearly repeat others, which its terms refuse",
                datanet.name, examined.duplicates, examined.near_duplicates_total
            ),
            0 => format!("all {} datapoints are in {} already", examined.read, datanet.name),
            wrong => format!("{wrong} datapoints are not valid; mend them:\n{}", lines.collect::<Vec<_>>().join("\n")),
        };
        return Err(ApiError::invalid("file", message));
    }
    let hashed = files_at.clone();
    let document = tokio::task::spawn_blocking(move || digest(&hashed, &files)).await.map_err(ApiError::internal)?;
    let mut contribution = StoredContribution {
        id,
        datanet: datanet.name.clone(),
        subject: caller.subject.clone(),
        document: document.map_err(ApiError::internal)?,
        filename: spec.files.join(", "),
        spec,
        note,
        state: ContributionState::Waiting,
        rows: examined.new,
        added: None,
        report: serde_json::to_value(&examined).map_err(ApiError::internal)?,
        reason: None,
        score: None,
        reviewed_by: None,
        reviewed_at: None,
        supersedes: query.supersedes,
        job: None,
        created_at: now(),
        log_index: None,
    };
    state.store.create_contribution(&contribution).await?;
    if answer == Answer::Allow {
        contribution.reviewed_at = Some(now());
        accept(state, &mut contribution).await?;
    }
    Ok(contribution)
}

/// The owner's word.
pub(crate) async fn review(
    state: &Arc<AppState>,
    caller: &Caller,
    mut contribution: StoredContribution,
    review: NewReview,
) -> Result<StoredContribution, ApiError> {
    if contribution.subject == caller.subject {
        return Err(ApiError::new(Code::InsufficientScope, "nobody reviews their own contribution"));
    }
    if contribution.state != ContributionState::Waiting {
        let message = format!("contribution {} is not waiting any more", contribution.id);
        return Err(ApiError::new(Code::AlreadyExists, message));
    }
    if !review.accept && review.reason.trim().is_empty() {
        return Err(ApiError::invalid("reason", "a no needs a reason, which the contributor reads"));
    }
    if review.score.is_some_and(|score| score > 100) || review.reason.chars().count() > MOST_NOTE {
        return Err(ApiError::invalid(
            "score",
            format!("give 0 to 100, and a reason of at most {MOST_NOTE} characters"),
        ));
    }
    contribution.score = review.score;
    contribution.reason = Some(review.reason).filter(|reason| !reason.is_empty());
    contribution.reviewed_by = Some(caller.subject.clone());
    contribution.reviewed_at = Some(now());
    if review.accept {
        accept(state, &mut contribution).await?;
    } else {
        contribution.state = ContributionState::Rejected;
        forget_texts(&mut contribution);
        let salt = Salt::random().map_err(ApiError::internal)?;
        let entry = entry(state, &contribution, ContributionOutcome::Rejected, None).await?;
        moved(state, &contribution, ContributionState::Waiting, Some((&entry, &salt))).await?;
        log_pending(state).await?;
        forget_files(state, &contribution.id).await;
    }
    stored(state, &contribution.id).await
}

/// Completes what a crash interrupted between the acceptance and its job.
pub(crate) async fn resume(state: &Arc<AppState>) -> Result<(), ApiError> {
    for contribution in state.store.ingesting_contributions().await? {
        let Some(job) = contribution.job.clone() else { continue };
        if state.store.job(&job).await?.is_some() {
            continue;
        }
        tracing::info!(contribution = contribution.id, "adding a contribution that a restart interrupted");
        take_files(state, &contribution, &job).await?;
    }
    Ok(())
}

/// Takes a waiting contribution back.
pub(crate) async fn withdraw(state: &AppState, mut contribution: StoredContribution) -> Result<(), ApiError> {
    contribution.state = ContributionState::Withdrawn;
    forget_texts(&mut contribution);
    moved(state, &contribution, ContributionState::Waiting, None).await?;
    forget_files(state, &contribution.id).await;
    Ok(())
}

/// The job that adds a contribution has ended.
pub(crate) async fn ended(state: &AppState, id: &str, job: &Job) -> Result<(), ApiError> {
    let mut contribution = stored(state, id).await?;
    if contribution.state != ContributionState::Ingesting {
        return Ok(());
    }
    if job.state == JobState::Succeeded {
        contribution.state = ContributionState::Accepted;
        forget_texts(&mut contribution);
        contribution.added = job.result.as_ref().and_then(|result| result["added"].as_u64());
        let root = job.result.as_ref().and_then(|result| result["snapshot"]["root"].as_str()?.parse::<Hash>().ok());
        let salt = Salt::random().map_err(ApiError::internal)?;
        let entry = entry(state, &contribution, ContributionOutcome::Accepted, root).await?;
        moved(state, &contribution, ContributionState::Ingesting, Some((&entry, &salt))).await?;
        return log_pending(state).await;
    }
    contribution.state = ContributionState::Failed;
    forget_texts(&mut contribution);
    contribution.reason = job.error.clone().or_else(|| Some("the job was cancelled".to_owned()));
    moved(state, &contribution, ContributionState::Ingesting, None).await
}

/// A contribution on the wire.
pub(crate) async fn described(state: &AppState, of: StoredContribution) -> Result<Contribution, ApiError> {
    let reputation = state.store.reputation(&of.subject).await?;
    Ok(Contribution {
        id: of.id,
        datanet: of.datanet,
        subject: of.subject,
        document: of.document,
        filename: of.filename,
        note: of.note,
        state: of.state,
        report: of.report,
        added: of.added,
        reason: of.reason,
        score: of.score,
        reviewed_by: of.reviewed_by,
        reviewed_at: of.reviewed_at,
        supersedes: of.supersedes,
        job: of.job,
        created_at: of.created_at,
        log_index: of.log_index,
        reputation,
    })
}

/// A stored contribution.
pub(crate) async fn stored(state: &AppState, id: &str) -> Result<StoredContribution, ApiError> {
    let missing = || ApiError::new(Code::NotFound, format!("there is no contribution {id:?}"));
    state.store.contribution(id).await?.ok_or_else(missing)
}

/// Moves the files to a job that adds them.
async fn accept(state: &Arc<AppState>, contribution: &mut StoredContribution) -> Result<(), ApiError> {
    let job = format!("job_{}", uuid::Uuid::now_v7().simple());
    contribution.state = ContributionState::Ingesting;
    contribution.job = Some(job.clone());
    moved(state, contribution, ContributionState::Waiting, None).await?;
    take_files(state, contribution, &job).await
}

/// Moves the files, unless that was done before a crash, and queues the job.
async fn take_files(state: &AppState, contribution: &StoredContribution, job: &str) -> Result<(), ApiError> {
    let (from, to) = (directory(state, &contribution.id), jobs::directory(&state.config, job));
    if let Some(parent) = to.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(ApiError::internal)?;
    }
    if tokio::fs::try_exists(&from).await.map_err(ApiError::internal)? {
        tokio::fs::rename(&from, &to).await.map_err(ApiError::internal)?;
    }
    state.jobs.ingest(job.to_owned(), &contribution.subject, contribution.spec.clone()).await?;
    Ok(())
}

/// What was shown to decide by is kept no longer than that: the datapoints themselves can be erased.
fn forget_texts(contribution: &mut StoredContribution) {
    if let Some(report) = contribution.report.as_object_mut() {
        report.remove("first");
    }
}

async fn moved(
    state: &AppState,
    contribution: &StoredContribution,
    from: ContributionState,
    entry: Option<(&Entry, &Salt)>,
) -> Result<(), ApiError> {
    if state.store.move_contribution(contribution, from, entry).await? {
        return Ok(());
    }
    let message = format!("contribution {} was decided by someone else just now", contribution.id);
    Err(ApiError::new(Code::AlreadyExists, message))
}

async fn entry(
    state: &AppState,
    contribution: &StoredContribution,
    outcome: ContributionOutcome,
    snapshot: Option<Hash>,
) -> Result<Entry, ApiError> {
    let (contributor, _) = state.store.pseudonym(&contribution.subject).await?;
    Ok(Entry::Contribution(Box::new(ContributionEntry {
        kind: ContributionKind::V1,
        id: contribution.id.clone(),
        datanet: contribution.datanet.clone(),
        contributor,
        document: contribution.document.parse().map_err(ApiError::internal)?,
        rows: contribution.added.unwrap_or(contribution.rows),
        outcome,
        by: if contribution.reviewed_by.is_some() { ContributionBy::Review } else { ContributionBy::Policy },
        score: contribution.score,
        supersedes: contribution.supersedes.clone(),
        snapshot,
        time: now(),
    })))
}

async fn forget_files(state: &AppState, id: &str) {
    let at = directory(state, id);
    if let Err(error) = tokio::fs::remove_dir_all(&at).await {
        tracing::warn!(%error, directory = %at.display(), "a contribution's files could not be removed");
    }
}

/// SHA-256 of the files, one after the other.
fn digest(at: &std::path::Path, files: &[String]) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        std::io::copy(&mut std::fs::File::open(at.join(file))?, &mut hasher)?;
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Longest note, in characters.
const MOST_NOTE: usize = 2000;
