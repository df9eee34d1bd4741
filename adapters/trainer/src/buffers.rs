//! [`Buffers`]: working memory that is handed out and taken back, so that a step does not grow the heap.

/// Vectors that are not in use.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Vec<Vec<f32>>,
}

impl Buffers {
    /// A vector of `len` elements with any contents.
    pub(crate) fn take(&mut self, len: usize) -> Vec<f32> {
        // One that is much larger may be kept for long, and the next to need it would find none.
        let fits = |free: &Vec<f32>| (len..=2 * len).contains(&free.capacity());
        let fitting = self.free.iter().enumerate().filter(|(_, free)| fits(free));
        let best = fitting.min_by_key(|(_, free)| free.capacity()).map(|(at, _)| at);
        let mut buffer = best.map_or_else(|| Vec::with_capacity(len), |at| self.free.swap_remove(at));
        buffer.resize(len, 0.0);
        buffer
    }

    /// A vector of `len` zeros.
    pub(crate) fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// A copy.
    pub(crate) fn copy(&mut self, of: &[f32]) -> Vec<f32> {
        let mut buffer = self.take(of.len());
        buffer.copy_from_slice(of);
        buffer
    }

    /// Takes vectors back.
    pub(crate) fn give(&mut self, buffers: impl IntoIterator<Item = Vec<f32>>) {
        self.free.extend(buffers.into_iter().filter(|buffer| buffer.capacity() > 0));
    }

    /// Lets go of everything that is not in use: before a batch of another size.
    pub(crate) fn clear(&mut self) {
        self.free.clear();
    }
}
