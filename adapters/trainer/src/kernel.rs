//! The small mathematics around the products, forward and backward, row by row over all threads.

use cairn_matrix::vector::{self, exp};
use rayon::prelude::*;

/// Rows that one task takes at least.
const ROWS: usize = 16;

/// out = x · scale · weight with scale = 1 / sqrt(mean(x²) + eps); the scales are kept for the way back.
///
/// x, out: [rows, width], scales: [rows]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32], scales: &mut [f32]) {
    let width = weight.len();
    out.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).zip(scales.par_chunks_mut(ROWS)).for_each(
        |((out, x), scales)| {
            for ((out, x), scale) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales) {
                *scale = 1.0 / (vector::dot(x, x) / width as f32 + eps).sqrt();
                for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                    *out = x * *scale * weight;
                }
            }
        },
    );
}

/// The gradient through [`rms_norm`], added to `dx`:
/// dx += scale · weight · dy - x · scale³ / width · Σ weight dy x
pub(crate) fn rms_norm_backward(x: &[f32], weight: &[f32], scales: &[f32], dy: &[f32], dx: &mut [f32]) {
    let width = weight.len();
    let rows = dx.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS));
    rows.zip(dy.par_chunks(width * ROWS)).zip(scales.par_chunks(ROWS)).for_each(|(((dx, x), dy), scales)| {
        let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width));
        for (((dx, x), dy), scale) in rows.zip(scales) {
            let along: f32 = sum3(weight, dy, x);
            let back = scale * scale * scale / width as f32 * along;
            for (((dx, x), dy), weight) in dx.iter_mut().zip(x).zip(dy).zip(weight) {
                *dx += scale * weight * dy - back * x;
            }
        }
    });
}

/// Σ a b c in eight chains.
fn sum3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut chains = [0.0f32; 8];
    for ((a, b), c) in a.chunks(8).zip(b.chunks(8)).zip(c.chunks(8)) {
        for (((chain, a), b), c) in chains.iter_mut().zip(a).zip(b).zip(c) {
            *chain += a * b * c;
        }
    }
    chains.iter().sum()
}

/// out = silu(gate) · up, with silu(v) = v / (1 + exp(-v))
pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(PART).zip(gate.par_chunks(PART)).zip(up.par_chunks(PART)).for_each(|((out, gate), up)| {
        for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
            *out = gate / (1.0 + exp(-gate)) * up;
        }
    });
}

/// The gradient through [`silu_mul`]; `gate` and `up` are replaced by their gradients.
pub(crate) fn silu_mul_backward(gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
    gate.par_chunks_mut(PART).zip(up.par_chunks_mut(PART)).zip(dy.par_chunks(PART)).for_each(|((gate, up), dy)| {
        for ((gate, up), dy) in gate.iter_mut().zip(up).zip(dy) {
            let sigmoid = 1.0 / (1.0 + exp(-*gate));
            let silu = *gate * sigmoid;
            (*gate, *up) = (dy * *up * (sigmoid + silu * (1.0 - sigmoid)), dy * silu);
        }
    });
}

/// Elements that one task takes.
const PART: usize = 16 << 10;

/// Rotates the heads of each row by its position's angles; backward, by the opposite ones, which is the transpose.
///
/// heads: [rows, n · 2 · half], cos, sin: [rows, half]
pub(crate) fn rope(heads: &mut [f32], width: usize, angles: &Angles, backward: bool) {
    let half = angles.half;
    let rows = heads.par_chunks_mut(width * ROWS);
    rows.zip(angles.cos.par_chunks(half * ROWS)).zip(angles.sin.par_chunks(half * ROWS)).for_each(
        |((heads, cos), sin)| {
            let rows = heads.chunks_exact_mut(width).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half));
            for ((heads, cos), sin) in rows {
                for head in heads.chunks_exact_mut(2 * half) {
                    let (a, b) = head.split_at_mut(half);
                    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                        let sin = if backward { -*sin } else { *sin };
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                }
            }
        },
    );
}

/// cos and sin of the angles of each row.
#[derive(Debug, Default)]
pub(crate) struct Angles {
    half: usize,
    /// [rows, half]
    cos: Vec<f32>,
    /// [rows, half]
    sin: Vec<f32>,
}

impl Angles {
    pub(crate) fn new(positions: impl Iterator<Item = usize>, frequencies: &[f32]) -> Self {
        let mut angles = Self { half: frequencies.len(), ..Self::default() };
        for position in positions {
            for frequency in frequencies {
                let (sin, cos) = (position as f32 * frequency).sin_cos();
                angles.cos.push(cos);
                angles.sin.push(sin);
            }
        }
        angles
    }
}

/// y += x
pub(crate) fn add(y: &mut [f32], x: &[f32]) {
    y.par_chunks_mut(PART).zip(x.par_chunks(PART)).for_each(|(y, x)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    });
}

/// y += row, for every row of y.
pub(crate) fn add_row(y: &mut [f32], row: &[f32]) {
    y.par_chunks_mut(row.len()).for_each(|y| {
        for (y, x) in y.iter_mut().zip(row) {
            *y += x;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Key;

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        (0..n as u64).map(|i| Key::new(seed).uniform(i)).collect()
    }

    /// (f(x + h) - f(x - h)) / 2h against the gradient, for each x.
    fn check(x: &[f32], gradient: &[f32], f: impl Fn(&[f32]) -> f64) {
        for i in 0..x.len() {
            let mut moved = x.to_vec();
            moved[i] = x[i] + 1e-2;
            let above = f(&moved);
            moved[i] = x[i] - 1e-2;
            let numerical = (above - f(&moved)) / 2e-2;
            assert!((numerical - f64::from(gradient[i])).abs() < 2e-3, "{i}: {numerical} and {}", gradient[i]);
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (x, weight, dy) = (numbers(3 * 20, 1), numbers(20, 2), numbers(3 * 20, 3));
        let forward = |x: &[f32]| {
            let (mut out, mut scales) = (vec![0.0; 60], vec![0.0; 3]);
            rms_norm(x, &weight, 1e-5, &mut out, &mut scales);
            (out.iter().zip(&dy).map(|(a, b)| f64::from(a * b)).sum::<f64>(), scales)
        };
        let mut dx = vec![0.0; 60];
        rms_norm_backward(&x, &weight, &forward(&x).1, &dy, &mut dx);
        check(&x, &dx, |x| forward(x).0);

        let (gate, up) = (numbers(60, 4), numbers(60, 5));
        let forward = |gate: &[f32], up: &[f32]| {
            let mut out = vec![0.0; 60];
            silu_mul(gate, up, &mut out);
            out.iter().zip(&dy).map(|(a, b)| f64::from(a * b)).sum::<f64>()
        };
        let (mut dgate, mut dup) = (gate.clone(), up.clone());
        silu_mul_backward(&mut dgate, &mut dup, &dy);
        check(&gate, &dgate, |gate| forward(gate, &up));
        check(&up, &dup, |up| forward(&gate, up));
    }

    #[test]
    fn backward_rotation_undoes_the_forward_one() {
        let angles = Angles::new([0, 5, 9].into_iter(), &[1.0, 0.1]);
        let x = numbers(3 * 8, 6);
        let mut rotated = x.clone();
        rope(&mut rotated, 8, &angles, false);
        assert!(x[..8] == rotated[..8] && x[8..] != rotated[8..]);
        rope(&mut rotated, 8, &angles, true);
        assert!(x.iter().zip(&rotated).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
