//! Erasure: what goes, what stays, and that it can be run again.

use cairn_index::{Query, RetrievalMode};

use crate::{drafts, embedder, name, open, options, s3};

#[tokio::test]
async fn an_erased_datapoint_leaves_its_place_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let embedder = embedder();
    let index = open(dir.path(), &embedder).await;
    let notes = name("notes");
    index.create(&notes).await.unwrap();
    let texts = ["quokkas smile at visitors", "wombats dig long burrows", "numbats eat termites all day"];
    index.ingest(&notes, drafts(texts), options(dir.path())).await.unwrap();
    let before = index.snapshot(&notes).unwrap();
    let path = index.prove(&notes, 1, 3).unwrap();
    let id = index.by_seq(&notes, &[1]).await.unwrap()[0].datapoint.id.clone();

    let after = index.erase(&notes, &[1]).await.unwrap();
    assert_eq!((after.size, after.root), (before.size, before.root));
    assert_eq!(index.prove(&notes, 1, 3).unwrap(), path);
    for mode in [RetrievalMode::Hybrid, RetrievalMode::Vector, RetrievalMode::FullText] {
        let query = Query { mode, ..Query::new("wombats dig long burrows", vec![notes.clone()]) };
        let found = index.retrieve(query).await.unwrap();
        assert!(found.candidates.iter().all(|candidate| candidate.datapoint.seq != 1), "{mode:?}");
    }
    assert!(index.datapoint(&notes, &id).await.unwrap().is_none());
    let left = &index.by_seq(&notes, &[1]).await.unwrap()[0];
    let commitment = left.erased.as_ref().unwrap();
    assert_eq!(commitment.leaf().unwrap(), left.datapoint.leaf);
    assert_eq!((left.datapoint.text.as_str(), left.datapoint.contributor.as_str()), ("", ""));
    assert_eq!(left.salt.as_bytes(), &[0; 32]);
    let seqs: Vec<u64> = index.page(&notes, 0, 10, None).await.unwrap().iter().map(|datapoint| datapoint.seq).collect();
    assert_eq!(seqs, [0, 2]);
    assert_eq!(index.of_contributor(&notes, "ada").await.unwrap(), [0, 2]);
    assert!(index.of_contributor(&notes, "").await.unwrap().is_empty());

    // Again is the same as once, more rows can be added, and an index that is opened anew knows all of it.
    index.erase(&notes, &[1]).await.unwrap();
    index.ingest(&notes, drafts(["bilbies have long ears"]), options(dir.path())).await.unwrap();
    let size = index.snapshot(&notes).unwrap().size;
    drop(index);
    let index = open(dir.path(), &embedder).await;
    assert_eq!((index.snapshot(&notes).unwrap().size, size), (4, 4));
    assert_eq!(index.root_at(&notes, 3).unwrap(), before.root);
    assert!(index.by_seq(&notes, &[1]).await.unwrap()[0].erased.is_some());
    let found = index.retrieve(Query::new("which animals have long ears", vec![notes.clone()])).await.unwrap();
    assert_eq!(found.candidates[0].datapoint.seq, 3);
    // No version is left that had it.
    index.indexed(&notes).await.unwrap();
    let files = match s3(dir.path()) {
        Some((bucket, prefix)) => objects(&bucket, &prefix).await,
        None => walk(&dir.path().join("lance")),
    };
    assert!(files.len() > 3, "{} files were looked into", files.len());
    assert!(files.iter().all(|bytes| !contains(bytes, b"wombats")), "the text is still in a file");
}

fn walk(directory: &std::path::Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(std::fs::read(path).unwrap()) }
    }
    found
}

/// Every object under a prefix. The test server takes any signature.
async fn objects(bucket: &str, prefix: &str) -> Vec<Vec<u8>> {
    let client = reqwest::Client::new();
    let get = async |url: String| {
        let signed = client.get(url).header("authorization", "AWS tests:tests").send().await.unwrap();
        signed.error_for_status().unwrap().bytes().await.unwrap()
    };
    let list = get(format!("{bucket}?list-type=2&prefix={prefix}/")).await;
    let list = String::from_utf8(list.to_vec()).unwrap();
    assert!(list.contains("<IsTruncated>false</IsTruncated>"), "{list}");
    let mut found = Vec::new();
    for key in list.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>")) {
        found.push(get(format!("{bucket}/{}", key.0)).await.to_vec());
    }
    found
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|part| part == needle)
}
