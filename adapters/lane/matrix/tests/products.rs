//! Products against a plain f64 reference, and the law that the batch changes no bit.

use cairn_matrix::{
    Between, Changes, Factor, FactorForm, Form, LowRank, Matrix, MatrixError, Product, Threads, Write,
    multiply_adapted, multiply_all,
};
use proptest::prelude::*;

const FORMS: [Form; 4] = [Form::F32, Form::F16, Form::Q8_0, Form::Q4K];

/// Uniform in [-1, 1).
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn matrix(out: usize, inp: usize, form: Form, seed: u64) -> Matrix {
    Matrix::quantize(&numbers(out * inp, seed), out, inp, form).expect("the tests use shapes that the form holds")
}

fn dequantized(matrix: &Matrix) -> Vec<Vec<f32>> {
    let row = |i| {
        let mut row = vec![0.0; matrix.inputs()];
        matrix.row(i, &mut row);
        row
    };
    (0..matrix.outputs()).map(row).collect()
}

/// Asserts y = x Wᵀ within what rounding allows: the f32 sums 2e-6 of Σ |w x|, and for int8 activations half a step,
/// max|x| / 254 of its block of 32, on every input.
fn assert_product(matrix: &Matrix, x: &[f32], y: &[f32]) {
    let weights = dequantized(matrix);
    let quantized = matches!(matrix.form(), Form::Q8_0 | Form::Q4K);
    for (x, y) in x.chunks_exact(matrix.inputs()).zip(y.chunks_exact(matrix.outputs())) {
        for (o, (w, y)) in weights.iter().zip(y).enumerate() {
            let (mut exact, mut allowed) = (0.0, 1e-30);
            for (w, x) in w.chunks(32).zip(x.chunks(32)) {
                let step = f64::from(x.iter().fold(0.0f32, |max, x| max.max(x.abs()))) / 254.0;
                for (w, x) in w.iter().zip(x) {
                    let (w, x) = (f64::from(*w), f64::from(*x));
                    exact += w * x;
                    // For Q4_K a weight is a difference of two terms, each rounded on its own: up to 16 times as large.
                    allowed += 2e-6 * (w * x).abs() + if quantized { w.abs() * step * 1.001 + 2e-6 } else { 0.0 };
                }
            }
            let error = (f64::from(*y) - exact).abs();
            assert!(error <= allowed, "{matrix:?}, output {o}: {y} for {exact}, off by {error}, allowed {allowed}");
        }
    }
}

#[test]
fn every_form_matches_the_reference() {
    let threads = Threads::new(2);
    for (out, inp) in [(1, 256), (16, 512), (33, 256), (48, 768), (100, 2048), (192, 256)] {
        for form in FORMS {
            let matrix = matrix(out, inp, form, (out + inp) as u64);
            for rows in [1, 2, 5, 7, 13, 64] {
                let x = numbers(rows * inp, rows as u64 + 99);
                let mut y = vec![f32::NAN; rows * out];
                matrix.multiply(&threads, &x, rows, &mut y);
                assert_product(&matrix, &x, &y);
            }
        }
    }
}

#[test]
fn rows_of_any_block_count() {
    let threads = Threads::new(1);
    for inp in [1, 3, 17, 255, 257, 576, 700] {
        for form in [Form::F32, Form::F16] {
            let matrix = matrix(40, inp, form, inp as u64);
            let x = numbers(3 * inp, 4);
            let mut y = vec![0.0; 3 * 40];
            matrix.multiply(&threads, &x, 3, &mut y);
            assert_product(&matrix, &x, &y);
        }
    }
    for inp in [32, 96, 576, 1536] {
        let matrix = matrix(70, inp, Form::Q8_0, inp as u64);
        let x = numbers(9 * inp, 5);
        let mut y = vec![0.0; 9 * 70];
        matrix.multiply(&threads, &x, 9, &mut y);
        assert_product(&matrix, &x, &y);
    }
}

