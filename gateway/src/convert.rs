//! Between the crates' types and the wire's: one function a type, no decisions.

use cairn_filter::Filter;
use cairn_index::{IndexError, LeftOut, Query};
use cairn_openapi::{
    access::AccessBasis,
    datanets::{Datanet, Datapoint, Snapshot, TrainedOnEntry},
    retrieval::{Candidate, Rerank, RetrievalOptions, SearchRequest, Why},
};

use crate::{
    access::Access,
    error::{ApiError, Code},
    store::{datanets::Description, training::TrainedOn},
};

/// A candidate as the wire has it, with its text where asked for.
pub(crate) fn candidate(candidate: &cairn_index::Candidate, with_text: bool) -> Candidate {
    let datapoint = &candidate.datapoint;
    Candidate {
        datanet: datapoint.datanet.to_string(),
        id: datapoint.id.to_string(),
        text: with_text.then(|| datapoint.text.clone()),
        contributor: datapoint.contributor.clone(),
        contributed_at: datapoint.contributed_at.clone(),
        source: datapoint.source.clone(),
        licence: datapoint.licence.clone(),
        metadata: datapoint.metadata.clone(),
        leaf: datapoint.leaf.to_string(),
        why: Why {
            rank: candidate.rank,
            phrase_score: candidate.phrase_score,
            fused_score: candidate.fused_score,
            vector_score: candidate.vector_score,
            vector_rank: candidate.vector_rank,
            text_score: candidate.text_score,
            text_rank: candidate.text_rank,
            rerank_score: candidate.rerank_score,
            matched_terms: candidate.matched_terms.clone(),
            left_out: candidate.left_out.map(|rule| match rule {
                LeftOut::MinimumScore => "minimum_score".to_owned(),
                LeftOut::ContributorCap => "contributor_cap".to_owned(),
            }),
        },
    }
}

/// A datapoint as the wire has it.
pub(crate) fn datapoint(datapoint: cairn_index::Datapoint) -> Datapoint {
    Datapoint {
        datanet: datapoint.datanet.to_string(),
        id: datapoint.id.to_string(),
        seq: datapoint.seq,
        text: datapoint.text,
        contributor: datapoint.contributor,
        contributed_at: datapoint.contributed_at,
        source: datapoint.source,
        licence: datapoint.licence,
        metadata: datapoint.metadata,
        content_hash: datapoint.content_hash.to_string(),
        leaf: datapoint.leaf.to_string(),
    }
}

/// A datanet as the wire has it.
pub(crate) fn datanet(
    of: Description,
    snapshot: &cairn_index::Snapshot,
    access: AccessBasis,
    terms_version: Option<u64>,
) -> Datanet {
    Datanet {
        name: of.name,
        title: of.title,
        description: of.description,
        licence: of.licence,
        visibility: of.visibility,
        owner: of.owner,
        created_at: of.created_at,
        access,
        terms_version,
        snapshot: Snapshot {
            size: snapshot.size,
            root: snapshot.root.to_string(),
            lance_version: snapshot.lance_version,
        },
    }
}

/// Which datapoints a caller wants found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refine<'a> {
    pub(crate) filter: Option<&'a str>,
    pub(crate) since: Option<&'a str>,
    pub(crate) until: Option<&'a str>,
    pub(crate) per_contributor: Option<usize>,
    pub(crate) minimum_score: Option<f64>,
    pub(crate) rerank: Rerank,
}

impl<'a> Refine<'a> {
    pub(crate) fn of_options(options: &'a RetrievalOptions) -> Self {
        let RetrievalOptions { filter, since, until, per_contributor, minimum_score, rerank, .. } = options;
        Self {
            filter: filter.as_deref(),
            since: since.as_deref(),
            until: until.as_deref(),
            per_contributor: *per_contributor,
            minimum_score: *minimum_score,
            rerank: *rerank,
        }
    }

    pub(crate) fn of_search(search: &'a SearchRequest) -> Self {
        let SearchRequest { filter, since, until, per_contributor, minimum_score, rerank, .. } = search;
        Self {
            filter: filter.as_deref(),
            since: since.as_deref(),
            until: until.as_deref(),
            per_contributor: *per_contributor,
            minimum_score: *minimum_score,
            rerank: *rerank,
        }
    }

