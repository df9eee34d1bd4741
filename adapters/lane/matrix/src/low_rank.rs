//! A step's linear layers with what adapters change in them, in one hand-over to the threads.
//!
//! ```text
//! y = gain ⊙ (x Wᵀ) + Σ scale · (x Aᵀ) Bᵀ
//! ```
//! The hand-over's first parts are all x Aᵀ. Each of the others computes some panels of the base's outputs and then adds
//! the adapters to the same columns while these are in its own cache; for that it waits until the first parts have ended,
//! which they nearly always have by then.

use std::{
    marker::PhantomData,
    ops::{Deref, Range},
    sync::atomic::{
        AtomicUsize,
        Ordering::{Acquire, Release},
    },
};

use crate::{
    Factor, FactorForm, Product, Threads, Write,
    activations::{BLOCK, QuantizedTile, Tile, quantize},
    factor::{Bytes, Held},
    kernel::{Isa, MOST_ROWS, Sums, Thin},
    packed::{LANES, PANEL, Packed},
    product::{Columns, Prepared},
};

/// A factor on each column of some rows of a base product.
pub struct Gain<'a> {
    /// Which of the products.
    pub product: usize,
    /// Which rows.
    pub rows: Range<usize>,
    /// [out]
    pub factors: &'a [f32],
}

/// y += scale · (x Aᵀ) Bᵀ for some rows of a product.
pub struct LowRank<'a> {
    /// Which of the products.
    pub product: usize,
    /// Which rows.
    pub rows: Range<usize>,
    /// A [r, in]. In I8 only where the product's matrix is quantized: it is multiplied with the same activations.
    pub a: &'a Factor,
    /// B [out, r], in the form of A or both in F32 and F16.
    pub b: &'a Factor,
    /// Alpha / r, or alpha / sqrt(r), where B does not have it in itself, times the request's weight.
    pub scale: f32,
}

/// What adapters change in some products.
#[derive(Default)]
pub struct Changes<'a> {
    /// Applied to the base's product.
    pub gains: Vec<Gain<'a>>,
    /// Added after that, in this order; sorted by product.
    pub updates: Vec<LowRank<'a>>,
}

/// Room for what is between A and B. Kept for the next call, it is not allocated anew.
#[derive(Default)]
pub struct Between {
    dense: Vec<f32>,
    q: Vec<i8>,
    d: Vec<f32>,
    bias: Vec<i32>,
}

