//! From any format that can be read to one that other programs read too.
//!
//! In: a file or folder of weights. Out: a folder with the weights, their configuration and the
//! tokenizer that lay beside them. The folder appears whole or not at all.

mod blocks;
mod ct2;
mod safetensors;

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::declared::CONFIG;
use super::tensor::Encoding;
use super::{Block, WeightSource, names, open, weights_file};
use crate::error::{Error, Result};

/// The format to write.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// Hugging Face's safetensors, with `config.json`.
    Safetensors,
    /// CTranslate2's `model.bin`, version 6, with its `config.json` and `vocabulary.json`.
    CTranslate2(Ct2Extras),
    /// whisper.cpp's `ggml-….bin`.
    Ggml(GgmlExtras),
    /// GGUF with Hugging Face's names, as candle reads it.
    Gguf,
}

/// What whisper.cpp wants in its file beside the weights.
#[derive(Clone, Debug, PartialEq)]
pub struct GgmlExtras {
    /// The bytes of each token before `<|endoftext|>`, in the order of their ids.
    pub vocabulary: Vec<Vec<u8>>,
    /// The mel filters, `(n_mels, 201)`, row-major.
    pub mel_filters: Vec<f32>,
}

/// What CTranslate2 wants beside the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ct2Extras {
    /// Every token, in the order of their ids, bytes as printable characters.
    pub vocabulary: Vec<String>,
    /// Tokens that are never chosen.
    pub suppress_ids: Vec<u32>,
    /// Tokens that no text begins with.
    pub suppress_ids_begin: Vec<u32>,
    /// The languages' tokens.
    pub lang_ids: Vec<u32>,
    /// `(block, head)` of the cross-attention heads that follow the audio.
    pub alignment_heads: Vec<(usize, usize)>,
}

/// The dtype to store: floats, or integers with scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Numbers {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// bfloat16: the upper 16 bits of 32-bit floats.
    Bf16,
    /// Matrices in 8 bits with a scale for each row, everything else as 32-bit floats.
    /// CTranslate2 only.
    Int8,
    /// As [`Int8`](Self::Int8), everything else as 16-bit floats.
    Int8Float16,
    /// Matrices in blocks that share a scale; convolutions and matrices whose rows fill no whole
    /// blocks as 16-bit floats, everything else as 32-bit ones. ggml (without the K blocks) and GGUF.
    Blocks(Block),
}

/// What to write and how.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The format.
    pub target: Target,
    /// The dtype; `None` keeps 16-bit floats and writes everything else as 32-bit ones.
    pub numbers: Option<Numbers>,
}

/// Names of dtypes, CTranslate2's and ggml's own.
const NAMES: [(&str, Numbers); 13] = [
    ("float32", Numbers::F32),
    ("float16", Numbers::F16),
    ("bfloat16", Numbers::Bf16),
    ("int8", Numbers::Int8),
    ("int8_float16", Numbers::Int8Float16),
    ("q8_0", Numbers::Blocks(Block::Q8_0)),
    ("q5_0", Numbers::Blocks(Block::Q5_0)),
    ("q5_1", Numbers::Blocks(Block::Q5_1)),
    ("q4_0", Numbers::Blocks(Block::Q4_0)),
    ("q4_1", Numbers::Blocks(Block::Q4_1)),
    ("q6_k", Numbers::Blocks(Block::Q6K)),
    ("q5_k", Numbers::Blocks(Block::Q5K)),
    ("q4_k", Numbers::Blocks(Block::Q4K)),
];

impl Numbers {
    /// Every dtype with its name.
    pub fn named() -> impl Iterator<Item = (&'static str, Self)> {
        NAMES.into_iter()
    }

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        let named = NAMES.into_iter().find(|(_, numbers)| *numbers == self);
        named.map_or("", |(name, _)| name)
    }
}

impl Target {
    /// The format's name, as a source of the same format has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::CTranslate2(_) => "CTranslate2",
            Self::Ggml(_) => "ggml",
            Self::Gguf => "GGUF",
        }
    }

    /// Whether the format has a dtype.
    #[must_use]
    pub fn takes(&self, numbers: Numbers) -> bool {
        match numbers {
            Numbers::F32 | Numbers::F16 => true,
            Numbers::Bf16 => matches!(self, Self::Safetensors | Self::CTranslate2(_)),
            Numbers::Int8 | Numbers::Int8Float16 => matches!(self, Self::CTranslate2(_)),
            Numbers::Blocks(block) => match self {
                Self::Gguf => true,
                Self::Ggml(_) => block.numbers() == Block::Q8_0.numbers(),
                Self::Safetensors | Self::CTranslate2(_) => false,
            },
        }
    }

    fn file_name(&self) -> &'static str {
        match self {
            Self::Safetensors => "model.safetensors",
            Self::CTranslate2(_) => "model.bin",
            Self::Ggml(_) => "ggml-model.bin",
            Self::Gguf => "model.gguf",
        }
    }
}

/// Files beside the weights that go along.
const COMPANIONS: [&str; 4] = [
    "tokenizer.json",
    "vocabulary.txt",
    "vocabulary.json",
    "generation_config.json",
];

