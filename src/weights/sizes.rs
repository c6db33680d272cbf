//! The network's sizes, from the shapes of its tensors.
//!
//! In: the tensors of a file and what the file says of itself. Out: [`ModelDimensions`], on which
//! both agree.

use std::collections::HashMap;

use super::bytes::bad;
use super::names::{EMBEDDING, NAMES};
use super::parts::{Found, Parts};
use crate::dims::ModelDimensions;
use crate::error::Result;

/// Width of an attention head in every published Whisper.
const HEAD_DIM: usize = 64;
/// More blocks than this is no Whisper but a damaged file.
const MAX_LAYERS: usize = 256;

/// The model's sizes.
///
/// # Errors
/// `Error::Weights` where a tensor that shows a size is missing, or the file says another size.
pub(super) fn dimensions(parts: &Parts) -> Result<ModelDimensions> {
    let audio = size(parts, "encoder.conv1.weight", 0)?;
    let text = size(parts, EMBEDDING, 1)?;
    let said = parts.declared.iter().find_map(|said| said.heads());
    let heads = said.unwrap_or((audio / HEAD_DIM, text / HEAD_DIM));
    for (what, heads, state) in [("encoder", heads.0, audio), ("decoder", heads.1, text)] {
        if heads == 0 || state % heads != 0 {
            let reason = format!("{heads} heads do not divide a width of {state}");
            return Err(bad(&parts.path, what.to_owned(), reason));
        }
    }
    let dims = ModelDimensions {
        n_mels: size(parts, "encoder.conv1.weight", 1)?,
        n_vocab: size(parts, EMBEDDING, 0)?,
        n_audio_ctx: size(parts, "encoder.positional_embedding", 0)?,
        n_audio_state: audio,
        n_audio_head: heads.0,
        n_audio_layer: blocks(parts, "encoder.blocks.#.attn_ln.weight")?,
        n_text_ctx: size(parts, "decoder.positional_embedding", 0)?,
        n_text_state: text,
        n_text_head: heads.1,
        n_text_layer: blocks(parts, "decoder.blocks.#.attn_ln.weight")?,
    };
    for said in &parts.declared {
        said.check(&parts.path, &dims)?;
    }
    Ok(dims)
}

/// One dimension of a tensor that must be there.
fn size(parts: &Parts, openai: &str, dim: usize) -> Result<usize> {
    let found = parts.find_named(openai);
    let size = found.and_then(|found| found.shape.get(dim)).copied();
    match size.unwrap_or(0) {
        0 => Err(bad(&parts.path, openai.to_owned(), no_whisper(parts))),
        size => Ok(size),
    }
}

fn no_whisper(parts: &Parts) -> String {
    format!(
        "is missing from the {} file or has no size; is this a whole Whisper?",
        parts.format
    )
}

/// How many blocks a stack has: as many as any tensor's name counts, so that one which lacks a
/// tensor is seen to. `row` is any row of the table that the blocks of the stack have.
fn blocks(parts: &Parts, row: &str) -> Result<usize> {
    let row = NAMES.iter().find(|known| known.openai == row);
    let pattern = row.map_or("", |row| parts.dialect.pattern(row));
    let prefix = pattern.split('#').next().unwrap_or_default();
    let last = parts
        .found
        .keys()
        .filter_map(|name| number(name.strip_prefix(prefix)?));
    match last.max() {
        None => Err(bad(
            &parts.path,
            pattern.replace('#', "0"),
            no_whisper(parts),
        )),
        Some(last) if last >= MAX_LAYERS => {
            let reason = format!("more than {MAX_LAYERS} blocks");
            Err(bad(&parts.path, pattern.to_owned(), reason))
        }
        Some(last) => Ok(last + 1),
    }
}

/// The number that a text starts with.
fn number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    text.get(..end)?.parse().ok()
}

/// Heads of another width than every published Whisper's, which no tensor can confirm.
pub(super) fn odd_heads(dims: &ModelDimensions) -> Option<String> {
    let wide = [
        dims.n_audio_state / dims.n_audio_head.max(1),
        dims.n_text_state / dims.n_text_head.max(1),
    ];
    wide.iter().find(|&&wide| wide != HEAD_DIM).map(|wide| {
        format!("its attention heads are {wide} wide, those of every published Whisper {HEAD_DIM}")
    })
}

/// Names that say which tool wrote a file that is not a plain checkpoint, and what to do about it.
pub(super) fn foreign(
    found: &HashMap<String, Found>,
    others: &HashMap<String, String>,
) -> Option<String> {
    let names = || found.keys().chain(others.keys());
    let any = |test: &dyn Fn(&str) -> bool| names().any(|name| test(name));
    let quantized = |method| Some(super::declared::quantized_by(method));
    if any(&|name| name.contains("lora_") || name.contains(".lora.")) {
        return Some(
            "holds a LoRA adapter, not a whole model; load its model, with the adapter's folder as \
             --lora"
                .into(),
        );
    }
    if any(&|name| name.ends_with(".qweight")) {
        return quantized("GPTQ or AWQ");
    }
    if any(&|name| {
        name.ends_with(".SCB") || name.ends_with(".absmax") || name.contains("bitsandbytes")
    }) {
        return quantized("bitsandbytes");
    }
    if any(&|name| name.ends_with(".weight_packed") || name.ends_with(".weight_scale")) {
        return quantized("another tool (weight_scale)");
    }
    if any(&|name| name.contains(".mlp1.") || name.ends_with(".scales")) {
        return Some(
            "holds an MLX model, whose convolutions lie otherwise; take the model that it was \
             converted from"
                .into(),
        );
    }
    None
}
