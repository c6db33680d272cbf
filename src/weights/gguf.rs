//! GGUF, versions 2 and 3: keys and values, an index of tensors, aligned data.
//!
//! Names are Hugging Face's (as candle's converters write them) or openai's.

use std::collections::HashMap;

use super::bytes::{Cursor, Mapped, bad};
use super::checkpoint::{Dialect, Found, Parts};
use super::ggml;
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
        if key == "general.alignment" {
            alignment = value
                .filter(|n| n.is_power_of_two())
                .unwrap_or(DEFAULT_ALIGNMENT);
        }
    }
    let index = (0..tensors)
        .map(|_| tensor(&mut cursor))
        .collect::<Result<Vec<_>>>()?;
    let data = cursor
        .at()
        .checked_next_multiple_of(alignment)
        .unwrap_or(usize::MAX);
    let found = place(&file, index, data)?;
    let dialect = Dialect::of(&found);
    Ok(Parts::of_file("GGUF", file, found, dialect))
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

/// Skips a value; what it is, where it is a 32-bit number.
fn value(cursor: &mut Cursor, kind: u32, key: &str) -> Result<Option<usize>> {
    match (kind, width(kind)) {
        (4 | 5, _) => cursor.size(key).map(Some),
        (_, Some(width)) => cursor.take(width, key).map(|_| None),
        (STRING, _) => string(cursor, key).map(|_| None),
        (ARRAY, _) => array(cursor, key).map(|()| None),
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
fn place(file: &Mapped, index: Vec<Indexed>, data: usize) -> Result<HashMap<String, Found>> {
    let path = file.path();
    let mut found = HashMap::new();
    for Indexed {
        name,
        shape,
        kind,
        offset,
    } in index
    {
        let fail = |reason: String| Err(bad(path, name.clone(), reason));
        let Some(encoding) = ggml::encoding(kind) else {
            return fail(format!("is in ggml's type {kind}, which is not known"));
        };
        let Some(len) = ggml::byte_len(encoding, &shape) else {
            return fail(format!("shape {shape:?} does not fit its type"));
        };
        let start = data.checked_add(offset);
        let bytes = start.and_then(|start| Some(start..start.checked_add(len)?));
        let Some(bytes) = bytes.filter(|bytes| file.bytes().get(bytes.clone()).is_some()) else {
            return fail(format!("its {len} bytes at {offset} are not in the file"));
        };
        let tensor = Found {
            file: 0,
            bytes,
            shape,
            encoding,
            scales: Vec::new(),
        };
        let name = name.strip_prefix("model.").unwrap_or(&name).to_owned();
        if found.insert(name.clone(), tensor).is_some() {
            return Err(bad(path, name, "is there twice".into()));
        }
    }
    Ok(found)
}