#[test]
fn extreme_blocks_do_not_overflow() {
    // Every byte at its end: weights of -128 are legal in a file, though the quantizer never makes them.
    let block = |q: u8| [vec![0x00, 0x3C], vec![q; 32]].concat();
    let bytes: Vec<u8> = [0x80, 0x7F, 0x80, 0x81].into_iter().flat_map(block).collect();
    let matrix = Matrix::from_blocks(&bytes, 2, 64, Form::Q8_0).unwrap();
    for sign in [1.0, -1.0] {
        let mut y = [0.0; 2];
        matrix.multiply(&Threads::new(1), &[127.0 * sign; 64], 1, &mut y);
        assert_eq!(y, [(-128.0 + 127.0) * 32.0 * 127.0 * sign, (-128.0 - 127.0) * 32.0 * 127.0 * sign]);
    }
    // d = 1, dmin = 0, scales 63, every nibble 15.
    let bytes = [vec![0x00, 0x3C, 0, 0], vec![0xFF; 4], vec![0xC0; 4], vec![0x0F; 4], vec![0xFF; 128]].concat();
    let matrix = Matrix::from_blocks(&bytes, 1, 256, Form::Q4K).unwrap();
    for sign in [1.0, -1.0] {
        let mut y = [0.0];
        matrix.multiply(&Threads::new(1), &[127.0 * sign; 256], 1, &mut y);
        assert_eq!(y, [63.0 * 15.0 * 127.0 * 256.0 * sign]);
    }
}

#[test]
fn non_finite_activations_stay_in_their_row() {
    let threads = Threads::new(2);
    for form in FORMS {
        let matrix = matrix(64, 256, form, 8);
        let mut x = numbers(3 * 256, 9);
        let mut clean = vec![0.0; 3 * 64];
        matrix.multiply(&threads, &x, 3, &mut clean);
        for bad in [f32::NAN, f32::INFINITY] {
            x[256 + 77] = bad;
            let mut y = vec![0.0; 3 * 64];
            matrix.multiply(&threads, &x, 3, &mut y);
            assert_eq!((&y[..64], &y[128..]), (&clean[..64], &clean[128..]));
            assert!(y[64..128].iter().all(|y| !y.is_finite()), "{form}: {bad} was lost");
        }
    }
}

#[test]
fn plain_and_blocked_bytes_agree() {
    let data = numbers(20 * 256, 3);
    let bytes: Vec<u8> = data.iter().flat_map(|w| w.to_le_bytes()).collect();
    let from_bytes = Matrix::from_blocks(&bytes, 20, 256, Form::F32).unwrap();
    assert_eq!(dequantized(&from_bytes).concat(), data);
    assert_eq!(dequantized(&Matrix::from_f32(data.clone(), 20, 256)).concat(), data);
    for (form, error) in [(Form::F16, 0.0003), (Form::Q8_0, 0.0045), (Form::Q4K, 0.1)] {
        let found = dequantized(&Matrix::quantize(&data, 20, 256, form).unwrap()).concat();
        let worst = found.iter().zip(&data).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(worst < error && worst > 0.0, "{form} is off by {worst}");
    }
}

#[test]
fn wrong_shapes_are_refused() {
    assert_eq!(
        Matrix::quantize(&[0.0; 48], 1, 48, Form::Q8_0).unwrap_err(),
        MatrixError::Shape { form: Form::Q8_0, block: 32, inputs: 48 }
    );
    assert!(matches!(Matrix::from_blocks(&[0; 144], 1, 576, Form::Q4K), Err(MatrixError::Shape { .. })));
    assert!(matches!(
        Matrix::from_blocks(&[0; 144], 2, 256, Form::Q4K),
        Err(MatrixError::Length { expected: 288, found: 144, .. })
    ));
}

