//! How a matrix lies in memory: panels of 32 outputs, so that one vector register holds one input of 16 outputs and every
//! kernel reads the weights as one stream.
//!
//! A panel has two groups of 16 outputs; the last panel of a matrix has one if 16 or fewer outputs are left. Outputs that
//! fill up the last group are zero. In lines of 64 bytes, with G groups, in the order of the inputs:
//! - F32: per input G lines, line g holding that input of the group's 16 outputs.
//! - F16: the same with half a line for a group.
//! - Q8_0: per block of 32 inputs 8 G + 1 lines. Line G s + g holds, for each output of group g, inputs 4s to 4s+3 as
//!   bytes + 128 (unsigned, as the dot-product instructions want one operand); the last line the f16 scales.
//! - Q4K: per super-block two lines of f16, d and dmin of each output, then eight times 4 G + 1 lines. Line G s + g holds
//!   inputs 4s to 4s+3 in the low nibbles, 16 later in the high ones; the last line 32 scales, then 32 minima.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use crate::{Form, blocks::Q4K, blocks::half_at, lines::Lines};

/// Outputs of one group: the f32 lanes of a 512-bit register.
pub(crate) const LANES: usize = 16;
/// Outputs of one panel.
pub(crate) const PANEL: usize = 2 * LANES;

/// 64 bytes, a cache line and a 512-bit register.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; 64]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; 64]);

    /// The f32 at an index below 16.
    pub(crate) fn float(&self, i: usize) -> f32 {
        f32::from_le_bytes([self.0[4 * i], self.0[4 * i + 1], self.0[4 * i + 2], self.0[4 * i + 3]])
    }

    /// The f16 at an index below 32.
    pub(crate) fn half(&self, i: usize) -> f32 {
        half_at(&self.0, 2 * i).to_f32()
    }
}

/// Where things lie in one panel.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) groups: usize,
    pub(crate) form: Form,
}

impl Panel<'_> {
    /// Some inputs of the panel; the range must lie on blocks, and on whole lines of f16.
    pub(crate) fn part(self, inputs: Range<usize>) -> Self {
        let line = |input| panel_lines(self.form, input, self.groups);
        Self { lines: &self.lines[line(inputs.start)..line(inputs.end)], ..self }
    }

    /// One weight, dequantized; `o` counts from the panel's first output.
    fn weight(&self, o: usize, i: usize) -> f32 {
        let (groups, g, lane) = (self.groups, o / LANES, o % LANES);
        match self.form {
            Form::F32 => self.lines[i * groups + g].float(lane),
            Form::F16 => {
                let at = (i * groups + g) * LANES + lane;
                self.lines[at / 32].half(at % 32)
            }
            Form::Q8_0 => {
                let record = &self.lines[i / 32 * (8 * groups + 1)..];
                let byte = record[i % 32 / 4 * groups + g].0[4 * lane + i % 4];
                record[8 * groups].half(o) * (f32::from(byte) - 128.0)
            }
            Form::Q4K => {
                let block = &self.lines[i / 256 * (2 + 8 * (4 * groups + 1))..];
                let record = &block[2 + i % 256 / 32 * (4 * groups + 1)..];
                let byte = record[i % 16 / 4 * groups + g].0[4 * lane + i % 4];
                let q = if i % 32 < 16 { byte & 15 } else { byte >> 4 };
                let factors = &record[4 * groups].0;
                let (scale, min) = (f32::from(factors[o]), f32::from(factors[PANEL + o]));
                block[0].half(o) * scale * f32::from(q) - block[1].half(o) * min
            }
        }
    }
}

/// A whole matrix in panels.
pub(crate) struct Packed {
    pub(crate) lines: Lines,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) form: Form,
}

impl Packed {
    /// Packs rows of f32.
    pub(crate) fn from_f32(data: &[f32], outputs: usize, inputs: usize) -> Self {
        let mut packed = Self::zeroed(outputs, inputs, Form::F32);
        packed.fill(|groups, lines, o, row| {
            for (i, w) in data[row * inputs..][..inputs].iter().enumerate() {
                lines[i * groups + o / LANES].0[o % LANES * 4..][..4].copy_from_slice(&w.to_le_bytes());
            }
        });
        packed
    }

    /// Packs rows of f32, rounded to f16: 16 inputs of a group at a time, so that the lines are written in their order.
    pub(crate) fn f16_from_f32(data: &[f32], outputs: usize, inputs: usize) -> Self {
        let mut packed = Self::zeroed(outputs, inputs, Form::F16);
        let full = panel_lines(Form::F16, inputs, 2);
        let mut halves = [f16::ZERO; LANES * LANES];
        for (group, rows) in data.chunks(LANES * inputs).enumerate() {
            let (p, g) = (group / 2, group % 2);
            let groups = (outputs - p * PANEL).min(PANEL).div_ceil(LANES);
            let lines = &mut packed.lines[p * full..];
            let mut square = [0.0; LANES * LANES]; // [input, output]; outputs that fill up the group stay zero
            for first in (0..inputs).step_by(LANES) {
                let count = LANES.min(inputs - first);
                for (lane, row) in rows.chunks_exact(inputs).enumerate() {
                    for (to, value) in square.chunks_exact_mut(LANES).zip(&row[first..first + count]) {
                        to[lane] = *value;
                    }
                }
                halves.convert_from_f32_slice(&square);
                for (i, halves) in halves.chunks_exact(LANES).take(count).enumerate() {
                    let at = (first + i) * groups + g;
                    let to = &mut lines[at / 2].0[at % 2 * 2 * LANES..][..2 * LANES];
                    to.chunks_exact_mut(2).zip(halves).for_each(|(to, half)| to.copy_from_slice(&half.to_le_bytes()));
                }
            }
        }
        packed
    }

