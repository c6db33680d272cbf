//! Writes `model.safetensors` under Hugging Face's names.

use std::io::{self, Write};

use super::{Numbers, floats_of, width, write_floats};
use crate::weights::WeightSource;
use crate::weights::names;

/// The header, then every tensor in the order of the table of names.
pub(super) fn write(
    weights: &dyn WeightSource,
    out: &mut impl Write,
    numbers: Numbers,
) -> io::Result<()> {
    let dims = weights.dims();
    let kind = match numbers {
        Numbers::F16 => "F16",
        Numbers::Bf16 => "BF16",
        _ => "F32",
    };
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (row, block) in names::stored(weights) {
        let (start, shape) = (end, row.shape_in(dims));
        end += shape.iter().product::<usize>() * width(numbers);
        let info = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [start, end]});
        header.insert(row.hf_wrapped(block), info);
    }
    let mut text = serde_json::to_vec(&header)?;
    text.resize(text.len().next_multiple_of(8), b' ');
    let len = (text.len() as u64).to_le_bytes();
    out.write_all(&len)?;
    out.write_all(&text)?;
    for (row, block) in names::stored(weights) {
        let (_, floats) = floats_of(weights, &names::numbered(row.openai, block))?;
        write_floats(out, &floats, numbers)?;
    }
    Ok(())
}
