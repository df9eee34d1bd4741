//! [`View`] and [`ViewMut`]: matrices in slices, and their product through `gemm`.
//!
//! A [`ViewMut`] can be split into blocks that several threads write at once, such as the heads of an attention output.

use std::{marker::PhantomData, ops::Range};

use gemm::Parallelism;

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Rows one after the other.
    ///
    /// # Panics
    /// If `data` is shorter than the matrix.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "{} elements for a {rows} x {columns} matrix", data.len());
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Some of the rows and columns.
    ///
    /// # Panics
    /// If a range leaves the matrix.
    pub(crate) fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "a block outside of its matrix");
        let (count, width) = (rows.len(), columns.len());
        if count == 0 || width == 0 {
            return Self { data: &[], rows: count, columns: width, ..self };
        }
        let start = rows.start * self.row_stride + columns.start * self.column_stride;
        Self { data: &self.data[start..], rows: count, columns: width, ..self }
    }

    /// A row of a matrix whose rows lie one after the other.
    ///
    /// # Panics
    /// If there is no such row, or the view is transposed.
    pub(crate) fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows && self.column_stride == 1, "row {row} of {}", self.rows);
        &self.data[row * self.row_stride..][..self.columns]
    }
}

/// A matrix in a slice that one owner writes; its rows lie one after the other, perhaps with gaps that belong to others.
pub(crate) struct ViewMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a view is the only one that may touch its elements (they are borrowed mutably from one slice, and `split` gives
// blocks without common elements), so it may move to another thread like `&mut [f32]`.
#[allow(unsafe_code)]
unsafe impl Send for ViewMut<'_> {}

impl<'a> ViewMut<'a> {
    /// Rows one after the other.
    ///
    /// # Panics
    /// If `data` is shorter than the matrix.
    pub(crate) fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        assert!(data.len() >= rows * columns, "{} elements for a {rows} x {columns} matrix", data.len());
        Self { start: data.as_mut_ptr(), rows, columns, row_stride: columns, owner: PhantomData }
    }

    /// The number of rows.
    pub(crate) fn height(&self) -> usize {
        self.rows
    }

    /// A row.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the row lies in the borrowed slice (checked at the beginning and in `block`), and `&mut self` is the only
        // way to its elements.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.start.add(row * self.row_stride), self.columns)
        }
    }

    /// Some of the rows and columns, while `self` is not used.
    ///
    /// # Panics
    /// If a range leaves the matrix.
    pub(crate) fn block(&mut self, rows: Range<usize>, columns: Range<usize>) -> ViewMut<'_> {
        self.at(&rows, &columns)
    }

    /// Cuts the matrix into a grid of blocks, row of blocks by row of blocks.
    ///
    /// # Panics
    /// If the heights or widths do not add up to those of the matrix.
    pub(crate) fn split(self, heights: &[usize], widths: &[usize]) -> Vec<ViewMut<'a>> {
        assert_eq!(heights.iter().sum::<usize>(), self.rows, "heights of blocks");
        assert_eq!(widths.iter().sum::<usize>(), self.columns, "widths of blocks");
        let mut blocks = Vec::with_capacity(heights.len() * widths.len());
        let mut row = 0;
        for height in heights {
            let mut column = 0;
            for width in widths {
                blocks.push(self.at(&(row..row + height), &(column..column + width)));
                column += width;
            }
            row += height;
        }
        blocks
    }

    /// A block that the caller keeps from meeting any other that is in use.
    fn at<'b>(&self, rows: &Range<usize>, columns: &Range<usize>) -> ViewMut<'b> {
        assert!(rows.start <= rows.end && columns.start <= columns.end, "a block that ends before it begins");
        assert!(rows.end <= self.rows && columns.end <= self.columns, "a block outside of its matrix");
        let offset =
            if rows.is_empty() || columns.is_empty() { 0 } else { rows.start * self.row_stride + columns.start };
        ViewMut {
            // SAFETY: the first element of the block lies in the matrix.
            #[allow(unsafe_code)]
            start: unsafe { self.start.add(offset) },
            rows: rows.len(),
            columns: columns.len(),
            row_stride: self.row_stride,
            owner: PhantomData,
        }
    }
}

/// On how many threads a product runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// The calling one: inside of work that is split already.
    One,
    /// All of rayon's.
    All,
}

/// c = beta c + alpha a b. Each element is one sum in one order, whatever the number of threads.
///
/// # Panics
/// If the shapes do not fit.
pub(crate) fn multiply(on: On, alpha: f32, a: View<'_>, b: View<'_>, beta: f32, c: &mut ViewMut<'_>) {
    assert!(
        a.rows == c.rows && a.columns == b.rows && b.columns == c.columns,
        "[{}, {}] x [{}, {}] into [{}, {}]",
        a.rows,
        a.columns,
        b.rows,
        b.columns,
        c.rows,
        c.columns
    );
    if c.rows == 0 || c.columns == 0 || a.columns == 0 {
        return;
    }
    let parallelism = match on {
        On::One => Parallelism::None,
        On::All => Parallelism::Rayon(rayon::current_num_threads()),
    };
    let stride = |stride: usize| isize::try_from(stride).expect("slices are shorter than isize::MAX");
    // SAFETY: every view reaches only elements of the slice it was made from, `c` shares none with `a` and `b` because it is
    // borrowed mutably, and the shapes fit.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            c.rows,
            c.columns,
            a.columns,
            c.start,
            1,
            stride(c.row_stride),
            beta != 0.0,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            beta,
            alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_transposes_multiply() {
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect(); // [3, 4]
        let b: Vec<f32> = (0..8).map(|i| (i * i) as f32).collect(); // [2, 4]
        let mut c = vec![1.0; 3 * 5];
        let mut whole = ViewMut::new(&mut c, 3, 5);
        let (a, b) = (View::new(&a, 3, 4), View::new(&b, 2, 4));
        multiply(On::All, 2.0, a, b.transposed(), 1.0, &mut whole.block(0..3, 2..4));
        for i in 0..3 {
            for j in 0..2 {
                let expected: f32 = (0..4).map(|k| a.row(i)[k] * b.row(j)[k]).sum();
                assert_eq!(c[i * 5 + 2 + j], 1.0 + 2.0 * expected);
            }
            assert_eq!((c[i * 5], c[i * 5 + 1], c[i * 5 + 4]), (1.0, 1.0, 1.0));
        }
        let mut blocks = ViewMut::new(&mut c, 3, 5).split(&[1, 2], &[2, 3]);
        blocks[3].row(1)[2] = 9.0;
        blocks[0].row(0)[0] = 7.0;
        assert_eq!((c[14], c[0]), (9.0, 7.0));
    }
}
