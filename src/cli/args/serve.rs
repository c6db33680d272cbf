//! The options of `serve` and `run-batch`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::Deserialize;

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
    /// LoRA adapters to serve beside the model, each under a name of its own: NAME=FOLDER, or as JSON
    /// {"name": NAME, "path": FOLDER}; may repeat
    #[arg(long, value_name = "NAME=FOLDER", num_args = 1..)]
    pub lora_modules: Vec<AdapterArg>,
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

/// An adapter and the name that it is served under.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct AdapterArg {
    pub name: String,
    pub path: String,
    /// What the list of models gives as the adapter's parent, where not the model's served name.
    #[serde(default)]
    pub base_model_name: Option<String>,
}

impl FromStr for AdapterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let adapter = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        } else {
            let halves = text.split_once('=');
            let (name, path) = halves.ok_or("is not NAME=FOLDER")?;
            Self {
                name: name.to_owned(),
                path: path.to_owned(),
                base_model_name: None,
            }
        };
        match adapter.name.is_empty() || adapter.path.is_empty() {
            true => Err("its name or its folder is empty".into()),
            false => Ok(adapter),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_are_named_in_both_of_vllms_ways() {
        let adapter = |name: &str, path: &str, base: Option<&str>| {
            Ok(AdapterArg {
                name: name.into(),
                path: path.into(),
                base_model_name: base.map(str::to_owned),
            })
        };
        let json = r#"{"name": "court", "path": "a/b=c", "base_model_name": "base"}"#;
        for (text, want) in [
            ("court=a/b=c", adapter("court", "a/b=c", None)),
            (json, adapter("court", "a/b=c", Some("base"))),
        ] {
            assert_eq!(text.parse::<AdapterArg>(), want);
        }
        for (text, fault) in [
            ("court", "NAME=FOLDER"),
            ("=a", "empty"),
            ("court=", "empty"),
            ("{", "EOF"),
            (r#"{"name": "court"}"#, "missing field `path`"),
            (
                r#"{"name": "c", "path": "p", "rank": 3}"#,
                "unknown field `rank`",
            ),
        ] {
            let said = text.parse::<AdapterArg>().unwrap_err();
            assert!(said.contains(fault), "{text}: {said}");
        }
    }
}
