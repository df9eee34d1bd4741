//! A frozen linear layer with a LoRA, rsLoRA or DoRA branch: forward, and the gradients on the way back.
//!
//! ```text
//! LoRA   y = W x + bias + s B u                u = A d(x)
//! DoRA   y = W (x - d(x)) + bias + g ⊙ v       v = W d(x) + s B u,   g = m / ‖W + s B A‖ (norm per output, no gradient)
//! ```
//! d is dropout. x: [rows, in], y: [rows, out], A: [r, in], B: [out, r], u: [rows, r]. Back, with dv = dy (LoRA) or g ⊙ dy:
//! ```text
//! du = s dv B      dA += duᵀ d(x)      dB += s dvᵀ u      dm += Σ dy ⊙ v / norm      dx = dy W + d'(du A)
//! ```

use rayon::prelude::*;

use crate::{
    buffers::Buffers,
    frozen::Frozen,
    random::Key,
    view::{On, View, ViewMut, multiply},
};

/// A linear layer in one forward or backward pass.
pub(crate) struct Linear<'a> {
    pub(crate) frozen: &'a Frozen,
    /// [out]
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) branch: Option<Branch<'a>>,
}

/// What is trained beside it.
#[derive(Clone, Copy)]
pub(crate) struct Branch<'a> {
    pub(crate) r: usize,
    pub(crate) scale: f32,
    /// [r, in]
    pub(crate) a: &'a [f32],
    /// [out, r]
    pub(crate) b: &'a [f32],
    pub(crate) dora: Option<Dora<'a>>,
    pub(crate) mask: Option<Mask>,
}

/// DoRA's magnitudes and the norms they are divided by: [out] each.
#[derive(Clone, Copy)]
pub(crate) struct Dora<'a> {
    pub(crate) magnitude: &'a [f32],
    pub(crate) norms: &'a [f32],
}

/// Dropout: each element by a number that depends on its place alone, so that it can be drawn again on the way back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    pub(crate) key: Key,
    /// Probability that an element is dropped.
    pub(crate) p: f32,
}

/// What the way back needs, beside x.
#[derive(Default)]
pub(crate) struct Kept {
    /// u
    low: Vec<f32>,
    /// v, with DoRA.
    product: Vec<f32>,
}

impl Kept {
    /// Elements that it holds.
    pub(crate) fn len(&self) -> usize {
        self.low.len() + self.product.len()
    }

    pub(crate) fn into_buffers(self) -> [Vec<f32>; 2] {
        [self.low, self.product]
    }
}

/// Where the gradients of a branch are added.
pub(crate) struct Gradients<'a> {
    pub(crate) a: &'a mut [f32],
    pub(crate) b: &'a mut [f32],
    /// Empty without DoRA.
    pub(crate) magnitude: &'a mut [f32],
}

