//! What other programs want beside a model's weights: made of its vocabulary and sizes.

use serde_json::{Map, Value, json};

use super::builder::{alignment_heads, load_tokenizer};
use crate::error::{Error, Result};
use crate::mel::mel_filterbank;
use crate::tokenizer::Tokenizer;
use crate::weights::hub::ModelFiles;
use crate::weights::{Ct2Extras, GgmlExtras};

/// What a conversion to CTranslate2's format needs beside a model's weights. Heads
/// are those that word times are found by.
///
/// # Errors
/// A model that is damaged, or that has no vocabulary.
pub fn ct2_extras(files: &ModelFiles) -> Result<Ct2Extras> {
    let source = crate::weights::open(&files.weights)?;
    let dims = source.dims();
    let tokenizer = load_tokenizer(files, source.as_ref())?;
    let suppress_ids = never_chosen(&tokenizer);
    let ids = 0..u32::try_from(dims.n_vocab).unwrap_or(u32::MAX);
    Ok(Ct2Extras {
        vocabulary: ids.map(|id| tokenizer.token_string(id)).collect(),
        suppress_ids,
        suppress_ids_begin: never_first(&tokenizer),
        lang_ids: tokenizer.languages().iter().map(|(_, id)| *id).collect(),
        alignment_heads: alignment_heads(files, dims).to_vec(),
    })
}

/// What a conversion to whisper.cpp's format needs beside a model's weights.
///
/// # Errors
/// A model that is damaged, that has no vocabulary, or whose vocabulary whisper.cpp's format cannot hold.
pub fn ggml_extras(files: &ModelFiles) -> Result<GgmlExtras> {
    let source = crate::weights::open(&files.weights)?;
    let tokenizer = load_tokenizer(files, source.as_ref())?;
    let bytes = |id| tokenizer.token_bytes(id).unwrap_or_default().to_vec();
    let vocabulary: Vec<_> = (0..tokenizer.eot()).map(bytes).collect();
    let name = files.weights.display().to_string();
    // All that the format says beside the list is the network's size.
    let read = Tokenizer::from_parts(&name, vocabulary.clone(), Some(source.dims().n_vocab));
    if !read.is_ok_and(|read| read.has_ids_of(&tokenizer)) {
        return Err(Error::ModelCannot {
            model: name,
            reason: "has tokens of its own, and whisper.cpp's format only openai's".into(),
        });
    }
    Ok(GgmlExtras {
        vocabulary,
        mel_filters: mel_filterbank(source.dims().n_mels),
    })
}

/// Files that transformers wants beside `model.safetensors` and `config.json`, by their names: how audio
/// becomes a spectrogram, and what steers decoding. The tokenizer is `tokenizer.json`, which a conversion
/// copies.
///
/// # Errors
/// A model that is damaged, or that has no vocabulary.
pub fn transformers_files(files: &ModelFiles) -> Result<Vec<(&'static str, String)>> {
    let source = crate::weights::open(&files.weights)?;
    let dims = source.dims();
    let tokenizer = load_tokenizer(files, source.as_ref())?;
    let heads = alignment_heads(files, dims).to_vec();
    Ok(vec![
        (
            "preprocessor_config.json",
            format!("{:#}", preprocessor(dims.n_mels)),
        ),
        (
            "generation_config.json",
            format!("{:#}", generation(&tokenizer, &heads, dims.n_text_ctx)),
        ),
    ])
}

fn preprocessor(n_mels: usize) -> Value {
    json!({
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": "WhisperProcessor",
        "feature_size": n_mels,
        "sampling_rate": 16_000,
        "n_fft": 400,
        "hop_length": 160,
        "chunk_length": 30,
        "n_samples": 480_000,
        "nb_max_frames": 3_000,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": false,
    })
}

fn generation(tokenizer: &Tokenizer, heads: &[(usize, usize)], n_text_ctx: usize) -> Value {
    let multilingual = tokenizer.is_multilingual();
    let mut config = json!({
        "alignment_heads": heads,
        "begin_suppress_tokens": never_first(tokenizer),
        "bos_token_id": tokenizer.eot(),
        "decoder_start_token_id": tokenizer.sot(),
        "eos_token_id": tokenizer.eot(),
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": n_text_ctx,
        "no_timestamps_token_id": tokenizer.no_timestamps(),
        "pad_token_id": tokenizer.eot(),
        "prev_sot_token_id": tokenizer.sot_prev(),
        "return_timestamps": false,
        "suppress_tokens": never_chosen(tokenizer),
    });
    if multilingual {
        let languages: Map<String, Value> = tokenizer
            .languages()
            .iter()
            .map(|(code, id)| (format!("<|{code}|>"), json!(id)))
            .collect();
        config["lang_to_id"] = languages.into();
        config["task_to_id"] = json!({
            "transcribe": tokenizer.transcribe(),
            "translate": tokenizer.translate(),
        });
    }
    config
}

/// What no text begins with: a blank, and its end.
fn never_first(tokenizer: &Tokenizer) -> Vec<u32> {
    [tokenizer.blank_tokens(), &[tokenizer.eot()]].concat()
}

/// Tokens of brackets, music and the like, and those that only steer.
fn never_chosen(tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids = tokenizer.non_speech_tokens().to_vec();
    let steering = [
        Some(tokenizer.sot()),
        Some(tokenizer.sot_prev()),
        tokenizer.sot_lm(),
        tokenizer.no_speech(),
        tokenizer.transcribe(),
        tokenizer.translate(),
    ];
    ids.extend(steering.into_iter().flatten());
    ids.sort_unstable();
    ids
}
