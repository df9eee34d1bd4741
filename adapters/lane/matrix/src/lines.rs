//! [`Lines`]: where weights lie, and [`Arena`], which puts those that are read together into huge pages.
//!
//! A step reads all weights once. In pages of 4 KiB it waits at each of them for the translation of the address: two threads
//! that only read get a quarter less from memory than in pages of 2 MiB.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use memmap2::{MmapOptions, MmapRaw};

use crate::packed::Line;

/// Bytes of a huge page.
const HUGE: usize = 2 << 20;
/// Bytes that an arena takes from the system at a time; what is never written to costs no memory.
const REGION: usize = 64 << 20;

/// Where the weights of one matrix lie.
pub(crate) struct Lines(At);

enum At {
    Own(Vec<Line>),
    /// In a region, counted from its first huge page.
    Settled {
        region: Arc<Region>,
        start: usize,
        len: usize,
    },
}

/// Puts the weights of many matrices one after the other into huge pages, if the system has some. The memory is free again
/// when the arena and all that is in it are dropped.
#[derive(Default)]
pub struct Arena {
    region: Option<Arc<Region>>,
    /// Lines of the region that are in use.
    used: usize,
}

/// Memory of lines that do not change once they are written.
struct Region {
    map: MmapRaw,
    /// Where its first huge page begins.
    offset: usize,
    lines: usize,
}

impl Arena {
    /// An arena for so many bytes; when they are full, it takes as much as it needs.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { region: Region::new(bytes.div_ceil(size_of::<Line>())), used: 0 }
    }

    /// Moves weights here; if the system gives no memory, they stay where they are.
    pub(crate) fn settle(&mut self, lines: &mut Lines) {
        let len = lines.len();
        if self.region.as_ref().is_none_or(|region| region.lines - self.used < len) {
            (self.region, self.used) = (Region::new(len.max(REGION / size_of::<Line>())), 0);
        }
        let Some(region) = &self.region else { return };
        // SAFETY: the region has room for `len` lines from `used` on, which nobody refers to yet: only this arena hands them
        // out, and `&mut self` says that nobody else is at it.
        #[allow(unsafe_code)]
        unsafe {
            region.at(self.used).copy_from_nonoverlapping(lines.as_ptr(), len);
        }
        lines.0 = At::Settled { region: Arc::clone(region), start: self.used, len };
        self.used += len;
    }
}

impl Region {
    /// Room for so many lines; `None` where the system gives none.
    fn new(lines: usize) -> Option<Arc<Self>> {
        let bytes = lines * size_of::<Line>();
        let map = MmapOptions::new().len(bytes + HUGE).map_anon().ok()?;
        let offset = map.as_ptr().align_offset(HUGE);
        // What fills no huge page stays in small ones, so that memory is what it is said to be. It is a hint: a system
        // without huge pages keeps small ones.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, offset, bytes / HUGE * HUGE);
        Some(Arc::new(Self { map: map.into(), offset, lines }))
    }

    /// Where a line is.
    fn at(&self, line: usize) -> *mut Line {
        self.map.as_mut_ptr().wrapping_add(self.offset).cast::<Line>().wrapping_add(line)
    }
}

impl From<Vec<Line>> for Lines {
    fn from(lines: Vec<Line>) -> Self {
        Self(At::Own(lines))
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        match &self.0 {
            At::Own(lines) => lines,
            // SAFETY: `Arena::settle` has written these lines, which lie in the region, and nobody writes to them again.
            #[allow(unsafe_code)]
            At::Settled { region, start, len } => unsafe { std::slice::from_raw_parts(region.at(*start), *len) },
        }
    }
}

impl DerefMut for Lines {
    /// While they are being filled.
    ///
    /// # Panics
    /// If they are settled.
    fn deref_mut(&mut self) -> &mut [Line] {
        match &mut self.0 {
            At::Own(lines) => lines,
            At::Settled { .. } => unreachable!("settled weights do not change"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Factor, FactorForm, Form, Matrix};

    fn last_row(matrix: &Matrix) -> Vec<f32> {
        let mut row = vec![0.0; matrix.inputs()];
        matrix.row(matrix.outputs() - 1, &mut row);
        row
    }

    /// Rows are the same before and after, also when the arena and others in it are gone.
    #[test]
    fn settled_weights_are_the_same() {
        let numbers = |n: usize| -> Vec<f32> { (0..n).map(|i| (i as f32 * 0.37).sin()).collect() };
        let shapes = [(40, 256), (1000, 768), (300, 1024), (1, 256), (6000, 768)];
        for capacity in [None, Some(0), Some(100 << 10), Some(32 << 20)] {
            for form in [Form::F32, Form::F16, Form::Q8_0, Form::Q4K] {
                let make = |(out, inp)| Matrix::quantize(&numbers(out * inp), out, inp, form).unwrap();
                let mut matrices: Vec<Matrix> = shapes.into_iter().map(make).collect();
                let before: Vec<_> = matrices.iter().map(last_row).collect();
                let mut arena = capacity.map_or_else(Arena::default, Arena::with_capacity);
                matrices.iter_mut().for_each(|matrix| matrix.settle(&mut arena));
                drop(arena);
                assert!(matrices.iter().all(|matrix| matches!(matrix.packed.lines.0, At::Settled { .. })), "{form}");
                assert!(matrices.iter().all(|matrix| matrix.packed.lines.as_ptr().addr().is_multiple_of(64)));
                matrices.remove(0);
                for (matrix, before) in matrices.iter().zip(&before[1..]) {
                    assert_eq!(last_row(matrix), *before, "{form}");
                }
            }
        }
    }

    #[test]
    fn a_full_arena_takes_more() {
        let factor = |value: f32| Factor::new(&vec![value; 32 * 4096], 32, 4096, FactorForm::F32).unwrap();
        let mut factors: Vec<Factor> = (0..300).map(|i| factor(i as f32)).collect(); // 150 MiB
        let mut arena = Arena::default();
        factors.iter_mut().for_each(|factor| factor.settle(&mut arena));
        let mut row = vec![0.0; 4096];
        for (i, factor) in factors.iter().enumerate() {
            factor.row(31, &mut row);
            assert!(row.iter().all(|value| *value == i as f32), "{i}");
        }
    }
}
