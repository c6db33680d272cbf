//! Numeric kernels: slices in, slices out, nothing of ours imported.
//!
//! Every kernel takes a [`Cpu`] (vector level and threads) and gives the same result at every thread
//! count. A row's result never depends on the rows that are computed along with it.
//!
//! Where to start: [`linear`] (what the model spends its time in), [`simd`] (how one algorithm serves
//! every instruction set), [`pool`] (how work is shared out).

pub mod attention;
mod buffer_pool;
pub mod conv;
pub mod cpu;
pub mod emulated;
pub mod gpu;
pub mod level;
pub mod linear;
pub mod pool;
pub mod rank;
pub mod roofline;
pub mod simd;
pub mod storage;

pub use cpu::Cpu;
pub use level::SimdLevel;
