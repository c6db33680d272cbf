//! From any format that can be read to one that other programs read too.
//!
//! In: a file or folder of weights. Out: a folder with the weights, their configuration and the
//! tokenizer that lay beside them. The folder appears whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::names::{self, NameRow};
use super::tensor::{Encoding, WeightData};
use super::{WeightSource, open, weights_file};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// The format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Hugging Face's safetensors, with `config.json`.
    Safetensors,
    /// CTranslate2's `model.bin`, version 6.
    CTranslate2,
}

/// How to store the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// 32-bit floats without their lower half.
    Bf16,
    /// Matrices in 8 bits with a scale for each row, everything else as 32-bit floats.
    /// CTranslate2 only.
    Int8,
}

/// What to write and how.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// The format.
    pub target: Target,
    /// The numbers; `None` keeps 16-bit floats and writes everything else as 32-bit ones.
    pub numbers: Option<Numbers>,
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
/// or cannot be written, [`Error::Option`] for numbers that the format does not have.
pub fn convert(source: &Path, folder: &Path, conversion: Conversion) -> Result<()> {
    let from = weights_file(source)?;
    let weights = open(&from)?;
    let numbers = conversion.numbers.unwrap_or_else(|| kept(weights.as_ref()));
    if numbers == Numbers::Int8 && conversion.target == Target::Safetensors {
        let reason = "safetensors hold floats; 8 bits are for CTranslate2".to_owned();
        return Err(Error::Option {
            option: "quantize",
            reason,
        });
    }
    if folder.exists() {
        return Err(failed(folder, "is already there".into()));
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let made = tempfile::Builder::new()
        .prefix(".convert-")
        .tempdir_in(parent.unwrap_or(Path::new(".")))
        .map_err(|e| failed(folder, e.to_string()))?;
    let written = write(weights.as_ref(), made.path(), conversion.target, numbers);
    written
        .and_then(|()| copy_companions(&from, made.path()))
        .map_err(|e| failed(folder, e))?;
    open(made.path())?;
    let made = made.keep();
    std::fs::rename(&made, folder).map_err(|e| {
        let _ = std::fs::remove_dir_all(&made);
        failed(folder, e.to_string())
    })
}

fn failed(file: &Path, reason: String) -> Error {
    Error::Output {
        file: file.to_owned(),
        reason,
    }
}

/// Numbers that lose nothing.
fn kept(weights: &dyn WeightSource) -> Numbers {
    let is_half = |name: &str| {
        let data = weights.tensor(name).map(|tensor| tensor.data().clone());
        matches!(
            data,
            Ok(WeightData::Stored {
                encoding: Encoding::F16,
                ..
            })
        )
    };
    match is_half("decoder.token_embedding.weight") && is_half("decoder.positional_embedding") {
        true => Numbers::F16,
        false => Numbers::F32,
    }
}

fn write(
    weights: &dyn WeightSource,
    dir: &Path,
    target: Target,
    numbers: Numbers,
) -> Result<(), String> {
    let name = match target {
        Target::Safetensors => "model.safetensors",
        Target::CTranslate2 => "model.bin",
    };
    let file = File::create(dir.join(name)).map_err(|e| e.to_string())?;
    let mut out = BufWriter::new(file);
    match target {
        Target::Safetensors => safetensors(weights, &mut out, numbers)?,
        Target::CTranslate2 => ctranslate2(weights, &mut out, numbers)?,
    }
    let file = out.into_inner().map_err(|e| e.to_string())?;
    file.sync_all().map_err(|e| e.to_string())?;
    let config = serde_json::to_vec_pretty(&config(weights.dims())).map_err(|e| e.to_string())?;
    std::fs::write(dir.join("config.json"), config).map_err(|e| e.to_string())
}

fn copy_companions(from: &Path, dir: &Path) -> Result<(), String> {
    for name in COMPANIONS {
        let companion: PathBuf = from.with_file_name(name);
        if companion.is_file() {
            std::fs::copy(&companion, dir.join(name)).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    Ok(())
}

/// Hugging Face's configuration; CTranslate2 takes no harm from it.
fn config(dims: &ModelDimensions) -> serde_json::Value {
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
    })
}

fn numbers_of(weights: &dyn WeightSource, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
    let tensor = weights.tensor(name).map_err(|e| e.to_string())?;
    Ok((tensor.shape().to_vec(), tensor.to_f32().into_owned()))
}

fn write_floats(out: &mut impl Write, floats: &[f32], numbers: Numbers) -> Result<(), String> {
    let bytes: Vec<u8> = match numbers {
        Numbers::F32 | Numbers::Int8 => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Numbers::F16 => floats
            .iter()
            .flat_map(|&x| f16::from_f32(x).to_le_bytes())
            .collect(),
        Numbers::Bf16 => floats
            .iter()
            .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
            .collect(),
    };
    out.write_all(&bytes).map_err(|e| e.to_string())
}

fn width(numbers: Numbers) -> usize {
    match numbers {
        Numbers::F32 | Numbers::Int8 => 4,
        Numbers::F16 | Numbers::Bf16 => 2,
    }
}

fn safetensors(
    weights: &dyn WeightSource,
    out: &mut impl Write,
    numbers: Numbers,
) -> Result<(), String> {
    let dims = weights.dims();
    let kind = match numbers {
        Numbers::F16 => "F16",
        Numbers::Bf16 => "BF16",
        Numbers::F32 | Numbers::Int8 => "F32",
    };
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (row, block) in names::all(dims) {
        let (start, shape) = (end, row.shape_in(dims));
        end += shape.iter().product::<usize>() * width(numbers);
        let info = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [start, end]});
        header.insert(format!("model.{}", names::numbered(row.hf, block)), info);
    }
    let mut text = serde_json::to_vec(&header).map_err(|e| e.to_string())?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let len = (text.len() as u64).to_le_bytes();
    out.write_all(&len)
        .and_then(|()| out.write_all(&text))
        .map_err(|e| e.to_string())?;
    for (row, block) in names::all(dims) {
        let (_, floats) = numbers_of(weights, &names::numbered(row.openai, block))?;
        write_floats(out, &floats, numbers)?;
    }
    Ok(())
}

