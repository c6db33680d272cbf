//! GGUF, versions 2 and 3: keys and values, an index of tensors, aligned data.
//!
//! Names are Hugging Face's (as candle's converters write them) or openai's.

use super::bytes::{Cursor, Mapped, bad};
use super::ggml;
use super::parts::{Found, Parts};
use crate::error::Result;

pub(super) const MAGIC: &[u8] = b"GGUF";
const MAX_RANK: usize = 8;
/// What data is aligned to where the file does not say.
pub(super) const DEFAULT_ALIGNMENT: usize = 32;
/// GGUF's number for values that are text.
pub(super) const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Whether a file starts as GGUF does.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads keys, values and the index.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let mut cursor = Cursor::new(&file);
    cursor.take(MAGIC.len(), "magic")?;
    let version = cursor.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(bad(
            file.path(),
            None,
            format!("GGUF version {version} is not supported, only 2 and 3"),
        ));
    }
    let tensors = cursor.long_count("number of tensors")?;
    let values = cursor.long_count("number of keys")?;
    let mut alignment = DEFAULT_ALIGNMENT;
    for _ in 0..values {
        let key = string(&mut cursor, "key")?;
        let kind = cursor.u32(&key)?;
        let value = value(&mut cursor, kind, &key)?;
        match (key.as_str(), value) {
            ("general.alignment", Value::Number(n)) if n.is_power_of_two() => alignment = n,
            ("general.architecture", Value::Text(kind)) if kind != "whisper" => {
                let reason = format!("is of a {kind}, not a whisper");
                return Err(bad(file.path(), key, reason));
            }
            _ => {}
        }
    }
    let index = (0..tensors)
        .map(|_| tensor(&mut cursor))
        .collect::<Result<Vec<_>>>()?;
    let data = cursor
        .at()
        .checked_next_multiple_of(alignment)
        .unwrap_or(usize::MAX);
    place(file, index, data)
}

fn string(cursor: &mut Cursor, what: &str) -> Result<String> {
    let len = cursor.long_size(what)?;
    Ok(String::from_utf8_lossy(cursor.take(len, what)?).into_owned())
}

/// Bytes of a value of a fixed size.
fn width(kind: u32) -> Option<usize> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// What the value of a key is, as far as keys matter.
enum Value {
    Number(usize),
    Text(String),
    Other,
}

fn value(cursor: &mut Cursor, kind: u32, key: &str) -> Result<Value> {
    match (kind, width(kind)) {
        (4 | 5, _) => cursor.size(key).map(Value::Number),
        (_, Some(width)) => cursor.take(width, key).map(|_| Value::Other),
        (STRING, _) => string(cursor, key).map(Value::Text),
        (ARRAY, _) => array(cursor, key).map(|()| Value::Other),
        _ => Err(bad(
            cursor.file(),
            key.to_owned(),
            format!("has unknown type {kind}"),
        )),
    }
}

/// Skips an array of numbers or strings; arrays of arrays are in no Whisper.
fn array(cursor: &mut Cursor, key: &str) -> Result<()> {
    let kind = cursor.u32(key)?;
    let len = cursor.long_size(key)?;
    match (kind, width(kind)) {
        (_, Some(width)) => cursor.take(len.saturating_mul(width), key).map(|_| ()),
        (STRING, _) => {
            for _ in 0..len {
                let len = cursor.long_size(key)?;
                cursor.take(len, key)?;
            }
            Ok(())
        }
        _ => Err(bad(
            cursor.file(),
            key.to_owned(),
            format!("is an array of type {kind}"),
        )),
    }
}

struct Indexed {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    offset: usize,
}

fn tensor(cursor: &mut Cursor) -> Result<Indexed> {
    let name = string(cursor, "tensor's name")?;
    let rank = cursor.size(&name)?;
    if rank > MAX_RANK {
        return Err(bad(cursor.file(), name, format!("has {rank} dimensions")));
    }
    let mut shape = (0..rank)
        .map(|_| cursor.long_size(&name))
        .collect::<Result<Vec<_>>>()?;
    shape.reverse();
    let kind = cursor.u32(&name)?;
    let offset = cursor.long_size(&name)?;
    Ok(Indexed {
        name,
        shape,
        kind,
        offset,
    })
}

/// Checks that each tensor's bytes are in the file.
fn place(file: Mapped, index: Vec<Indexed>, data: usize) -> Result<Parts> {
    let file_len = file.bytes().len();
    let mut parts = Parts::of_file("GGUF", file);
    for Indexed {
        name,
        shape,
        kind,
        offset,
    } in index
    {
        let fail = |reason: String| Err(bad(&parts.path, name.clone(), reason));
        let Some(encoding) = ggml::encoding(kind) else {
            return fail(format!("is in ggml's type {kind}, which is not known"));
        };
        let Some(len) = ggml::byte_len(encoding, &shape) else {
            return fail(format!("shape {shape:?} does not fit its type"));
        };
        let start = data.checked_add(offset);
        let bytes = start.and_then(|start| Some(start..start.checked_add(len)?));
        let Some(bytes) = bytes.filter(|bytes| bytes.end <= file_len) else {
            return fail(format!("its {len} bytes at {offset} are not in the file"));
        };
        let tensor = Found {
            file: 0,
            bytes,
            shape,
            encoding,
            scales: Vec::new(),
            strides: None,
        };
        parts.add(&name, tensor)?;
    }
    Ok(parts)
}
