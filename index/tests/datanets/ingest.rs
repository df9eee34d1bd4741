//! Ingest: all or nothing, resumable, and a tree that any process finds again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_index::{
    Draft, Index, IndexError, IndexOptions, IngestOptions, IngestStage, NearDuplicates, Query, RetrievalMode, Snapshot,
};
use cairn_proof::merkle::verify_inclusion;
use cairn_proof::{Commitment, Hash};
use tempfile::TempDir;

use super::{at, drafts, embedder, name, open, options};

/// Checks every proof of a datanet, at its present size and at one before.
async fn check_all_proofs(index: &Index, datanet: &str) {
    let name = name(datanet);
    let snapshot = index.snapshot(&name).unwrap();
    let seqs: Vec<u64> = (0..snapshot.size).collect();
    for row in index.by_seq(&name, &seqs).await.unwrap() {
        let datapoint = &row.datapoint;
        let leaf = Commitment::new(&datapoint.fields(), &row.salt).unwrap().leaf().unwrap();
        assert_eq!(leaf, datapoint.leaf);
        assert_eq!(datapoint.content_hash, Hash::of(datapoint.text.as_bytes()));
        for size in [snapshot.size, datapoint.seq + 1] {
            let path = index.prove(&name, datapoint.seq, size).unwrap();
            let root = index.root_at(&name, size).unwrap();
            verify_inclusion(&leaf, datapoint.seq, size, &path, &root).unwrap();
        }
    }
    assert_eq!(index.root_at(&name, snapshot.size).unwrap(), snapshot.root);
}

#[tokio::test]
async fn rows_are_added_once_and_a_new_process_finds_the_same_tree() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("facts");
    let empty = index.create(&name).await.unwrap();
    assert_eq!((empty.size, empty.root), (0, Hash::of(b"")));
    assert!(matches!(index.create(&name).await, Err(IndexError::AlreadyExists(_))));

    let first = index.ingest(&name, drafts(["a tree", "a heap", "a tree"]), options(dir.path())).await.unwrap();
    assert_eq!((first.read, first.added, first.skipped_duplicates, first.embedded), (3, 2, 1, 2));
    let second = index.ingest(&name, drafts(["a heap", "a list"]), options(dir.path())).await.unwrap();
    assert_eq!((second.added, second.skipped_duplicates), (1, 1));
    assert!(second.snapshot.lance_version > first.snapshot.lance_version);
    let third = index.ingest(&name, drafts(["a list"]), options(dir.path())).await.unwrap();
    assert_eq!((third.added, &third.snapshot), (0, &second.snapshot));
    assert_eq!(index.root_at(&name, 2).unwrap(), first.snapshot.root);
    check_all_proofs(&index, "facts").await;

    let reopened = open(dir.path(), &embedder).await;
    let listed = reopened.list();
    assert_eq!((listed[0].size, listed[0].root), (second.snapshot.size, second.snapshot.root));
    check_all_proofs(&reopened, "facts").await;

    let page = reopened.page(&name, 1, 5, None).await.unwrap();
    assert_eq!(page.iter().map(|d| d.text.as_str()).collect::<Vec<_>>(), ["a heap", "a list"]);
    let found = reopened.datapoint(&name, &page[1].id).await.unwrap().unwrap();
    assert_eq!(found, page[1]);
    assert_eq!(reopened.datapoint(&name, &"' OR 1=1 --".parse().unwrap()).await.unwrap(), None);
    assert!(matches!(reopened.by_seq(&name, &[3]).await, Err(IndexError::UnknownSeq { seq: 3, size: 3, .. })));
    assert!(matches!(reopened.prove(&name, 0, 4), Err(IndexError::InvalidSize { size: 4, have: 3, .. })));

    reopened.drop(&name).await.unwrap();
    assert!(matches!(reopened.snapshot(&name), Err(IndexError::UnknownDatanet(_))));
    assert!(open(dir.path(), &embedder).await.list().is_empty());
}

#[tokio::test]
async fn one_bad_datapoint_keeps_everything_out() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("facts");
    index.create(&name).await.unwrap();
    let drafts: Vec<Draft> = vec![
        Draft { line: 1, text: "fine".to_owned(), ..Draft::default() },
        Draft { line: 2, text: " ".to_owned(), ..Draft::default() },
        Draft { line: 3, text: "dated".to_owned(), contributed_at: Some("soon".to_owned()), ..Draft::default() },
        Draft { line: 4, text: "one".to_owned(), id: Some("x".to_owned()), ..Draft::default() },
        Draft { line: 5, text: "two".to_owned(), id: Some("x".to_owned()), ..Draft::default() },
    ];
    let report = index.ingest(&name, Box::new(drafts.into_iter().map(Ok)), options(dir.path())).await.unwrap();
    assert!(report.is_rejected());
    assert_eq!(report.rejected.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 3, 5]);
    assert_eq!((report.added, report.snapshot.size), (0, 0));

    let nobody = IngestOptions { defaults: Default::default(), ..options(dir.path()) };
    let report = index.ingest(&name, super::drafts(["fine"]), nobody).await.unwrap();
    assert!(report.rejected[0].reason.contains("contributor"), "{:?}", report.rejected);
}

