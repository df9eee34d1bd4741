//! How fast the products are: `cargo run --example matrix_speed [threads] [form]`.
//!
//! One row: GB/s of weights read. More rows: GMAC/s (a multiply and an add are one MAC, so GFLOP/s are twice that). Each
//! figure is the best of many single products, as other programs may share the cores. Matrices of a shape are cycled so that the
//! working set is at least 64 MB, as in a decoder: no matrix is in a core's own caches when its turn comes.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use cairn_matrix::{Form, Matrix, Threads};

const SHAPES: [(&str, usize, usize); 8] = [
    ("smollm2 q, o", 576, 576),
    ("smollm2 k, v", 192, 576),
    ("smollm2 gate, up", 1536, 576),
    ("smollm2 down", 576, 1536),
    ("smollm2 head", 49152, 576),
    ("1B square", 2048, 2048),
    ("1B up", 8192, 2048),
    ("1B down", 2048, 8192),
];
const WORKING_SET: usize = 64 << 20;
/// How long each figure is measured.
const BUDGET: Duration = Duration::from_millis(400);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = Threads::new(arguments.next().map_or(2, |n| n.parse().expect("a number of threads")));
    let only: Option<Form> = arguments.next().map(|form| form.parse().expect("a form"));
    hand_over(&threads);
    println!(
        "{:>5} {:>16} {:>13} | 1 row GB/s | GMAC/s at 2, 4, 8, 32, 128, 512 rows | 8 rows / 1 row",
        "form", "", "out x in"
    );
    for form in [Form::F32, Form::F16, Form::Q8_0, Form::Q4K] {
        for (name, out, inp) in SHAPES {
            if only.is_some_and(|only| only != form) || inp % form.block() != 0 {
                continue;
            }
            let data: Vec<f32> = (0..out * inp).map(|i| (i * 7919 % 1000) as f32 * 0.002 - 1.0).collect();
            let matrix = || Matrix::quantize(&data, out, inp, form).expect("the shape fits the form");
            let first = matrix();
            let copies = WORKING_SET.div_ceil(first.bytes());
            let matrices: Vec<Matrix> = std::iter::once(first).chain((1..copies).map(|_| matrix())).collect();
            let one = seconds(&threads, &matrices, 1);
            let eight = seconds(&threads, &matrices, 8);
            print!("{form:>5} {name:>16} {out:>6} x {inp:>4} | {:>10.1} |", matrices[0].bytes() as f64 / one / 1e9);
            for rows in [2, 4, 8, 32, 128, 512] {
                print!(" {:>6.1}", (out * inp * rows) as f64 / seconds(&threads, &matrices, rows) / 1e9);
            }
            println!(" | {:.2}", eight / one);
        }
    }
}

/// The best time of one product, over runs that cycle through the matrices.
fn seconds(threads: &Threads, matrices: &[Matrix], rows: usize) -> f64 {
    let (out, inp) = (matrices[0].outputs(), matrices[0].inputs());
    let x: Vec<f32> = (0..rows * inp).map(|i| (i * 31 % 200) as f32 * 0.01 - 1.0).collect();
    let mut y = vec![0.0; rows * out];
    // Single products are timed and the best is kept: another program then disturbs some of them, not the figure.
    let mut best = f64::INFINITY;
    let start = Instant::now();
    for matrix in matrices.iter().cycle() {
        let before = Instant::now();
        matrix.multiply(threads, &x, rows, &mut y);
        best = best.min(before.elapsed().as_secs_f64());
        if start.elapsed() > BUDGET {
            return best;
        }
    }
    unreachable!("the cycle has no end")
}

/// Prints what a hand-over costs in which every thread takes part: each waits for the others to arrive.
fn hand_over(threads: &Threads) {
    let mut times: Vec<f64> = (0..20_000)
        .map(|_| {
            let arrived = AtomicUsize::new(0);
            let start = Instant::now();
            threads.run(threads.count(), |_| {
                arrived.fetch_add(1, Ordering::SeqCst);
                while arrived.load(Ordering::SeqCst) < threads.count() {
                    std::hint::spin_loop();
                }
            });
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[(q * (times.len() - 1) as f64) as usize];
    println!("hand-over to {} threads: {:.2} us at best, median {:.2}", threads.count(), times[0], quantile(0.5));
}
