//! Any number of products in one hand-over to the threads: base weights over all rows, adapters over theirs.
//!
//! First every distinct x is prepared once (quantized, rows gathered in tiles), then the panels of all matrices are split
//! between the threads. Which thread computes a panel, and in which tile a row lies, changes no bit of the result.

use std::{ops::Range, sync::Mutex};

use crate::{
    Form, Matrix, Threads,
    activations::{Activations, Scratch, TileMut, Tiling},
    kernel::{CHUNK, Isa, MOST_ROWS, Sums},
    packed::{LANES, Line, PANEL, panel_lines},
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
/// But at least as many rows, so that the weights are not read from memory too often.
const CHUNK_ROWS: usize = 48;
/// Bytes of weights that stay in the first-level cache beside a tile of activations.
const PART_BYTES: usize = 20 << 10;

pub(crate) fn multiply_all_with(isa: Isa, threads: &Threads, products: &mut [Product<'_>]) {
    let prepared = Prepared::new(isa, threads, products);
    let parts = prepared.parts(threads);
    threads.run(parts, |part| prepared.run_part(part, parts, |_, _| {}, |_, _, _| {}));
    prepared.end(threads);
}

/// Products whose activations are prepared. What `products` borrows must stay borrowed until the last part has ended.
pub(crate) struct Prepared<'a> {
    isa: Isa,
    scratch: Scratch,
    jobs: Vec<Job<'a>>,
    total: usize,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(isa: Isa, threads: &Threads, products: &'a mut [Product<'_>]) -> Self {
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
                y: Columns::new(product.y, product.matrix.outputs()),
                write: product.write,
                cost: product.matrix.inputs() * product.rows,
            })
            .collect();
        let total = jobs.iter().map(Job::total_cost).sum();
        Self { isa, scratch, jobs, total }
    }

    /// The activations that a product reads, as they were prepared.
    pub(crate) fn activations(&self, product: usize) -> &Activations {
        &self.scratch.prepared[self.jobs[product].x]
    }

    /// Into how many parts the work is worth cutting.
    pub(crate) fn parts(&self, threads: &Threads) -> usize {
        match self.total * PANEL {
            ..ONE_PART => 1,
            ONE_PART..FINE_PARTS => threads.count(),
            _ => threads.count() * 2,
        }
    }

    /// Computes one of so many parts. Calls `before(product, panel)` as it begins with a panel, and `then(product, panels, y)`
    /// for every product that it has panels of.
    pub(crate) fn run_part(
        &self,
        part: usize,
        parts: usize,
        before: impl Fn(usize, usize),
        then: impl Fn(usize, Range<usize>, &Columns),
    ) {
        let share = self.total * part / parts..self.total * (part + 1) / parts;
        let mut done = 0;
        for (i, job) in self.jobs.iter().enumerate() {
            let panels = job.panels(done, &share);
            done += job.total_cost();
            if !panels.is_empty() {
                job.run(self.isa, panels.clone(), &self.scratch, |panel| before(i, panel));
                then(i, panels, &job.y);
            }
        }
    }

    pub(crate) fn end(self, threads: &Threads) {
        threads.give_scratch(self.scratch);
    }
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
            prepared.push(Activations::default());
        }
        prepared[sources.len()].resize(tiling, product.matrix.inputs(), quantized);
        which.push(sources.len());
        sources.push(product.x);
    }
    let tiles = prepared.iter_mut().zip(&sources).flat_map(|(activations, x)| activations.tiles_mut(x));
    if threads.count() == 1 || sources.iter().map(|x| x.len()).sum::<usize>() < PREPARE_TOGETHER {
        tiles.for_each(|(mut tile, x)| tile.fill(x, isa));
    } else {
        let tiles: Vec<Mutex<(TileMut<'_>, &[f32])>> = tiles.map(Mutex::new).collect();
        threads.run(tiles.len(), |i| {
            let mut tile = tiles[i].lock().expect("each tile is locked once, so no panic has poisoned it");
            let (tile, x) = &mut *tile;
            tile.fill(x, isa);
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

    fn run(&self, isa: Isa, panels: Range<usize>, scratch: &Scratch, before: impl Fn(usize)) {
        let x = &scratch.prepared[self.x];
        let (tiling, inputs, form) = (x.tiling(), self.matrix.inputs(), self.matrix.form());
        let row_bytes = inputs * if form.quantized() { 1 } else { 4 };
        let rows_at_once = (CHUNK_BYTES / row_bytes.max(1)).max(CHUNK_ROWS);
        let tiles_at_once = rows_at_once / isa.tile_rows(form.quantized());
        // The sums of a single tile, as in decoding, take no allocation.
        let (mut few, mut many) = ([Sums::ZERO; 2 * MOST_ROWS], Vec::new());
        for first in (0..tiling.tiles()).step_by(tiles_at_once) {
            let tiles = first..tiling.tiles().min(first + tiles_at_once);
            let start = tiling.rows(tiles.start).start;
            let rows = tiling.rows(tiles.end - 1).end - start;
            let parts = Parts::new(form, inputs, tiles.len());
            for p in panels.clone() {
                before(p);
                let panel = self.matrix.packed.panel(p);
                let next: &[Line] = if p + 1 < panels.end { self.matrix.packed.panel(p + 1).lines } else { &[] };
                let steps = parts.count() * tiles.len();
                let sums = if rows <= MOST_ROWS {
                    &mut few[..2 * rows]
                } else {
                    many.resize(2 * rows, Sums::ZERO);
                    many.as_mut_slice()
                };
                sums.fill(Sums::ZERO);
                for part in 0..parts.count() {
                    let weights = panel.part(parts.inputs(part));
                    for (t, tile) in tiles.clone().enumerate() {
                        // One tile reads the weights as they come; among several, each fetches a share of the next panel,
                        // so that memory is never idle while they compute.
                        let step = part * tiles.len() + t;
                        let share = next.len() * step / steps..next.len() * (step + 1) / steps;
                        let ahead = if steps == 1 { &[] } else { &next[share] };
                        let rows = tiling.rows(tile);
                        let last = part + 1 == parts.count();
                        if last {
                            rows.clone().for_each(|row| self.y.prefetch(row, p * PANEL));
                        }
                        let sums = &mut sums[2 * (rows.start - start)..];
                        isa.multiply(weights, x.tile(tile).part(parts.inputs(part)), ahead, sums);
                        if last {
                            self.write(p, rows, sums);
                        }
                    }
                }
            }
        }
    }

    /// Writes the sums of one panel and some rows to y.
    fn write(&self, panel: usize, rows: Range<usize>, sums: &[Sums]) {
        let columns = panel * PANEL..self.matrix.outputs().min((panel + 1) * PANEL);
        for (row, sums) in rows.zip(sums.chunks_exact(2)) {
            // SAFETY: only this part has this panel of this job, so these columns are its own; y outlives the hand-over
            // that runs this, as `products` is borrowed for longer.
            #[allow(unsafe_code)]
            let y = unsafe { self.y.row(row, columns.clone()) };
            for (y, sums) in y.chunks_mut(LANES).zip(sums) {
                match self.write {
                    Write::Set => y.copy_from_slice(&sums.0[..y.len()]),
                    Write::Add(scale) => y.iter_mut().zip(&sums.0).for_each(|(y, sum)| *y = scale.mul_add(*sum, *y)),
                }
            }
        }
    }
}

/// A panel's inputs cut into parts that stay in the first-level cache while all tiles go over them.
#[derive(Clone, Copy)]
struct Parts {
    inputs: usize,
    each: usize,
}

impl Parts {
    fn new(form: Form, inputs: usize, tiles: usize) -> Self {
        let unit = if form.quantized() { form.block() } else { CHUNK };
        let units = inputs.div_ceil(unit);
        let most = (PART_BYTES / (panel_lines(form, unit, 2) * size_of::<Line>())).max(1);
        // A single tile uses every weight once: nothing to keep.
        let count = if tiles == 1 { 1 } else { units.div_ceil(most).max(1) };
        Self { inputs, each: (units.div_ceil(count) * unit).max(1) }
    }

    fn count(self) -> usize {
        self.inputs.div_ceil(self.each)
    }

    fn inputs(self, part: usize) -> Range<usize> {
        part * self.each..self.inputs.min((part + 1) * self.each)
    }
}

/// y [rows, out], of which threads write different columns.
pub(crate) struct Columns {
    start: *mut f32,
    outputs: usize,
    len: usize,
}

// SAFETY: `row` and `at` give different threads disjoint columns; their callers see to that.
#[allow(unsafe_code)]
unsafe impl Sync for Columns {}

impl Columns {
    pub(crate) fn new(y: &mut [f32], outputs: usize) -> Self {
        Self { start: y.as_mut_ptr(), outputs, len: y.len() }
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether there are so many rows of so many columns.
    pub(crate) fn holds(&self, rows: usize, outputs: usize) -> bool {
        outputs == self.outputs && rows * outputs <= self.len
    }

    /// Where an element lies; it must exist.
    pub(crate) fn at(&self, row: usize, column: usize) -> *mut f32 {
        self.start.wrapping_add(row * self.outputs + column)
    }

    /// Asks for the place where results will go: without it every store waits for its line.
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    fn prefetch(&self, row: usize, column: usize) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..2 {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            let at = self.start.wrapping_add(row * self.outputs + column + line * 16);
            // SAFETY: a hint, which reads and writes nothing and is valid for any address.
            #[allow(unsafe_code)]
            unsafe {
                _mm_prefetch::<_MM_HINT_ET0>(at.cast());
            }
        }
    }

    /// Some columns of one row.
    ///
    /// # Safety
    /// No other reference to these elements may be in use, and the slice this was made from must still be borrowed.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn row(&self, row: usize, columns: Range<usize>) -> &mut [f32] {
        assert!(columns.start <= columns.end && columns.end <= self.outputs && (row + 1) * self.outputs <= self.len);
        // SAFETY: within the slice by the assertion above; not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.outputs + columns.start), columns.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible numbers of very different sizes, as activations have.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * [1.0, 0.01, 30.0][state as usize % 3]
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for (out, inp) in [(1, 256), (16, 512), (17, 768), (32, 256), (72, 1024)] {
            for form in [Form::F32, Form::F16, Form::Q8_0, Form::Q4K] {
                let matrix = Matrix::quantize(&numbers(out * inp, 1), out, inp, form).unwrap();
                for rows in 1..=14 {
                    let x = numbers(rows * inp, 2);
                    let run = |isa: Isa| {
                        let mut y = vec![0.5; rows * out];
                        let product = Product { matrix: &matrix, x: &x, rows, y: &mut y, write: Write::Add(0.25) };
                        multiply_all_with(isa, &Threads::new(1), &mut [product]);
                        y.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
                    };
                    let expected = run(Isa::Portable);
                    for isa in Isa::available() {
                        assert!(run(isa) == expected, "{isa:?}, {matrix:?}, {rows} rows");
                    }
                }
            }
        }
    }
}
