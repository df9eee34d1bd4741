//! [`Sequence`]: the keys and values of one sequence, in pages that sequences with the same beginning share.

use std::sync::Arc;

use half::{f16, slice::HalfFloatSliceExt};

use crate::Config;

/// Tokens of a page.
pub(crate) const PAGE: usize = 32;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Exactly.
    F32,
    /// Rounded: half the memory, and half of what attention reads.
    F16,
}

/// Where things lie in a page: for each layer and key head the keys [head_dim][PAGE], then the values [PAGE][head_dim].
/// Keys are transposed so that attention computes the scores of a page's tokens side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) kept: Kept,
}

impl Layout {
    pub(crate) fn new(config: &Config, kept: Kept) -> Self {
        Self { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim, kept }
    }

    #[cfg(test)]
    pub(crate) fn of(layers: usize, kv_heads: usize, head_dim: usize, kept: Kept) -> Self {
        Self { layers, kv_heads, head_dim, kept }
    }

    /// Numbers of one head's keys, or of its values, in a page.
    fn head(self) -> usize {
        PAGE * self.head_dim
    }

    /// Numbers of a page.
    fn page(self) -> usize {
        self.layers * self.kv_heads * 2 * self.head()
    }

    /// Bytes of a page.
    pub(crate) fn page_bytes(self) -> usize {
        let number = match self.kept {
            Kept::F32 => size_of::<f32>(),
            Kept::F16 => size_of::<f16>(),
        };
        self.page() * number
    }

    /// Where a head's keys start; its values follow.
    fn at(self, layer: usize, head: usize) -> usize {
        (layer * self.kv_heads + head) * 2 * self.head()
    }
}

/// A number as pages hold it.
pub(crate) trait Number: Copy + Send + Sync + 'static {
    /// Whether it is an f16; otherwise it is an f32.
    const HALF: bool;
    const ZERO: Self;

    fn to_f32(self) -> f32;

    /// Rounds numbers; those that are too large become the largest there is.
    fn round(numbers: &[f32], to: &mut [Self]);

    /// The pages of a sequence that keeps such numbers.
    fn pages(pages: &Pages) -> &[Arc<[Self]>];
}

impl Number for f32 {
    const HALF: bool = false;
    const ZERO: Self = 0.0;

    fn to_f32(self) -> f32 {
        self
    }

    fn round(numbers: &[f32], to: &mut [Self]) {
        to.copy_from_slice(numbers);
    }

    fn pages(pages: &Pages) -> &[Arc<[Self]>] {
        let Pages::F32(pages) = pages else { unreachable!("the layout says f32") };
        pages
    }
}

impl Number for f16 {
    const HALF: bool = true;
    const ZERO: Self = f16::ZERO;

    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }

    fn round(numbers: &[f32], to: &mut [Self]) {
        let most = f16::MAX.to_f32();
        if numbers.iter().any(|number| number.abs() > most) {
            let within: Vec<f32> = numbers.iter().map(|number| number.clamp(-most, most)).collect();
            to.convert_from_f32_slice(&within);
        } else {
            to.convert_from_f32_slice(numbers);
        }
    }

    fn pages(pages: &Pages) -> &[Arc<[Self]>] {
        let Pages::F16(pages) = pages else { unreachable!("the layout says f16") };
        pages
    }
}

/// Immutable once full, and then shared by any number of sequences.
#[derive(Debug, Clone)]
pub(crate) enum Pages {
    F32(Vec<Arc<[f32]>>),
    F16(Vec<Arc<[f16]>>),
}

/// Does the same with the pages of either kind.
macro_rules! of_either {
    ($all:expr, $pages:ident => $what:expr) => {
        match $all {
            Pages::F32($pages) => $what,
            Pages::F16($pages) => $what,
        }
    };
}

/// The keys and values of one sequence's tokens. Cloning shares the pages; one that is not full is copied when it is
/// written to.
#[derive(Debug, Clone)]
pub struct Sequence {
    layout: Layout,
    pages: Pages,
    len: usize,
}

