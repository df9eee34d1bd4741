//! Filters: what the table finds is what the filter means, over many rows and filters.

use std::collections::BTreeSet;

use cairn_filter::Filter;
use cairn_index::{Datapoint, Draft, Index, Query, RetrievalMode, Source};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{embedder, name, open, options};

/// Values that are easily taken for others.
fn value(random: &mut StdRng) -> Value {
    let values = [
        json!("a"),
        json!("5"),
        json!(5),
        json!(5.5),
        json!(-3),
        json!(true),
        json!("true"),
        json!(null),
        json!("null"),
        json!(""),
        json!("it's \"so\""),
        json!("back\\slash"),
        json!("line\nbreak"),
        json!("é"),
        json!("a\"b"),
        json!(["a", "5"]),
        json!(["a\"b", 5]),
        json!([]),
        json!({"c": "deep"}),
        json!("ab"),
        json!("2024-05-01"),
    ];
    values.choose(random).cloned().unwrap()
}

fn draft(at: usize, random: &mut StdRng) -> Draft {
    let mut metadata = serde_json::Map::new();
    for key in ["a", "b", "odd key"] {
        if random.random_bool(0.7) {
            metadata.insert(key.to_owned(), value(random));
        }
    }
    // Some name the same moment, some are in another order as text than in time, some are beyond what 64 bits of nanoseconds hold.
    let moments = [
        "2024-05-01",
        "2024-05-01T00:00:00Z",
        "2024-05-01T02:00:00+02:00",
        "2024-05-01T01:59:59.999999+02:00",
        "2024-04-30T23:30:00-02:00",
        "2024-06-02",
        "0900-01-01",
        "9999-12-31T23:59:59Z",
    ];
    Draft {
        line: at as u64 + 1,
        id: Some(format!("row-{at}")),
        text: format!("A heron numbered {at}."),
        contributor: Some(["Ada", "O'Neil", "Zoë"][at % 3].to_owned()),
        contributed_at: Some(moments[at % moments.len()].to_owned()),
        source: at.is_multiple_of(2).then(|| "book".to_owned()),
        licence: Some("CC0".to_owned()),
        metadata,
    }
}

fn filter(random: &mut StdRng, depth: usize) -> String {
    if depth > 0 && random.random_bool(0.5) {
        let (left, right) = (filter(random, depth - 1), filter(random, depth - 1));
        return match random.random_range(0..3) {
            0 => format!("({left}) and ({right})"),
            1 => format!("({left}) or ({right})"),
            _ => format!("not ({left})"),
        };
    }
    let texts = [
        "\"a\"",
        "\"5\"",
        "\"it's \\\"so\\\"\"",
        "\"back\\\\slash\"",
        "\"line\\nbreak\"",
        "\"é\"",
        "\"\"",
        "\"true\"",
        "\"null\"",
        "\"a\\\"b\"",
        "\"2024-05-01\"",
        "\"2024-05-01T02:00:00+02:00\"",
        "\"0900-01-01T00:00:01Z\"",
        "\"2024-05\"",
        "\"Ada\"",
        "\"O'Neil\"",
        "\"book\"",
        "\"row-1\"",
        "\"deep\"",
    ];
    let text = *texts.choose(random).unwrap();
    let other = *["5", "5.5", "-3", "true", "false"].choose(random).unwrap();
    let metadata =
        *["metadata.a", "metadata.b", "metadata.`odd key`", "metadata.a.c", "metadata.none"].choose(random).unwrap();
    let plain = *["id", "contributor", "contributed_at", "licence", "source"].choose(random).unwrap();
    let sign = *["=", "!=", "<", "<=", ">", ">=", "contains", "starts_with"].choose(random).unwrap();
    match random.random_range(0..7) {
        6 => format!("contributed_at {sign} {text}"),
        0 => format!("{plain} {sign} {text}"),
        1 => format!("{plain} in ({text}, \"Ada\")"),
        2 => format!("{metadata} exists"),
        3 => format!("{metadata} in ({text}, {other})"),
        4 if sign == "=" => format!("{metadata} = {other}"),
        4 if sign.len() < 3 && !other.ends_with('e') => format!("{metadata} {sign} {other}"),
        _ => format!("{metadata} {sign} {text}"),
    }
}

async fn everything(index: &Index) -> Vec<Datapoint> {
    index.page(&name("herons"), 0, 10_000, None).await.unwrap()
}

#[tokio::test]
async fn the_table_finds_exactly_what_a_filter_means() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    index.create(&name("herons")).await.unwrap();
    let mut random = StdRng::seed_from_u64(17);
    let drafts: Vec<_> = (0..120).map(|at| Ok(draft(at, &mut random))).collect();
    index.ingest(&name("herons"), Box::new(drafts.into_iter()), options(dir.path())).await.unwrap();
    let rows = everything(&index).await;
    assert_eq!(rows.len(), 120);
    let mut some = 0;
    for round in 0..300_u32 {
        let text = filter(&mut random, 2);
        let filter: Filter = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        let meant: BTreeSet<u64> = rows.iter().filter(|row| filter.matches(*row)).map(|row| row.seq).collect();
        some += usize::from(!meant.is_empty() && meant.len() < rows.len());
        // Alternately as the caller's filter and as the grant's, and by either search.
        let mut query = Query::new("a heron", vec![name("herons")]);
        query.candidates = 1000;
        query.mode = if round.is_multiple_of(2) { RetrievalMode::Vector } else { RetrievalMode::FullText };
        if round % 4 < 2 {
            query.filter = Some(filter.clone());
        } else {
            query.datanets = vec![Source { datanet: name("herons"), rows: Some(filter.clone()) }];
        }
        let found = index.retrieve(query).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let found: BTreeSet<u64> = found.candidates.iter().map(|candidate| candidate.datapoint.seq).collect();
        assert_eq!(found, meant, "{text} as {}", filter.to_sql());
    }
    assert!(some > 100, "only {some} filters told rows apart");
    // A page is cut by it as well.
    let filter: Filter = "contributor = \"Ada\"".parse().unwrap();
    let page = index.page(&name("herons"), 0, 10, Some(&filter)).await.unwrap();
    assert_eq!(page.iter().map(|row| row.seq).collect::<Vec<_>>(), [0, 3, 6, 9]);
}

#[tokio::test]
async fn what_is_erased_matches_no_filter_and_nothing_of_it_can_be_asked() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    index.create(&name("herons")).await.unwrap();
    let mut random = StdRng::seed_from_u64(3);
    let drafts: Vec<_> = (0..10).map(|at| Ok(draft(at, &mut random))).collect();
    index.ingest(&name("herons"), Box::new(drafts.into_iter()), options(dir.path())).await.unwrap();
    index.erase(&name("herons"), &[4]).await.unwrap();
    let mut query = Query::new("a heron", vec![name("herons")]);
    query.filter = Some("not id = \"none\"".parse().unwrap());
    let found = index.retrieve(query).await.unwrap();
    assert_eq!(found.candidates.len(), 9);
    let reopened = open(dir.path(), &embedder).await;
    assert_eq!(everything(&reopened).await.len(), 9);
}