impl Linear<'_> {
    /// y from x.
    pub(crate) fn forward(&self, x: &[f32], rows: usize, y: &mut [f32], buffers: &mut Buffers) -> Kept {
        let (inputs, outputs) = (self.frozen.inputs(), self.frozen.outputs());
        self.frozen.forward(View::new(x, rows, inputs), &mut ViewMut::new(y, rows, outputs), buffers);
        let mut kept = Kept::default();
        if let Some(branch) = &self.branch {
            let dropped = branch.mask.map(|mask| mask.applied(x, buffers));
            let used = dropped.as_deref().unwrap_or(x);
            kept.low = branch.low(used, rows, buffers);
            match branch.dora {
                None => branch.add_product(&kept.low, rows, y),
                Some(dora) => {
                    kept.product = match &dropped {
                        None => buffers.copy(y),
                        Some(dropped) => {
                            let mut product = buffers.take(rows * outputs);
                            let to = &mut ViewMut::new(&mut product, rows, outputs);
                            self.frozen.forward(View::new(dropped, rows, inputs), to, buffers);
                            y.par_iter_mut().zip(&product).for_each(|(y, product)| *y -= product);
                            product
                        }
                    };
                    branch.add_product(&kept.low, rows, &mut kept.product);
                    dora.add_scaled(&kept.product, y, dropped.is_some());
                }
            }
            buffers.give(dropped);
        }
        if let Some(bias) = self.bias {
            crate::kernel::add_row(y, bias);
        }
        kept
    }

    /// What [`Self::forward`] keeps, without y where it can be done without.
    pub(crate) fn keep(&self, x: &[f32], rows: usize, buffers: &mut Buffers) -> Kept {
        let Some(branch) = &self.branch else { return Kept::default() };
        if branch.dora.is_some() {
            let mut y = buffers.take(rows * self.frozen.outputs());
            let kept = self.forward(x, rows, &mut y, buffers);
            buffers.give([y]);
            return kept;
        }
        let dropped = branch.mask.map(|mask| mask.applied(x, buffers));
        let low = branch.low(dropped.as_deref().unwrap_or(x), rows, buffers);
        buffers.give(dropped);
        Kept { low, product: Vec::new() }
    }

    /// Adds to the gradients of the branch; dx = keep · dx + the gradient of x, where it is wanted. With DoRA `dy` is used up.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        kept: &Kept,
        dy: &mut [f32],
        gradients: Option<Gradients<'_>>,
        dx: Option<(&mut [f32], f32)>,
        buffers: &mut Buffers,
    ) {
        let (inputs, outputs) = (self.frozen.inputs(), self.frozen.outputs());
        let rows = dy.len() / outputs;
        let (Some(branch), Some(gradients)) = (&self.branch, gradients) else {
            if let Some((dx, keep)) = dx {
                let to = &mut ViewMut::new(dx, rows, inputs);
                self.frozen.backward(View::new(dy, rows, outputs), rows, keep, to, buffers);
            }
            return;
        };
        let r = branch.r;
        let dropped = branch.mask.map(|mask| mask.applied(x, buffers));
        // With DoRA and dropout two different gradients reach W: dy through x and dv - dy through d(x).
        let mut difference = Vec::new();
        if let Some(dora) = branch.dora {
            dora.add_gradient(&kept.product, dy, gradients.magnitude, buffers);
            if dropped.is_some() {
                difference = buffers.copy(dy);
            }
            dora.scale(dy);
            difference.par_iter_mut().zip(&*dy).for_each(|(difference, dv)| *difference = dv - *difference);
        }
        let dv = View::new(dy, rows, outputs);
        let b = View::new(branch.b, outputs, r);
        let low = View::new(&kept.low, rows, r);
        let mut low_gradient = buffers.take(rows * r);
        multiply(On::All, branch.scale, dv, b, 0.0, &mut ViewMut::new(&mut low_gradient, rows, r));
        let du = View::new(&low_gradient, rows, r);
        multiply(On::All, branch.scale, dv.transposed(), low, 1.0, &mut ViewMut::new(gradients.b, outputs, r));
        let used = View::new(dropped.as_deref().unwrap_or(x), rows, inputs);
        multiply(On::All, 1.0, du.transposed(), used, 1.0, &mut ViewMut::new(gradients.a, r, inputs));
        if let Some((dx, keep)) = dx {
            let a = View::new(branch.a, r, inputs);
            match branch.mask {
                None => {
                    let to = &mut ViewMut::new(dx, rows, inputs);
                    self.frozen.backward(dv, rows, keep, to, buffers);
                    multiply(On::All, 1.0, du, a, 1.0, to);
                }
                Some(mask) => {
                    let mut through = buffers.take(rows * inputs);
                    let to = &mut ViewMut::new(&mut through, rows, inputs);
                    multiply(On::All, 1.0, du, a, 0.0, to);
                    if branch.dora.is_some() {
                        let from = View::new(&difference, rows, outputs);
                        self.frozen.backward(from, rows, 1.0, to, buffers);
                        // dy = dv - (dv - dy)
                        dy.par_iter_mut().zip(&difference).for_each(|(dy, difference)| *dy -= difference);
                    }
                    mask.apply(&mut through);
                    let to = &mut ViewMut::new(dx, rows, inputs);
                    self.frozen.backward(View::new(dy, rows, outputs), rows, keep, to, buffers);
                    crate::kernel::add(dx, &through);
                    buffers.give([through]);
                }
            }
        }
        buffers.give(dropped.into_iter().chain([difference, low_gradient]));
    }
}

impl Branch<'_> {
    /// u = A x
    fn low(&self, x: &[f32], rows: usize, buffers: &mut Buffers) -> Vec<f32> {
        let inputs = self.a.len() / self.r;
        let mut low = buffers.take(rows * self.r);
        let a = View::new(self.a, self.r, inputs).transposed();
        multiply(On::All, 1.0, View::new(x, rows, inputs), a, 0.0, &mut ViewMut::new(&mut low, rows, self.r));
        low
    }

    /// y += s u Bᵀ
    fn add_product(&self, low: &[f32], rows: usize, y: &mut [f32]) {
        let outputs = self.b.len() / self.r;
        let b = View::new(self.b, outputs, self.r).transposed();
        multiply(On::All, self.scale, View::new(low, rows, self.r), b, 1.0, &mut ViewMut::new(y, rows, outputs));
    }
}