#[tokio::test]
async fn the_good_is_kept_and_a_second_try_after_the_commit_is_no_rejection() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("facts");
    index.create(&name).await.unwrap();
    let keep_good = IngestOptions { keep_good: true, ..options(dir.path()) };
    let texts = ["fine", " ", "also fine"];
    let first = index.ingest(&name, drafts(texts), keep_good.clone()).await.unwrap();
    assert_eq!((first.added, first.rejected_total, first.is_rejected()), (2, 1, false));
    // As a process does that was killed before it could say that it was done.
    let again = index.ingest(&name, drafts(texts), keep_good.clone()).await.unwrap();
    assert_eq!((again.added, again.skipped_duplicates, again.is_rejected()), (0, 2, false));
    assert_eq!(again.snapshot, first.snapshot);
    let nothing = index.ingest(&name, drafts([" ", ""]), keep_good).await.unwrap();
    assert!(nothing.is_rejected(), "of this nothing is there");
}

#[tokio::test]
async fn every_rejection_is_kept_in_the_order_of_lines() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("facts");
    index.create(&name).await.unwrap();
    fn id(id: &str, text: &str) -> Draft {
        Draft { id: Some(id.to_owned()), text: text.to_owned(), ..Draft::default() }
    }
    index.ingest(&name, Box::new([Ok(id("taken", "one"))].into_iter()), options(dir.path())).await.unwrap();
    let line = move |line: u64| {
        let draft = if line == 700 { id("taken", "another") } else { Draft::default() };
        Ok(Draft { line, ..draft })
    };
    let report = index.ingest(&name, Box::new((1..=1500).map(line)), options(dir.path())).await.unwrap();
    assert_eq!((report.rejected_total, report.rejected.len(), report.rejected_whole.len()), (1500, 1000, 1500));
    assert!(report.rejected_whole.iter().map(|rejection| rejection.line).eq(1..=1500));
    assert!(report.rejected_whole[699].reason.contains("taken"), "{:?}", report.rejected_whole[699]);
    assert_eq!(report.rejected[..], report.rejected_whole[..1000]);
}

#[tokio::test]
async fn an_interrupted_ingest_leaves_nothing_visible_and_resumes() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("numbers");
    index.create(&name).await.unwrap();
    let texts: Vec<String> = (0..1300).map(|n| format!("number {n}")).collect();

    let interrupted = options(dir.path());
    let (cancel, staged) = (interrupted.cancel.clone(), Arc::new(AtomicU64::new(0)));
    let seen = staged.clone();
    let progress = Arc::new(move |progress: cairn_index::IngestProgress| {
        if progress.stage == IngestStage::Embedding && progress.done > 0 {
            seen.store(progress.done, Ordering::SeqCst);
            cancel.cancel();
        }
    });
    let interrupted = IngestOptions { progress: Some(progress), ..interrupted };
    assert!(matches!(index.ingest(&name, drafts(texts.clone()), interrupted).await, Err(IndexError::Cancelled)));
    let staged = staged.load(Ordering::SeqCst);
    assert!(staged > 0 && staged < 1300, "{staged} of 1300 were staged");
    assert_eq!(index.snapshot(&name).unwrap().size, 0);

    // What a kill in the middle of writing a part leaves behind.
    let parts = std::fs::read_dir(dir.path().join("staging")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(parts.join("part-00001.tmp"), b"half a part").unwrap();

    let index = open(dir.path(), &embedder).await;
    assert_eq!(index.snapshot(&name).unwrap().size, 0);
    let report = index.ingest(&name, drafts(texts.clone()), options(dir.path())).await.unwrap();
    assert_eq!((report.added, report.resumed, report.embedded), (1300, staged, 1300 - staged));
    assert!(!parts.exists());
    let page = index.page(&name, 0, 1300, None).await.unwrap();
    assert_eq!(page.iter().map(|d| d.text.clone()).collect::<Vec<_>>(), texts);
    check_all_proofs(&index, "numbers").await;
}

/// Whoever comes later may see a version with the same rows and more indices.
fn same_rows(seen: &Snapshot, written: &Snapshot) {
    assert_eq!((seen.size, seen.root), (written.size, written.root));
    assert!(seen.lance_version >= written.lance_version);
}

#[tokio::test]
async fn a_reader_in_another_process_catches_up() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let (writer, name) = (open(dir.path(), &embedder).await, name("facts"));
    writer.create(&name).await.unwrap();
    let reader = open(dir.path(), &embedder).await;
    let report = writer.ingest(&name, drafts(["a tree", "a heap"]), options(dir.path())).await.unwrap();
    assert_eq!(reader.snapshot(&name).unwrap().size, 0);
    same_rows(&reader.follow(&name, None).await.unwrap(), &report.snapshot);
    check_all_proofs(&reader, "facts").await;
    // And it may write on from there.
    let report = reader.ingest(&name, drafts(["a list"]), options(dir.path())).await.unwrap();
    same_rows(&writer.follow(&name, None).await.unwrap(), &report.snapshot);
    check_all_proofs(&writer, "facts").await;
}

