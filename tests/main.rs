//! All integration tests in one binary. Those of the program need all its parts, those that ask for
//! models by name need the Hub's; the others hold for the library alone.

#[cfg(feature = "hub")]
mod align;
mod audio;
mod batching;
#[cfg(all(feature = "cli", feature = "hub", feature = "eval"))]
mod cli;
#[cfg(all(feature = "cli", feature = "hub", feature = "eval"))]
mod cli_tools;
mod containers;
mod contradictions;
mod dependencies;
mod drafting;
#[cfg(feature = "hub")]
mod fuzz;
mod gpu;
mod gpu_network;
mod headers;
#[cfg(all(feature = "cli", feature = "gpu", feature = "hub"))]
mod hip;
mod imports;
#[cfg(all(feature = "cli", feature = "hub"))]
mod inputs;
mod joined;
mod judge;
mod levels;
mod library;
#[cfg(all(feature = "cli", feature = "hub"))]
mod long;
mod lora;
mod network;
#[cfg(feature = "hub")]
mod parity;
#[cfg(all(feature = "cli", feature = "hub", feature = "eval"))]
mod readme;
#[cfg(all(feature = "cli", feature = "hub"))]
mod rocm;
mod sampling;
mod settings;
#[cfg(feature = "hub")]
mod stages;
#[cfg_attr(
    not(feature = "hub"),
    expect(dead_code, reason = "for tests that need the Hub")
)]
mod support;
#[cfg(feature = "cli")]
mod terminal;
mod tidy;
#[cfg(feature = "hub")]
mod tokenizer;
mod weights;
