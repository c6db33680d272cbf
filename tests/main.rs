//! All integration tests in one binary.

mod parity;
mod stages;
mod support;
mod tidy;