/// Reads `source` and writes the folder `folder`, which must not exist.
///
/// # Errors
/// [`Error::Weights`] where the source cannot be read, [`Error::Output`] where the folder exists
/// or cannot be written, [`Error::Option`] for a dtype that the format does not have.
pub fn convert(source: &Path, folder: &Path, conversion: &Conversion) -> Result<()> {
    let from = weights_file(source)?;
    let weights = open(&from)?;
    let target = &conversion.target;
    let numbers = conversion.numbers.unwrap_or_else(|| kept(weights.as_ref()));
    if !target.takes(numbers) {
        return Err(not_taken(target, numbers));
    }
    weights.verify()?;
    if weights.output() == names::OUTPUT && matches!(target, Target::Ggml(_)) {
        return Err(Error::Option {
            option: "format",
            reason: "ggml has no place for an output matrix that is not the token embedding".into(),
        });
    }
    if folder.exists() {
        return Err(failed(
            folder,
            io::Error::new(ErrorKind::AlreadyExists, "is already there"),
        ));
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let made = tempfile::Builder::new()
        .prefix(".convert-")
        .tempdir_in(parent.unwrap_or(Path::new(".")))
        .map_err(|e| failed(folder, e))?;
    let written = write(weights.as_ref(), made.path(), target, numbers);
    written
        .and_then(|()| copy_companions(&from, made.path()))
        .map_err(|e| failed(folder, e))?;
    open(made.path())?;
    let made = made.keep();
    std::fs::rename(&made, folder).map_err(|e| {
        let _ = std::fs::remove_dir_all(&made);
        failed(folder, e)
    })
}

fn not_taken(target: &Target, numbers: Numbers) -> Error {
    let taken = Numbers::named().filter(|(_, numbers)| target.takes(*numbers));
    let taken: Vec<_> = taken.map(|(name, _)| name).collect();
    let (format, name) = (target.name(), numbers.name());
    Error::Option {
        option: "quantize",
        reason: format!("{format} has no {name}, only {}", taken.join(", ")),
    }
}

fn failed(file: &Path, source: io::Error) -> Error {
    Error::Output {
        file: file.to_owned(),
        source,
    }
}

/// Numbers that lose nothing.
fn kept(weights: &dyn WeightSource) -> Numbers {
    let is_half = |name: &str| {
        let encoding = weights.tensor(name).map(|tensor| tensor.encoding());
        matches!(encoding, Ok(Encoding::F16))
    };
    match is_half("decoder.token_embedding.weight") && is_half("decoder.positional_embedding") {
        true => Numbers::F16,
        false => Numbers::F32,
    }
}

fn write(
    weights: &dyn WeightSource,
    dir: &Path,
    target: &Target,
    numbers: Numbers,
) -> io::Result<()> {
    let file = File::create(dir.join(target.file_name()))?;
    let mut out = BufWriter::new(file);
    match target {
        Target::Safetensors => safetensors::write(weights, &mut out, numbers)?,
        Target::CTranslate2(_) => ct2::write(weights, &mut out, numbers)?,
        Target::Ggml(extras) => blocks::write_ggml(weights, &mut out, numbers, extras)?,
        Target::Gguf => blocks::write_gguf(weights, &mut out, numbers)?,
    }
    out.into_inner()?.sync_all()?;
    let config = match target {
        Target::CTranslate2(extras) => {
            ct2::write_vocabulary(extras, dir)?;
            ct2::config(extras)
        }
        _ => config(weights),
    };
    std::fs::write(dir.join(CONFIG), serde_json::to_vec_pretty(&config)?)
}

/// What was written already stays as it is.
fn copy_companions(from: &Path, dir: &Path) -> io::Result<()> {
    let has_vocabulary = dir.join(ct2::VOCABULARY).is_file();
    for name in COMPANIONS {
        let companion: PathBuf = from.with_file_name(name);
        let is_known = has_vocabulary && name.starts_with("vocabulary");
        if companion.is_file() && !is_known {
            std::fs::copy(&companion, dir.join(name))?;
        }
    }
    Ok(())
}

/// Hugging Face's configuration; whisper.cpp and candle take no harm from it.
fn config(weights: &dyn WeightSource) -> serde_json::Value {
    let dims = weights.dims();
    serde_json::json!({
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "num_mel_bins": dims.n_mels,
        "vocab_size": dims.n_vocab,
        "d_model": dims.n_audio_state,
        "max_source_positions": dims.n_audio_ctx,
        "max_target_positions": dims.n_text_ctx,
        "encoder_layers": dims.n_audio_layer,
        "encoder_attention_heads": dims.n_audio_head,
        "encoder_ffn_dim": dims.n_audio_state * 4,
        "decoder_layers": dims.n_text_layer,
        "decoder_attention_heads": dims.n_text_head,
        "decoder_ffn_dim": dims.n_text_state * 4,
        "tie_word_embeddings": weights.output() != names::OUTPUT,
    })
}

/// Shape and numbers of a tensor.
fn floats_of(weights: &dyn WeightSource, name: &str) -> io::Result<(Vec<usize>, Vec<f32>)> {
    let shape = weights
        .tensor(name)
        .map_err(io::Error::other)?
        .shape()
        .to_vec();
    Ok((shape, weights.floats(name).map_err(io::Error::other)?))
}

/// Writes what is not quantized: 16-bit floats where `numbers` are made of them, else 32-bit ones.
fn write_floats(out: &mut impl Write, floats: &[f32], numbers: Numbers) -> io::Result<()> {
    let bytes: Vec<u8> = match numbers {
        Numbers::F32 | Numbers::Int8 | Numbers::Blocks(_) => {
            floats.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        Numbers::F16 | Numbers::Int8Float16 => floats
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
        Numbers::Bf16 => floats
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect(),
    };
    out.write_all(&bytes)
}

/// Bytes of a number that [`write_floats`] writes.
fn width(numbers: Numbers) -> usize {
    match numbers {
        Numbers::F32 | Numbers::Int8 | Numbers::Blocks(_) => 4,
        Numbers::F16 | Numbers::Int8Float16 | Numbers::Bf16 => 2,
    }
}
