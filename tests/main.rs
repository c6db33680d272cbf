//! All integration tests in one binary.

mod audio;
mod batching;
mod cli;
mod cli_tools;
mod fuzz;
mod library;
mod parity;
mod readme;
mod rocm;
mod stages;
mod support;
mod tidy;
mod weights;
