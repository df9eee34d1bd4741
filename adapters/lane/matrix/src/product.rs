//! Any number of products in one hand-over to the threads: base weights over all rows, adapters over theirs.
//!
//! First every distinct x is prepared once (quantized, rows gathered in tiles), then the panels of all matrices are split
//! between the threads. Which thread computes a panel, and in which tile a row lies, changes no bit of the result.

use std::{ops::Range, sync::Mutex};

use crate::{
    Matrix, Threads,
    activations::{Scratch, TileMut, Tiling},
    kernel::{Isa, Sums},
    packed::PANEL,
};

/// What becomes of a product's old y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Write {
    /// y = x Wᵀ
    Set,
    /// y = y + scale · x Wᵀ
    Add(f32),
}

/// One product of a matrix W [out, in] with x [rows, in] into y [rows, out].
pub struct Product<'a> {
    /// W.
    pub matrix: &'a Matrix,
    /// The activations. Products with the very same slice share its preparation.
    pub x: &'a [f32],
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Where the result goes.
    pub y: &'a mut [f32],
    /// How it goes there.
    pub write: Write,
}

/// Runs all products in one hand-over. No product may depend on another's y (the borrows see to it).
///
/// # Panics
/// If an `x` or `y` is not as long as its shape says.
pub fn multiply_all(threads: &Threads, products: &mut [Product<'_>]) {
    multiply_all_with(Isa::best(), threads, products);
}

/// Multiply-adds that are not worth a hand-over.
const ONE_PART: usize = 64 << 10;
/// Multiply-adds from which parts are cut finer than one a thread, so that a thread that is held up can be helped.
const FINE_PARTS: usize = 8 << 20;
/// Activations that are prepared by several threads.
const PREPARE_TOGETHER: usize = 16 << 10;
/// Bytes of prepared activations that go over all panels before the next rows do: they stay in the second-level cache.
const CHUNK_BYTES: usize = 512 << 10;

pub(crate) fn multiply_all_with(isa: Isa, threads: &Threads, products: &mut [Product<'_>]) {
    for Product { matrix, x, rows, y, .. } in &*products {
        assert_eq!(x.len(), rows * matrix.inputs(), "x of {matrix:?} with {rows} rows");
        assert_eq!(y.len(), rows * matrix.outputs(), "y of {matrix:?} with {rows} rows");
    }
    let mut scratch = threads.take_scratch();
    prepare(isa, threads, products, &mut scratch);
    let jobs: Vec<Job<'_>> = products
        .iter_mut()
        .zip(&scratch.which)
        .map(|(product, which)| Job {
            matrix: product.matrix,
            x: *which,
            y: Columns { start: product.y.as_mut_ptr(), outputs: product.matrix.outputs(), len: product.y.len() },
            write: product.write,
            cost: product.matrix.inputs() * product.rows,
        })
        .collect();
    let total: usize = jobs.iter().map(Job::total_cost).sum();
    let parts = match total * PANEL {
        ..ONE_PART => 1,
        ONE_PART..FINE_PARTS => threads.count(),
        _ => threads.count() * 4,
    };
    threads.run(parts, |part| {
        let mut sums = Sums::new();
        let share = total * part / parts..total * (part + 1) / parts;
        let mut before = 0;
        for job in &jobs {
            job.run(isa, job.panels(before, &share), &scratch, &mut sums);
            before += job.total_cost();
        }
    });
    threads.give_scratch(scratch);
}

/// Fills `scratch` with the activations of all products.
fn prepare(isa: Isa, threads: &Threads, products: &[Product<'_>], scratch: &mut Scratch) {
    let Scratch { prepared, which } = scratch;
    let same = |a: &Product<'_>, b: &Product<'_>| {
        std::ptr::eq(a.x, b.x) && a.rows == b.rows && a.matrix.form().quantized() == b.matrix.form().quantized()
    };
    which.clear();
    let mut sources: Vec<&[f32]> = Vec::with_capacity(products.len());
    for (i, product) in products.iter().enumerate() {
        if let Some(twin) = products[..i].iter().position(|other| same(other, product)) {
            which.push(which[twin]);
            continue;
        }
        let quantized = product.matrix.form().quantized();
        let tiling = Tiling::new(product.rows, isa.tile_rows(quantized));
        if prepared.len() == sources.len() {
            prepared.push(crate::activations::Activations::default());
        }
        prepared[sources.len()].resize(tiling, product.matrix.inputs(), quantized);
        which.push(sources.len());
        sources.push(product.x);
    }
    let tiles = prepared.iter_mut().zip(&sources).flat_map(|(activations, x)| activations.tiles_mut(x));
    if threads.count() == 1 || sources.iter().map(|x| x.len()).sum::<usize>() < PREPARE_TOGETHER {
        tiles.for_each(|(mut tile, x)| tile.fill(x));
    } else {
        let tiles: Vec<Mutex<(TileMut<'_>, &[f32])>> = tiles.map(Mutex::new).collect();
        threads.run(tiles.len(), |i| {
            let mut tile = tiles[i].lock().expect("each tile is locked once, so no panic has poisoned it");
            let (tile, x) = &mut *tile;
            tile.fill(x);
        });
    }
}

/// A product as the threads see it.
struct Job<'a> {
    matrix: &'a Matrix,
    /// Which prepared activations it reads.
    x: usize,
    y: Columns,
    write: Write,
    /// What one panel costs.
    cost: usize,
}

impl Job<'_> {
    fn total_cost(&self) -> usize {
        self.matrix.packed.panels() * self.cost
    }

    /// The panels whose start lies in the share, when `before` was spent on the jobs before this one.
    fn panels(&self, before: usize, share: &Range<usize>) -> Range<usize> {
        let first = |at: usize| at.saturating_sub(before).div_ceil(self.cost.max(1)).min(self.matrix.packed.panels());
        first(share.start)..first(share.end)
    }

    fn run(&self, isa: Isa, panels: Range<usize>, scratch: &Scratch, sums: &mut Sums) {
        let x = &scratch.prepared[self.x];
        let tiling = x.tiling();
        let row_bytes = self.matrix.inputs() * if self.matrix.form().quantized() { 1 } else { 4 };
        let tile_bytes = isa.tile_rows(self.matrix.form().quantized()) * row_bytes;
        let chunk = (CHUNK_BYTES / tile_bytes.max(1)).max(1);
        for first in (0..tiling.tiles()).step_by(chunk) {
            for p in panels.clone() {
                let panel = self.matrix.packed.panel(p);
                let columns = p * PANEL..self.matrix.outputs().min((p + 1) * PANEL);
                for tile in first..tiling.tiles().min(first + chunk) {
                    isa.multiply(panel, x.tile(tile), sums);
                    for (r, row) in tiling.rows(tile).enumerate() {
                        let sums = &sums.row(r)[..columns.len()];
                        // SAFETY: only this part has this panel of this job, so these columns are its own; y outlives the
                        // hand-over that runs this, as `products` is borrowed for longer.
                        #[allow(unsafe_code)]
                        let y = unsafe { self.y.row(row, columns.clone()) };
                        match self.write {
                            Write::Set => y.copy_from_slice(sums),
                            Write::Add(scale) => {
                                y.iter_mut().zip(sums).for_each(|(y, sum)| *y = scale.mul_add(*sum, *y));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// y [rows, out], of which threads write different columns.
struct Columns {
    start: *mut f32,
    outputs: usize,
    len: usize,
}

// SAFETY: `row` hands out disjoint columns to different threads; its callers see to that.
#[allow(unsafe_code)]
unsafe impl Sync for Columns {}

impl Columns {
    /// Some columns of one row.
    ///
    /// # Safety
    /// No other reference to these elements may be in use, and the slice this was made from must still be borrowed.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    unsafe fn row(&self, row: usize, columns: Range<usize>) -> &mut [f32] {
        assert!(columns.start <= columns.end && columns.end <= self.outputs && (row + 1) * self.outputs <= self.len);
        // SAFETY: within the slice by the assertion above; not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.outputs + columns.start), columns.len()) }
    }
}