impl Sequence {
    /// Tokens of a page; [`Sequence::prefix`] shares whole pages only.
    pub const PAGE: usize = PAGE;

    pub(crate) fn new(layout: Layout) -> Self {
        let pages = match layout.kept {
            Kept::F32 => Pages::F32(Vec::new()),
            Kept::F16 => Pages::F16(Vec::new()),
        };
        Self { layout, pages, len: 0 }
    }

    /// Tokens computed so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was computed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The beginning of the sequence, as many whole pages as `tokens` fills, shared with this one.
    #[must_use]
    pub fn prefix(&self, tokens: usize) -> Self {
        let count = tokens.min(self.len) / PAGE;
        let pages = match &self.pages {
            Pages::F32(pages) => Pages::F32(pages[..count].to_vec()),
            Pages::F16(pages) => Pages::F16(pages[..count].to_vec()),
        };
        Self { layout: self.layout, pages, len: count * PAGE }
    }

    /// Forgets all but the first `tokens` tokens.
    pub fn truncate(&mut self, tokens: usize) {
        self.len = self.len.min(tokens);
        of_either!(&mut self.pages, pages => pages.truncate(self.len.div_ceil(PAGE)));
    }

    /// Bytes of its pages, shared ones included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        of_either!(&self.pages, pages => pages.len()) * self.layout.page_bytes()
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Makes room for `tokens` more, in pages that nobody else sees.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        let (len, numbers) = (self.len, self.layout.page());
        of_either!(&mut self.pages, pages => reserve(pages, len, tokens, numbers));
    }

    /// Counts what was written.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Writes one layer's keys and values of tokens from `position` on: each [tokens, kv_heads x head_dim].
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        of_either!(&mut self.pages, pages => write(self.layout, pages, layer, position, keys, values));
    }

    /// One head's keys [head_dim][PAGE] and values [PAGE][head_dim] in one page; N is what the layout says.
    pub(crate) fn page<N: Number>(&self, page: usize, layer: usize, head: usize) -> (&[N], &[N]) {
        let page = &N::pages(&self.pages)[page];
        page[self.layout.at(layer, head)..][..2 * self.layout.head()].split_at(self.layout.head())
    }
}

/// [`Sequence::reserve`], in pages of so many numbers.
fn reserve<N: Number>(pages: &mut Vec<Arc<[N]>>, len: usize, tokens: usize, numbers: usize) {
    if !len.is_multiple_of(PAGE)
        && let Some(last) = pages.last_mut()
        && Arc::get_mut(last).is_none()
    {
        *last = Arc::from(&**last);
    }
    while pages.len() * PAGE < len + tokens {
        pages.push(std::iter::repeat_n(N::ZERO, numbers).collect());
    }
}