#[test]
fn low_rank_updates_add_to_the_base() {
    let threads = Threads::new(2);
    let (inp, rows) = (192, [1, 3, 8]);
    let x = numbers(12 * inp, 1);
    let w = matrix(80, inp, Form::F32, 2);
    let mut before = vec![0.0; 12 * 80];
    w.multiply(&threads, &x, 12, &mut before);
    let factor = |out: usize, inp: usize, form: FactorForm, seed: usize| {
        Factor::new(&numbers(out * inp, seed as u64), out, inp, form).unwrap()
    };
    let adapters: Vec<(Factor, Factor)> = [4, 16, 64]
        .into_iter()
        .map(|r| (factor(r, inp, FactorForm::F32, r), factor(80, r, FactorForm::F16, r + 1)))
        .collect();
    let (mut changes, mut start) = (Changes::default(), 0);
    for ((a, b), rows) in adapters.iter().zip(rows) {
        changes.updates.push(LowRank { product: 0, rows: start..start + rows, a, b, scale: 0.25 });
        start += rows;
    }
    let mut y = vec![f32::NAN; 12 * 80];
    let products = &mut [Product { matrix: &w, x: &x, rows: 12, y: &mut y, write: Write::Set }];
    multiply_adapted(&threads, products, &changes, &mut Between::default());
    start = 0;
    for ((a, b), rows) in adapters.iter().zip(rows) {
        let rows_of = |factor: &Factor| -> Vec<Vec<f32>> {
            let row = |o| {
                let mut row = vec![0.0; factor.inputs()];
                factor.row(o, &mut row);
                row
            };
            (0..factor.outputs()).map(row).collect()
        };
        let (a, b) = (rows_of(a), rows_of(b));
        for row in start..start + rows {
            let dot =
                |w: &[f32]| -> f64 { w.iter().zip(&x[row * inp..]).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum() };
            let t: Vec<f64> = a.iter().map(|w| dot(w)).collect();
            for (o, w) in b.iter().enumerate() {
                let delta: f64 = w.iter().zip(&t).map(|(w, t)| f64::from(*w) * t).sum();
                let expected = f64::from(before[row * 80 + o]) + 0.25 * delta;
                assert!((f64::from(y[row * 80 + o]) - expected).abs() < 1e-4, "row {row}, output {o}");
            }
        }
        start += rows;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Every row of a product has the bits it has alone, whatever the rows beside it and the number of threads.
    #[test]
    fn the_batch_changes_no_bit(seed in 1u64.., rows in 1usize..=40, out in 1usize..150, blocks in 1usize..4, loose in 1usize..600) {
        for form in FORMS {
            let inp = match form { Form::Q8_0 => blocks * 96, Form::Q4K => blocks * 256, _ => loose };
            let w = matrix(out, inp, form, seed);
            let x = numbers(rows * inp, seed ^ 7);
            let alone: Vec<f32> = x.chunks_exact(inp).flat_map(|x| {
                let mut y = vec![0.0; out];
                w.multiply(&Threads::new(1), x, 1, &mut y);
                y
            }).collect();
            for n in 1..=3 {
                let threads = Threads::new(n);
                let mut y = vec![f32::NAN; rows * out];
                w.multiply(&threads, &x, rows, &mut y);
                prop_assert!(same_bits(&y, &alone), "{form}, {out} x {inp}, {rows} rows, {n} threads");
            }
        }
    }

    /// Fused products give what each gives on its own, also in mixed forms and adding.
    #[test]
    fn fusing_changes_no_bit(seed in 1u64.., rows in 1usize..=9) {
        let threads = Threads::new(2);
        let x = numbers(rows * 256, seed);
        let matrices: Vec<Matrix> =
            FORMS.iter().zip([24, 64, 100, 16]).map(|(form, out)| matrix(out, 256, *form, seed + 1)).collect();
        let starts: Vec<Vec<f32>> = matrices.iter().map(|m| numbers(rows * m.outputs(), 5)).collect();
        let (mut fused, mut single) = (starts.clone(), starts.clone());
        let write = |i: usize| if i.is_multiple_of(2) { Write::Set } else { Write::Add(0.5) };
        let mut products: Vec<Product<'_>> = matrices.iter().zip(&mut fused).enumerate()
            .map(|(i, (matrix, y))| Product { matrix, x: &x, rows, y, write: write(i) }).collect();
        multiply_all(&threads, &mut products);
        for (i, (matrix, y)) in matrices.iter().zip(&mut single).enumerate() {
            multiply_all(&threads, &mut [Product { matrix, x: &x, rows, y, write: write(i) }]);
        }
        prop_assert!(fused.iter().zip(&single).all(|(a, b)| same_bits(a, b)));
        let (mut a, mut b) = (starts[0].clone(), starts[2].clone());
        Matrix::multiply_many(&threads, &mut [(&matrices[0], &mut a), (&matrices[2], &mut b)], &x, rows);
        prop_assert!(same_bits(&a, &single[0]) && same_bits(&b, &single[2]));
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
