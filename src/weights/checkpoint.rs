//! The one [`WeightSource`] behind every format.
//!
//! In: the tensors a format's reader found, under that format's names. Out: the same bytes under
//! openai's names, cut out of joined projections, every shape checked against the model's sizes.
//! What stays true: after [`assemble`] every tensor of the model can be had without an error.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::WeightSource;
use super::bytes::{Mapped, bad};
use super::names::{self, NAMES, NameRow, RowPart};
use super::tensor::{Encoding, WeightData, WeightTensor};
use crate::dims::ModelDimensions;
use crate::error::Result;

/// Encoder positions where the file does not say.
const N_AUDIO_CTX: usize = 1500;
/// Width of an attention head in every Whisper.
const HEAD_DIM: usize = 64;
/// More blocks than this is no Whisper but a damaged file.
const MAX_LAYERS: usize = 256;

/// Which column of the table of names a file speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    HuggingFace,
    CTranslate2,
}

impl Dialect {
    /// Which of the two dialects without joined projections these names are.
    pub fn of(found: &HashMap<String, Found>) -> Self {
        match found.contains_key("decoder.token_embedding.weight") {
            true => Self::OpenAi,
            false => Self::HuggingFace,
        }
    }
}

/// A tensor as a format's reader found it. The reader has checked that `bytes` lies within the
/// file and is as long as shape and encoding ask for.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Index into [`Parts::files`].
    pub file: usize,
    pub bytes: Range<usize>,
    pub shape: Vec<usize>,
    pub encoding: Encoding,
    /// For [`Encoding::I8`]: one number for each row, or a single one for all.
    pub scales: Vec<f32>,
}

/// What a format's reader hands over.
pub(super) struct Parts {
    pub format: &'static str,
    pub path: PathBuf,
    pub files: Vec<Mapped>,
    pub found: HashMap<String, Found>,
    pub dialect: Dialect,
    /// Encoder and decoder heads, where the file says.
    pub heads: Option<(usize, usize)>,
    /// The vocabulary, in formats that carry it.
    pub vocabulary: Option<Vec<Vec<u8>>>,
}

impl Parts {
    /// All of one file, which says nothing of heads and vocabulary.
    pub fn of_file(
        format: &'static str,
        file: Mapped,
        found: HashMap<String, Found>,
        dialect: Dialect,
    ) -> Self {
        Self {
            format,
            path: file.path().to_owned(),
            files: vec![file],
            found,
            dialect,
            heads: None,
            vocabulary: None,
        }
    }
}

enum Entry {
    Stored {
        file: usize,
        bytes: Range<usize>,
        encoding: Encoding,
        row_scales: Vec<f32>,
    },
    Computed(Vec<f32>),
}

/// A whole model's weights.
pub(super) struct Checkpoint {
    format: &'static str,
    path: PathBuf,
    files: Vec<Mapped>,
    dims: ModelDimensions,
    entries: HashMap<String, (Vec<usize>, Entry)>,
    vocabulary: Option<Vec<Vec<u8>>>,
}

/// Finds out the model's sizes and puts every tensor in its place.
///
/// # Errors
/// `Error::Weights` naming the first tensor that is missing or has another shape.
pub(super) fn assemble(parts: Parts) -> Result<Checkpoint> {
    let dims = dimensions(&parts)?;
    let mut entries = HashMap::new();
    for (row, block) in names::all(&dims) {
        let name = names::numbered(row.openai, block);
        let shape = row.shape_in(&dims);
        let entry = match parts.find(row, block) {
            Some(found) => {
                cut(found, parts.part(row), &shape).map_err(|why| (why, Some(name.clone())))
            }
            None if name == names::SINUSOIDS => sinusoids(&dims).map_err(|why| (why, None)),
            None => Err(("is missing".to_owned(), Some(name.clone()))),
        };
        let entry = entry.map_err(|(why, tensor)| bad(&parts.path, tensor, why))?;
        entries.insert(name, (shape, entry));
    }
    let Parts {
        format,
        path,
        files,
        vocabulary,
        ..
    } = parts;
    Ok(Checkpoint {
        format,
        path,
        files,
        dims,
        entries,
        vocabulary,
    })
}

impl Parts {
    fn find(&self, row: &NameRow, block: usize) -> Option<&Found> {
        let pattern = match self.dialect {
            Dialect::OpenAi => row.openai,
            Dialect::HuggingFace => row.hf,
            Dialect::CTranslate2 => row.ct2,
        };
        self.found.get(&names::numbered(pattern, block))
    }

    /// Which rows of what was found are the tensor: only CTranslate2 joins projections.
    fn part(&self, row: &NameRow) -> RowPart {
        match self.dialect {
            Dialect::CTranslate2 => row.part,
            Dialect::OpenAi | Dialect::HuggingFace => names::WHOLE,
        }
    }

    fn find_named(&self, openai: &str, block: usize) -> Option<&Found> {
        NAMES
            .iter()
            .find(|row| row.openai == openai)
            .and_then(|row| self.find(row, block))
    }

    /// One dimension of a tensor that must be there.
    fn size(&self, openai: &str, dim: usize) -> Result<usize> {
        let found = self.find_named(openai, 0);
        let size = found
            .and_then(|found| found.shape.get(dim))
            .copied()
            .unwrap_or(0);
        match size {
            0 => Err(bad(&self.path, openai.to_owned(), self.no_whisper())),
            size => Ok(size),
        }
    }

    fn no_whisper(&self) -> String {
        format!(
            "is missing from the {} file or has no size; is this a Whisper?",
            self.format
        )
    }

