//! Fusion: one order out of two searches and the order of words, by a convex combination of their scores.
//!
//! ```text
//! fused = 0.3 · cosine + 0.7 · (0.85 · bm25 / best bm25 of the query + 0.15 · phrase)
//! ```
//!
//! BM25 knows no order of words. `phrase` is the part of the query's neighbouring pairs of words that are neighbours in
//! the candidate too: the sequential dependence model (Metzler and Croft 2005), with that paper's weights for words (0.85)
//! and for their order (0.15, its two kinds of pairs taken together). A query of one word has no pairs; BM25 then counts whole.
//!
//! Every candidate has its cosine, whichever search found it: its vector lies beside its text. One that the full-text
//! search did not return counts there with the least score it did return, which is the most that the candidate can
//! have; with 0 if that search returned everything it found. If a search found nothing at all, the other decides alone.
//!
//! Why not reciprocal ranks (Cormack et al. 2009), the usual choice? They forget by how much the first beat the second.
//! Where full text is certain (a rare word matches) and the vector search is not, or the reverse, that is what counts: on
//! the Jargon File, ranks with equal weights fell from full text's recall@1 of 96.9% to 85.6%, and no weight brought
//! them back, while the combination of scores beat either search (Bruch et al. 2023 find the same on larger sets).
//!
//! The weight was chosen on the Jargon File and on 2,700 queries over FOLDOC, not on the draw whose figures are published.
//! On sentences taken from the entry itself any weight from 0.1 to 0.4 does, for full text is nearly always right there;
//! on questions ("What is X?") 0.3 raised full text's recall@1 from 87.4% to 89.9%. Measure with examples/known_item.rs.

use std::collections::HashMap;

use super::{Candidate, Hit, key};
use crate::{DatanetName, Datapoint, terms::Terms};

/// Ranks everything that either search found; `question` is the query's embedding and `asked` how much each search was
/// asked for. Both lists are best first.
pub(super) fn fuse(
    by_vector: Vec<Hit>,
    by_text: Vec<Hit>,
    question: &[f32],
    asked: usize,
    terms: &mut Terms,
) -> Vec<Candidate> {
    let both = !by_vector.is_empty() && !by_text.is_empty();
    let weight = match (by_vector.is_empty(), by_text.is_empty()) {
        (true, _) => 0.0,
        (_, true) => 1.0,
        _ => VECTOR_WEIGHT,
    };
    let text_floor = by_text.last().filter(|_| by_text.len() >= asked).map_or(0.0, |hit| hit.score);
    let text_best = by_text.first().map_or(1.0, |hit| hit.score).max(f64::MIN_POSITIVE);

    let mut candidates: HashMap<(DatanetName, u64), Candidate> = HashMap::new();
    for (rank, hit) in (1..).zip(by_vector) {
        let candidate = candidates.entry(key(&hit.datapoint)).or_insert_with(|| unranked(hit.datapoint));
        (candidate.vector_score, candidate.vector_rank) = (Some(hit.score), Some(rank));
    }
    for (rank, hit) in (1..).zip(by_text) {
        let cosine = (!question.is_empty()).then(|| cosine(question, &hit.vector));
        let candidate = candidates.entry(key(&hit.datapoint)).or_insert_with(|| unranked(hit.datapoint));
        candidate.vector_score = candidate.vector_score.or(cosine);
        (candidate.text_score, candidate.text_rank) = (Some(hit.score), Some(rank));
    }
    let mut candidates: Vec<_> = candidates.into_iter().collect();
    for (_, candidate) in &mut candidates {
        let title = candidate.datapoint.title().unwrap_or_default();
        let matched = terms.matched(&format!("{title}\n{}", candidate.datapoint.text));
        candidate.matched_terms = matched.words;
        candidate.phrase_score = matched.phrase.filter(|_| both);
        let cosine = candidate.vector_score.unwrap_or(0.0);
        let bm25 = candidate.text_score.unwrap_or(text_floor) / text_best;
        let text = candidate.phrase_score.map_or(bm25, |phrase| (1.0 - ORDER_WEIGHT) * bm25 + ORDER_WEIGHT * phrase);
        candidate.fused_score = weight * cosine + (1.0 - weight) * text;
    }
    // Equal scores by datanet and place, so that the same query ranks the same way again.
    candidates.sort_by(|(a, x), (b, y)| y.fused_score.total_cmp(&x.fused_score).then_with(|| a.cmp(b)));
    (1..).zip(candidates).map(|(rank, (_, candidate))| Candidate { rank, ..candidate }).collect()
}

