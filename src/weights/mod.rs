//! Weights: from a file or folder of any known format to tensors under openai/whisper's names.
//!
//! In: a path (or, through [`hub`], a model's name). Out: a [`WeightSource`]. What stays true: the
//! format is recognised by content, never by a file's name; no number in a file is trusted; once a
//! source is open, every tensor of the model is there and has the shape that its sizes ask for.

mod blocks;
mod bytes;
mod checkpoint;
mod convert;
mod ct2;
mod declared;
mod folder;
mod ggml;
mod gguf;
pub mod hub;
mod json;
mod lora;
mod names;
mod parts;
mod pickle;
mod pt;
mod safetensors;
mod sizes;
mod tensor;
mod var_builder;

use std::path::Path;

use sha2::{Digest as _, Sha256};

pub use self::blocks::Block;
use self::bytes::{Mapped, bad};
pub use self::convert::{Conversion, Ct2Extras, GgmlExtras, Numbers, Target, convert};
use self::declared::Declared;
pub use self::folder::weights_file;
pub(crate) use self::lora::{Adapted, Lora};
pub use self::names::EMBEDDING;
use self::parts::Parts;
pub use self::tensor::{Encoding, WeightTensor};
pub use self::var_builder::var_builder;
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// Where a model's tensors come from.
pub trait WeightSource: Send + Sync {
    /// The model's sizes, from the shapes of its tensors; the heads from the file's or folder's
    /// configuration, else 64 wide.
    fn dims(&self) -> &ModelDimensions;

    /// Every tensor's name, as openai/whisper has it, in the order of the alphabet.
    fn names(&self) -> Vec<&str>;

    /// A tensor by openai/whisper's name for it, for example
    /// `decoder.blocks.0.cross_attn.query.weight`. Matrices are `(outputs, inputs)`, convolutions
    /// `(outputs, inputs, width)`. Key projections have no bias.
    ///
    /// # Errors
    /// [`Error::Weights`] where no Whisper of these sizes has such a
    /// tensor.
    fn tensor(&self, name: &str) -> Result<WeightTensor<'_>>;

    /// A tensor's shape, outermost dimension first.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.tensor(name)?.shape().to_vec())
    }

    /// A tensor's numbers as f32, rows one after another.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor), and where a number is not finite.
    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let floats = self.tensor(name)?.to_f32();
        // Without an early end within a block, the compiler makes vector code of it.
        let finite = |block: &[f32]| block.iter().fold(true, |all, x| all & x.is_finite());
        match floats.chunks(4096).all(finite) {
            true => Ok(floats),
            false => Err(not_finite(self.file(), name, &floats)),
        }
    }

    /// The name of the output matrix `(n_vocab, n_text_state)`: the token embedding's, or
    /// `proj_out.weight` in the few models that have one of their own.
    fn output(&self) -> &str {
        names::EMBEDDING
    }

    /// Checks what takes a look at the numbers: that nothing in the file would make this another
    /// network than the one that is computed. To be called before tensors are packed; that every
    /// number is finite is seen by [`floats`](Self::floats).
    ///
    /// # Errors
    /// [`Error::Weights`] naming the tensor.
    fn verify(&self) -> Result<()> {
        Ok(())
    }

    /// What is odd about the file but hinders nothing, in words.
    fn warnings(&self) -> &[String] {
        &[]
    }

    /// A name for the content, to key caches with: a SHA-256 over each file's length, its times of
    /// change and samples spread over it. It takes no full read; it also changes when the same
    /// bytes are copied elsewhere, which costs a cache no more than a miss.
    ///
    /// # Errors
    /// None today; a source over a network could fail to answer.
    fn fingerprint(&self) -> Result<String>;

    /// A SHA-256 over all bytes of all files: the same for the same weights, wherever they lie. It
    /// takes a full read. A source without files has its fingerprint.
    ///
    /// # Errors
    /// None today; a source over a network could fail to answer.
    fn content_hash(&self) -> Result<String> {
        self.fingerprint()
    }

    /// The format's name, for people.
    fn format(&self) -> &'static str;

    /// The file that was opened (the index, where there are shards).
    fn file(&self) -> &Path;

    /// The bytes of each token, in formats that carry them.
    fn vocabulary(&self) -> Option<&[Vec<u8>]> {
        None
    }
}

/// A tensor's numbers, of a shape that the model's sizes ask for.
pub(crate) fn floats_of_shape(
    source: &dyn WeightSource,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>> {
    let found = source.shape(name)?;
    if found != shape {
        return Err(Error::Weights {
            file: source.file().to_path_buf(),
            tensor: Some(name.to_owned()),
            reason: format!("has shape {found:?} where {shape:?} is due"),
        });
    }
    source.floats(name)
}

/// What tells a file's content from another's, without reading all of it.
///
/// # Errors
/// As [`open`], of a file that cannot be read or is empty.
pub(crate) fn file_fingerprint(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    Mapped::open(path)?.fingerprint_into(&mut hash);
    Ok(checkpoint::hex(&hash.finalize()))
}

/// Opens a file of weights, or the one in a folder.
///
/// # Errors
/// [`Error::File`] where it cannot be read, else
/// [`Error::Weights`] naming the file, and the tensor where one is at
/// fault.
pub fn open(path: &Path) -> Result<Box<dyn WeightSource>> {
    let file = weights_file(path)?;
    let mut parts = match folder::is_index(&file) {
        true => read_shards(&file)?,
        false => read(&file)?,
    };
    if !parts.declared.iter().any(Declared::is_whole) {
        parts.declared.extend(declared::config(&file)?);
    }
    Ok(Box::new(checkpoint::assemble(parts)?))
}

fn read(file: &Path) -> Result<Parts> {
    let mapped = Mapped::open(file)?;
    let reader = reader(mapped.bytes()).ok_or_else(|| unknown(&mapped))?;
    reader(mapped)
}

/// Reads all the files that an index lists as one model.
fn read_shards(index: &Path) -> Result<Parts> {
    let mut shards = folder::shards(index)?.into_iter();
    let first = shards.next();
    let first = first.ok_or_else(|| bad(index, None, "lists no file".into()))?;
    let mut parts = read(&first)?;
    for shard in shards {
        parts.join(read(&shard)?)?;
    }
    parts.path = index.to_owned();
    Ok(parts)
}

type Recogniser = fn(&[u8]) -> bool;
type Reader = fn(Mapped) -> Result<Parts>;

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

/// What Git leaves in the place of a file whose content it keeps elsewhere.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

fn unknown(file: &Mapped) -> crate::error::Error {
    if file.bytes().starts_with(LFS_POINTER) {
        let reason =
            "is a Git LFS pointer, not the file itself; `git lfs pull` in its folder gets that";
        return bad(file.path(), None, reason.to_owned());
    }
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

fn not_finite(file: &Path, name: &str, floats: &[f32]) -> crate::error::Error {
    let count = floats.iter().filter(|x| !x.is_finite()).count();
    let reason = format!(
        "{count} of its {} numbers are infinite or NaN",
        floats.len()
    );
    bad(file, name.to_owned(), reason)
}

#[cfg(test)]
mod tests;
