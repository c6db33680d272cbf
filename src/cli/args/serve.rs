//! The options of `serve` and `run-batch`.

use std::path::PathBuf;

use clap::Args;

use super::speech::RunArgs;

/// `serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Model to serve: as --model
    #[arg(value_name = "MODEL")]
    pub served: Option<String>,
    /// Address to listen at; 0.0.0.0 is every network of this machine
    #[arg(long, default_value = "127.0.0.1", help_heading = "Server")]
    pub host: String,
    /// Port to listen at; 0 takes a free one
    #[arg(long, default_value_t = 8000, help_heading = "Server")]
    pub port: u16,
    /// Requests must show one of these keys (Authorization: Bearer KEY); may repeat
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    pub api_key: Vec<String>,
    /// File with such keys, one a line
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub api_key_file: Option<PathBuf>,
    /// Pages of this origin may use the server, or * for all; may repeat
    #[arg(long, value_name = "ORIGIN", help_heading = "Server")]
    pub cors: Vec<String>,
    /// Seconds that requests may go on after SIGTERM or Ctrl-C
    #[arg(
        long,
        value_name = "S",
        default_value_t = 10.0,
        help_heading = "Server"
    )]
    pub grace: f64,
    /// Decode a moment of silence before listening, so that the first request finds everything warm
    #[arg(long, help_heading = "Server")]
    pub warmup: bool,
    /// Let models leave memory that nobody has used for so many seconds
    #[arg(long, value_name = "S", help_heading = "Server")]
    pub idle_unload: Option<f64>,
    /// Lines of the log: text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"], help_heading = "Server")]
    pub log_format: String,
    /// Log warnings and failures only
    #[arg(short, long, help_heading = "Server")]
    pub quiet: bool,
    /// What is served, and how it is answered.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
    /// Options of vLLM's command.
    #[command(flatten)]
    pub vllm: VllmArgs,
}

/// What is served, how it is answered, and how much of it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Requests")]
pub struct ApiArgs {
    /// Answer as this server does where the two differ: vllm or openai
    #[arg(long, default_value = "vllm", value_parser = ["vllm", "openai"])]
    pub api_style: String,
    /// Name of the model in requests; may repeat [default: as it was asked for]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub served_model_name: Vec<String>,
    /// Largest upload, in MB
    #[arg(long, value_name = "MB")]
    pub max_upload_mb: Option<f64>,
    /// Longest recording, in seconds
    #[arg(long, value_name = "S")]
    pub max_duration_s: Option<f64>,
    /// Requests worked on side by side
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub max_requests: usize,
    /// Requests that may wait besides; more are answered 503
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Seconds a request may take after its upload
    #[arg(long, value_name = "S", default_value_t = 3600.0)]
    pub request_timeout: f64,
    /// Seconds an upload may take
    #[arg(long, value_name = "S", default_value_t = 120.0)]
    pub upload_timeout: f64,
    /// Windows of all requests that are decoded together, at most
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        overrides_with = "max_num_seqs"
    )]
    pub max_num_seqs: usize,
    /// End every stream with a message of its usage
    #[arg(long)]
    pub enable_force_include_usage: bool,
}

/// Options of vLLM's command that mean nothing here, so that its callers need not be changed.
#[derive(Args, Debug)]
#[command(next_help_heading = "Accepted for vLLM's sake, without effect")]
pub struct VllmArgs {
    #[arg(long, hide = true)]
    pub enforce_eager: bool,
    #[arg(long, hide = true)]
    pub seed: Option<u64>,
    #[arg(long, hide = true)]
    pub enable_prefix_caching: bool,
    #[arg(long, hide = true)]
    pub no_enable_prefix_caching: bool,
    #[arg(long, hide = true)]
    pub gpu_memory_utilization: Option<f64>,
    #[arg(long, hide = true)]
    pub tokenizer_mode: Option<String>,
    #[arg(long, hide = true)]
    pub trust_remote_code: bool,
    #[arg(long, hide = true)]
    pub max_model_len: Option<String>,
    #[arg(long, hide = true)]
    pub tensor_parallel_size: Option<usize>,
    #[arg(long, hide = true)]
    pub disable_log_requests: bool,
    #[arg(long, hide = true)]
    pub enable_lora: bool,
    #[arg(long, hide = true)]
    pub max_loras: Option<usize>,
    #[arg(long, hide = true)]
    pub max_lora_rank: Option<usize>,
}

/// `run-batch`.
#[derive(Args, Debug)]
pub struct BatchArgs {
    /// Requests, one a line, in OpenAI's batch format; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub input_file: PathBuf,
    /// Where answers go, one a line; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output_file: PathBuf,
    /// Fetch recordings from http and https URLs
    #[arg(long)]
    pub allow_http: bool,
    /// What is served, and how it is answered.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
    /// Options of vLLM's command.
    #[command(flatten)]
    pub vllm: VllmArgs,
}
