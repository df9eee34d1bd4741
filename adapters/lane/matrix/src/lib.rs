//! Weight matrices of the lane's decoder and their CPU kernels, on plain `f32` slices.
//!
//! [`Matrix`] is a frozen weight (f32, f16, Q8_0 or Q4_K), repacked at load; [`multiply_all`] runs any list of products in
//! one hand-over to the [`Threads`], [`multiply_adapted`] with what LoRA adapters, which are pairs of [`Factor`]s, add to
//! them; [`Arena`] keeps weights that are read together in huge pages; [`vector`] has the small dense kernels around them. Every output is computed by the same sequence of operations
//! whatever the batch, the number of threads and the instruction set, so a request gives the same bits alone and among
//! others. Models, tensors and files do not belong here.
//!
//! ```
//! use cairn_matrix::{Form, Matrix, Threads};
//! let threads = Threads::new(2);
//! let w: Vec<f32> = (0..64 * 32).map(|i| (i % 7) as f32).collect(); // [out 64, in 32]
//! let matrix = Matrix::quantize(&w, 64, 32, Form::Q8_0)?;
//! let mut y = vec![0.0; 2 * 64];
//! matrix.multiply(&threads, &[1.0; 2 * 32], 2, &mut y); // y = x Wᵀ
//! assert_eq!(y[..64], y[64..]);
//! # Ok::<(), cairn_matrix::MatrixError>(())
//! ```

mod activations;
mod blocks;
mod factor;
mod form;
mod kernel;
mod lines;
mod low_rank;
mod matrix;
mod packed;
mod product;
mod threads;
pub mod vector;

pub use factor::{Factor, FactorForm};
pub use form::{Form, MatrixError};
pub use lines::Arena;
pub use low_rank::{Between, Changes, Gain, LowRank, multiply_adapted};
pub use matrix::Matrix;
pub use product::{Product, Write, multiply_all};
pub use threads::Threads;
