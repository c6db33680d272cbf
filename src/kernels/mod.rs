//! Numeric kernels: slices in, slices out, nothing of ours imported.
//!
//! Every kernel takes a [`Cpu`] (vector level and threads) and gives the same result at every thread
//! count. A row's result never depends on the rows that are computed along with it.

pub mod cpu;
pub mod level;
pub mod pool;

pub use cpu::Cpu;
pub use level::{Isa, SimdLevel};
pub use pool::Pool;
