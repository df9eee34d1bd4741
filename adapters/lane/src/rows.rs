//! Work on the rows of a step's matrices that needs no other row, split over the threads where there is enough of it.

use std::sync::Mutex;

use cairn_matrix::Threads;

/// Numbers that are not worth a hand-over.
const ONE_PART: usize = 24 << 10;

/// Calls `work(first row, rows of a, rows of b)` so that every row of `a` and `b` is passed once.
pub(crate) fn over_rows(
    threads: &Threads,
    rows: usize,
    a: &mut [f32],
    b: &mut [f32],
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    if rows < 2 || threads.count() < 2 || a.len() + b.len() < ONE_PART {
        return work(0, a, b);
    }
    let (width_a, width_b) = (a.len() / rows, b.len() / rows);
    let together = rows.div_ceil(threads.count() * 4);
    let parts: Vec<Mutex<(&mut [f32], &mut [f32])>> =
        a.chunks_mut(together * width_a).zip(b.chunks_mut(together * width_b)).map(Mutex::new).collect();
    threads.run(parts.len(), |part| {
        let mut parts = parts[part].lock().expect("each part is locked once, so no panic has poisoned it");
        let (a, b) = &mut *parts;
        work(part * together, a, b);
    });
}