/// [`Sequence::write`].
fn write<N: Number>(
    layout: Layout,
    pages: &mut [Arc<[N]>],
    layer: usize,
    position: usize,
    keys: &[f32],
    values: &[f32],
) {
    let Layout { kv_heads, head_dim, .. } = layout;
    let width = kv_heads * head_dim;
    let mut rounded = vec![N::ZERO; width];
    for (t, (key, value)) in keys.chunks_exact(width).zip(values.chunks_exact(width)).enumerate() {
        let (page, slot) = ((position + t) / PAGE, (position + t) % PAGE);
        let page = Arc::get_mut(&mut pages[page]).expect("reserve made the page this sequence's own");
        N::round(key, &mut rounded);
        for (head, key) in rounded.chunks_exact(head_dim).enumerate() {
            let to = page[layout.at(layer, head)..][..layout.head()].chunks_exact_mut(PAGE);
            to.zip(key).for_each(|(to, key)| to[slot] = *key);
        }
        N::round(value, &mut rounded);
        for (head, value) in rounded.chunks_exact(head_dim).enumerate() {
            page[layout.at(layer, head) + layout.head() + slot * head_dim..][..head_dim].copy_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { layers: 2, kv_heads: 2, head_dim: 4, kept: Kept::F32 };

    /// A sequence whose key and value of token t in head h are t, t + 0.5 + h...
    fn written(kept: Kept, tokens: usize, parts: &[usize]) -> Sequence {
        let mut sequence = Sequence::new(Layout { kept, ..LAYOUT });
        let rows = |from: usize, n: usize, add: f32| -> Vec<f32> {
            (from..from + n).flat_map(|t| (0..8).map(move |i| (t * 8 + i) as f32 + add)).collect()
        };
        let mut parts = parts.iter().copied().chain(std::iter::repeat(tokens));
        while sequence.len() < tokens {
            let n = parts.next().unwrap().min(tokens - sequence.len());
            sequence.reserve(n);
            for layer in 0..2 {
                let (k, v) = (rows(sequence.len(), n, 0.0), rows(sequence.len(), n, 0.25));
                sequence.write(layer, sequence.len(), &k, &v);
            }
            sequence.advance(n);
        }
        sequence
    }

    fn pages<N: Number>(sequence: &Sequence) -> &[Arc<[N]>] {
        N::pages(&sequence.pages)
    }

    #[test]
    fn parts_of_any_size_write_the_same() {
        parts::<f32>(Kept::F32);
        parts::<f16>(Kept::F16);
    }

    fn parts<N: Number + PartialEq + std::fmt::Debug>(kept: Kept) {
        let whole = written(kept, 77, &[]);
        let parts = written(kept, 77, &[1, 31, 1, 33, 2]);
        assert_eq!(pages::<N>(&whole), pages::<N>(&parts));
        let (keys, values) = whole.page::<N>(1, 1, 1);
        // Token 35 is in slot 3 of page 1; head 1 has elements 4 to 7. All these numbers are multiples of 1/4 below 1,024.
        assert_eq!(keys[2 * PAGE + 3].to_f32(), (35 * 8 + 4 + 2) as f32);
        assert_eq!(values[3 * 4 + 2].to_f32(), (35 * 8 + 4 + 2) as f32 + 0.25);
    }

    #[test]
    fn what_an_f16_cannot_hold_becomes_the_largest_it_can() {
        let mut sequence = Sequence::new(Layout { kept: Kept::F16, ..LAYOUT });
        sequence.reserve(1);
        let keys = [70_000.0, -1e9, f32::INFINITY, 1.0, 65_504.0, 1e-9, 0.1, f32::NAN];
        sequence.write(0, 0, &keys, &[0.0; 8]);
        let (first, second) = (sequence.page::<f16>(0, 0, 0).0, sequence.page::<f16>(0, 0, 1).0);
        let found: Vec<f32> = [first, second].iter().flat_map(|head| (0..4).map(|d| head[d * PAGE].to_f32())).collect();
        assert_eq!(found[..6], [65_504.0, -65_504.0, 65_504.0, 1.0, 65_504.0, 0.0]);
        assert!((found[6] - 0.1).abs() < 5e-5 && found[7].is_nan(), "{found:?}");
    }

    #[test]
    fn prefixes_share_whole_pages_and_writing_never_reaches_another_sequence() {
        for kept in [Kept::F32, Kept::F16] {
            let sequence = written(kept, 77, &[]);
            let prefix = sequence.prefix(70);
            assert_eq!((prefix.len(), prefix.bytes()), (64, 2 * prefix.layout.page_bytes()));
        }
        let sequence = written(Kept::F32, 77, &[]);
        let prefix = sequence.prefix(70);
        assert!(Arc::ptr_eq(&pages::<f32>(&prefix)[1], &pages::<f32>(&sequence)[1]));
        let before = pages::<f32>(&sequence)[1].clone();
        let mut other = sequence.clone();
        other.truncate(40);
        other.reserve(1);
        other.write(0, 40, &[9.0; 8], &[9.0; 8]);
        assert_eq!(before, pages::<f32>(&sequence)[1]);
        assert_ne!(before, pages::<f32>(&other)[1]);
        assert_eq!((other.len(), other.bytes()), (40, 2 * LAYOUT.page() * 4));
    }
}
