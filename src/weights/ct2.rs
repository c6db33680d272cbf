//! CTranslate2's `model.bin`, version 6: what faster-whisper reads.
//!
//! A list of variables, each with its name, shape, type and bytes, then a list of aliases: variables
//! whose numbers are those of another, which is kept once. Joined projections are cut apart by the
//! table of names. Quantized variables have a companion, `…_scale`, by which each row is divided.

use std::collections::HashMap;

use super::bytes::{Cursor, Mapped, bad};
use super::declared::Declared;
use super::parts::{Dialect, Found, Parts};
use super::tensor::{Encoding, WeightTensor};
use crate::error::Result;

const VERSION: u32 = 6;
const SPEC: &str = "WhisperSpec";
/// Settings by which a Whisper could differ from the one that is computed, and their values here.
/// 3 is GELU by the error function.
const SETTINGS: [(&str, i64); 5] = [
    ("activation", 3),
    ("pre_norm", 1),
    ("alibi", 0),
    ("scale_embeddings", 0),
    ("start_from_zero_embedding", 0),
];
/// More dimensions than this is a damaged file.
const MAX_RANK: u8 = 8;

/// Whether a file starts as one of CTranslate2's, of any version and network: a small number, then
/// a name that ends as all of theirs do.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    let Some((version, rest)) = bytes.split_first_chunk::<4>() else {
        return false;
    };
    let Some((len, rest)) = rest.split_first_chunk::<2>() else {
        return false;
    };
    let name = rest.get(..usize::from(u16::from_le_bytes(*len)));
    u32::from_le_bytes(*version) < 100 && name.is_some_and(|name| name.ends_with(b"Spec\0"))
}

/// Reads the list of variables.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let (found, numbers) = variables(&file)?;
    let mut parts = Parts::of_file("CTranslate2", file);
    parts.dialect = Dialect::CTranslate2;
    parts.found = found;
    check_settings(&parts, &numbers)?;
    let heads = [
        ("encoder/num_heads", "n_audio_head"),
        ("decoder/num_heads", "n_text_head"),
    ];
    let heads = heads.iter().filter_map(|(theirs, ours)| {
        let heads = usize::try_from(*numbers.get(*theirs)?).ok()?;
        Some(((*ours).to_owned(), heads))
    });
    parts
        .declared
        .push(Declared::new("the file", heads.collect()));
    Ok(parts)
}

fn check_settings(parts: &Parts, numbers: &HashMap<String, i64>) -> Result<()> {
    for (setting, value) in SETTINGS {
        for stack in ["encoder", "decoder"] {
            let name = format!("{stack}/{setting}");
            if let Some(other) = numbers.get(&name).filter(|other| **other != value) {
                let reason = format!("is {other}; a Whisper that we compute has {value}");
                return Err(bad(&parts.path, name, reason));
            }
        }
    }
    Ok(())
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

/// Tensors, and numbers by themselves.
type Variables = (HashMap<String, Found>, HashMap<String, i64>);

fn variables(file: &Mapped) -> Result<Variables> {
    let path = file.path();
    let mut cursor = Cursor::new(file);
    let version = cursor.u32("version")?;
    let spec = name(&mut cursor, "specification")?;
    if spec != SPEC {
        let reason = format!("is CTranslate2's, but holds a {spec}, not a {SPEC}");
        return Err(bad(path, None, reason));
    }
    if version != VERSION {
        let reason = format!("CTranslate2 version {version} is not supported, only {VERSION}");
        return Err(bad(path, None, reason));
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
    let aliases = aliases(&mut cursor, &mut found)?;
    attach_scales(&mut found, &aliases, file)?;
    Ok((found, numbers))
}

/// Adds each alias under its own name; which variable each is.
fn aliases(
    cursor: &mut Cursor,
    found: &mut HashMap<String, Found>,
) -> Result<HashMap<String, String>> {
    let mut aliases = HashMap::new();
    let count = cursor.count("number of aliases")?;
    for _ in 0..count {
        let alias = name(cursor, "alias")?;
        let variable = name(cursor, "variable of an alias")?;
        if let Some(tensor) = found.get(&variable).cloned() {
            found.entry(alias.clone()).or_insert(tensor);
        }
        aliases.insert(alias, variable);
    }
    Ok(aliases)
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
        strides: None,
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

/// Gives every 8-bit tensor the scales of its companion, or of that of the variable which it is an
/// alias of, and takes the companions away.
fn attach_scales(
    found: &mut HashMap<String, Found>,
    aliases: &HashMap<String, String>,
    file: &Mapped,
) -> Result<()> {
    let quantized: Vec<String> = found
        .iter()
        .filter(|(_, f)| f.encoding == Encoding::I8)
        .map(|(n, _)| n.clone())
        .collect();
    let companion = |name: &str| format!("{name}_scale");
    let companions: Vec<_> = quantized.iter().map(|name| companion(name)).collect();
    for name in quantized {
        let variable = aliases.get(&name).unwrap_or(&name);
        let own = found.get(&companion(&name));
        let scales = own.or_else(|| found.get(&companion(variable)));
        let Some(scales) = scales.and_then(|scales| floats(scales, file)) else {
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
    companions.iter().for_each(|name| _ = found.remove(name));
    Ok(())
}

fn floats(found: &Found, file: &Mapped) -> Option<Vec<f32>> {
    let bytes = file.bytes().get(found.bytes.clone())?;
    if found.encoding == Encoding::I8 {
        return None;
    }
    let tensor = WeightTensor::new(found.shape.clone(), found.encoding, bytes, Vec::new());
    Some(tensor.to_f32())
}