    /// The rows that are wanted; none: all.
    pub(crate) fn rows(&self) -> Result<Option<Filter>, ApiError> {
        let wanted = self.filter.map(|filter| crate::access::grants::filter("filter", filter)).transpose()?;
        let bounds = self.since.map(Filter::since).into_iter().chain(self.until.map(Filter::until));
        Ok(wanted.into_iter().chain(bounds).reduce(|all, one| all.and(&one)))
    }
}

/// A query over what a caller may read, of which only some is wanted.
pub(crate) fn refined(text: String, accesses: &[Access], refine: &Refine<'_>) -> Result<Query, ApiError> {
    if refine.per_contributor == Some(0) {
        return Err(ApiError::invalid("per_contributor", "is 0, which leaves nothing; give 1 or more"));
    }
    if refine.minimum_score.is_some_and(|least| !least.is_finite()) {
        return Err(ApiError::invalid("minimum_score", "give a number"));
    }
    for (param, moment) in [("since", refine.since), ("until", refine.until)] {
        let date = |text: &str| {
            text.parse::<chrono::NaiveDate>().is_ok() || text.parse::<chrono::DateTime<chrono::Utc>>().is_ok()
        };
        if let Some(moment) = moment.filter(|moment| !date(moment)) {
            let message =
                format!("{moment:?} is not a date such as 2026-01-31 or a moment such as 2026-01-31T12:00:00Z");
            return Err(ApiError::invalid(param, message));
        }
    }
    Ok(Query {
        datanets: accesses.iter().map(Access::source).collect(),
        filter: refine.rows()?,
        per_contributor: refine.per_contributor,
        minimum_score: refine.minimum_score,
        rerank: match refine.rerank {
            Rerank::None => None,
            Rerank::LateInteraction => Some(cairn_index::Rerank::LateInteraction),
            Rerank::CrossEncoder => Some(cairn_index::Rerank::CrossEncoder),
        },
        ..Query::new(text, Vec::new())
    })
}

/// A training run that used datapoints, as the wire has it.
pub(crate) fn trained_on(used: TrainedOn) -> TrainedOnEntry {
    TrainedOnEntry {
        job: used.job.id,
        owner: used.job.owner,
        base: used.job.base,
        alias: used.job.alias,
        generation: used.job.generation,
        learnt: used.learnt,
        held_out: used.held_out,
        finished_at: used.job.finished_at,
    }
}

/// Errors of the index: what the caller can mend is said; the rest is ours.
pub(crate) fn index_error(error: IndexError) -> ApiError {
    let message = error.to_string();
    match error {
        IndexError::UnknownDatanet(name) => ApiError::no_datanet(name.as_str()),
        IndexError::InvalidDatanetName { .. } | IndexError::InvalidDatapointId { .. } | IndexError::EmptyQuery => {
            ApiError::new(Code::InvalidRequest, message)
        }
        IndexError::NoCrossEncoder => ApiError::invalid("rerank", &message),
        IndexError::AlreadyExists(_) => ApiError::new(Code::AlreadyExists, message),
        IndexError::Busy => ApiError::new(Code::Overloaded, message),
        other => ApiError::internal(anyhow::Error::from(other)),
    }
}

/// What the base models' crate is told.
pub(crate) fn base_config(config: &crate::config::Config) -> cairn_base::BaseConfig {
    cairn_base::BaseConfig {
        models_dir: config.models_dir.clone(),
        memory_budget: config.memory_budget,
        engine: match config.engine {
            crate::config::EngineChoice::Auto => cairn_base::EngineName::Auto,
            crate::config::EngineChoice::Lane => cairn_base::EngineName::Lane,
            crate::config::EngineChoice::MistralRs => cairn_base::EngineName::MistralRs,
        },
        when_loading: match config.when_loading {
            crate::config::WhenLoading::Wait => cairn_base::WhenLoading::Wait,
            crate::config::WhenLoading::Unavailable => cairn_base::WhenLoading::Unavailable,
        },
        retry_after: config.retry_after,
        max_in_flight: config.max_in_flight,
        quantize: config.quantize.clone(),
    }
}
