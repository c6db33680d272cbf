//! All integration tests in one binary.

mod audio;
mod batching;
mod cli;
mod parity;
mod rocm;
mod stages;
mod support;
mod tidy;
mod weights;