    /// Packs GGML blocks (or plain little-endian f32 and f16), whose length the caller has checked.
    pub(crate) fn from_blocks(bytes: &[u8], outputs: usize, inputs: usize, form: Form) -> Self {
        let row_bytes = inputs / form.block() * form.block_bytes();
        let mut packed = Self::zeroed(outputs, inputs, form);
        packed.fill(|groups, lines, o, row| {
            let (g, lane) = (o / LANES, o % LANES);
            let blocks = bytes[row * row_bytes..][..row_bytes].chunks_exact(form.block_bytes()).enumerate();
            for (b, block) in blocks {
                match form {
                    Form::F32 => lines[b * groups + g].0[lane * 4..][..4].copy_from_slice(block),
                    Form::F16 => {
                        let at = (b * groups + g) * LANES + lane;
                        lines[at / 32].0[at % 32 * 2..][..2].copy_from_slice(block);
                    }
                    Form::Q8_0 => {
                        let record = &mut lines[b * (8 * groups + 1)..];
                        for (i, q) in block[2..].iter().enumerate() {
                            record[i / 4 * groups + g].0[4 * lane + i % 4] = q ^ 0x80;
                        }
                        record[8 * groups].0[o * 2..][..2].copy_from_slice(&block[..2]);
                    }
                    Form::Q4K => {
                        let block = Q4K::read(block);
                        let lines = &mut lines[b * (2 + 8 * (4 * groups + 1))..];
                        lines[0].0[o * 2..][..2].copy_from_slice(&block.d.to_le_bytes());
                        lines[1].0[o * 2..][..2].copy_from_slice(&block.dmin.to_le_bytes());
                        for (j, q) in block.q.chunks_exact(32).enumerate() {
                            let record = &mut lines[2 + j * (4 * groups + 1)..];
                            for i in 0..16 {
                                record[i / 4 * groups + g].0[4 * lane + i % 4] = q[i] | (q[i + 16] << 4);
                            }
                            record[4 * groups].0[o] = block.scales[j];
                            record[4 * groups].0[PANEL + o] = block.mins[j];
                        }
                    }
                }
            }
        });
        packed
    }

    fn zeroed(outputs: usize, inputs: usize, form: Form) -> Self {
        let full = outputs / PANEL * panel_lines(form, inputs, 2);
        let rest = match outputs % PANEL {
            0 => 0,
            left => panel_lines(form, inputs, left.div_ceil(LANES)),
        };
        Self { lines: vec![Line::ZERO; full + rest].into(), outputs, inputs, form }
    }

    /// Calls `write(groups, lines of the panel, output in the panel, row of the matrix)` for every row.
    fn fill(&mut self, write: impl Fn(usize, &mut [Line], usize, usize)) {
        let (outputs, full) = (self.outputs, panel_lines(self.form, self.inputs, 2));
        if full == 0 {
            return;
        }
        for (p, lines) in self.lines.chunks_mut(full).enumerate() {
            let rows = (outputs - p * PANEL).min(PANEL);
            for o in 0..rows {
                write(rows.div_ceil(LANES), lines, o, p * PANEL + o);
            }
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    pub(crate) fn panel(&self, p: usize) -> Panel<'_> {
        let groups = (self.outputs - p * PANEL).min(PANEL).div_ceil(LANES);
        let start = p * panel_lines(self.form, self.inputs, 2);
        let lines = &self.lines[start..][..panel_lines(self.form, self.inputs, groups)];
        Panel { lines, groups, form: self.form }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// Dequantizes one row.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        let panel = self.panel(row / PANEL);
        for (i, out) in out.iter_mut().enumerate() {
            *out = panel.weight(row % PANEL, i);
        }
    }
}

/// Lines of one panel with the given number of groups.
pub(crate) fn panel_lines(form: Form, inputs: usize, groups: usize) -> usize {
    match form {
        Form::F32 => inputs * groups,
        Form::F16 => (inputs * groups).div_ceil(2),
        Form::Q8_0 => inputs / 32 * (8 * groups + 1),
        Form::Q4K => inputs / 256 * (2 + 8 * (4 * groups + 1)),
    }
}

/// Rounds rows of f32 to f16, as bytes.
pub(crate) fn to_f16(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|w| f16::from_f32(*w).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_while_packing_gives_the_bytes_of_rounding_before_it() {
        for (outputs, inputs) in [(1, 1), (16, 16), (17, 33), (32, 5), (49, 130), (72, 576)] {
            let data: Vec<f32> = (0..outputs * inputs).map(|i| (i as f32 * 0.7).sin() * 40.0).collect();
            let at_once = Packed::f16_from_f32(&data, outputs, inputs);
            let before = Packed::from_blocks(&to_f16(&data), outputs, inputs, Form::F16);
            let same = at_once.lines.iter().zip(&*before.lines).all(|(a, b)| a.0 == b.0);
            assert!(same && at_once.lines.len() == before.lines.len(), "{outputs} x {inputs}");
        }
    }
}