impl Dora<'_> {
    fn gain(&self) -> Vec<f32> {
        self.magnitude.iter().zip(self.norms).map(|(m, norm)| m / norm).collect()
    }

    /// y = g ⊙ v, added to what `y` holds or in its place.
    fn add_scaled(&self, product: &[f32], y: &mut [f32], add: bool) {
        let gain = self.gain();
        y.par_chunks_mut(gain.len()).zip(product.par_chunks(gain.len())).for_each(|(y, product)| {
            for ((y, product), gain) in y.iter_mut().zip(product).zip(&gain) {
                *y = gain * product + if add { *y } else { 0.0 };
            }
        });
    }

    /// dy = g ⊙ dy
    fn scale(&self, dy: &mut [f32]) {
        let gain = self.gain();
        dy.par_chunks_mut(gain.len()).for_each(|dy| dy.iter_mut().zip(&gain).for_each(|(dy, gain)| *dy *= gain));
    }

    /// dm += Σ over the rows of dy ⊙ v / norm
    fn add_gradient(&self, product: &[f32], dy: &[f32], gradient: &mut [f32], buffers: &mut Buffers) {
        let width = self.norms.len();
        let mut sums = buffers.zeros(width);
        for (product, dy) in product.chunks_exact(width).zip(dy.chunks_exact(width)) {
            for ((sum, product), dy) in sums.iter_mut().zip(product).zip(dy) {
                *sum += product * dy;
            }
        }
        gradient.iter_mut().zip(&sums).zip(self.norms).for_each(|((gradient, sum), norm)| *gradient += sum / norm);
        buffers.give([sums]);
    }
}

impl Mask {
    /// d(x)
    fn applied(&self, x: &[f32], buffers: &mut Buffers) -> Vec<f32> {
        let mut dropped = buffers.copy(x);
        self.apply(&mut dropped);
        dropped
    }

    /// x = d(x): zero with probability p, x / (1 - p) otherwise.
    fn apply(&self, x: &mut [f32]) {
        let threshold = (f64::from(self.p) * 2f64.powi(32)) as u32;
        let factor = 1.0 / (1.0 - self.p);
        x.par_chunks_mut(PART).enumerate().for_each(|(part, x)| {
            let start = (part * PART / 2) as u64;
            for (i, pair) in x.chunks_mut(2).enumerate() {
                // One number of 64 bits decides on two elements.
                let number = self.key.at(start + i as u64);
                for (x, number) in pair.iter_mut().zip([number as u32, (number >> 32) as u32]) {
                    *x *= if number < threshold { 0.0 } else { factor };
                }
            }
        });
    }
}

/// Elements that one task masks.
const PART: usize = 16 << 10;