/// Computes all products and changes them, in one hand-over.
///
/// # Panics
/// If an `x` or `y` is not as long as its shape says, rows or products are named that do not exist, updates are not in the
/// order of their products, or the shapes or forms of an A or a B do not fit.
pub fn multiply_adapted(threads: &Threads, products: &mut [Product<'_>], changes: &Changes<'_>, between: &mut Between) {
    multiply_adapted_with(Isa::best(), threads, products, changes, between);
}

fn multiply_adapted_with(
    isa: Isa,
    threads: &Threads,
    products: &mut [Product<'_>],
    changes: &Changes<'_>,
    between: &mut Between,
) {
    check(products, changes);
    let inputs: Vec<&[f32]> = products.iter().map(|product| product.x).collect();
    let base = Prepared::new(isa, threads, products);
    let pieces = pieces(&base, &inputs, &changes.updates);
    let between = between.for_all(&pieces);
    let of_products: Vec<&[Piece<'_>]> = (0..inputs.len())
        .map(|product| {
            let first = pieces.partition_point(|piece| piece.product < product);
            &pieces[first..pieces.partition_point(|piece| piece.product <= product)]
        })
        .collect();
    let (firsts, rest) = (pieces.len().min(threads.count() * 2), base.parts(threads));
    let ended = AtomicUsize::new(0);
    threads.run(firsts + rest, |part| {
        if part < firsts {
            let _counted = Counted(&ended);
            let share = pieces.len() * part / firsts..pieces.len() * (part + 1) / firsts;
            let mut share = pieces[share].iter().peekable();
            while let Some(piece) = share.next() {
                if let Some(next) = share.peek() {
                    (0..next.a.panels()).for_each(|panel| next.a.prefetch(panel));
                }
                piece.down(isa, &between);
            }
            return;
        }
        let before = |product: usize, panel: usize| {
            of_products[product].iter().filter(|piece| piece.is_first()).for_each(|piece| piece.b.prefetch(panel));
        };
        base.run_part(part - firsts, rest, before, |product, panels, y| {
            let columns = panels.start * PANEL..(panels.end * PANEL).min(y.outputs());
            changes.gains.iter().filter(|gain| gain.product == product).for_each(|gain| gain.apply(columns.clone(), y));
            if !of_products[product].is_empty() {
                threads.wait_for(|| ended.load(Acquire) == firsts);
            }
            of_products[product].iter().for_each(|piece| piece.up(isa, panels.clone(), &between, y));
        });
    });
    base.end(threads);
}

fn check(products: &[Product<'_>], Changes { gains, updates }: &Changes<'_>) {
    for Gain { product, rows, factors } in gains {
        let Product { matrix, rows: all, .. } = &products[*product];
        assert!(rows.end <= *all && factors.len() == matrix.outputs(), "rows {rows:?} of {all}, factors of {matrix:?}");
    }
    assert!(updates.is_sorted_by_key(|update| update.product), "updates are in the order of their products");
    for LowRank { product, rows, a, b, .. } in updates {
        let Product { matrix: w, x, rows: all, .. } = &products[*product];
        assert!(x.len() == all * w.inputs() && rows.end <= *all, "rows {rows:?} of {all} of {w:?}");
        assert!(
            a.inputs() == w.inputs() && b.outputs() == w.outputs() && a.outputs() == b.inputs(),
            "{a:?} and {b:?} on {w:?}"
        );
        let bytes = a.form() == FactorForm::I8;
        assert!(bytes == (b.form() == FactorForm::I8), "{a:?} and {b:?}");
        assert!(!bytes || w.form().quantized(), "{a:?} on {w:?}, whose activations are not bytes");
    }
}

/// Rows that one part multiplies with a dense A at most.
const A_ROWS: usize = 32;

/// Some rows of an update.
struct Piece<'a> {
    of: &'a LowRank<'a>,
    /// Rows of the product.
    rows: Range<usize>,
    how: How<'a>,
}

enum How<'a> {
    Bytes {
        a: &'a Bytes,
        b: &'a Bytes,
        /// The prepared activations, and which of their rows.
        x: QuantizedTile<'a>,
        within: Range<usize>,
        /// Blocks of x Aᵀ between the factors.
        t: Range<usize>,
    },
    Dense {
        a: &'a Packed,
        b: &'a Packed,
        /// x [rows, in].
        x: &'a [f32],
        /// Numbers of x Aᵀ between the factors.
        t: Range<usize>,
    },
}

impl<'a> Deref for Piece<'a> {
    type Target = LowRank<'a>;

    fn deref(&self) -> &LowRank<'a> {
        self.of
    }
}

/// Cuts the updates into pieces: rows that lie in one tile of prepared activations, or [`A_ROWS`] for dense factors.
fn pieces<'a>(base: &'a Prepared<'_>, inputs: &[&'a [f32]], updates: &'a [LowRank<'a>]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::with_capacity(updates.len());
    let (mut blocks, mut numbers) = (0, 0);
    let next = |counted: &mut usize, more: usize| {
        *counted += more;
        *counted - more..*counted
    };
    for of in updates {
        let r = of.a.outputs();
        let mut start = of.rows.start;
        while start < of.rows.end {
            let (end, how) = match (&of.a.held, &of.b.held) {
                (Held::Bytes(a), Held::Bytes(b)) => {
                    let (x, tile) = base.activations(of.product).tile_of(start);
                    let Tile::Quantized(x) = x else { unreachable!("`check` has seen to it") };
                    let end = of.rows.end.min(tile.end);
                    let within = start - tile.start..end - tile.start;
                    let t = next(&mut blocks, within.len() * r.div_ceil(BLOCK));
                    (end, How::Bytes { a, b, x, within, t })
                }
                (Held::Dense(a), Held::Dense(b)) => {
                    let end = of.rows.end.min(start + A_ROWS);
                    let x = &inputs[of.product][start * a.inputs..end * a.inputs];
                    (end, How::Dense { a, b, x, t: next(&mut numbers, (end - start) * r) })
                }
                _ => unreachable!("`check` has seen to it"),
            };
            pieces.push(Piece { of, rows: start..end, how });
            start = end;
        }
    }
    pieces
}

