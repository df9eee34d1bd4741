//! [`Sequence`]: the keys and values of one sequence, in pages that sequences with the same beginning share.

use std::sync::Arc;

use crate::Config;

/// Tokens of a page.
pub(crate) const PAGE: usize = 32;

/// Where things lie in a page: for each layer and key head the keys [head_dim][PAGE], then the values [PAGE][head_dim].
/// Keys are transposed so that attention computes the scores of a page's tokens side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Layout {
    pub(crate) fn new(config: &Config) -> Self {
        Self { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim }
    }

    #[cfg(test)]
    pub(crate) fn of(layers: usize, kv_heads: usize, head_dim: usize) -> Self {
        Self { layers, kv_heads, head_dim }
    }

    /// Numbers of one head's keys, or of its values, in a page.
    fn head(self) -> usize {
        PAGE * self.head_dim
    }

    /// Numbers of a page.
    pub(crate) fn page(self) -> usize {
        self.layers * self.kv_heads * 2 * self.head()
    }

    /// Where a head's keys start; its values follow.
    fn at(self, layer: usize, head: usize) -> usize {
        (layer * self.kv_heads + head) * 2 * self.head()
    }
}

/// The keys and values of one sequence's tokens. Cloning shares the pages; one that is not full is copied when it is
/// written to.
#[derive(Debug, Clone)]
pub struct Sequence {
    layout: Layout,
    /// Immutable once full, and then shared by any number of sequences.
    pages: Vec<Arc<[f32]>>,
    len: usize,
}

impl Sequence {
    /// Tokens of a page; [`Sequence::prefix`] shares whole pages only.
    pub const PAGE: usize = PAGE;

    pub(crate) fn new(layout: Layout) -> Self {
        Self { layout, pages: Vec::new(), len: 0 }
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
        let pages = tokens.min(self.len) / PAGE;
        Self { layout: self.layout, pages: self.pages[..pages].to_vec(), len: pages * PAGE }
    }

    /// Forgets all but the first `tokens` tokens.
    pub fn truncate(&mut self, tokens: usize) {
        self.len = self.len.min(tokens);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    /// Bytes of its pages, shared ones included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pages.len() * self.layout.page() * size_of::<f32>()
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Makes room for `tokens` more, in pages that nobody else sees.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        if !self.len.is_multiple_of(PAGE)
            && let Some(last) = self.pages.last_mut()
            && Arc::get_mut(last).is_none()
        {
            *last = Arc::from(&**last);
        }
        while self.pages.len() * PAGE < self.len + tokens {
            self.pages.push(std::iter::repeat_n(0.0, self.layout.page()).collect());
        }
    }

    /// Counts what was written.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Writes one layer's keys and values of tokens from `position` on: each [tokens, kv_heads x head_dim].
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let Layout { kv_heads, head_dim, .. } = self.layout;
        let width = kv_heads * head_dim;
        let (mut position, mut keys, mut values) = (position, keys, values);
        while !keys.is_empty() {
            let slot = position % PAGE;
            let tokens = (PAGE - slot).min(keys.len() / width);
            let page =
                Arc::get_mut(&mut self.pages[position / PAGE]).expect("reserve made the page this sequence's own");
            let (new_keys, more_keys) = keys.split_at(tokens * width);
            let (new_values, more_values) = values.split_at(tokens * width);
            for head in 0..kv_heads {
                let at = self.layout.at(layer, head);
                let (to_keys, to_values) = page[at..][..2 * self.layout.head()].split_at_mut(self.layout.head());
                for (t, key) in new_keys.chunks_exact(width).enumerate() {
                    let key = &key[head * head_dim..][..head_dim];
                    for (to, key) in to_keys.chunks_exact_mut(PAGE).zip(key) {
                        to[slot + t] = *key;
                    }
                }
                let to_values = to_values[slot * head_dim..].chunks_exact_mut(head_dim);
                for (to, value) in to_values.zip(new_values.chunks_exact(width)) {
                    to.copy_from_slice(&value[head * head_dim..][..head_dim]);
                }
            }
            (position, keys, values) = (position + tokens, more_keys, more_values);
        }
    }

    /// One head's keys [head_dim][PAGE] and values [PAGE][head_dim] in one page.
    pub(crate) fn page(&self, page: usize, layer: usize, head: usize) -> (&[f32], &[f32]) {
        self.pages[page][self.layout.at(layer, head)..][..2 * self.layout.head()].split_at(self.layout.head())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { layers: 2, kv_heads: 2, head_dim: 4 };

    /// A sequence whose key and value of token t in head h are t, t + 0.5 + h...
    fn written(tokens: usize, parts: &[usize]) -> Sequence {
        let mut sequence = Sequence::new(LAYOUT);
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

    #[test]
    fn parts_of_any_size_write_the_same() {
        let whole = written(77, &[]);
        let parts = written(77, &[1, 31, 1, 33, 2]);
        assert_eq!(whole.pages, parts.pages);
        let (keys, values) = whole.page(1, 1, 1);
        // Token 35 is in slot 3 of page 1; head 1 has elements 4 to 7.
        assert_eq!(keys[2 * PAGE + 3], (35 * 8 + 4 + 2) as f32);
        assert_eq!(values[3 * 4 + 2], (35 * 8 + 4 + 2) as f32 + 0.25);
    }

    #[test]
    fn prefixes_share_whole_pages_and_writing_never_reaches_another_sequence() {
        let sequence = written(77, &[]);
        let prefix = sequence.prefix(70);
        assert_eq!((prefix.len(), prefix.pages.len()), (64, 2));
        assert!(Arc::ptr_eq(&prefix.pages[1], &sequence.pages[1]));
        let before = sequence.pages[1].clone();
        let mut other = sequence.clone();
        other.truncate(40);
        other.reserve(1);
        other.write(0, 40, &[9.0; 8], &[9.0; 8]);
        assert_eq!(before, sequence.pages[1]);
        assert_ne!(before, other.pages[1]);
        assert_eq!((other.len(), other.bytes()), (40, 2 * LAYOUT.page() * 4));
    }
}
