//! CTranslate2's `model.bin`, version 6: what faster-whisper reads.
//!
//! A list of variables, each with its name, shape, type and bytes, then a list of aliases. Joined
//! projections are cut apart by the table of names. Quantized variables have a companion,
//! `…_scale`, by which each row is divided.

use std::collections::HashMap;

use super::bytes::{Cursor, Mapped, bad};
use super::checkpoint::{Dialect, Found, Parts};
use super::tensor::{Encoding, WeightData, WeightTensor};
use crate::error::Result;

const VERSION: u32 = 6;
const SPEC: &str = "WhisperSpec";
/// More dimensions than this is a damaged file.
const MAX_RANK: u8 = 8;

/// Whether a file starts as one of CTranslate2's, of any version.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes
        .get(6..)
        .is_some_and(|name| name.starts_with(SPEC.as_bytes()))
}

/// Reads the list of variables.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let (found, heads) = variables(&file)?;
    Ok(Parts {
        heads,
        ..Parts::of_file("CTranslate2", file, found, Dialect::CTranslate2)
    })
}

/// CTranslate2's numbers for the types of variables.
enum Type {
    Float(Encoding),
    Integer(u8),
}

impl Type {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Float(Encoding::F32),
            1 => Self::Integer(1),
            2 => Self::Integer(2),
            3 => Self::Integer(4),
            4 => Self::Float(Encoding::F16),
            5 => Self::Float(Encoding::Bf16),
            _ => return None,
        })
    }

    fn byte_len(&self, numbers: usize) -> Option<usize> {
        match self {
            Self::Float(encoding) => encoding.byte_len(numbers),
            Self::Integer(width) => numbers.checked_mul(usize::from(*width)),
        }
    }
}

type Heads = Option<(usize, usize)>;

fn variables(file: &Mapped) -> Result<(HashMap<String, Found>, Heads)> {
    let path = file.path();
    let mut cursor = Cursor::new(file);
    let version = cursor.u32("version")?;
    if version != VERSION {
        let reason = format!("CTranslate2 version {version} is not supported, only {VERSION}");
        return Err(bad(path, None, reason));
    }
    let spec = name(&mut cursor, "specification")?;
    if spec != SPEC {
        return Err(bad(path, None, format!("holds a {spec}, not a {SPEC}")));
    }
    cursor.u32("revision")?;
    let count = cursor.count("number of variables")?;
    let mut found = HashMap::new();
    let mut numbers = HashMap::new();
    for _ in 0..count {
        let (name, variable) = variable(&mut cursor)?;
        match variable {
            Variable::Tensor(tensor) => {
                if found.insert(name.clone(), tensor).is_some() {
                    return Err(bad(path, name, "is there twice".into()));
                }
            }
            Variable::Number(number) => _ = numbers.insert(name, number),
        }
    }
    attach_scales(&mut found, file)?;
    let heads = |stack: &str| {
        let heads = numbers.get(&format!("{stack}/num_heads"))?;
        usize::try_from(*heads).ok()
    };
    let heads = heads("encoder").zip(heads("decoder"));
    Ok((found, heads))
}

enum Variable {
    Tensor(Found),
    Number(i64),
}

fn variable(cursor: &mut Cursor) -> Result<(String, Variable)> {
    let name = name(cursor, "variable name")?;
    let file = cursor.file();
    let rank = cursor.u8(&name)?;
    if rank > MAX_RANK {
        return Err(bad(file, name, format!("has {rank} dimensions")));
    }
    let shape = (0..rank)
        .map(|_| cursor.size(&name))
        .collect::<Result<Vec<_>>>()?;
    let type_number = cursor.u8(&name)?;
    let len = cursor.size(&name)?;
    let start = cursor.at();
    let bytes = cursor.take(len, &name)?;
    let Some(kind) = Type::of(type_number) else {
        return Err(bad(file, name, format!("has unknown type {type_number}")));
    };
    let numbers = shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    if numbers.and_then(|n| kind.byte_len(n)) != Some(len) {
        return Err(bad(
            file,
            name,
            format!("{len} bytes do not fit shape {shape:?}"),
        ));
    }
    let encoding = match kind {
        Type::Float(encoding) => encoding,
        Type::Integer(_) if shape.is_empty() => return Ok((name, Variable::Number(number(bytes)))),
        Type::Integer(1) => Encoding::I8,
        Type::Integer(width) => {
            return Err(bad(
                file,
                name,
                format!("{}-bit integers are not supported", width * 8),
            ));
        }
    };
    let bytes = start..start + len;
    let found = Found {
        file: 0,
        bytes,
        shape,
        encoding,
        scales: Vec::new(),
    };
    Ok((name, Variable::Tensor(found)))
}

/// A length, then as many bytes with a zero at their end.
fn name(cursor: &mut Cursor, what: &str) -> Result<String> {
    let len = usize::from(cursor.u16(what)?);
    let bytes = cursor.take(len, what)?;
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let reason = || bad(cursor.file(), what.to_owned(), "is not UTF-8".into());
    std::str::from_utf8(text)
        .map(str::to_owned)
        .map_err(|_| reason())
}

/// A little-endian signed integer of one to eight bytes.
fn number(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    bytes
        .iter()
        .rev()
        .fold(start, |n, &b| (n << 8) | i64::from(b))
}

/// Gives every 8-bit tensor the scales of its companion, and takes the companions away.
fn attach_scales(found: &mut HashMap<String, Found>, file: &Mapped) -> Result<()> {
    let quantized: Vec<String> = found
        .iter()
        .filter(|(_, f)| f.encoding == Encoding::I8)
        .map(|(n, _)| n.clone())
        .collect();
    for name in quantized {
        let scales = found.remove(&format!("{name}_scale"));
        let Some(scales) = scales.and_then(|scales| floats(&scales, file)) else {
            return Err(bad(
                file.path(),
                name,
                "is quantized but has no scales".into(),
            ));
        };
        if scales
            .iter()
            .any(|scale| !scale.is_finite() || *scale == 0.0)
        {
            return Err(bad(file.path(), name, "has a scale of zero or none".into()));
        }
        if let Some(tensor) = found.get_mut(&name) {
            tensor.scales = scales;
        }
    }
    Ok(())
}

fn floats(found: &Found, file: &Mapped) -> Option<Vec<f32>> {
    let bytes = file.bytes().get(found.bytes.clone())?;
    if found.encoding == Encoding::I8 {
        return None;
    }
    let data = WeightData::Stored {
        encoding: found.encoding,
        bytes,
        row_scales: Vec::new(),
    };
    Some(
        WeightTensor::new(found.shape.clone(), data)
            .to_f32()
            .into_owned(),
    )
}
