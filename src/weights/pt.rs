//! OpenAI's `.pt` and what else `torch.save` writes: a zip archive of a pickle and raw numbers.
//!
//! The numbers are stored uncompressed, so tensors are views of the mapped file as in every other
//! format. These files carry no vocabulary.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::bytes::{Mapped, bad};
use super::checkpoint::{Dialect, Found, Parts};
use super::pickle::{self, Pickle, Ref, Tensor, Value};
use super::tensor::Encoding;
use crate::error::Result;

/// Largest pickle that is read. Those of the largest Whisper take 0.3 MB.
const MAX_PICKLE_BYTES: u64 = 4 << 20;
const PICKLE: &str = "data.pkl";

/// Whether a file starts as a zip archive does.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Whether a file starts as `torch.save` had it before there were zip archives: with a pickle of
/// this number.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes
        .get(2..)
        .is_some_and(|pickle| pickle.starts_with(b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."))
}

/// Reads the pickle and finds each tensor's bytes in the archive.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let (found, heads) = index(&file)?;
    let dialect = Dialect::of(&found);
    Ok(Parts {
        heads,
        ..Parts::of_file("PyTorch", file, found, dialect)
    })
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;
type Heads = Option<(usize, usize)>;

fn index(file: &Mapped) -> Result<(HashMap<String, Found>, Heads)> {
    let whole = |reason: String| bad(file.path(), None, reason);
    let mut archive = ZipArchive::new(Cursor::new(file.bytes()))
        .map_err(|e| whole(format!("is no whole zip archive: {e}")))?;
    let prefix = prefix(&archive).ok_or_else(|| whole(format!("holds no {PICKLE}")))?;
    if member(&mut archive, &format!("{prefix}byteorder")).is_ok_and(|order| order == b"big") {
        return Err(whole("is written for a big-endian machine".into()));
    }
    let bytes = member(&mut archive, &format!("{prefix}{PICKLE}")).map_err(whole)?;
    let pickle = pickle::read(&bytes).map_err(whole)?;
    let mut found = HashMap::new();
    for (name, at) in pickle.entries(state(&pickle)) {
        let Value::Tensor(tensor) = pickle.value(at) else {
            continue;
        };
        let placed = place(tensor, &prefix, &mut archive, file)
            .map_err(|reason| bad(file.path(), name.to_owned(), reason))?;
        found.insert(
            name.strip_prefix("model.").unwrap_or(name).to_owned(),
            placed,
        );
    }
    Ok((found, heads(&pickle)))
}

/// What is in front of the names of the archive's members.
fn prefix(archive: &Archive) -> Option<String> {
    let names = archive.file_names().filter_map(|name| name.ok());
    names
        .into_iter()
        .find_map(|name| name.strip_suffix(PICKLE).map(str::to_owned))
}

fn member(archive: &mut Archive, name: &str) -> Result<Vec<u8>, String> {
    let file = archive.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    let mut bytes = Vec::new();
    let mut capped = file.take(MAX_PICKLE_BYTES + 1);
    capped
        .read_to_end(&mut bytes)
        .map_err(|e| format!("{name}: {e}"))?;
    match bytes.len() as u64 > MAX_PICKLE_BYTES {
        true => Err(format!("{name}: more than {MAX_PICKLE_BYTES} bytes")),
        false => Ok(bytes),
    }
}

/// The dictionary of tensors: openai's is wrapped, others may be.
fn state(pickle: &Pickle) -> Ref {
    let root = pickle.root();
    let wrapped = ["model_state_dict", "state_dict"];
    wrapped
        .iter()
        .find_map(|name| pickle.entry(root, name))
        .unwrap_or(root)
}

fn heads(pickle: &Pickle) -> Heads {
    let dims = pickle.entry(pickle.root(), "dims")?;
    let size = |name| usize::try_from(pickle.int(pickle.entry(dims, name)?)?).ok();
    size("n_audio_head").zip(size("n_text_head"))
}

/// Where a tensor's bytes lie in the file.
fn place(
    tensor: &Tensor,
    prefix: &str,
    archive: &mut Archive,
    file: &Mapped,
) -> Result<Found, String> {
    let encoding = match tensor.storage.class.as_str() {
        "torch.FloatStorage" => Encoding::F32,
        "torch.HalfStorage" => Encoding::F16,
        "torch.BFloat16Storage" => Encoding::Bf16,
        other => {
            return Err(format!(
                "is a {other}; only float, half and bfloat16 can be read"
            ));
        }
    };
    let sizes = tensor.shape.iter().map(|&size| usize::try_from(size));
    let shape = sizes
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "has a negative size")?;
    if !is_contiguous(&tensor.shape, &tensor.strides) {
        return Err("its numbers do not follow one another".into());
    }
    let numbers = shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    let len = numbers
        .and_then(|n| encoding.byte_len(n))
        .ok_or("its shape overflows")?;
    let offset = usize::try_from(tensor.offset)
        .ok()
        .and_then(|n| encoding.byte_len(n));
    let name = format!("{prefix}data/{}", tensor.storage.key);
    let member = archive.by_name(&name).map_err(|e| format!("{name}: {e}"))?;
    if member.compression() != zip::CompressionMethod::STORE {
        return Err(format!("{name} is compressed"));
    }
    let within = offset.and_then(|offset| offset.checked_add(len));
    if within.is_none_or(|end| end as u64 > member.size()) {
        return Err(format!("{name} has {} bytes, it needs more", member.size()));
    }
    let start = member
        .data_start()
        .and_then(|start| usize::try_from(start).ok());
    let start = start
        .zip(offset)
        .and_then(|(start, offset)| start.checked_add(offset));
    let bytes = start.and_then(|start| Some(start..start.checked_add(len)?));
    let bytes = bytes.filter(|bytes| file.bytes().get(bytes.clone()).is_some());
    let bytes = bytes.ok_or_else(|| format!("{name} is not in the file"))?;
    Ok(Found {
        file: 0,
        bytes,
        shape,
        encoding,
        scales: Vec::new(),
    })
}

/// Whether rows lie one after another.
fn is_contiguous(shape: &[i64], strides: &[i64]) -> bool {
    let mut expected = 1_i64;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected = expected.saturating_mul(size);
            fits
        })
}
