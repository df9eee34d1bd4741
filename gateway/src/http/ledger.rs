//! Whose data answers drew on: the ledger that payouts would be computed from, and contributors' own count.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse, get,
    web::{Data, Json, Path, Query},
};
use cairn_openapi::{
    error::ErrorEnvelope,
    keys::Role,
    ledger::{ContributorUses, Ledger, LedgerFormat, LedgerLine, LedgerQuery, LedgerTotal},
};
use serde_json::Value;

use crate::{
    auth::{Allowed, Anyone},
    error::{ApiError, Code},
    state::AppState,
};

/// Most lines of a page.
const PAGE: usize = 10_000;

/// Who contributed what to which answer: a line for each contributor and datanet of each answer, oldest first, at most
/// 10,000 at once. Auditors and administrators see all; others those of datanets that they own, and those with passages that
/// they contributed: of these lines their own passages, and shares where nobody else is counted under the same name.
#[utoipa::path(operation_id = "ledger", tag = "attribution", params(LedgerQuery), responses((status = 200, body = Ledger, description = "the lines and their totals, or with `format=csv` the lines as text/csv"), (status = 400, body = ErrorEnvelope)))]
#[get("/v1/ledger")]
pub(crate) async fn ledger(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    query: Query<LedgerQuery>,
) -> Result<HttpResponse, ApiError> {
    period(&query.from, &query.to)?;
    let concerns = (!caller.has(&[Role::Admin, Role::Auditor])).then_some(caller.subject.as_str());
    let mut lines = state.store.ledger(&query, concerns, PAGE as u32 + 1).await?;
    if let Some(subject) = concerns {
        state.store.narrow(&mut lines, subject).await?;
    }
    let has_more = lines.len() > PAGE;
    if has_more {
        // A page ends with a whole answer, because the next begins after one.
        let next = lines[PAGE].answer.clone();
        lines.retain(|line| line.answer != next);
    }
    match query.format {
        LedgerFormat::Json => Ok(HttpResponse::Ok().json(Ledger { totals: totals(&lines), lines, has_more })),
        LedgerFormat::Csv => {
            let name = ("content-disposition", "attachment; filename=\"ledger.csv\"");
            Ok(HttpResponse::Ok().content_type("text/csv; charset=utf-8").insert_header(name).body(csv(&lines)?))
        }
    }
}

/// A contributor's pseudonym in the log, what opens it, and the log's signed word on how many records use their data.
/// With it a contributor can check that every use is shown: the counts in those records are 1, 2, 3, … For auditors, and for
/// whoever contributed all that is counted under the name.
#[utoipa::path(operation_id = "contributor_uses", tag = "attribution", responses((status = 200, body = ContributorUses), (status = 404, body = ErrorEnvelope)))]
#[get("/v1/contributors/{name}/uses")]
pub(crate) async fn uses(
    caller: Allowed<Anyone>,
    state: Data<AppState>,
    name: Path<String>,
) -> Result<Json<ContributorUses>, ApiError> {
    let auditor = caller.has(&[Role::Admin, Role::Auditor]);
    if !auditor && !state.store.sole_contributor(&name, &caller.subject).await? {
        // The same answer whether or not there is such a contributor: a name is nobody's to ask for.
        let message = format!("nothing is counted under {:?} that is yours alone", name.as_str());
        return Err(ApiError::new(Code::NotFound, message));
    }
    let known = state.store.contributor(&name).await?.ok_or_else(|| {
        ApiError::new(Code::NotFound, format!("no answer has drawn on data of {:?} yet", name.as_str()))
    })?;
    let statement = state.ledger.statement(known.pseudonym).await.map_err(ApiError::internal)?;
    Ok(Json(ContributorUses {
        pseudonym: known.pseudonym.to_string(),
        opening: serde_json::to_value(known.salt.open("contributor", Value::String(known.name.clone())))
            .map_err(ApiError::internal)?,
        statement: serde_json::to_value(statement).map_err(ApiError::internal)?,
        contributor: known.name,
    }))
}