    fn blocks(&self, openai: &str) -> Result<usize> {
        let n = (0..=MAX_LAYERS)
            .take_while(|&b| self.find_named(openai, b).is_some())
            .count();
        match n {
            0 => Err(bad(&self.path, openai.replace('#', "0"), self.no_whisper())),
            n if n > MAX_LAYERS => Err(bad(
                &self.path,
                openai.to_owned(),
                format!("more than {MAX_LAYERS} blocks"),
            )),
            n => Ok(n),
        }
    }
}

/// The model's sizes, from the shapes of its tensors.
fn dimensions(parts: &Parts) -> Result<ModelDimensions> {
    let audio = parts.size("encoder.conv1.weight", 0)?;
    let text = parts.size("decoder.token_embedding.weight", 1)?;
    let heads = parts.heads.unwrap_or((audio / HEAD_DIM, text / HEAD_DIM));
    for (what, heads, state) in [("encoder", heads.0, audio), ("decoder", heads.1, text)] {
        if heads == 0 || state % heads != 0 {
            let reason = format!("{heads} heads do not divide a width of {state}");
            return Err(bad(&parts.path, what.to_owned(), reason));
        }
    }
    let audio_ctx = parts
        .find_named(names::SINUSOIDS, 0)
        .and_then(|f| f.shape.first())
        .copied();
    Ok(ModelDimensions {
        n_mels: parts.size("encoder.conv1.weight", 1)?,
        n_vocab: parts.size("decoder.token_embedding.weight", 0)?,
        n_audio_ctx: audio_ctx.unwrap_or(N_AUDIO_CTX),
        n_audio_state: audio,
        n_audio_head: heads.0,
        n_audio_layer: parts.blocks("encoder.blocks.#.attn_ln.weight")?,
        n_text_ctx: parts.size("decoder.positional_embedding", 0)?,
        n_text_state: text,
        n_text_head: heads.1,
        n_text_layer: parts.blocks("decoder.blocks.#.attn_ln.weight")?,
    })
}

/// The run of rows of a joined tensor that is this one.
fn cut(found: &Found, part: RowPart, shape: &[usize]) -> Result<Entry, String> {
    let mut joined = shape.to_vec();
    if let Some(rows) = joined.first_mut() {
        *rows = rows.checked_mul(part.of).ok_or("its shape overflows")?;
    }
    if !same_shape(&found.shape, &joined) {
        return Err(format!("has shape {:?}, not {joined:?}", found.shape));
    }
    let run = |len: usize| {
        let rows = len / part.of;
        rows * part.index..rows * (part.index + 1)
    };
    let bytes = run(found.bytes.len());
    let row_scales = match found.scales.len() {
        0 => Vec::new(),
        1 => vec![found.scales[0]; shape.first().copied().unwrap_or(1)],
        n if Some(&n) == joined.first() => found.scales.get(run(n)).unwrap_or_default().to_vec(),
        n => return Err(format!("has {n} scales for {} rows", joined[0])),
    };
    Ok(Entry::Stored {
        file: found.file,
        bytes: found.bytes.start + bytes.start..found.bytes.start + bytes.end,
        encoding: found.encoding,
        row_scales,
    })
}

/// Dimensions of one don't count: GGML keeps a convolution's bias as a column.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.iter()
        .filter(|&&n| n != 1)
        .eq(b.iter().filter(|&&n| n != 1))
}

/// The encoder's positional embedding as openai/whisper's `model.py` computes it, in f32:
/// sines in the first half of the columns, cosines in the second.
fn sinusoids(dims: &ModelDimensions) -> Result<Entry, String> {
    let half = dims.n_audio_state / 2;
    if half < 2 {
        return Err(format!(
            "{} is too narrow for sinusoids",
            dims.n_audio_state
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "as openai computes them")]
    let (increment, length) = (
        (10_000_f64.ln() / (half - 1) as f64) as f32,
        dims.n_audio_ctx,
    );
    #[expect(clippy::cast_precision_loss, reason = "as openai computes them")]
    let inverse: Vec<f32> = (0..half).map(|i| (-increment * i as f32).exp()).collect();
    let mut numbers = Vec::with_capacity(length * half * 2);
    for position in 0..length {
        #[expect(clippy::cast_precision_loss, reason = "as openai computes them")]
        let angles = inverse.iter().map(|scale| position as f32 * scale);
        numbers.extend(angles.clone().map(f32::sin));
        numbers.extend(angles.map(f32::cos));
    }
    Ok(Entry::Computed(numbers))
}

impl WeightSource for Checkpoint {
    fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.entries.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor<'_>> {
        let missing = || {
            bad(
                &self.path,
                name.to_owned(),
                "no Whisper has such a tensor".into(),
            )
        };
        let (shape, entry) = self.entries.get(name).ok_or_else(missing)?;
        let data = match entry {
            Entry::Computed(numbers) => WeightData::Computed(numbers.clone()),
            Entry::Stored {
                file,
                bytes,
                encoding,
                row_scales,
            } => WeightData::Stored {
                encoding: *encoding,
                bytes: self
                    .files
                    .get(*file)
                    .and_then(|file| file.bytes().get(bytes.clone()))
                    .ok_or_else(missing)?,
                row_scales: row_scales.clone(),
            },
        };
        Ok(WeightTensor::new(shape.clone(), data))
    }

    fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.format);
        for file in &self.files {
            file.fingerprint_into(&mut hash);
        }
        Ok(hex(&hash.finalize()))
    }

    fn format(&self) -> &'static str {
        self.format
    }

    fn file(&self) -> &Path {
        &self.path
    }

    fn vocabulary(&self) -> Option<&[Vec<u8>]> {
        self.vocabulary.as_deref()
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
