//! Which file of a folder, or of a Hub repository, holds the model: one table for both.
//!
//! In: the names of files. Out: the one to open, or what the folder holds instead of a model.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bytes::{bad, unread};
use super::json;
use super::lora::CONFIG as ADAPTER;
use crate::error::{Error, Result};

/// Files that hold a whole model, or list the files that do, in the order they are looked for.
pub(super) const MODEL_FILES: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.bin",
];
/// How files are named that may hold a model, where a folder has none of the known names.
const ENDINGS: [&str; 7] = ["safetensors", "bin", "pt", "pth", "ckpt", "gguf", "ggml"];
/// How files start that have such an ending and hold what training keeps beside a model, or another
/// program's parts.
const NO_MODELS: [&str; 9] = [
    "optimizer",
    "scheduler",
    "scaler",
    "training_args",
    "rng_state",
    "random_states",
    "adapter_model",
    "openvino_",
    "ggml-silero",
];
/// What a folder without a model has that says what it is.
const OTHERS: [(&str, &str); 7] = [
    (
        "weights.npz",
        "an MLX model; take the model that it was converted from",
    ),
    ("flax_model.msgpack", "a Flax model"),
    ("tf_model.h5", "a TensorFlow model"),
    ("openvino_encoder_model.xml", "an OpenVINO model"),
    ("encoder_model.onnx", "an ONNX model"),
    ("onnx", "an ONNX model"),
    ("model_config.yaml", "a NeMo model"),
];

/// The file of weights that a path means: itself, or the one in the folder.
///
/// # Errors
/// [`Error::Weights`] where there is none, or more than one and none has a usual name;
/// [`Error::File`] where the folder cannot be read.
pub fn weights_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let entries = std::fs::read_dir(path).map_err(|e| unread(path, e))?;
    let names: BTreeSet<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    if let Some(name) = model_file(|name| path.join(name).is_file()) {
        return Ok(path.join(name));
    }
    if names.contains(ADAPTER) {
        return Err(adapter(path));
    }
    let may_hold = |name: &&String| may_hold_a_model(name) && path.join(name).is_file();
    let candidates: Vec<_> = names.iter().filter(may_hold).cloned().collect();
    match candidates.as_slice() {
        [only] => Ok(path.join(only)),
        [] => Err(bad(path, None, no_model(&names))),
        several => {
            let several = several.join(", ");
            let reason = format!("the folder holds several models; name one: {several}");
            Err(bad(path, None, reason))
        }
    }
}

/// The first of the known files that is there.
pub(super) fn model_file(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    MODEL_FILES.into_iter().find(|name| has(name))
}

/// Whether a file lists others.
pub(super) fn is_index(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "json")
}

fn may_hold_a_model(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.contains(&ending) && !NO_MODELS.iter().any(|start| name.starts_with(start))
}

/// What a folder or repository without a model holds instead.
pub(super) fn no_model(names: &BTreeSet<String>) -> String {
    if names.contains(ADAPTER) {
        return "holds a LoRA adapter, not a whole model".into();
    }
    let other = OTHERS.iter().find(|(file, _)| names.contains(*file));
    match other {
        Some((_, what)) => format!("holds {what}, which is not read"),
        None => format!(
            "holds no file of weights; looked for: {}",
            MODEL_FILES.join(", ")
        ),
    }
}

fn adapter(folder: &Path) -> Error {
    let config = json::read::<Map<String, Value>>(&folder.join(ADAPTER)).unwrap_or_default();
    let base = config
        .get("base_model_name_or_path")
        .and_then(Value::as_str);
    let base = base.unwrap_or("its model");
    let reason = format!(
        "the folder holds a LoRA adapter of {base}, not a whole model; load that model with this \
         adapter (--lora)"
    );
    bad(folder, ADAPTER.to_owned(), reason)
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The files that an index lists, each once, in order. They lie beside the index.
pub(super) fn shards(index: &Path) -> Result<Vec<PathBuf>> {
    let names: BTreeSet<String> = json::read::<Index>(index)?
        .weight_map
        .into_values()
        .collect();
    let folder = index.parent().unwrap_or(Path::new("."));
    names
        .into_iter()
        .map(|name| match Path::new(&name).file_name() {
            Some(plain) if plain == name.as_str() => Ok(folder.join(plain)),
            _ => Err(bad(index, name, "is not the plain name of a file".into())),
        })
        .collect()
}
