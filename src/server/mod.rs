//! The engine behind HTTP: OpenAI's audio routes as vLLM serves them, or as OpenAI does.
//!
//! In: requests on a socket. Out: transcripts, whole or as they are found. Every request is a client of
//! the engine's one batcher, so windows of all requests step together, and its answer is the command
//! line's for the same file and options. What stays true: what waits and what runs is bounded; a client
//! that leaves, a deadline, or the server's end cancels a request at its next step; no answer holds a
//! path or a trace.
//!
//! `speech` leads from a request to `work` and back: read it first.

mod answer;
mod auth;
mod batch_lines;
mod error;
mod fields;
mod form;
mod gate;
mod listen;
mod metrics;
mod models;
mod page;
mod request_id;
mod routes;
mod schema;
mod speech;
mod stream;
mod style;
#[cfg(test)]
mod tests;
mod work;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use batch_lines::{BatchReader, Fetch, run_batch};
pub use listen::serve;
pub use models::{Load, Models, Served};
pub use style::ApiStyle;

use crate::batcher::Cancel;
use gate::Gate;
use metrics::Metrics;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct Config {
    pub style: ApiStyle,
    /// Keys, one of which a request must show; none lets everybody in.
    pub keys: Vec<String>,
    pub max_upload_mb: f64,
    /// Longest recording.
    pub max_seconds: f64,
    /// Requests worked on side by side, and those that may wait besides.
    pub max_running: usize,
    pub max_waiting: usize,
    /// How long a request may take after its upload, and how long that may take.
    pub request_timeout: Duration,
    pub upload_timeout: Duration,
    /// How long requests may go on after the server was told to stop.
    pub grace: Duration,
    /// Pages of these origins may use the server; `*` stands for all.
    pub cors: Vec<String>,
    /// Every stream ends with a message of its usage.
    pub always_usage: bool,
    /// Models that nobody used for so long leave memory.
    pub idle_unload: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            style: ApiStyle::Vllm,
            keys: Vec::new(),
            max_upload_mb: 25.0,
            max_seconds: 4.0 * 3600.0,
            max_running: 32,
            max_waiting: 64,
            request_timeout: Duration::from_secs(3600),
            upload_timeout: Duration::from_secs(120),
            grace: Duration::from_secs(10),
            cors: Vec::new(),
            always_usage: false,
            idle_unload: None,
        }
    }
}

/// Where a server listens, once it does.
pub type Listening<'a> = &'a mut dyn FnMut(SocketAddr);

/// What all requests share.
pub(in crate::server) struct App {
    pub models: Models,
    pub config: Config,
    pub metrics: Metrics,
    pub gate: Gate,
    /// Stops everything that runs.
    pub cancel: Cancel,
}

impl App {
    pub fn new(models: Models, config: Config) -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(config.max_running, config.max_waiting),
            models,
            config,
            metrics: Metrics::default(),
            cancel: Cancel::default(),
        })
    }

    /// Most bytes of an upload; a megabyte as vLLM counts it.
    pub fn max_upload_bytes(&self) -> usize {
        (self.config.max_upload_mb * 1024.0 * 1024.0) as usize
    }
}
