//! OpenAI's `.pt` and what else `torch.save` writes: a zip archive of a pickle and raw numbers.
//!
//! The numbers are stored uncompressed, so tensors are views of the mapped file as in every other
//! format. These files carry no vocabulary.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::bytes::{Mapped, bad};
use super::declared::Declared;
use super::parts::{Found, Parts};
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
    let whole = |reason: String| bad(file.path(), None, reason);
    let mut archive = ZipArchive::new(Cursor::new(file.bytes()))
        .map_err(|e| whole(format!("is no whole zip archive: {e}")))?;
    let prefix = prefix(&archive).ok_or_else(|| whole(no_pickle(&archive)))?;
    if member(&mut archive, &format!("{prefix}byteorder")).is_ok_and(|order| order == b"big") {
        return Err(whole("is written for a big-endian machine".into()));
    }
    let bytes = member(&mut archive, &format!("{prefix}{PICKLE}")).map_err(whole)?;
    let pickle = pickle::read(&bytes).map_err(whole)?;
    let state = state(&pickle).ok_or_else(|| whole(no_tensors(&pickle)))?;
    let mut placed = Vec::new();
    for (name, tensor) in tensors(&pickle, state) {
        let place = place(tensor, &prefix, &mut archive, &file)
            .map_err(|reason| bad(file.path(), name.to_owned(), reason))?;
        placed.push((name, place));
    }
    drop(archive);
    let mut parts = Parts::of_file("PyTorch", file);
    for (name, place) in placed {
        match place {
            Placed::Tensor(tensor) => parts.add(name, tensor)?,
            Placed::Unusable(what) => parts.add_unusable(name, what),
        }
    }
    parts.declared.extend(dims(&pickle));
    Ok(parts)
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn tensors(pickle: &Pickle, at: Ref) -> impl Iterator<Item = (&str, &Tensor)> {
    pickle
        .entries(at)
        .filter_map(|(name, at)| match pickle.value(at) {
            Value::Tensor(tensor) => Some((name, tensor)),
            _ => None,
        })
}

fn no_pickle(archive: &Archive) -> String {
    match archive
        .file_names()
        .flatten()
        .any(|name| name.ends_with(".npy"))
    {
        true => "holds NumPy arrays, as MLX keeps them; take the model that it was converted from"
            .into(),
        false => format!("holds no {PICKLE}"),
    }
}

fn no_tensors(pickle: &Pickle) -> String {
    match (
        pickle.entry(pickle.root(), "param_groups"),
        pickle.value(pickle.root()),
    ) {
        (Some(_), _) => "holds the state of an optimizer, not a model",
        (None, Value::Opaque) => {
            "holds a whole Python object, which is not read; torch.save(model.state_dict(), file) \
             writes its tensors"
        }
        _ => "holds no tensors under names",
    }
    .into()
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

/// The dictionary of tensors: openai's is wrapped, as trainers' are.
fn state(pickle: &Pickle) -> Option<Ref> {
    let root = pickle.root();
    let wrapped = ["model_state_dict", "state_dict", "model", "module"];
    let inside = wrapped.iter().filter_map(|name| pickle.entry(root, name));
    inside
        .chain([root])
        .find(|at| tensors(pickle, *at).next().is_some())
}

/// The sizes in openai's files.
fn dims(pickle: &Pickle) -> Option<Declared> {
    let dims = pickle.entry(pickle.root(), "dims")?;
    let size = |at| usize::try_from(pickle.int(at)?).ok();
    let sizes = pickle
        .entries(dims)
        .filter_map(|(name, at)| Some((name.to_owned(), size(at)?)));
    Some(Declared::new("dims", sizes.collect()))
}

enum Placed {
    Tensor(Found),
    /// Numbers of a kind that the network does not compute with.
    Unusable(String),
}

/// Where a tensor's bytes lie in the file.
fn place(
    tensor: &Tensor,
    prefix: &str,
    archive: &mut Archive,
    file: &Mapped,
) -> Result<Placed, String> {
    let encoding = match tensor.storage.class.as_str() {
        "torch.DoubleStorage" => Encoding::F64,
        "torch.FloatStorage" => Encoding::F32,
        "torch.HalfStorage" => Encoding::F16,
        "torch.BFloat16Storage" => Encoding::Bf16,
        other => return Ok(Placed::Unusable(format!("a {other}"))),
    };
    let sizes = |numbers: &[i64]| -> Option<Vec<usize>> {
        numbers.iter().map(|&n| usize::try_from(n).ok()).collect()
    };
    let shape = sizes(&tensor.shape).ok_or("has a negative size")?;
    let strides = sizes(&tensor.strides).ok_or("has a negative stride")?;
    let numbers = extent(&shape, &strides).ok_or("its shape overflows")?;
    let (len, offset) = (
        encoding.byte_len(numbers),
        usize::try_from(tensor.offset).ok(),
    );
    let len = len.ok_or("its shape overflows")?;
    let offset = offset.and_then(|n| encoding.byte_len(n));
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
    let strides = (!is_contiguous(&shape, &strides)).then_some(strides);
    Ok(Placed::Tensor(Found {
        file: 0,
        bytes,
        shape,
        encoding,
        scales: Vec::new(),
        strides,
    }))
}

/// How many numbers lie from a tensor's first to its last. `None` where there are more of them in
/// the tensor than there, so that numbers repeat: no weights do, and a small file could claim any
/// size.
fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let numbers = shape.iter().copied().try_fold(1, usize::checked_mul)?;
    if shape.len() != strides.len() {
        return None;
    }
    if numbers == 0 {
        return Some(0);
    }
    let mut last = 0_usize;
    for (size, stride) in shape.iter().zip(strides) {
        last = last.checked_add((size - 1).checked_mul(*stride)?)?;
    }
    let extent = last.checked_add(1)?;
    (numbers <= extent).then_some(extent)
}

/// Whether rows lie one after another.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1_usize;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected = expected.saturating_mul(size);
        fits
    })
}
