//! The description that is served, the one that is printed and the one that is checked in are the same.

use std::path::Path;

use cairn_tests::shared;
use serde_json::Value;

#[tokio::test]
async fn the_description_is_the_one_that_is_checked_in() {
    let gateway = shared().await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/openapi.json");
    let checked_in = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let printed = gateway.cli(&["openapi"]);
    assert!(printed.ok(), "{printed}");
    assert!(
        printed.stdout == checked_in,
        "openapi/openapi.json is not current; run: cairn openapi > openapi/openapi.json"
    );
    let served = gateway.anonymous().get("/openapi.json").await.ok();
    let checked_in: Value = serde_json::from_str(&checked_in).expect("it is JSON");
    for part in checked_in.as_object().expect("an object").keys() {
        assert_eq!(served[part], checked_in[part], "{part} of what is served");
    }
    assert_eq!(served, checked_in);
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    let served = shared().await.anonymous().get("/openapi.json").await.ok();
    let mut references = Vec::new();
    collect(&served, &mut references);
    assert!(references.len() > 30, "only {} references were found", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
        assert!(served.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut names: Vec<&str> = served["paths"]
        .as_object()
        .expect("paths")
        .values()
        .flat_map(|operations| operations.as_object().into_iter().flat_map(|it| it.values()))
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "operation ids are unique, or generated clients do not compile");
}

fn collect<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| collect(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, into)),
        _ => {}
    }
}