/// Embeddings are of length 1.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn unranked(datapoint: Datapoint) -> Candidate {
    Candidate {
        datapoint,
        vector_score: None,
        vector_rank: None,
        text_score: None,
        text_rank: None,
        phrase_score: None,
        rerank_score: None,
        matched_terms: Vec::new(),
        fused_score: 0.0,
        rank: 0,
        left_out: None,
    }
}

const VECTOR_WEIGHT: f64 = 0.3;
const ORDER_WEIGHT: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_proof::Hash;

    fn hit(seq: u64, score: f64) -> Hit {
        let datapoint = Datapoint {
            datanet: "d".parse().unwrap(),
            id: seq.to_string().parse().unwrap(),
            seq,
            text: String::new(),
            contributor: String::new(),
            contributed_at: String::new(),
            source: None,
            licence: String::new(),
            metadata: serde_json::json!({}),
            content_hash: Hash::default(),
            leaf: Hash::default(),
        };
        Hit { datapoint, score, vector: vec![score as f32 / 100.0] }
    }

    fn fuse(by_vector: Vec<Hit>, by_text: Vec<Hit>, question: &[f32], asked: usize) -> Vec<Candidate> {
        super::fuse(by_vector, by_text, question, asked, &mut Terms::new("word").unwrap())
    }

    fn order(fused: &[Candidate]) -> Vec<(u64, usize)> {
        fused.iter().map(|c| (c.datapoint.seq, c.rank)).collect()
    }

    #[test]
    fn a_clear_winner_of_one_search_beats_a_lukewarm_one_of_both() {
        let fused = fuse(
            vec![hit(1, 0.5), hit(2, 0.49), hit(3, 0.48)],
            vec![hit(3, 20.0), hit(1, 4.0), hit(2, 3.9)],
            &[1.0],
            3,
        );
        assert_eq!(order(&fused), [(3, 1), (1, 2), (2, 3)]);
        assert_eq!((fused[0].vector_rank, fused[0].text_rank), (Some(3), Some(1)));
        assert!((fused[0].fused_score - (VECTOR_WEIGHT * 0.48 + 1.0 - VECTOR_WEIGHT)).abs() < 1e-12);
    }

    #[test]
    fn every_candidate_has_its_cosine_and_a_text_score_or_the_last_of_a_full_list() {
        let fused = fuse(vec![hit(1, 0.9), hit(2, 0.8)], vec![hit(3, 10.0), hit(4, 5.0)], &[1.0], 2);
        let third = fused.iter().find(|c| c.datapoint.seq == 3).unwrap();
        assert!((third.fused_score - (VECTOR_WEIGHT * 0.1 + 1.0 - VECTOR_WEIGHT)).abs() < 1e-6);
        assert!((third.vector_score.unwrap() - 0.1).abs() < 1e-6 && third.vector_rank.is_none());
        let first = fused.iter().find(|c| c.datapoint.seq == 1).unwrap();
        assert!((first.fused_score - (VECTOR_WEIGHT * 0.9 + (1.0 - VECTOR_WEIGHT) * 0.5)).abs() < 1e-12);
        let fused = fuse(Vec::new(), vec![hit(3, 10.0)], &[], 2);
        assert_eq!(fused[0].vector_score, None);
    }

    #[test]
    fn words_in_the_querys_order_decide_between_equals() {
        let text = |seq, score, text: &str| {
            let mut hit = hit(seq, score);
            hit.datapoint.text = text.into();
            hit
        };
        let mut terms = Terms::new("a search tree").unwrap();
        let both = |score| vec![text(1, score, "the tree in a search"), text(2, score, "a search tree")];
        let fused = super::fuse(both(0.0), both(9.0), &[0.0], 2, &mut terms);
        assert_eq!(order(&fused), [(2, 1), (1, 2)]);
        assert_eq!((fused[0].phrase_score, fused[1].phrase_score), (Some(1.0), Some(0.0)));
        assert!((fused[0].fused_score - fused[1].fused_score - 0.7 * ORDER_WEIGHT).abs() < 1e-12);
        let alone = super::fuse(Vec::new(), both(9.0), &[], 2, &mut terms);
        assert_eq!((order(&alone), alone[0].phrase_score), (vec![(1, 1), (2, 2)], None), "full text alone is BM25");
    }

    #[test]
    fn one_search_alone_keeps_its_order_and_ties_are_stable() {
        let fused = fuse(vec![hit(7, 0.9), hit(9, 0.5), hit(2, 0.5)], Vec::new(), &[1.0], 50);
        assert_eq!(order(&fused), [(7, 1), (2, 2), (9, 3)]);
        let fused = fuse(Vec::new(), vec![hit(7, 9.0), hit(9, 5.0)], &[], 50);
        assert_eq!(order(&fused), [(7, 1), (9, 2)]);
        assert!(fuse(Vec::new(), Vec::new(), &[], 50).is_empty());
    }
}
