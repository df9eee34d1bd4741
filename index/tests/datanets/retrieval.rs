//! Retrieval: scores, ranks and reasons of each candidate, over one datanet and several.

use cairn_index::{Embedder, Index, IndexError, Query, Rerank, RetrievalMode};
use tempfile::TempDir;

use super::{drafts, embedder, name, open, options};

async fn two_datanets(dir: &TempDir, embedder: &Embedder) -> Index {
    let index = open(dir.path(), embedder).await;
    let texts = [
        (
            "trees",
            vec!["A B-tree is a balanced search tree kept on disk.", "An oak is a tree of the forest.", "A heap."],
        ),
        ("fruit", vec!["Bananas are yellow.", "An apple grows on a tree and is picked in autumn."]),
    ];
    for (datanet, texts) in texts {
        index.create(&name(datanet)).await.unwrap();
        index.ingest(&name(datanet), drafts(texts), options(dir.path())).await.unwrap();
    }
    index
}

#[tokio::test]
async fn candidates_say_why_they_were_found() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = two_datanets(&dir, &embedder).await;
    let query = Query::new("Which balanced trees are stored on a disk?", vec![name("trees"), name("fruit")]);
    let found = index.retrieve(query).await.unwrap();
    assert_eq!(found.snapshots, [index.snapshot(&name("trees")).unwrap(), index.snapshot(&name("fruit")).unwrap()]);
    assert_eq!(found.candidates.iter().map(|c| c.rank).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(found.candidates.is_sorted_by(|a, b| a.fused_score >= b.fused_score));
    assert!(found.tokens > 5);

    let best = &found.candidates[0];
    assert!(best.datapoint.text.starts_with("A B-tree"));
    assert_eq!((best.vector_rank, best.text_rank), (Some(1), Some(1)));
    assert!(best.vector_score.unwrap() > 0.5 && best.vector_score.unwrap() <= 1.0);
    assert!(best.text_score.unwrap() > 0.0);
    assert_eq!(best.matched_terms, ["balanced", "trees", "disk"]);
    let bananas = found.candidates.iter().find(|c| c.datapoint.text.starts_with("Bananas")).unwrap();
    assert_eq!((bananas.text_rank, bananas.text_score), (None, None));
    assert!(bananas.matched_terms.is_empty());
}

#[tokio::test]
async fn only_the_named_datanets_are_searched() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = two_datanets(&dir, &embedder).await;
    let found = index.retrieve(Query::new("tree", vec![name("fruit")])).await.unwrap();
    assert!(found.candidates.iter().all(|candidate| candidate.datapoint.datanet == name("fruit")));
    let unknown = index.retrieve(Query::new("tree", vec![name("fruit"), name("secret")])).await;
    assert!(matches!(unknown, Err(IndexError::UnknownDatanet(_))));
    assert!(matches!(index.retrieve(Query::new("tree", vec![])).await, Err(IndexError::NoDatanets)));
    assert!(matches!(index.retrieve(Query::new(" \n", vec![name("fruit")])).await, Err(IndexError::EmptyQuery)));
}

#[tokio::test]
async fn each_mode_uses_its_own_search_only() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = two_datanets(&dir, &embedder).await;
    for mode in [RetrievalMode::Vector, RetrievalMode::FullText] {
        let query = Query { mode, candidates: 2, ..Query::new("apple tree", vec![name("trees"), name("fruit")]) };
        let found = index.retrieve(query).await.unwrap();
        assert_eq!(found.candidates.len(), 2, "candidates are counted over all datanets");
        assert!(found.candidates[0].datapoint.text.starts_with("An apple"));
        assert!(found.candidates.iter().all(|c| c.vector_rank.is_some() == (mode == RetrievalMode::Vector)));
        assert!(found.candidates.iter().all(|c| c.text_rank.is_some() == (mode == RetrievalMode::FullText)));
    }
}

#[tokio::test]
async fn users_text_is_never_syntax() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = two_datanets(&dir, &embedder).await;
    index.create(&name("empty")).await.unwrap();
    for text in ["\"unbalanced", "tree AND (", "text:tree^9 OR *", "' OR 1=1 --", "what is the", "?!", "日本語", "a\0b"]
    {
        let query = Query::new(text, vec![name("trees"), name("empty")]);
        let found = index.retrieve(query).await.unwrap();
        assert_eq!(found.candidates.len(), 3, "{text:?}");
    }
    let long = Query::new("tree ".repeat(50_000), vec![name("trees")]);
    assert_eq!(index.retrieve(long).await.unwrap().candidates.len(), 3);
}

#[tokio::test]
async fn late_interaction_orders_the_best_and_says_so() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = two_datanets(&dir, &embedder).await;
    let plain = Query::new("search tree on disk", vec![name("trees"), name("fruit")]);
    let query = Query { rerank: Some(Rerank::LateInteraction), ..plain.clone() };
    let found = index.retrieve(query).await.unwrap();
    let scores: Vec<f64> = found.candidates.iter().map(|candidate| candidate.rerank_score.unwrap()).collect();
    let together = |candidate: &cairn_index::Candidate| candidate.fused_score + candidate.rerank_score.unwrap();
    assert!(found.candidates.is_sorted_by(|a, b| together(a) >= together(b)), "{scores:?}");
    assert!(scores[0] > scores[4] && scores[0] <= 1.0, "{scores:?}");
    assert!(found.candidates[0].datapoint.text.starts_with("A B-tree"));
    let unchanged = index.retrieve(plain).await.unwrap();
    assert!(unchanged.candidates.iter().all(|candidate| candidate.rerank_score.is_none()));
    // The same text is as near as can be, whatever stands beside it.
    let same =
        Query { rerank: Some(Rerank::LateInteraction), ..Query::new("Bananas are yellow.", vec![name("fruit")]) };
    let same = index.retrieve(same).await.unwrap();
    assert!(same.candidates[0].rerank_score.unwrap() > 0.999, "{:?}", same.candidates[0].rerank_score);
}

#[tokio::test]
async fn what_is_kept_of_a_query_ends_with_the_rows() {
    let (dir, embedder) = (TempDir::new().unwrap(), embedder());
    let index = two_datanets(&dir, &embedder).await;
    let query = Query::new("yellow fruit", vec![name("fruit")]);
    let first = index.retrieve(query.clone()).await.unwrap();
    assert_eq!(index.retrieve(query.clone()).await.unwrap(), first);

    index.ingest(&name("fruit"), drafts(["A lemon is a yellow fruit."]), options(dir.path())).await.unwrap();
    let second = index.retrieve(query.clone()).await.unwrap();
    assert_eq!(second.candidates[0].datapoint.text, "A lemon is a yellow fruit.");

    index.erase(&name("fruit"), &[2]).await.unwrap();
    let third = index.retrieve(query).await.unwrap();
    assert!(third.candidates.iter().all(|candidate| !candidate.datapoint.text.contains("lemon")));
    // The same question elsewhere is another query, though its embedding is known.
    let elsewhere = index.retrieve(Query::new("yellow fruit", vec![name("trees")])).await.unwrap();
    assert!(elsewhere.candidates.iter().all(|candidate| candidate.datapoint.datanet == name("trees")));
    assert_eq!(elsewhere.tokens, first.tokens);
}