impl Between {
    /// Makes room for all pieces.
    fn for_all(&mut self, pieces: &[Piece<'_>]) -> SharedBetween<'_> {
        let (mut blocks, mut numbers) = (0, 0);
        for piece in pieces {
            match &piece.how {
                How::Bytes { t, .. } => blocks = t.end,
                How::Dense { t, .. } => numbers = t.end,
            }
        }
        self.dense.resize(numbers, 0.0);
        self.q.resize(blocks * BLOCK, 0);
        self.d.resize(blocks, 0.0);
        self.bias.resize(blocks, 0);
        SharedBetween {
            dense: Shared::new(&mut self.dense),
            q: Shared::new(&mut self.q),
            d: Shared::new(&mut self.d),
            bias: Shared::new(&mut self.bias),
        }
    }
}

/// [`Between`], as the threads see it: a piece's part of it is written by that piece's `down`, and read when all those have
/// ended.
struct SharedBetween<'a> {
    dense: Shared<'a, f32>,
    /// As the activations of a tile: [block][row][32], and so on.
    q: Shared<'a, i8>,
    d: Shared<'a, f32>,
    bias: Shared<'a, i32>,
}

/// A slice of which threads write different parts.
struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    of: PhantomData<&'a mut [T]>,
}

// SAFETY: `read` and `write` promise that nobody reads what another writes; see there.
#[allow(unsafe_code)]
unsafe impl<T: Send + Sync> Sync for Shared<'_, T> {}

#[allow(unsafe_code)]
impl<'a, T> Shared<'a, T> {
    fn new(of: &'a mut [T]) -> Self {
        Self { start: of.as_mut_ptr(), len: of.len(), of: PhantomData }
    }

    /// # Safety
    /// Nobody may be writing to that part.
    unsafe fn read(&self, part: Range<usize>) -> &[T] {
        assert!(part.start <= part.end && part.end <= self.len);
        // SAFETY: within the slice by the assertion; by the caller nobody writes to it.
        unsafe { std::slice::from_raw_parts(self.start.add(part.start), part.len()) }
    }

    /// # Safety
    /// Nobody else may be using that part.
    #[allow(clippy::mut_from_ref)]
    unsafe fn write(&self, part: Range<usize>) -> &mut [T] {
        assert!(part.start <= part.end && part.end <= self.len);
        // SAFETY: within the slice by the assertion; by the caller nobody else uses it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(part.start), part.len()) }
    }
}

