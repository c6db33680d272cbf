//! Hugging Face's safetensors, in one file or in shards listed by an index.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::bytes::{Mapped, bad, unread};
use super::checkpoint::{Dialect, Found, Parts};
use super::tensor::Encoding;
use crate::error::{Error, Result};

const FORMAT: &str = "safetensors";
/// Largest JSON file that is read beside the weights.
const MAX_JSON_BYTES: u64 = 64 << 20;
/// Bytes of the length in front of the header.
const LENGTH_BYTES: usize = 8;

/// Whether a file starts as safetensors do: a length, then a JSON object.
pub(super) fn recognises(bytes: &[u8]) -> bool {
    bytes.get(LENGTH_BYTES) == Some(&b'{')
}

/// Reads one file.
pub(super) fn read(file: Mapped) -> Result<Parts> {
    let mut found = HashMap::new();
    add_tensors(&file, 0, &mut found)?;
    let dialect = Dialect::of(&found);
    Ok(Parts::of_file(FORMAT, file, found, dialect))
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// Reads the shards that an index lists.
pub(super) fn read_sharded(index: &Path) -> Result<Parts> {
    let mut files = Vec::new();
    let mut found = HashMap::new();
    for shard in shards(index)? {
        let file = Mapped::open(&shard)?;
        add_tensors(&file, files.len(), &mut found)?;
        files.push(file);
    }
    Ok(Parts {
        format: FORMAT,
        path: index.to_owned(),
        files,
        dialect: Dialect::of(&found),
        found,
        heads: None,
        vocabulary: None,
    })
}

/// The files that an index lists, each once, in order. They lie beside the index.
pub(super) fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let names: BTreeSet<String> = json::<Index>(index)?.weight_map.into_values().collect();
    let folder = index.parent().unwrap_or(Path::new("."));
    names
        .into_iter()
        .map(|name| match Path::new(&name).file_name() {
            Some(plain) if plain == name.as_str() => Ok(folder.join(plain)),
            _ => Err(bad(index, name, "is not the plain name of a file".into())),
        })
        .collect()
}

fn add_tensors(file: &Mapped, index: usize, found: &mut HashMap<String, Found>) -> Result<()> {
    let path = file.path();
    let (header_len, header) = SafeTensors::read_metadata(file.bytes())
        .map_err(|e| bad(path, None, format!("is no whole safetensors file: {e}")))?;
    for (name, info) in header.tensors() {
        let tensor = tensor(&name, info, index, header_len + LENGTH_BYTES, file)?;
        // Not every tool keeps the wrapping `model.` in front of the names.
        let name = name.strip_prefix("model.").unwrap_or(&name).to_owned();
        if let Some(tensor) = tensor
            && found.insert(name.clone(), tensor).is_some()
        {
            return Err(bad(path, name, "is there twice".into()));
        }
    }
    Ok(())
}

fn tensor(
    name: &str,
    info: &safetensors::tensor::TensorInfo,
    file_index: usize,
    base: usize,
    file: &Mapped,
) -> Result<Option<Found>> {
    let encoding = match info.dtype {
        Dtype::F32 => Encoding::F32,
        Dtype::F16 => Encoding::F16,
        Dtype::BF16 => Encoding::Bf16,
        // Some fine-tunes carry counters and masks; they are not needed.
        Dtype::BOOL | Dtype::I64 | Dtype::I32 | Dtype::U8 => return Ok(None),
        other => {
            let reason = format!("is {other:?}; only F32, F16 and BF16 can be read");
            return Err(bad(file.path(), name.to_owned(), reason));
        }
    };
    let (start, end) = info.data_offsets;
    let numbers = info
        .shape
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    let bytes = base
        .checked_add(start)
        .zip(base.checked_add(end))
        .map(|(start, end)| start..end);
    match bytes {
        Some(bytes)
            if file.bytes().get(bytes.clone()).is_some()
                && numbers.and_then(|n| encoding.byte_len(n)) == Some(bytes.len()) =>
        {
            let shape = info.shape.clone();
            Ok(Some(Found {
                file: file_index,
                bytes,
                shape,
                encoding,
                scales: Vec::new(),
            }))
        }
        _ => Err(bad(
            file.path(),
            name.to_owned(),
            "its bytes do not fit its shape".into(),
        )),
    }
}

/// Reads a small JSON file.
pub(super) fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let len = std::fs::metadata(path).map_err(|e| unread(path, e))?.len();
    if len > MAX_JSON_BYTES {
        let reason = format!("{len} bytes are too many for a JSON file");
        return Err(bad(path, None, reason));
    }
    let text = std::fs::read(path).map_err(|e| unread(path, e))?;
    serde_json::from_slice(&text).map_err(|error| Error::Json {
        file: path.to_owned(),
        source: error.into(),
    })
}