#[tokio::test]
async fn a_reader_follows_new_rows_new_indices_erasures_and_another_datanet_of_the_name() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let (writer, name) = (open(dir.path(), &embedder).await, name("facts"));
    let reader = Index::open(IndexOptions { reads: true, ..at(dir.path(), &embedder) }).await.unwrap();
    writer.create(&name).await.unwrap();
    assert!(reader.snapshot(&name).is_err(), "made since");
    let found = async |words: &str| {
        let found = reader.retrieve(Query::new(words, vec![name.clone()])).await.unwrap();
        found.candidates.into_iter().map(|candidate| candidate.datapoint.text).collect::<Vec<_>>()
    };
    for texts in [["a tree", "a heap"], ["a list", "a ring"]] {
        let written = writer.ingest(&name, drafts(texts), options(dir.path())).await.unwrap().snapshot;
        assert_eq!(reader.follow(&name, Some(&written)).await.unwrap(), written);
        assert!(found(texts[0]).await.contains(&texts[0].to_owned()));
        check_all_proofs(&reader, "facts").await;
        // Indices that were built since are read in the snapshot's name.
        writer.indexed(&name).await.unwrap();
        assert_eq!(reader.follow(&name, Some(&written)).await.unwrap(), written);
        assert!(found(texts[1]).await.contains(&texts[1].to_owned()));
    }
    let erased = writer.erase(&name, &[0]).await.unwrap();
    assert_eq!(reader.follow(&name, Some(&erased)).await.unwrap(), erased);
    assert!(!found("a tree").await.contains(&"a tree".to_owned()));
    assert!(reader.by_seq(&name, &[0]).await.unwrap()[0].erased.is_some());
    // As many rows, in another datanet.
    writer.drop(&name).await.unwrap();
    writer.create(&name).await.unwrap();
    let texts = ["a bear", "a wolf", "a lynx", "a fox"];
    let written = writer.ingest(&name, drafts(texts), options(dir.path())).await.unwrap().snapshot;
    let followed = reader.follow(&name, Some(&written)).await.unwrap();
    assert_eq!((followed.size, followed.root), (written.size, written.root));
    let all = found("a bear").await;
    assert!(all.contains(&"a bear".to_owned()) && !all.contains(&"a heap".to_owned()), "{all:?}");
    writer.drop(&name).await.unwrap();
    assert!(reader.follow(&name, None).await.is_err() && reader.snapshot(&name).is_err(), "it is gone");
}

#[tokio::test]
async fn near_duplicates_are_named_or_refused_within_the_input_and_against_the_table() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("near");
    index.create(&name).await.unwrap();
    let text = "The tanks hold four thousand litres of oil, and when fewer than nine hundred are left the keeper on watch \
                orders more by telegram and writes the hour of the order into the brass ledger beside the door.";
    let changed = |word: &str| text.replace("brass", word);
    let report = index.ingest(&name, drafts([text.to_owned(), changed("iron")]), options(dir.path())).await.unwrap();
    assert_eq!((report.added, report.near_duplicates_total), (2, 1));
    let first = index.page(&name, 0, 1, None).await.unwrap().remove(0);
    assert_eq!((report.near_duplicates[0].line, report.near_duplicates[0].of.as_str()), (2, first.id.as_str()));

    let refused = IngestOptions { near_duplicates: NearDuplicates::Refuse, ..options(dir.path()) };
    let texts = [changed("copper"), "Nothing of the kind.".to_owned()];
    let report = index.ingest(&name, drafts(texts.clone()), refused.clone()).await.unwrap();
    assert_eq!((report.added, report.near_duplicates_total, report.is_rejected()), (1, 1, false));
    let examined = index.examine(&name, drafts([changed("tin")]), refused).await.unwrap();
    assert_eq!((examined.new, examined.near_duplicates_total), (0, 1));
    let ignored = IngestOptions { near_duplicates: NearDuplicates::Ignore, ..options(dir.path()) };
    let report = index.ingest(&name, drafts(texts), ignored).await.unwrap();
    assert_eq!((report.added, report.near_duplicates_total), (1, 0));
}

#[tokio::test]
async fn new_rows_are_found_before_their_indices_are_built() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = open(dir.path(), &embedder).await;
    let name = name("birds");
    index.create(&name).await.unwrap();
    index.ingest(&name, drafts(["A heron waits for fish."]), options(dir.path())).await.unwrap();
    let report = index.ingest(&name, drafts(["A quillfinch sings."]), options(dir.path())).await.unwrap();
    // Whether or not the background is done by now.
    for _ in 0..2 {
        let words = Query { mode: RetrievalMode::FullText, ..Query::new("quillfinch", vec![name.clone()]) };
        let found = index.retrieve(words).await.unwrap();
        assert_eq!(found.candidates[0].datapoint.text, "A quillfinch sings.");
        assert_eq!(found.snapshots, std::slice::from_ref(&report.snapshot), "the same rows are the same snapshot");
        index.indexed(&name).await.unwrap();
    }
}
