//! A step's linear layers with what adapters change in them, in one hand-over to the threads.
//!
//! ```text
//! y = gain ⊙ (x Wᵀ) + Σ scale · (x Aᵀ) Bᵀ
//! ```
//! The hand-over's first parts are all x Aᵀ. Each of the others computes some panels of the base's outputs and then adds
//! the adapters to the same columns while these are in its own cache; for that it waits until the first parts have ended,
//! which they nearly always have by then.

use std::{
    ops::{Deref, Range},
    sync::atomic::{
        AtomicUsize,
        Ordering::{Acquire, Release},
    },
};

use crate::{
    Factor, Product, Threads, Write,
    kernel::{Isa, Thin},
    packed::PANEL,
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
    /// A [r, in].
    pub a: &'a Factor,
    /// B [out, r].
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

/// Computes all products and changes them, in one hand-over. `between` is a buffer.
///
/// # Panics
/// If an `x` or `y` is not as long as its shape says, rows or products are named that do not exist, updates are not in the
/// order of their products, or the shapes of an A or a B do not fit.
pub fn multiply_adapted(
    threads: &Threads,
    products: &mut [Product<'_>],
    changes: &Changes<'_>,
    between: &mut Vec<f32>,
) {
    multiply_adapted_with(Isa::best(), threads, products, changes, between);
}

/// Rows that one part multiplies with an A at most.
const A_ROWS: usize = 32;

fn multiply_adapted_with(
    isa: Isa,
    threads: &Threads,
    products: &mut [Product<'_>],
    changes: &Changes<'_>,
    between: &mut Vec<f32>,
) {
    check(products, changes);
    let updates = updates(products, &changes.updates, between);
    let downs: Vec<(&Update<'_>, Range<usize>)> = updates
        .iter()
        .flat_map(|update| (0..update.rows.len()).step_by(A_ROWS).map(move |first| (update, first)))
        .map(|(update, first)| (update, first..update.rows.len().min(first + A_ROWS)))
        .collect();
    let base = Prepared::new(isa, threads, products);
    let (firsts, rest) = (downs.len().min(threads.count() * 2), base.parts(threads, !updates.is_empty()));
    let ended = AtomicUsize::new(0);
    threads.run(firsts + rest, |part| {
        if part < firsts {
            let _counted = Counted(&ended);
            let share = downs.len() * part / firsts..downs.len() * (part + 1) / firsts;
            downs[share].iter().for_each(|(update, rows)| update.down(isa, rows.clone()));
            return;
        }
        let of_product = |product: usize| {
            let first = updates.partition_point(|update| update.product < product);
            &updates[first..updates.partition_point(|update| update.product <= product)]
        };
        let before = |product: usize, panel: usize| {
            of_product(product).iter().for_each(|update| update.b.prefetch(panel));
        };
        base.run_part(part - firsts, rest, before, |product, panels, y| {
            let columns = panels.start * PANEL..(panels.end * PANEL).min(y.outputs());
            changes.gains.iter().filter(|gain| gain.product == product).for_each(|gain| gain.apply(columns.clone(), y));
            let of_product = of_product(product);
            if !of_product.is_empty() {
                threads.wait_for(|| ended.load(Acquire) == firsts);
            }
            of_product.iter().for_each(|update| update.up(isa, panels.clone(), y));
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
    }
}

/// Gives each update its place in `between`.
fn updates<'a>(products: &[Product<'a>], updates: &'a [LowRank<'a>], between: &'a mut Vec<f32>) -> Vec<Update<'a>> {
    between.resize(updates.iter().map(|update| update.rows.len() * update.a.outputs()).sum(), 0.0);
    let mut rest = between.as_mut_slice();
    let place = |update: &'a LowRank<'a>| {
        let LowRank { product, rows, a, .. } = update;
        let (t, left) = std::mem::take(&mut rest).split_at_mut(rows.len() * a.outputs());
        rest = left;
        let x = &products[*product].x[rows.start * a.inputs()..rows.end * a.inputs()];
        Update { of: update, x, t: Columns::new(t, a.outputs()) }
    };
    updates.iter().map(place).collect()
}

/// A [`LowRank`] with its x and the place of x Aᵀ.
struct Update<'a> {
    of: &'a LowRank<'a>,
    /// x [rows, in].
    x: &'a [f32],
    /// x Aᵀ [rows, r].
    t: Columns,
}

impl<'a> Deref for Update<'a> {
    type Target = LowRank<'a>;

    fn deref(&self) -> &LowRank<'a> {
        self.of
    }
}

impl Update<'_> {
    /// x Aᵀ for some of the rows, counted from the update's first.
    fn down(&self, isa: Isa, rows: Range<usize>) {
        let x = &self.x[rows.start * self.a.inputs()..rows.end * self.a.inputs()];
        Thin { factor: self.a, panels: 0..self.a.panels(), x, y: &self.t, rows, write: Write::Set }.run(isa);
    }

    /// y += scale · (x Aᵀ) Bᵀ in some panels.
    fn up(&self, isa: Isa, panels: Range<usize>, y: &Columns) {
        // SAFETY: all parts that write to it have ended.
        #[allow(unsafe_code)]
        let x = unsafe { self.t.whole() };
        let write = Write::Add(self.scale);
        Thin { factor: self.b, panels, x, y, rows: self.rows.clone(), write }.run(isa);
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
    use crate::{FactorForm, Matrix};

    /// Reproducible numbers of very different sizes, as activations have.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * [1.0, 0.01, 30.0][state as usize % 3]
        };
        (0..n).map(|_| next()).collect()
    }

    /// Against the kernels of thick matrices, for every instruction set, number of rows and of threads. In I8 they compute
    /// what the numbers that the bytes stand for give, but for the order in which scales are multiplied.
    #[test]
    fn thin_products_have_the_bits_of_thick_ones() {
        let shapes = [(576, 72, 16), (1536, 33, 5), (130, 49, 40), (512, 32, 32)];
        for (i, (inp, out, r)) in shapes.into_iter().enumerate() {
            for form in [FactorForm::F32, FactorForm::F16, FactorForm::I8] {
                let factor =
                    |out: usize, inp: usize, seed: u32| Factor::new(&numbers(out * inp, seed), out, inp, form).unwrap();
                let (a, b) = (factor(r, inp, 2), factor(out, r, 3));
                let w = Matrix::from_f32(numbers(out * inp, 1), out, inp);
                let gain = numbers(out, 4);
                for rows in [1, 2, 3, 4, 7, 8, 15, 40] {
                    let x = numbers(rows * inp, 5);
                    let one = Threads::new(1);
                    let (mut expected, mut t) = (vec![0.0; rows * out], vec![0.0; rows * r]);
                    w.multiply(&one, &x, rows, &mut expected);
                    let scaled = |y: &mut [f32]| y.iter_mut().zip(&gain).for_each(|(y, gain)| *y *= gain);
                    expected.chunks_exact_mut(out).for_each(scaled);
                    thick(&a).multiply(&one, &x, rows, &mut t);
                    let (matrix, write) = (thick(&b), Write::Add(0.25));
                    crate::multiply_all(&one, &mut [Product { matrix: &matrix, x: &t, rows, y: &mut expected, write }]);
                    let mut bits: Option<Vec<u32>> = None;
                    for isa in Isa::available() {
                        for threads in [1, 3] {
                            let mut y = vec![f32::NAN; rows * out];
                            let products = &mut [Product { matrix: &w, x: &x, rows, y: &mut y, write: Write::Set }];
                            let changes = Changes {
                                gains: vec![Gain { product: 0, rows: 0..rows, factors: &gain }],
                                updates: vec![LowRank { product: 0, rows: 0..rows, a: &a, b: &b, scale: 0.25 }],
                            };
                            multiply_adapted_with(isa, &Threads::new(threads), products, &changes, &mut Vec::new());
                            let case = format!("{isa:?}, {threads} threads, {rows} rows, shape {i}, {form:?}");
                            let ours: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
                            assert!(*bits.get_or_insert_with(|| ours.clone()) == ours, "{case}");
                            let most = expected.iter().fold(0.0f32, |most, y| most.max(y.abs()));
                            let near = |(y, expected): (&f32, &f32)| match form {
                                FactorForm::I8 => (y - expected).abs() <= 1e-5 * most,
                                _ => y.to_bits() == expected.to_bits(),
                            };
                            assert!(y.iter().zip(&expected).all(near), "{case}");
                        }
                    }
                }
            }
        }
    }

    /// The factor's numbers for the kernels of thick matrices.
    fn thick(factor: &Factor) -> Matrix {
        let (outputs, inputs) = (factor.outputs(), factor.inputs());
        let mut data = vec![0.0; outputs * inputs];
        data.chunks_exact_mut(inputs).enumerate().for_each(|(o, row)| factor.row(o, row));
        Matrix::from_f32(data, outputs, inputs)
    }
}
