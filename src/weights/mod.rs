//! Weights: from a file or folder of any known format to tensors under openai/whisper's names.
//!
//! In: a path (or, through [`hub`], a model's name). Out: a [`WeightSource`]. What stays true: the
//! format is recognised by content, never by a file's name; no number in a file is trusted; once a
//! source is open, every tensor of the model is there and has the shape that its sizes ask for.

mod blocks;
mod bytes;
mod checkpoint;
mod config;
mod convert;
mod ct2;
mod ggml;
mod gguf;
pub mod hub;
mod names;
mod pickle;
mod pt;
mod safetensors;
mod tensor;
mod var_builder;

use std::path::{Path, PathBuf};

pub use self::blocks::Block;
use self::bytes::{Mapped, bad, unread};
pub use self::convert::{Conversion, GgmlExtras, Numbers, Target, convert};
pub use self::tensor::{Encoding, WeightData, WeightTensor};
pub use self::var_builder::var_builder;
use crate::dims::ModelDimensions;
use crate::error::Result;

/// Where a model's tensors come from.
pub trait WeightSource: Send + Sync {
    /// The model's sizes, from the shapes of its tensors; the heads from the file's or folder's
    /// configuration, else 64 wide.
    fn dims(&self) -> &ModelDimensions;

    /// Every tensor's name, as openai/whisper has it, in the order of the alphabet.
    fn names(&self) -> Vec<&str>;

    /// A tensor by openai/whisper's name for it, for example
    /// `decoder.blocks.0.cross_attn.query.weight`. Matrices are `(outputs, inputs)`, convolutions
    /// `(outputs, inputs, width)`. The output layer is `decoder.token_embedding.weight` again, and
    /// key projections have no bias.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::error::Error::Weights) where no Whisper of these sizes has such a
    /// tensor.
    fn tensor(&self, name: &str) -> Result<WeightTensor<'_>>;

    /// A name for the content, to key caches with: a SHA-256 over each file's length, its times of
    /// change and samples spread over it. It takes no full read; it also changes when the same
    /// bytes are copied elsewhere, which costs a cache no more than a miss.
    ///
    /// # Errors
    /// None today; a source over a network could fail to answer.
    fn fingerprint(&self) -> Result<String>;

    /// The format's name, for people.
    fn format(&self) -> &'static str;

    /// The file that was opened (the index, where there are shards).
    fn file(&self) -> &Path;

    /// The bytes of each token, in formats that carry them.
    fn vocabulary(&self) -> Option<&[Vec<u8>]> {
        None
    }
}

/// Files that hold a whole model, in the order they are looked for in a folder.
const KNOWN_NAMES: [&str; 3] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "model.bin",
];
/// How files are named that may hold a model, where a folder has none of the known names.
const KNOWN_ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "gguf", "ggml"];

/// Opens a file of weights, or the one in a folder.
///
/// # Errors
/// [`Error::File`](crate::error::Error::File) where it cannot be read, else
/// [`Error::Weights`](crate::error::Error::Weights) naming the file, and the tensor where one is at
/// fault.
pub fn open(path: &Path) -> Result<Box<dyn WeightSource>> {
    let file = weights_file(path)?;
    let mut parts = if file.extension().is_some_and(|ending| ending == "json") {
        safetensors::read_sharded(&file)?
    } else {
        let mapped = Mapped::open(&file)?;
        let read = reader(mapped.bytes()).ok_or_else(|| unknown(&mapped))?;
        read(mapped)?
    };
    if parts.heads.is_none() {
        parts.heads = config::heads(&file)?;
    }
    Ok(Box::new(checkpoint::assemble(parts)?))
}

type Recogniser = fn(&[u8]) -> bool;
type Reader = fn(Mapped) -> Result<checkpoint::Parts>;

/// The reader of the format that a file's first bytes show.
fn reader(bytes: &[u8]) -> Option<Reader> {
    let readers: [(Recogniser, Reader); 5] = [
        (ct2::recognises, ct2::read),
        (pt::recognises, pt::read),
        (ggml::recognises, ggml::read),
        (gguf::recognises, gguf::read),
        (safetensors::recognises, safetensors::read),
    ];
    readers
        .into_iter()
        .find(|(recognises, _)| recognises(bytes))
        .map(|(_, reader)| reader)
}

fn unknown(file: &Mapped) -> crate::error::Error {
    let reason = match pt::is_legacy(file.bytes()) {
        true => "is in PyTorch's format from before torch 1.6; torch.save(torch.load(file), file) \
                 writes it in today's"
            .to_owned(),
        false => {
            let known = "safetensors, CTranslate2, PyTorch zip, whisper.cpp ggml, GGUF";
            format!("is in no format that can be read ({known})")
        }
    };
    bad(file.path(), None, reason)
}

/// The file of weights that a path means: itself, or the one in the folder.
///
/// # Errors
/// [`Error::Weights`](crate::error::Error::Weights) where there is none, or more than one and none
/// has a usual name.
pub fn weights_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(file) = KNOWN_NAMES
        .iter()
        .map(|name| path.join(name))
        .find(|file| file.is_file())
    {
        return Ok(file);
    }
    let entries = std::fs::read_dir(path).map_err(|e| unread(path, e))?;
    let mut candidates: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| {
            let ending = file
                .extension()
                .and_then(|ending| ending.to_str())
                .unwrap_or_default();
            file.is_file() && KNOWN_ENDINGS.contains(&ending)
        })
        .collect();
    match (candidates.pop(), candidates.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(bad(
            path,
            None,
            "the folder holds no file of weights".into(),
        )),
        (Some(_), _) => Err(bad(
            path,
            None,
            "the folder holds several models; name one".into(),
        )),
    }
}

#[cfg(test)]
mod tests;
