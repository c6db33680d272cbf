//! Writes CTranslate2's `model.bin`, version 6, with the projections joined as it has them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::{Ct2Extras, Numbers, floats_of, width, write_floats};
use crate::dims::ModelDimensions;
use crate::weights::WeightSource;
use crate::weights::names::{self, NameRow};

/// The openai tensors that one of CTranslate2's joins, by the part of its rows they are.
type Joined = BTreeMap<String, Vec<(&'static NameRow, usize)>>;

/// CTranslate2's numbers for the types of variables.
const FLOAT32: u8 = 0;
const INT8: u8 = 1;
const INT16: u8 = 2;
const FLOAT16: u8 = 4;
const BFLOAT16: u8 = 5;

pub(super) fn write(
    weights: &dyn WeightSource,
    out: &mut impl Write,
    numbers: Numbers,
) -> io::Result<()> {
    let dims = weights.dims();
    let mut joined = Joined::new();
    for (row, block) in names::stored(weights) {
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
    let count = u32::try_from(joined.len() + scalars.len() + scales).map_err(io::Error::other)?;
    out.write_all(&6_u32.to_le_bytes())?;
    write_name(out, "WhisperSpec")?;
    out.write_all(&3_u32.to_le_bytes())?;
    out.write_all(&count.to_le_bytes())?;
    for (name, kind, bytes) in &scalars {
        write_variable(out, name, &[], *kind, bytes)?;
    }
    for (name, rows) in &joined {
        let (shape, floats) = join(weights, rows)?;
        write_tensor(out, name, &shape, &floats, numbers)?;
    }
    if weights.output() == names::OUTPUT {
        return out.write_all(&0_u32.to_le_bytes());
    }
    out.write_all(&1_u32.to_le_bytes())?;
    write_name(out, names::OUTPUT_ROW.ct2)?;
    write_name(out, "decoder/embeddings/weight")
}

/// Name of the list of tokens.
pub(super) const VOCABULARY: &str = "vocabulary.json";

/// The list of tokens, if there is one.
pub(super) fn write_vocabulary(extras: &Ct2Extras, dir: &Path) -> io::Result<()> {
    if extras.vocabulary.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_vec_pretty(&extras.vocabulary)?;
    std::fs::write(dir.join(VOCABULARY), text)
}

/// CTranslate2's own `config.json`: it takes no key that it doesn't know the type of.
pub(super) fn config(extras: &Ct2Extras) -> Value {
    json!({
        "alignment_heads": extras.alignment_heads,
        "lang_ids": extras.lang_ids,
        "suppress_ids": extras.suppress_ids,
        "suppress_ids_begin": extras.suppress_ids_begin,
    })
}

/// Name, type and bytes.
type Scalar = (&'static str, u8, Vec<u8>);

/// What CTranslate2 wants to know beside the tensors.
fn scalars(dims: &ModelDimensions) -> io::Result<Vec<Scalar>> {
    let short = |n: usize| i16::try_from(n).map(|n| n.to_le_bytes().to_vec());
    let heads = |n| short(n).map_err(io::Error::other);
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
    let matrix = name.ends_with("/weight")
        && (name.contains("linear_") || name.contains("embed") || name.contains("projection"));
    matches!(numbers, Numbers::Int8 | Numbers::Int8Float16) && matrix
}

/// Parts one after another; a part that is missing (the key's bias) is zeros.
fn join(
    weights: &dyn WeightSource,
    rows: &[(&'static NameRow, usize)],
) -> io::Result<(Vec<usize>, Vec<f32>)> {
    let of = rows.first().map_or(1, |(row, _)| row.part.of);
    let (mut shape, mut all) = (Vec::new(), Vec::new());
    let mut part_len = 0;
    for (row, block) in rows {
        let (part_shape, floats) = floats_of(weights, &names::numbered(row.openai, *block))?;
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
) -> io::Result<()> {
    if is_quantized(name, numbers) {
        let (bytes, scales) = quantize_rows(floats, shape.first().copied().unwrap_or(1));
        write_variable(out, name, shape, INT8, &bytes)?;
        let scales: Vec<u8> = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
        let rows = shape.get(..1).unwrap_or_default();
        return write_variable(out, &format!("{name}_scale"), rows, FLOAT32, &scales);
    }
    let kind = match numbers {
        Numbers::F16 | Numbers::Int8Float16 => FLOAT16,
        Numbers::Bf16 => BFLOAT16,
        _ => FLOAT32,
    };
    let mut bytes = Vec::with_capacity(floats.len() * width(numbers));
    write_floats(&mut bytes, floats, numbers)?;
    write_variable(out, name, shape, kind, &bytes)
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

fn write_name(out: &mut impl Write, name: &str) -> io::Result<()> {
    let len = u16::try_from(name.len() + 1).map_err(io::Error::other)?;
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
) -> io::Result<()> {
    let short = |n: usize| u32::try_from(n).map_err(io::Error::other);
    write_name(out, name)?;
    out.write_all(&[u8::try_from(shape.len()).map_err(io::Error::other)?])?;
    for &size in shape {
        out.write_all(&short(size)?.to_le_bytes())?;
    }
    out.write_all(&[kind])?;
    out.write_all(&short(bytes.len())?.to_le_bytes())?;
    out.write_all(bytes)
}
