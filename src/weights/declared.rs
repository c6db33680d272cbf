//! What a model says of itself: `dims` in openai's `.pt`, the header of ggml, `config.json`.
//!
//! In: names and numbers. Out: the heads, which no tensor's shape shows, and an error where the rest
//! is not what the tensors are.

use std::path::Path;

use serde_json::{Map, Value};

use super::bytes::bad;
use super::json;
use crate::dims::ModelDimensions;
use crate::error::Result;

/// Name of Hugging Face's configuration.
pub(super) const CONFIG: &str = "config.json";

/// What is said, and by whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    /// `config.json`, `dims`, `the header`.
    pub by: &'static str,
    /// Names and sizes; those that the table does not have are left out.
    pub sizes: Vec<(String, usize)>,
    /// Whether the output matrix is the token embedding, where something is said.
    pub tied: Option<bool>,
}

type Size = fn(&ModelDimensions) -> usize;

/// Every name of a size: openai's, whisper.cpp's (the same), and Hugging Face's.
const SIZES: [(&str, Size); 22] = [
    ("n_mels", |d| d.n_mels),
    ("n_vocab", |d| d.n_vocab),
    ("n_audio_ctx", |d| d.n_audio_ctx),
    ("n_audio_state", |d| d.n_audio_state),
    ("n_audio_head", |d| d.n_audio_head),
    ("n_audio_layer", |d| d.n_audio_layer),
    ("n_text_ctx", |d| d.n_text_ctx),
    ("n_text_state", |d| d.n_text_state),
    ("n_text_head", |d| d.n_text_head),
    ("n_text_layer", |d| d.n_text_layer),
    ("num_mel_bins", |d| d.n_mels),
    ("vocab_size", |d| d.n_vocab),
    ("max_source_positions", |d| d.n_audio_ctx),
    ("max_target_positions", |d| d.n_text_ctx),
    ("d_model", |d| d.n_audio_state),
    ("d_model", |d| d.n_text_state),
    ("encoder_attention_heads", |d| d.n_audio_head),
    ("decoder_attention_heads", |d| d.n_text_head),
    ("encoder_layers", |d| d.n_audio_layer),
    ("decoder_layers", |d| d.n_text_layer),
    ("encoder_ffn_dim", |d| d.n_audio_state.saturating_mul(4)),
    ("decoder_ffn_dim", |d| d.n_text_state.saturating_mul(4)),
];

impl Declared {
    /// Sizes by name.
    pub fn new(by: &'static str, sizes: Vec<(String, usize)>) -> Self {
        Self {
            by,
            sizes,
            tied: None,
        }
    }

    fn size(&self, names: [&str; 2]) -> Option<usize> {
        let said = self.sizes.iter();
        said.clone()
            .find(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, size)| *size)
    }

    /// Encoder and decoder heads.
    pub fn heads(&self) -> Option<(usize, usize)> {
        let encoder = self.size(["n_audio_head", "encoder_attention_heads"]);
        encoder.zip(self.size(["n_text_head", "decoder_attention_heads"]))
    }

    /// Whether this says enough to stand alone: then a `config.json` that happens to lie beside the
    /// file is not asked.
    pub fn is_whole(&self) -> bool {
        self.sizes.len() >= 10
    }

    /// Holds all sizes against those of the tensors.
    ///
    /// # Errors
    /// `Error::Weights` naming both, for the first that differs.
    pub fn check(&self, file: &Path, dims: &ModelDimensions) -> Result<()> {
        for (name, said) in &self.sizes {
            let sizes = SIZES.iter().filter(|(known, _)| known == name);
            if let Some(found) = sizes.map(|(_, size)| size(dims)).find(|size| size != said) {
                let reason = format!("{} says {said}, the tensors have {found}", self.by);
                return Err(bad(file, name.clone(), reason));
            }
        }
        Ok(())
    }
}

/// The `config.json` beside a file of weights, if there is one and it is of a Whisper that we
/// compute.
///
/// # Errors
/// `Error::Weights` naming the field where it is of another network, `Error::Json`.
pub(super) fn config(weights: &Path) -> Result<Option<Declared>> {
    let path = weights.with_file_name(CONFIG);
    if !path.is_file() {
        return Ok(None);
    }
    let config: Map<String, Value> = json::read(&path)?;
    let refuse = |field: &str, why: String| Err(bad(&path, field.to_owned(), why));
    if let Some(kind) = config.get("model_type").filter(|kind| *kind != "whisper") {
        return refuse("model_type", format!("{kind} is not \"whisper\""));
    }
    if let Some(quantized) = config.get("quantization_config") {
        let method = quantized.get("quant_method").and_then(Value::as_str);
        return refuse("quantization_config", quantized_by(method.unwrap_or("?")));
    }
    let activation = config.get("activation_function");
    if let Some(other) = activation.filter(|function| *function != "gelu") {
        return refuse(
            "activation_function",
            format!("{other} is not \"gelu\", which is all we compute"),
        );
    }
    if config.get("scale_embedding") == Some(&Value::Bool(true)) {
        return refuse(
            "scale_embedding",
            "true: no scaled embedding is computed".into(),
        );
    }
    let sizes = config.iter().filter_map(|(name, value)| {
        let size = usize::try_from(value.as_u64()?).ok()?;
        let known = SIZES.iter().any(|(known, _)| known == name);
        known.then(|| (name.clone(), size))
    });
    let tied = config.get("tie_word_embeddings").and_then(Value::as_bool);
    let is_theirs = config.contains_key("model_type");
    Ok(Some(Declared {
        by: CONFIG,
        sizes: sizes.collect(),
        tied: tied.or(is_theirs.then_some(true)),
    }))
}

/// What to say of weights that another tool has quantized.
pub(super) fn quantized_by(method: &str) -> String {
    let name = match method {
        "bitsandbytes" => "bitsandbytes",
        "gptq" => "GPTQ",
        "awq" => "AWQ",
        other => other,
    };
    format!(
        "the weights are quantized by {name}, which is not read; take the model in 16-bit floats \
         and quantize it here (models convert)"
    )
}
