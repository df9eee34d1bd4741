//! [`Sequence`]: the keys and values of one sequence, in pages that sequences with the same beginning share.

use std::sync::Arc;

use crate::Config;

const PAGE: usize = Sequence::PAGE;

/// Where things lie in a page: [layer][keys, values][kv head][PAGE][head_dim].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

impl Layout {
    pub(crate) fn new(config: &Config) -> Self {
        Self { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim }
    }

    /// Numbers of one head's keys in a page.
    pub(crate) fn head(self) -> usize {
        PAGE * self.head_dim
    }

    pub(crate) fn page(self) -> usize {
        self.layers * 2 * self.kv_heads * self.head()
    }

    fn at(self, layer: usize, values: bool, head: usize) -> usize {
        ((layer * 2 + usize::from(values)) * self.kv_heads + head) * self.head()
    }
}

/// The keys and values of one sequence's tokens. Cloning shares the pages; the last one is copied when it is written to.
#[derive(Debug, Clone)]
pub struct Sequence {
    layout: Layout,
    pages: Vec<Arc<Vec<f32>>>,
    len: usize,
}

impl Sequence {
    /// Tokens of a page.
    pub const PAGE: usize = 32;

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

    /// The beginning of the sequence, as many whole pages of 32 tokens as `tokens` fills, shared with this one.
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

    /// Makes room for `tokens` more, in pages that nobody else sees.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        if !self.len.is_multiple_of(PAGE)
            && let Some(last) = self.pages.last_mut()
        {
            Arc::make_mut(last);
        }
        while self.pages.len() * PAGE < self.len + tokens {
            self.pages.push(Arc::new(vec![0.0; self.layout.page()]));
        }
    }

    /// Counts what was written.
    pub(crate) fn advance(&mut self, tokens: usize) {
        self.len += tokens;
    }

    /// Writes one token's keys and values of one layer, each [kv_heads x head_dim].
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (layout, dim) = (self.layout, self.layout.head_dim);
        let page = Arc::get_mut(&mut self.pages[position / PAGE]).expect("reserve made the page this sequence's own");
        let slot = position % PAGE * dim;
        for head in 0..layout.kv_heads {
            let part = head * dim..(head + 1) * dim;
            page[layout.at(layer, false, head) + slot..][..dim].copy_from_slice(&keys[part.clone()]);
            page[layout.at(layer, true, head) + slot..][..dim].copy_from_slice(&values[part]);
        }
    }

    /// One head's keys (or values) in one page: [PAGE, head_dim].
    pub(crate) fn head(&self, page: usize, layer: usize, values: bool, head: usize) -> &[f32] {
        &self.pages[page][self.layout.at(layer, values, head)..][..self.layout.head()]
    }
}
