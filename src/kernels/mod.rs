//! Numeric kernels: slices in, slices out, nothing of ours imported.
//!
//! Every kernel takes a [`Cpu`] (vector level and threads) and gives the same result at every thread
//! count. A row's result never depends on the rows that are computed along with it.
//!
//! Where to start: [`linear`] (what the model spends its time in), [`simd`] (how one algorithm serves
//! every instruction set), [`pool`] (how work is shared out).

pub mod attention;
pub mod conv;
pub mod cpu;
pub mod embed;
pub mod gelu;
pub mod kv;
pub mod level;
pub mod linear;
mod norm;
mod packed;
pub mod pool;
pub mod rank;
pub mod roofline;
mod rows;
pub mod simd;
mod spare;
pub mod storage;
mod tile;
pub mod tiled;

pub use cpu::Cpu;
pub use level::{Isa, SimdLevel};
pub use pool::Pool;
pub use spare::Spare;