/// ‖W + s B A‖ of each output row: [out].
pub(crate) fn dora_norms(frozen: &Frozen, branch: &Branch<'_>, buffers: &mut Buffers) -> Vec<f32> {
    let (inputs, r) = (frozen.inputs(), branch.r);
    let mut norms = vec![0.0; frozen.outputs()];
    let mut moved = Vec::new();
    frozen.panels(buffers, |first, panel, count| {
        moved.resize(count * inputs, 0.0);
        moved.par_chunks_mut(inputs).enumerate().for_each(|(i, row)| row.copy_from_slice(panel.row(i)));
        let b = View::new(&branch.b[first * r..], count, r);
        let to = &mut ViewMut::new(&mut moved, count, inputs);
        multiply(On::All, branch.scale, b, View::new(branch.a, r, inputs), 1.0, to);
        norms[first..first + count].par_iter_mut().zip(moved.par_chunks(inputs)).for_each(|(norm, row)| {
            *norm = cairn_matrix::vector::dot(row, row).sqrt();
        });
    });
    norms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frozen::BaseForm;
    use cairn_lane::{Form, source::Data};

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        (0..n as u64).map(|i| Key::new(seed).uniform(i)).collect()
    }

    /// A layer of 64 to 6 with rank 3, and all that goes through it.
    struct Case {
        frozen: Frozen,
        bias: Vec<f32>,
        a: Vec<f32>,
        b: Vec<f32>,
        magnitude: Vec<f32>,
        norms: Vec<f32>,
        x: Vec<f32>,
        dora: bool,
        dropout: f32,
    }

    const ROWS: usize = 4;

    impl Case {
        fn new(form: BaseForm, dora: bool, dropout: f32) -> Self {
            let weights = Data::Numbers(numbers(64 * 6, 1), Form::F32);
            let frozen = Frozen::new("w", weights, [6, 64], form).unwrap();
            let (a, b, x) = (numbers(3 * 64, 2), numbers(6 * 3, 3), numbers(ROWS * 64, 4));
            let mut case =
                Self { frozen, bias: numbers(6, 5), a, b, magnitude: numbers(6, 6), norms: vec![], x, dora, dropout };
            case.norms = vec![1.0; 6];
            case.norms = dora_norms(&case.frozen, &case.linear().branch.unwrap(), &mut Buffers::default());
            case
        }

        fn linear(&self) -> Linear<'_> {
            let dora = self.dora.then_some(Dora { magnitude: &self.magnitude, norms: &self.norms });
            let mask = (self.dropout > 0.0).then_some(Mask { key: Key::new(9), p: self.dropout });
            let branch = Branch { r: 3, scale: 0.7, a: &self.a, b: &self.b, dora, mask };
            Linear { frozen: &self.frozen, bias: Some(&self.bias), branch: Some(branch) }
        }

        /// Σ y dy: its gradients are those of the layer.
        fn value(&self, dy: &[f32]) -> f64 {
            let mut y = vec![0.0; ROWS * 6];
            self.linear().forward(&self.x, ROWS, &mut y, &mut Buffers::default());
            y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
        }
    }

    /// Every element moved both ways. The layer is linear in each of x, A, B and m alone, so the step may be large.
    fn check(case: &mut Case, what: &str, of: fn(&mut Case) -> &mut Vec<f32>, gradient: &[f32], dy: &[f32]) {
        for (i, gradient) in gradient.iter().enumerate() {
            let before = of(case)[i];
            of(case)[i] = before + 0.25;
            let above = case.value(dy);
            of(case)[i] = before - 0.25;
            let numerical = (above - case.value(dy)) / 0.5;
            of(case)[i] = before;
            let off = (numerical - f64::from(*gradient)).abs();
            assert!(off < 1e-4 * numerical.abs().max(1.0), "{what} {i}: {numerical} and {gradient}");
        }
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let forms = [BaseForm::F32, BaseForm::F16, BaseForm::Nf4];
        for (form, dora, dropout) in forms.into_iter().flat_map(|form| {
            [(false, 0.0), (false, 0.3), (true, 0.0), (true, 0.3)].map(|(dora, dropout)| (form, dora, dropout))
        }) {
            let mut case = Case::new(form, dora, dropout);
            let dy = numbers(ROWS * 6, 7);
            let mut buffers = Buffers::default();
            let mut y = vec![0.0; ROWS * 6];
            let kept = case.linear().forward(&case.x, ROWS, &mut y, &mut buffers);
            let (mut a, mut b, mut magnitude) = (vec![0.0; 3 * 64], vec![0.0; 18], vec![0.0; 6]);
            let gradients = Gradients { a: &mut a, b: &mut b, magnitude: &mut magnitude };
            let mut dx = vec![1.0; ROWS * 64];
            let to = Some((dx.as_mut_slice(), 1.0));
            case.linear().backward(&case.x, &kept, &mut dy.clone(), Some(gradients), to, &mut buffers);
            dx.iter_mut().for_each(|dx| *dx -= 1.0);
            let what = format!("{form:?}, DoRA {dora}, dropout {dropout}:");
            check(&mut case, &format!("{what} x"), |case| &mut case.x, &dx, &dy);
            check(&mut case, &format!("{what} A"), |case| &mut case.a, &a, &dy);
            check(&mut case, &format!("{what} B"), |case| &mut case.b, &b, &dy);
            if dora {
                check(&mut case, &format!("{what} m"), |case| &mut case.magnitude, &magnitude, &dy);
            }
        }
    }

    #[test]
    fn a_mask_drops_its_share_and_keeps_the_mean() {
        let mask = Mask { key: Key::new(3), p: 0.25 };
        let mut x = vec![1.0; 100_000];
        mask.apply(&mut x);
        let dropped = x.iter().filter(|x| **x == 0.0).count();
        assert!((24_000..26_000).contains(&dropped), "{dropped}");
        assert!(x.iter().all(|x| *x == 0.0 || *x == 1.0 / 0.75));
        let mut again = vec![1.0; 100_000];
        mask.apply(&mut again);
        assert_eq!(x, again);
    }
}
