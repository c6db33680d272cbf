//! Writes whisper.cpp's `ggml-….bin`, and GGUF: the same numbers in the same blocks, with another
//! index and other names.

use std::io::{self, Write};

use half::f16;

use super::{GgmlExtras, Numbers, floats_of};
use crate::weights::names::{self, NameRow};
use crate::weights::tensor::Encoding;
use crate::weights::{Block, WeightSource, ggml, gguf};

/// whisper.cpp's version of the blocks, times what it multiplies it with in `ftype`.
const QUANTIZATION_VERSION: usize = 2 * 1000;

/// How one tensor is stored, as whisper.cpp does it: matrices as asked for, convolutions as floats
/// that are at most as wide, what is small or adds up as 32-bit floats.
fn encoding(row: &NameRow, shape: &[usize], numbers: Numbers) -> Encoding {
    if shape.len() == 1 || row.openai.contains("positional") {
        return Encoding::F32;
    }
    let fits = |block: Block| shape.len() == 2 && shape[1].is_multiple_of(block.numbers());
    match numbers {
        Numbers::F32 => Encoding::F32,
        Numbers::Blocks(block) if fits(block) => Encoding::Block(block),
        _ => Encoding::F16,
    }
}

fn encoded(encoding: Encoding, floats: Vec<f32>) -> io::Result<Vec<u8>> {
    match encoding {
        Encoding::Block(block) => block.encode(floats).map_err(io::Error::other),
        Encoding::F16 => Ok(floats
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect()),
        _ => Ok(floats.iter().flat_map(|x| x.to_le_bytes()).collect()),
    }
}

fn word(out: &mut impl Write, n: usize) -> io::Result<()> {
    let word = u32::try_from(n).map_err(io::Error::other)?;
    out.write_all(&word.to_le_bytes())
}

fn long(out: &mut impl Write, n: usize) -> io::Result<()> {
    out.write_all(&(n as u64).to_le_bytes())
}

fn raw(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)
}

fn number_of(encoding: Encoding) -> io::Result<usize> {
    let number = ggml::number(encoding).ok_or_else(|| io::Error::other("has no number in ggml"))?;
    Ok(number as usize)
}

/// Sizes, mel filters, vocabulary, then each tensor behind its description.
pub(super) fn write_ggml(
    weights: &dyn WeightSource,
    out: &mut impl Write,
    numbers: Numbers,
    extras: &GgmlExtras,
) -> io::Result<()> {
    let dims = weights.dims();
    raw(out, ggml::MAGIC)?;
    for name in ggml::SIZES {
        let size = match name {
            "n_vocab" => dims.n_vocab,
            "n_audio_ctx" => dims.n_audio_ctx,
            "n_audio_state" => dims.n_audio_state,
            "n_audio_head" => dims.n_audio_head,
            "n_audio_layer" => dims.n_audio_layer,
            "n_text_ctx" => dims.n_text_ctx,
            "n_text_state" => dims.n_text_state,
            "n_text_head" => dims.n_text_head,
            "n_text_layer" => dims.n_text_layer,
            "n_mels" => dims.n_mels,
            _ => file_type(numbers),
        };
        word(out, size)?;
    }
    word(out, dims.n_mels)?;
    word(out, extras.mel_filters.len() / dims.n_mels)?;
    raw(out, &encoded(Encoding::F32, extras.mel_filters.clone())?)?;
    word(out, extras.vocabulary.len())?;
    for token in &extras.vocabulary {
        word(out, token.len())?;
        raw(out, token)?;
    }
    for (row, block) in names::all(dims) {
        let name = names::numbered(row.openai, block);
        let (mut shape, floats) = floats_of(weights, &name)?;
        let encoding = encoding(row, &shape, numbers);
        if name.contains("conv") && shape.len() == 1 {
            shape.push(1);
        }
        for size in [shape.len(), name.len(), number_of(encoding)?] {
            word(out, size)?;
        }
        for &size in shape.iter().rev() {
            word(out, size)?;
        }
        raw(out, name.as_bytes())?;
        raw(out, &encoded(encoding, floats)?)?;
    }
    Ok(())
}

/// ggml's number for how most of a file is stored.
fn file_type(numbers: Numbers) -> usize {
    match numbers {
        Numbers::F32 => 0,
        Numbers::Blocks(block) => QUANTIZATION_VERSION + block.file_type(),
        _ => 1,
    }
}

/// Two keys, the index, then each tensor's bytes, aligned.
pub(super) fn write_gguf(
    weights: &dyn WeightSource,
    out: &mut impl Write,
    numbers: Numbers,
) -> io::Result<()> {
    let dims = weights.dims();
    let mut index = Vec::new();
    raw(&mut index, gguf::MAGIC)?;
    word(&mut index, 3)?;
    long(&mut index, names::stored(weights).count())?;
    long(&mut index, 2)?;
    text(&mut index, "general.architecture")?;
    word(&mut index, gguf::STRING as usize)?;
    text(&mut index, "whisper")?;
    text(&mut index, "general.alignment")?;
    word(&mut index, 4)?;
    word(&mut index, gguf::DEFAULT_ALIGNMENT)?;
    let mut offset = 0;
    for (row, block) in names::stored(weights) {
        let shape = row.shape_in(dims);
        let encoding = encoding(row, &shape, numbers);
        text(&mut index, &row.hf_wrapped(block))?;
        word(&mut index, shape.len())?;
        for &size in shape.iter().rev() {
            long(&mut index, size)?;
        }
        word(&mut index, number_of(encoding)?)?;
        long(&mut index, offset)?;
        let len = ggml::byte_len(encoding, &shape)
            .ok_or_else(|| io::Error::other("a tensor is too large"))?;
        offset += len.next_multiple_of(gguf::DEFAULT_ALIGNMENT);
    }
    aligned(out, index)?;
    for (row, block) in names::stored(weights) {
        let (shape, floats) = floats_of(weights, &names::numbered(row.openai, block))?;
        aligned(out, encoded(encoding(row, &shape, numbers), floats)?)?;
    }
    Ok(())
}

fn text(out: &mut impl Write, text: &str) -> io::Result<()> {
    long(out, text.len())?;
    raw(out, text.as_bytes())
}

fn aligned(out: &mut impl Write, mut bytes: Vec<u8>) -> io::Result<()> {
    bytes.resize(bytes.len().next_multiple_of(gguf::DEFAULT_ALIGNMENT), 0);
    raw(out, &bytes)
}