/// Refuses what is no moment.
pub(super) fn period(from: &Option<String>, to: &Option<String>) -> Result<(), ApiError> {
    for (param, moment) in [("from", from), ("to", to)] {
        if let Some(moment) = moment
            && !is_moment(moment)
        {
            let message = format!("{param} is {moment:?}; give a moment in UTC, or its beginning, such as 2026-11");
            return Err(ApiError::invalid(param, message));
        }
    }
    Ok(())
}

/// RFC 3339's beginning: digits and separators in their places.
fn is_moment(text: &str) -> bool {
    let pattern = "0000-00-00T00:00:00.000Z";
    let fits = |(c, p): (char, char)| if p == '0' { c.is_ascii_digit() } else { c == p };
    text.len() >= 4 && text.len() <= pattern.len() && text.chars().zip(pattern.chars()).all(fits)
        || text.len() == 20 && text.ends_with('Z') && is_moment(&text[..19])
}

fn totals(lines: &[LedgerLine]) -> Vec<LedgerTotal> {
    let mut totals: BTreeMap<(&str, &str, &str), LedgerTotal> = BTreeMap::new();
    for line in lines {
        let month = line.at.get(..7).unwrap_or(&line.at);
        let total = totals.entry((month, &line.datanet, &line.contributor)).or_insert_with(|| LedgerTotal {
            month: month.to_owned(),
            datanet: line.datanet.clone(),
            contributor: line.contributor.clone(),
            answers: 0,
            measured: 0,
            share: 0.0,
            nats: 0.0,
        });
        total.answers += 1;
        total.measured += u64::from(line.share.is_some());
        total.share += line.share.unwrap_or(0.0);
        total.nats += line.nats.unwrap_or(0.0);
    }
    totals.into_values().collect()
}

fn csv(lines: &[LedgerLine]) -> Result<Vec<u8>, ApiError> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let header = [
        "at",
        "answer",
        "datanet",
        "contributor",
        "passages",
        "share",
        "nats",
        "method",
        "record_index",
        "influence_index",
    ];
    csv.write_record(header).map_err(ApiError::internal)?;
    for line in lines {
        let number = |number: Option<f64>| number.map(cairn_proof::canonical::fixed).unwrap_or_default();
        let passages: Vec<String> = line.passages.iter().map(u64::to_string).collect();
        let cells = [
            line.at.clone(),
            line.answer.clone(),
            line.datanet.clone(),
            no_formula(&line.contributor),
            passages.join(" "),
            number(line.share),
            number(line.nats),
            line.method.clone().unwrap_or_default(),
            line.record_index.to_string(),
            line.influence_index.map(|index| index.to_string()).unwrap_or_default(),
        ];
        csv.write_record(cells).map_err(ApiError::internal)?;
    }
    csv.into_inner().map_err(ApiError::internal)
}

/// A name that a spreadsheet would take for a formula gets an apostrophe before it.
fn no_formula(name: &str) -> String {
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{name}") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_formulas_are_text() {
        let line = LedgerLine {
            at: "2026-11-23T10:00:00.000Z".into(),
            answer: "chatcmpl-1".into(),
            datanet: "foldoc".into(),
            contributor: "=HYPERLINK(\"a,b\")".into(),
            passages: vec![1, 3],
            share: Some(0.5),
            nats: Some(-0.0),
            method: Some("shapley".into()),
            record_index: 7,
            influence_index: None,
        };
        let csv = String::from_utf8(csv(&[line]).unwrap()).unwrap();
        let expected =
            "2026-11-23T10:00:00.000Z,chatcmpl-1,foldoc,\"'=HYPERLINK(\"\"a,b\"\")\",1 3,0.500000,0.000000,shapley,7,";
        assert_eq!(csv.lines().nth(1), Some(expected));
    }

    #[test]
    fn moments_are_whole_or_begun() {
        for moment in ["2026", "2026-11", "2026-11-23", "2026-11-23T10:00:00Z", "2026-11-23T10:00:00.123Z"] {
            assert!(is_moment(moment), "{moment}");
        }
        for other in ["", "November", "2026-1x", "2026-11-23T10:00:00.123Z0", "26"] {
            assert!(!is_moment(other), "{other}");
        }
    }
}
