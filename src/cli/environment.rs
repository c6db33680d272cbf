//! What the environment says: where models are kept and may come from, and the user's own defaults. The
//! only reader of it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::args::parse_bool;
use super::config::{self, Defaults};
#[cfg(feature = "server")]
use super::usage::usage;
use crate::weights::hub::HubConfig;

fn config_path() -> PathBuf {
    let folder = || path_variable("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config"));
    path_variable("UNDERTONE_CONFIG").unwrap_or_else(|| folder().join("undertone/config.toml"))
}

/// The file of defaults, and whether it is there.
pub fn config_file() -> String {
    let file = config_path();
    let state = if file.is_file() { "read" } else { "not there" };
    format!("{} ({state})", file.display())
}

/// The user's own defaults: `UNDERTONE_*`, and the file that `UNDERTONE_CONFIG` names, or else
/// `$XDG_CONFIG_HOME/undertone/config.toml`.
pub fn defaults() -> Result<Defaults> {
    let required = path_variable("UNDERTONE_CONFIG").is_some();
    let file = config_path();
    Defaults::read(&variable, file, required)
}

/// What is odd about the user's own variables.
pub fn odd_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    config::odd_variables(names)
}

/// Where models are kept and may come from, by the usual variables: `XDG_CACHE_HOME`, `HF_HOME`,
/// `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
pub fn hub_config(model_dir: Option<&Path>) -> HubConfig {
    let hf_home = path_variable("HF_HOME").unwrap_or_else(|| user_cache().join("huggingface"));
    let hf_cache = path_variable("HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub"));
    let models = model_dir.map_or_else(|| cache_dir().join("models"), Path::to_owned);
    let mut config = HubConfig::new(models, hf_cache);
    config.endpoint = variable("HF_ENDPOINT");
    config.token = variable("HF_TOKEN").or_else(|| saved_token(&hf_home));
    config.offline = variable("HF_HUB_OFFLINE").is_some_and(|v| parse_bool(&v).unwrap_or(false));
    config
}

/// How much a server takes of a recording, as vLLM's variables say it.
#[cfg(feature = "server")]
pub struct AudioLimits {
    pub upload_mb: Option<f64>,
    pub seconds: Option<f64>,
}

/// `VLLM_MAX_AUDIO_CLIP_FILESIZE_MB` and `VLLM_MAX_AUDIO_DECODE_DURATION_S`.
#[cfg(feature = "server")]
pub fn audio_limits() -> Result<AudioLimits> {
    let number = |name: &str| match variable(name).map(|text| text.parse()) {
        None => Ok(None),
        Some(Ok(number)) => Ok(Some(number)),
        Some(Err(_)) => usage(format!("{name}: is not a number")),
    };
    Ok(AudioLimits {
        upload_mb: number("VLLM_MAX_AUDIO_CLIP_FILESIZE_MB")?,
        seconds: number("VLLM_MAX_AUDIO_DECODE_DURATION_S")?,
    })
}

/// `VLLM_API_KEY`.
#[cfg(feature = "server")]
pub fn api_key() -> Option<String> {
    variable("VLLM_API_KEY")
}

/// Where packed models are kept, ready to be mapped.
pub fn packed_dir() -> PathBuf {
    cache_dir().join("packed")
}

/// What `bench` has measured on this machine.
pub fn speed_file() -> PathBuf {
    cache_dir().join("speed.json")
}

/// The folder that everything of ours is kept in.
fn cache_dir() -> PathBuf {
    user_cache().join("undertone")
}

fn user_cache() -> PathBuf {
    path_variable("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache"))
}

/// The key that the Hub's own program keeps after a login.
fn saved_token(hf_home: &Path) -> Option<String> {
    let token = std::fs::read_to_string(hf_home.join("token")).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn home() -> PathBuf {
    std::env::home_dir().unwrap_or_else(|| ".".into())
}
