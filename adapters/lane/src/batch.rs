//! [`Batch`]: the tokens of a step below one another, those that use the same adapters together.

use std::{cmp::Ordering, ops::Range, sync::Arc};

use crate::{Attached, Row, Wanted};

/// Neighbouring tokens that use the same adapters.
pub(crate) struct Segment<'a> {
    /// Rows of the step's matrices.
    pub(crate) tokens: Range<usize>,
    pub(crate) adapters: &'a [(Arc<Attached>, f32)],
}

/// Neighbouring new tokens of one sequence.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    /// Which of the step's rows.
    pub(crate) row: usize,
    /// The first token's place in the step's matrices.
    pub(crate) start: usize,
    /// The first token's position in its sequence.
    pub(crate) position: usize,
    pub(crate) tokens: usize,
}

pub(crate) struct Batch<'a> {
    pub(crate) parts: Vec<Part>,
    pub(crate) segments: Vec<Segment<'a>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(rows: &[Row<'a>]) -> Self {
        let mut order: Vec<usize> = (0..rows.len()).filter(|at| !rows[*at].tokens.is_empty()).collect();
        order.sort_by(|a, b| compare(rows[*a].adapters, rows[*b].adapters));
        let parts = order.into_iter().map(|row| Part {
            row,
            start: 0,
            position: rows[row].sequence.len(),
            tokens: rows[row].tokens.len(),
        });
        Self::of(parts.collect(), rows)
    }

    /// The tokens whose logits are wanted, in the same order.
    pub(crate) fn wanted(&self, rows: &[Row<'a>]) -> Self {
        let wanted = |part: &Part| match rows[part.row].wanted {
            Wanted::None => None,
            Wanted::Last => Some(rest(part, 1)),
            Wanted::Rest(0) => None,
            Wanted::Rest(tokens) => Some(rest(part, tokens)),
            Wanted::All => Some(*part),
        };
        Self::of(self.parts.iter().filter_map(wanted).collect(), rows)
    }

    fn of(mut parts: Vec<Part>, rows: &[Row<'a>]) -> Self {
        let mut segments: Vec<Segment<'a>> = Vec::new();
        let mut end = 0;
        for part in &mut parts {
            part.start = end;
            end += part.tokens;
            let adapters = rows[part.row].adapters;
            match segments.last_mut() {
                Some(last) if compare(last.adapters, adapters).is_eq() => last.tokens.end = end,
                _ => segments.push(Segment { tokens: part.start..end, adapters }),
            }
        }
        Self { parts, segments }
    }

    /// How many tokens there are.
    pub(crate) fn tokens(&self) -> usize {
        self.segments.last().map_or(0, |segment| segment.tokens.end)
    }

    /// Copies the rows of x [tokens, width] to where they stand in the order of the step's rows.
    pub(crate) fn in_order_of_rows(&self, x: &[f32], to: &mut [f32]) {
        let width = x.len() / self.tokens().max(1);
        let mut parts: Vec<&Part> = self.parts.iter().collect();
        parts.sort_by_key(|part| part.row);
        let mut to = to;
        for part in parts {
            let (here, rest) = to.split_at_mut(part.tokens * width);
            here.copy_from_slice(&x[part.start * width..][..here.len()]);
            to = rest;
        }
    }

    /// Moves the rows of x [tokens of `from`, width] that belong to this batch to the front, and cuts the rest off.
    pub(crate) fn narrow(&self, from: &Batch<'_>, x: &mut Vec<f32>) {
        let width = x.len() / from.tokens().max(1);
        let mut old = from.parts.iter();
        for part in &self.parts {
            // Both are in the same order, and a part keeps its end.
            let Some(whole) = old.find(|old| old.row == part.row) else { break };
            let start = (whole.start + whole.tokens - part.tokens) * width;
            x.copy_within(start..start + part.tokens * width, part.start * width);
        }
        x.truncate(self.tokens() * width);
    }
}

/// The end of a part, at most all of it.
fn rest(part: &Part, tokens: usize) -> Part {
    let tokens = tokens.min(part.tokens);
    Part { position: part.position + part.tokens - tokens, tokens, ..*part }
}

/// Equal where the same adapters have the same weights in the same order; otherwise any order, the base first.
fn compare(a: &[(Arc<Attached>, f32)], b: &[(Arc<Attached>, f32)]) -> Ordering {
    let keys = |adapters| {
        let adapters: &[(Arc<Attached>, f32)] = adapters;
        adapters.iter().map(|(adapter, weight)| (Arc::as_ptr(adapter).addr(), weight.to_bits()))
    };
    keys(a).cmp(keys(b))
}