impl Piece<'_> {
    /// Whether its rows are the update's first.
    fn is_first(&self) -> bool {
        self.rows.start == self.of.rows.start
    }

    /// x Aᵀ.
    #[allow(unsafe_code)]
    fn down(&self, isa: Isa, between: &SharedBetween<'_>) {
        match &self.how {
            How::Bytes { a, x, within, t, .. } => {
                // SAFETY: these blocks are this piece's, and nobody reads them before all `down` have ended.
                let (q, d, bias) = unsafe {
                    let bytes = t.start * BLOCK..t.end * BLOCK;
                    (between.q.write(bytes), between.d.write(t.clone()), between.bias.write(t.clone()))
                };
                let rows = within.len();
                let mut sums = [Sums::ZERO; 2 * MOST_ROWS];
                // A panel's outputs are one block of B's inputs.
                for panel in 0..self.of.a.panels() {
                    isa.multiply_factor(a.panel(panel), *x, within.clone(), &mut sums[..2 * rows]);
                    for (row, sums) in sums[..2 * rows].as_chunks::<2>().0.iter().enumerate() {
                        let mut values = [0.0; BLOCK];
                        let groups = a.panel(panel).groups;
                        for (values, sums) in values.chunks_exact_mut(LANES).zip(&sums[..groups]) {
                            values.copy_from_slice(&sums.0);
                        }
                        let at = panel * rows + row;
                        let sum;
                        (d[at], sum) = quantize(&values, &mut q[at * BLOCK..][..BLOCK]);
                        bias[at] = -128 * sum;
                    }
                }
            }
            How::Dense { a, x, t, .. } => {
                // SAFETY: as above.
                let y = Columns::new(unsafe { between.dense.write(t.clone()) }, a.outputs);
                let panels = 0..a.panels();
                Thin { factor: a, panels, x, y: &y, rows: 0..self.rows.len(), write: Write::Set }.run(isa);
            }
        }
    }

    /// y += scale · (x Aᵀ) Bᵀ in some panels, which are the calling part's alone. All `down` have ended.
    #[allow(unsafe_code)]
    fn up(&self, isa: Isa, panels: Range<usize>, between: &SharedBetween<'_>, y: &Columns) {
        match &self.how {
            How::Bytes { b, t, .. } => {
                let rows = self.rows.len();
                // SAFETY: all that write have ended.
                let tile = unsafe {
                    let bytes = t.start * BLOCK..t.end * BLOCK;
                    let (q, d) = (between.q.read(bytes), between.d.read(t.clone()));
                    QuantizedTile { rows, q, d, bias: between.bias.read(t.clone()), d_sum: &[] }
                };
                // SAFETY: the columns are this part's, and so are all rows in them.
                unsafe { isa.add_factor(b, panels, tile, self.scale, (y, self.rows.start)) }
            }
            How::Dense { b, t, .. } => {
                // SAFETY: as above.
                let x = unsafe { between.dense.read(t.clone()) };
                let write = Write::Add(self.scale);
                Thin { factor: b, panels, x, y, rows: self.rows.clone(), write }.run(isa);
            }
        }
    }
}

impl Gain<'_> {
    /// y = factors ⊙ y in some columns, which are the calling part's alone.
    fn apply(&self, columns: Range<usize>, y: &Columns) {
        for row in self.rows.clone() {
            // SAFETY: by the caller.
            #[allow(unsafe_code)]
            let y = unsafe { y.row(row, columns.clone()) };
            y.iter_mut().zip(&self.factors[columns.clone()]).for_each(|(y, factor)| *y *= factor);
        }
    }
}

