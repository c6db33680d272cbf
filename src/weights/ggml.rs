//! whisper.cpp's `ggml-….bin`: sizes, mel filters, vocabulary and tensors, one after another.

use super::blocks::Block;
use super::bytes::{Cursor, Mapped, bad};
use super::declared::Declared;
use super::parts::{Found, Parts};
use super::tensor::Encoding;
use crate::error::Result;

pub(super) const MAGIC: &[u8] = b"lmgg";
/// The sizes behind the magic, in order.
pub(super) const SIZES: [&str; 11] = [
    "n_vocab",
    "n_audio_ctx",
    "n_audio_state",
    "n_audio_head",
    "n_audio_layer",
    "n_text_ctx",
    "n_text_state",
    "n_text_head",
    "n_text_layer",
    "n_mels",
    "ftype",
];
const MAX_RANK: usize = 4;

/// Whether a file starts as whisper.cpp's do.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads all of the file's index.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let mut cursor = Cursor::new(&file);
    cursor.take(MAGIC.len(), "magic")?;
    let sizes = sizes(&mut cursor)?;
    let n_mels = cursor.count("number of mel filters")?;
    let n_fft = cursor.count("width of the mel filters")?;
    let filter_bytes = n_mels.checked_mul(n_fft).and_then(|n| n.checked_mul(4));
    cursor.take(filter_bytes.unwrap_or(usize::MAX), "mel filters")?;
    let vocabulary = vocabulary(&mut cursor)?;
    let mut tensors = Vec::new();
    while !cursor.is_at_end() {
        tensors.push(tensor(&mut cursor)?);
    }
    let mut parts = Parts::of_file("ggml", file);
    for (name, tensor) in tensors {
        parts.add(&name, tensor)?;
    }
    parts.declared.push(Declared::new("its header", sizes));
    parts.vocabulary = Some(vocabulary);
    Ok(parts)
}

fn sizes(cursor: &mut Cursor) -> Result<Vec<(String, usize)>> {
    let sizes = SIZES.map(|name| cursor.size(name).map(|size| (name.to_owned(), size)));
    sizes.into_iter().collect()
}

fn vocabulary(cursor: &mut Cursor) -> Result<Vec<Vec<u8>>> {
    let count = cursor.count("number of tokens")?;
    (0..count)
        .map(|_| {
            let len = cursor.size("length of a token")?;
            cursor.take(len, "token").map(<[u8]>::to_vec)
        })
        .collect()
}

fn tensor(cursor: &mut Cursor) -> Result<(String, Found)> {
    let rank = cursor.size("dimensions of a tensor")?;
    let name_len = cursor.size("length of a tensor's name")?;
    let kind = cursor.u32("type of a tensor")?;
    if rank > MAX_RANK {
        let reason = format!("{rank} at byte {}", cursor.at());
        return Err(bad(
            cursor.file(),
            "dimensions of a tensor".to_owned(),
            reason,
        ));
    }
    let mut shape = (0..rank)
        .map(|_| cursor.size("size of a tensor"))
        .collect::<Result<Vec<_>>>()?;
    shape.reverse();
    let name = String::from_utf8_lossy(cursor.take(name_len, "tensor's name")?).into_owned();
    let file = cursor.file();
    let encoding = encoding(kind).ok_or_else(|| {
        bad(
            file,
            name.clone(),
            format!("is in ggml's type {kind}, which is not known"),
        )
    })?;
    let len = byte_len(encoding, &shape).ok_or_else(|| {
        bad(
            file,
            name.clone(),
            format!("shape {shape:?} does not fit its type"),
        )
    })?;
    let start = cursor.at();
    cursor.take(len, &name)?;
    Ok((
        name,
        Found {
            file: 0,
            bytes: start..start + len,
            shape,
            encoding,
            scales: Vec::new(),
            strides: None,
        },
    ))
}

/// What GGML's number for a type means.
pub(super) fn encoding(kind: u32) -> Option<Encoding> {
    match kind {
        0 => Some(Encoding::F32),
        1 => Some(Encoding::F16),
        28 => Some(Encoding::F64),
        30 => Some(Encoding::Bf16),
        _ => Block::from_ggml(kind).map(Encoding::Block),
    }
}

/// GGML's number for a type, where it has one.
pub(super) fn number(encoding: Encoding) -> Option<u32> {
    match encoding {
        Encoding::F32 => Some(0),
        Encoding::F16 => Some(1),
        Encoding::F64 => Some(28),
        Encoding::Bf16 => Some(30),
        Encoding::I8 => None,
        Encoding::Block(block) => Some(block.to_ggml()),
    }
}

/// Bytes of a tensor whose rows are whole blocks.
pub(super) fn byte_len(encoding: Encoding, shape: &[usize]) -> Option<usize> {
    let numbers = shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size))?;
    if let Encoding::Block(block) = encoding {
        shape
            .last()?
            .is_multiple_of(block.numbers())
            .then_some(())?;
    }
    encoding.byte_len(numbers)
}
