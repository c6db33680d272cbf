//! Hugging Face's safetensors.

use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensors};

use super::bytes::{Mapped, bad};
use super::parts::{Found, Parts};
use super::tensor::Encoding;
use crate::error::Result;

const FORMAT: &str = "safetensors";
/// Bytes of the length in front of the header.
const LENGTH_BYTES: usize = 8;

/// Whether a file starts as safetensors do: a length, then a JSON object.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.get(LENGTH_BYTES) == Some(&b'{')
}

/// Reads the header.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let path = file.path();
    let (header_len, header) = SafeTensors::read_metadata(file.bytes())
        .map_err(|e| bad(path, None, format!("is no whole safetensors file: {e}")))?;
    let file_len = file.bytes().len();
    let mut parts = Parts::of_file(FORMAT, file);
    for (name, info) in header.tensors() {
        match encoding(info.dtype) {
            Some(encoding) => {
                let tensor = tensor(info, encoding, header_len + LENGTH_BYTES, file_len);
                let misfit = || {
                    bad(
                        &parts.path,
                        name.clone(),
                        "its bytes do not fit its shape".into(),
                    )
                };
                let tensor = tensor.ok_or_else(misfit)?;
                parts.add(&name, tensor)?;
            }
            // Some fine-tunes carry counters and masks; they are not needed.
            None => parts.add_unusable(&name, format!("{:?}", info.dtype)),
        }
    }
    Ok(parts)
}

fn encoding(dtype: Dtype) -> Option<Encoding> {
    Some(match dtype {
        Dtype::F64 => Encoding::F64,
        Dtype::F32 => Encoding::F32,
        Dtype::F16 => Encoding::F16,
        Dtype::BF16 => Encoding::Bf16,
        _ => return None,
    })
}

fn tensor(info: &TensorInfo, encoding: Encoding, base: usize, file_len: usize) -> Option<Found> {
    let (start, end) = info.data_offsets;
    let bytes = base.checked_add(start)?..base.checked_add(end)?;
    let sizes = info.shape.iter();
    let numbers = sizes.copied().try_fold(1_usize, usize::checked_mul)?;
    let fits = bytes.start <= bytes.end && bytes.end <= file_len;
    (fits && encoding.byte_len(numbers)? == bytes.len()).then(|| Found {
        file: 0,
        bytes,
        shape: info.shape.clone(),
        encoding,
        scales: Vec::new(),
        strides: None,
    })
}