/// Counts one part as ended, also when it panics: those that wait must not wait for ever.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Form, Matrix};

    /// Reproducible numbers of very different sizes, as activations have.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * [1.0, 0.01, 30.0][state as usize % 3]
        };
        (0..n).map(|_| next()).collect()
    }

    /// Against the kernels of thick matrices, for every instruction set, number of rows and of threads.
    #[test]
    fn thin_products_have_the_bits_of_thick_ones() {
        let shapes = [(576, 72, 16), (1536, 33, 5), (160, 49, 40), (512, 32, 32)];
        for (i, (inp, out, r)) in shapes.into_iter().enumerate() {
            for form in [FactorForm::F32, FactorForm::F16, FactorForm::I8] {
                let factor =
                    |out: usize, inp: usize, seed: u32| Factor::new(&numbers(out * inp, seed), out, inp, form).unwrap();
                let (a, b) = (factor(r, inp, 2), factor(out, r, 3));
                let of_base = if form == FactorForm::I8 { Form::Q8_0 } else { Form::F32 };
                let w = Matrix::quantize(&numbers(out * inp, 1), out, inp, of_base).unwrap();
                let gain = numbers(out, 4);
                for rows in [1, 2, 3, 4, 7, 8, 15, 40] {
                    let x = numbers(rows * inp, 5);
                    let one = Threads::new(1);
                    let (mut expected, mut t) = (vec![0.0; rows * out], vec![0.0; rows * r]);
                    w.multiply(&one, &x, rows, &mut expected);
                    let scaled = |y: &mut [f32]| y.iter_mut().zip(&gain).for_each(|(y, gain)| *y *= gain);
                    expected.chunks_exact_mut(out).for_each(scaled);
                    let held =
                        |x: &[f32], inputs| if form == FactorForm::I8 { as_bytes(x, inputs) } else { x.to_vec() };
                    thick(&a).multiply(&one, &held(&x, inp), rows, &mut t);
                    let (matrix, write) = (thick(&b), Write::Add(0.25));
                    let t = held(&t, r);
                    crate::multiply_all(&one, &mut [Product { matrix: &matrix, x: &t, rows, y: &mut expected, write }]);
                    let mut bits: Option<Vec<u32>> = None;
                    for isa in Isa::available() {
                        for threads in [1, 3] {
                            let mut y = vec![f32::NAN; rows * out];
                            let products = &mut [Product { matrix: &w, x: &x, rows, y: &mut y, write: Write::Set }];
                            // Updates of some rows each, as of different adapters.
                            let middle = rows.div_ceil(3);
                            let update = |rows| LowRank { product: 0, rows, a: &a, b: &b, scale: 0.25 };
                            let changes = Changes {
                                gains: vec![Gain { product: 0, rows: 0..rows, factors: &gain }],
                                updates: [0..middle, middle..rows].into_iter().map(update).collect(),
                            };
                            multiply_adapted_with(
                                isa,
                                &Threads::new(threads),
                                products,
                                &changes,
                                &mut Between::default(),
                            );
                            let case = format!("{isa:?}, {threads} threads, {rows} rows, shape {i}, {form:?}");
                            let ours: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
                            assert!(*bits.get_or_insert_with(|| ours.clone()) == ours, "{case}");
                            if form != FactorForm::I8 {
                                assert!(y.iter().zip(&expected).all(|(y, it)| y.to_bits() == it.to_bits()), "{case}");
                                continue;
                            }
                            // Scales are multiplied in another order, so that what is between the factors may be rounded to
                            // a neighbouring byte.
                            let most = expected.iter().fold(0.0f32, |most, y| most.max(y.abs()));
                            let within = |share: f32| {
                                y.iter().zip(&expected).filter(|(y, it)| (**y - **it).abs() <= share * most).count()
                            };
                            assert!(within(1e-5) * 10 >= y.len() * 9 && within(1e-2) == y.len(), "{case}");
                        }
                    }
                }
            }
        }
    }

    /// What the bytes of rows of activations stand for.
    fn as_bytes(x: &[f32], inputs: usize) -> Vec<f32> {
        let mut held = Vec::with_capacity(x.len());
        for block in x.chunks_exact(inputs).flat_map(|row| row.chunks(BLOCK)) {
            let (mut whole, mut q) = ([0.0; BLOCK], [0; BLOCK]);
            whole[..block.len()].copy_from_slice(block);
            let (d, _) = quantize(&whole, &mut q);
            held.extend(q[..block.len()].iter().map(|q| d * f32::from(*q)));
        }
        held
    }

    /// The factor's numbers for the kernels of thick matrices.
    fn thick(factor: &Factor) -> Matrix {
        let (outputs, inputs) = (factor.outputs(), factor.inputs());
        let mut data = vec![0.0; outputs * inputs];
        data.chunks_exact_mut(inputs).enumerate().for_each(|(o, row)| factor.row(o, row));
        Matrix::from_f32(data, outputs, inputs)
    }
}
