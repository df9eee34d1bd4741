//! LoRA on top of a product: y += scale · (x Aᵀ) Bᵀ, for any number of adapters, modules and rows in two hand-overs.

use crate::{Matrix, Product, Threads, Write, multiply_all};

/// One low-rank update of rows that share an adapter.
pub struct LowRank<'a> {
    /// A [r, in].
    pub a: &'a Matrix,
    /// B [out, r].
    pub b: &'a Matrix,
    /// alpha / r, or alpha / sqrt(r), times the request's weight.
    pub scale: f32,
    /// x [rows, in]. Updates with the very same slice share its preparation.
    pub x: &'a [f32],
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// y [rows, out], to which is added.
    pub y: &'a mut [f32],
}

/// y += scale · (x Aᵀ) Bᵀ for every update.
///
/// # Panics
/// If an `x` or `y` is not as long as its shape says, or the ranks of an A and its B differ.
pub fn add_low_rank(threads: &Threads, updates: &mut [LowRank<'_>]) {
    let mut between = vec![0.0; updates.iter().map(|update| update.rows * update.a.outputs()).sum()];
    let mut rest = between.as_mut_slice();
    let mut downs = Vec::with_capacity(updates.len());
    for LowRank { a, x, rows, .. } in &*updates {
        let (y, left) = rest.split_at_mut(rows * a.outputs());
        rest = left;
        downs.push(Product { matrix: a, x, rows: *rows, y, write: Write::Set });
    }
    multiply_all(threads, &mut downs);
    let mut rest = between.as_slice();
    let mut ups = Vec::with_capacity(updates.len());
    for LowRank { a, b, scale, rows, y, .. } in updates {
        assert_eq!(a.outputs(), b.inputs(), "ranks of {a:?} and {b:?}");
        let (x, left) = rest.split_at(*rows * a.outputs());
        rest = left;
        ups.push(Product { matrix: b, x, rows: *rows, y, write: Write::Add(*scale) });
    }
    multiply_all(threads, &mut ups);
}
