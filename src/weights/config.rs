//! Hugging Face's `config.json` beside a file of weights: the heads, which no tensor's shape shows.

use std::path::Path;

use serde::Deserialize;

use super::safetensors::json;
use crate::error::Result;

/// Name of the file.
pub(super) const NAME: &str = "config.json";

#[derive(Deserialize)]
struct Config {
    encoder_attention_heads: Option<usize>,
    decoder_attention_heads: Option<usize>,
}

/// Encoder and decoder heads, where the file is there and says.
pub(super) fn heads(weights: &Path) -> Result<Option<(usize, usize)>> {
    let config = weights.with_file_name(NAME);
    if !config.is_file() {
        return Ok(None);
    }
    let config: Config = json(&config)?;
    Ok(config
        .encoder_attention_heads
        .zip(config.decoder_attention_heads))
}