/// The openai tensors that one of CTranslate2's joins, by the part of its rows they are.
type Joined = BTreeMap<String, Vec<(&'static NameRow, usize)>>;

/// CTranslate2's numbers for the types of variables.
const FLOAT32: u8 = 0;
const INT8: u8 = 1;
const INT16: u8 = 2;
const FLOAT16: u8 = 4;
const BFLOAT16: u8 = 5;

fn ctranslate2(
    weights: &dyn WeightSource,
    out: &mut impl Write,
    numbers: Numbers,
) -> Result<(), String> {
    let dims = weights.dims();
    let mut joined = Joined::new();
    for (row, block) in names::all(dims) {
        joined
            .entry(names::numbered(row.ct2, block))
            .or_default()
            .push((row, block));
    }
    let scalars = scalars(dims)?;
    let scales = joined
        .keys()
        .filter(|name| is_quantized(name, numbers))
        .count();
    let count = u32::try_from(joined.len() + scalars.len() + scales).map_err(|e| e.to_string())?;
    let fail = |e: std::io::Error| e.to_string();
    out.write_all(&6_u32.to_le_bytes()).map_err(fail)?;
    write_name(out, "WhisperSpec").map_err(fail)?;
    out.write_all(&3_u32.to_le_bytes()).map_err(fail)?;
    out.write_all(&count.to_le_bytes()).map_err(fail)?;
    for (name, kind, bytes) in &scalars {
        write_variable(out, name, &[], *kind, bytes).map_err(fail)?;
    }
    for (name, rows) in &joined {
        let (shape, floats) = join(weights, rows)?;
        write_tensor(out, name, &shape, &floats, numbers)?;
    }
    out.write_all(&1_u32.to_le_bytes()).map_err(fail)?;
    write_name(out, "decoder/projection/weight").map_err(fail)?;
    write_name(out, "decoder/embeddings/weight").map_err(fail)
}

/// Name, type and bytes.
type Scalar = (&'static str, u8, Vec<u8>);

/// What CTranslate2 wants to know beside the tensors.
fn scalars(dims: &ModelDimensions) -> Result<Vec<Scalar>, String> {
    let short = |n: usize| i16::try_from(n).map(|n| n.to_le_bytes().to_vec());
    let heads = |n| short(n).map_err(|e| e.to_string());
    // 3 is GELU by the error function.
    Ok(vec![
        ("decoder/activation", INT8, vec![3]),
        ("decoder/alibi", INT8, vec![0]),
        ("decoder/alignment_heads", INT16, vec![1, 0]),
        ("decoder/alignment_layer", INT16, vec![0xff, 0xff]),
        ("decoder/num_heads", INT16, heads(dims.n_text_head)?),
        ("decoder/pre_norm", INT8, vec![1]),
        ("decoder/scale_embeddings", INT8, vec![0]),
        ("decoder/start_from_zero_embedding", INT8, vec![0]),
        ("encoder/num_heads", INT16, heads(dims.n_audio_head)?),
    ])
}

/// Matrices of linear layers and embeddings; not convolutions, positions, norms and biases.
fn is_quantized(name: &str, numbers: Numbers) -> bool {
    let matrix = name.ends_with("/weight") && (name.contains("linear_") || name.contains("embed"));
    numbers == Numbers::Int8 && matrix
}

/// Parts one after another; a part that is missing (the key's bias) is zeros.
fn join(
    weights: &dyn WeightSource,
    rows: &[(&'static NameRow, usize)],
) -> Result<(Vec<usize>, Vec<f32>), String> {
    let of = rows.first().map_or(1, |(row, _)| row.part.of);
    let (mut shape, mut all) = (Vec::new(), Vec::new());
    let mut part_len = 0;
    for (row, block) in rows {
        let (part_shape, floats) = numbers_of(weights, &names::numbered(row.openai, *block))?;
        part_len = floats.len();
        all.resize(part_len * row.part.index, 0.0);
        all.extend(floats);
        shape = part_shape;
    }
    all.resize(part_len * of, 0.0);
    if let Some(rows) = shape.first_mut() {
        *rows *= of;
    }
    Ok((shape, all))
}

fn write_tensor(
    out: &mut impl Write,
    name: &str,
    shape: &[usize],
    floats: &[f32],
    numbers: Numbers,
) -> Result<(), String> {
    let fail = |e: std::io::Error| e.to_string();
    if is_quantized(name, numbers) {
        let (bytes, scales) = quantize_rows(floats, shape.first().copied().unwrap_or(1));
        write_variable(out, name, shape, INT8, &bytes).map_err(fail)?;
        let scales: Vec<u8> = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
        let rows = shape.get(..1).unwrap_or_default();
        return write_variable(out, &format!("{name}_scale"), rows, FLOAT32, &scales).map_err(fail);
    }
    let kind = match numbers {
        Numbers::F32 | Numbers::Int8 => FLOAT32,
        Numbers::F16 => FLOAT16,
        Numbers::Bf16 => BFLOAT16,
    };
    let mut bytes = Vec::with_capacity(floats.len() * width(numbers));
    write_floats(&mut bytes, floats, numbers)?;
    write_variable(out, name, shape, kind, &bytes).map_err(fail)
}

/// Each row times what makes its largest number 127. A row of zeros has the scale 1.
fn quantize_rows(floats: &[f32], rows: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut scales) = (Vec::with_capacity(floats.len()), Vec::with_capacity(rows));
    for row in floats.chunks((floats.len() / rows.max(1)).max(1)) {
        let largest = row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let scale = if largest > 0.0 { 127.0 / largest } else { 1.0 };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "within -127 and 127 by the scale"
        )]
        let quantized = |x: &f32| ((x * scale).round_ties_even() as i8).cast_unsigned();
        bytes.extend(row.iter().map(quantized));
        scales.push(scale);
    }
    (bytes, scales)
}

fn write_name(out: &mut impl Write, name: &str) -> std::io::Result<()> {
    let len = u16::try_from(name.len() + 1).map_err(std::io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(name.as_bytes())?;
    out.write_all(&[0])
}

fn write_variable(
    out: &mut impl Write,
    name: &str,
    shape: &[usize],
    kind: u8,
    bytes: &[u8],
) -> std::io::Result<()> {
    let short = |n: usize| u32::try_from(n).map_err(std::io::Error::other);
    write_name(out, name)?;
    out.write_all(&[u8::try_from(shape.len()).map_err(std::io::Error::other)?])?;
    for &size in shape {
        out.write_all(&short(size)?.to_le_bytes())?;
    }
    out.write_all(&[kind])?;
    out.write_all(&short(bytes.len())?.to_le_bytes())?;
    out.write_all(bytes)
}
