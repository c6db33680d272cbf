//! The one [`WeightSource`] behind every format.
//!
//! In: the tensors a format's reader found, under that format's names. Out: the same bytes under
//! openai's names, cut out of joined projections, every shape checked against the model's sizes.
//! What stays true: after [`assemble`] every tensor of the model can be had without an error, and
//! nothing of the file that would change a result has been left out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use super::WeightSource;
use super::bytes::{Mapped, bad};
use super::names::{self, EMBEDDING, KEY_BIASES, NameRow, OUTPUT, RowPart};
use super::parts::{Found, Parts};
use super::sizes;
use super::tensor::{Encoding, WeightTensor};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// Part of every fingerprint: what was packed before these checks were made is packed again.
const CHECKS: &str = "checks 1";
/// What is said of an output matrix that is not what its configuration says. transformers takes it
/// since version 5; before, the embedding took its place.
const UNTIED: &str = "proj_out.weight is not the token embedding, although config.json says or \
                      implies that it is (tie_word_embeddings); proj_out.weight is used, as \
                      transformers does since version 5";
/// How many names a warning lists.
const LISTED: usize = 3;

struct Entry {
    file: usize,
    bytes: Range<usize>,
    encoding: Encoding,
    row_scales: Vec<f32>,
    shape: Vec<usize>,
    /// Size and stride of each dimension as they lie in the file, where rows do not follow one
    /// another.
    scattered: Option<Vec<(usize, usize)>>,
}

/// A whole model's weights.
pub(super) struct Checkpoint {
    format: &'static str,
    path: PathBuf,
    files: Vec<Mapped>,
    dims: ModelDimensions,
    entries: HashMap<String, Entry>,
    /// What the file has for an output matrix apart from the embedding. It may be the same numbers.
    output: Option<Entry>,
    own_output: OnceLock<bool>,
    /// Tensors, by the file's names, that must be zeros for the network to be the one we compute.
    zeros: Vec<(String, Entry)>,
    warnings: Vec<String>,
    vocabulary: Option<Vec<Vec<u8>>>,
    fingerprint: OnceLock<String>,
}

/// Finds out the model's sizes and puts every tensor in its place.
///
/// # Errors
/// `Error::Weights` naming the first tensor that is missing or has another shape, or what the file
/// is instead of a whole model.
pub(super) fn assemble(parts: Parts) -> Result<Checkpoint> {
    if let Some(what) = sizes::foreign(&parts.found, &parts.unusable) {
        return Err(bad(&parts.path, None, what));
    }
    let dims = sizes::dimensions(&parts)?;
    let mut entries = HashMap::new();
    for (row, block) in names::all(&dims) {
        let entry = match parts.find(row, block) {
            Some(found) => cut(found, parts.dialect.part(row), row.shape_in(&dims)),
            None => Err(missing(&parts, &dims, row, block)),
        };
        let entry = entry.map_err(|why| bad(&parts.path, parts.name(row, block), why))?;
        entries.insert(names::numbered(row.openai, block), entry);
    }
    let output = output(&parts, &dims)?;
    let is_tied = parts.declared.iter().find_map(|said| said.tied) == Some(true);
    let (zeros, left) = left_over(&parts, &dims)?;
    let mut warnings: Vec<_> = sizes::odd_heads(&dims).into_iter().collect();
    warnings.extend(unused(&left));
    let mut checkpoint = Checkpoint {
        format: parts.format,
        path: parts.path,
        files: parts.files,
        dims,
        entries,
        output,
        own_output: OnceLock::new(),
        zeros,
        warnings,
        vocabulary: parts.vocabulary,
        fingerprint: OnceLock::new(),
    };
    if is_tied && checkpoint.own_output().is_some() {
        checkpoint.warnings.push(UNTIED.into());
    }
    Ok(checkpoint)
}

/// Why a tensor is not there, as far as the file tells.
fn missing(parts: &Parts, dims: &ModelDimensions, row: &NameRow, block: usize) -> String {
    if let Some(what) = parts.unusable.get(&parts.name(row, block)) {
        return format!("is {what}, which holds no weights that can be computed with");
    }
    let known = known(parts, dims);
    let strange: BTreeSet<_> = parts
        .found
        .keys()
        .filter(|name| !known.contains(*name))
        .collect();
    match strange.first() {
        Some(other) => format!("is missing; {other} is there, which no Whisper has"),
        None => "is missing".into(),
    }
}

/// Every name that a file of this dialect has.
fn known(parts: &Parts, dims: &ModelDimensions) -> HashSet<String> {
    let names = names::all(dims).map(|(row, block)| parts.name(row, block));
    names.chain([parts.dialect.output().to_owned()]).collect()
}

/// The output matrix, where the file has one beside the embedding.
fn output(parts: &Parts, dims: &ModelDimensions) -> Result<Option<Entry>> {
    let name = parts.dialect.output();
    let (found, embedding) = (parts.found.get(name), parts.find_named(EMBEDDING));
    let tied = parts.declared.iter().find_map(|said| said.tied);
    let fail = |why: String| bad(&parts.path, name.to_owned(), why);
    match (found, embedding) {
        (None, _) if tied == Some(false) => Err(fail(
            "is missing, and config.json says that it is not the token embedding \
             (tie_word_embeddings)"
                .into(),
        )),
        (Some(found), Some(embedding))
            if (found.file, &found.bytes) != (embedding.file, &embedding.bytes) =>
        {
            let shape = vec![dims.n_vocab, dims.n_text_state];
            cut(found, names::WHOLE, shape).map(Some).map_err(fail)
        }
        _ => Ok(None),
    }
}

/// Biases that must be zeros, and the names of what else the network has no use for.
type LeftOver = (Vec<(String, Entry)>, Vec<String>);

fn left_over(parts: &Parts, dims: &ModelDimensions) -> Result<LeftOver> {
    let mut known = known(parts, dims);
    let mut zeros = Vec::new();
    for (row, block) in names::in_every_block(&KEY_BIASES, dims) {
        let name = parts.name(row, block);
        if let Some(found) = parts.found.get(&name) {
            let entry = cut(found, parts.dialect.part(row), row.shape_in(dims));
            let entry = entry.map_err(|why| bad(&parts.path, name.clone(), why))?;
            zeros.push((name.clone(), entry));
            known.insert(name);
        }
    }
    let modules: HashSet<_> = known.iter().filter_map(|name| module(name)).collect();
    let unknown = parts
        .found
        .iter()
        .filter(|(name, _)| !known.contains(*name));
    let mut left = Vec::new();
    for (name, found) in unknown {
        // What is added to a layer that we compute changes what it computes.
        if modules.iter().any(|module| is_inside(name, module)) {
            let entry = cut(found, names::WHOLE, found.shape.clone());
            let entry = entry.map_err(|why| bad(&parts.path, name.clone(), why))?;
            zeros.push((name.clone(), entry));
        }
        left.push(name.clone());
    }
    left.sort();
    zeros.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok((zeros, left))
}

/// The layer that a tensor belongs to: its name without the last part.
fn module(name: &str) -> Option<&str> {
    let (module, last) = name.rsplit_once(['.', '/'])?;
    // The positional embeddings are no layers, and their module is the whole stack.
    (last != "positional_embedding").then_some(module)
}

fn is_inside(name: &str, module: &str) -> bool {
    name.strip_prefix(module)
        .is_some_and(|rest| rest.starts_with(['.', '/']))
}

fn unused(left: &[String]) -> Option<String> {
    let listed = left.get(..LISTED.min(left.len()))?.join(", ");
    let more = match left.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!left.is_empty()).then(|| format!("tensors that no Whisper has are not used: {listed}{more}"))
}

/// The run of rows of a joined tensor that is this one.
fn cut(found: &Found, part: RowPart, shape: Vec<usize>) -> Result<Entry, String> {
    let mut joined = shape.clone();
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
    Ok(Entry {
        file: found.file,
        bytes: found.bytes.start + bytes.start..found.bytes.start + bytes.end,
        encoding: found.encoding,
        row_scales,
        shape,
        scattered: found.strides.as_ref().map(|strides| {
            let sizes = found.shape.iter().copied();
            sizes.zip(strides.iter().copied()).collect()
        }),
    })
}

/// Dimensions of one don't count: GGML keeps a convolution's bias as a column.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    a.iter()
        .filter(|&&n| n != 1)
        .eq(b.iter().filter(|&&n| n != 1))
}

impl Checkpoint {
    fn view(&self, name: &str, entry: &Entry) -> Result<WeightTensor<'_>> {
        let file = self.files.get(entry.file);
        let bytes = file.and_then(|file| file.bytes().get(entry.bytes.clone()));
        let bytes = bytes.ok_or_else(|| self.fail(name, "is not in the file".into()))?;
        let tensor = WeightTensor::new(
            entry.shape.clone(),
            entry.encoding,
            bytes,
            entry.row_scales.clone(),
        );
        Ok(match &entry.scattered {
            Some(dims) => tensor.gathered(dims),
            None => tensor,
        })
    }

    fn fail(&self, name: &str, why: String) -> Error {
        bad(&self.path, name.to_owned(), why)
    }

    /// The file's second output matrix, if its numbers are not the embedding's.
    fn own_output(&self) -> Option<&Entry> {
        let output = self.output.as_ref()?;
        let differs = || {
            let embedding = self.entries.get(EMBEDDING)?;
            let (a, b) = (
                self.view(OUTPUT, output).ok()?,
                self.view(EMBEDDING, embedding).ok()?,
            );
            Some(!a.is_same(&b))
        };
        let own = self.own_output.get_or_init(|| differs().unwrap_or(true));
        own.then_some(output)
    }
}

impl WeightSource for Checkpoint {
    fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.entries.keys().map(String::as_str).collect();
        names.extend(self.own_output().map(|_| OUTPUT));
        names.sort_unstable();
        names
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor<'_>> {
        let own = || self.own_output().filter(|_| name == OUTPUT);
        let entry = self.entries.get(name).or_else(own);
        let entry = entry.ok_or_else(|| self.fail(name, "no Whisper has such a tensor".into()))?;
        self.view(name, entry)
    }

    fn output(&self) -> &str {
        self.own_output().map_or(EMBEDDING, |_| OUTPUT)
    }

    fn verify(&self) -> Result<()> {
        for (name, entry) in &self.zeros {
            if self.view(name, entry)?.to_f32().iter().any(|x| *x != 0.0) {
                let why = "is not zero: this is another network than Whisper's".into();
                return Err(self.fail(name, why));
            }
        }
        Ok(())
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn fingerprint(&self) -> Result<String> {
        let made = self.fingerprint.get_or_init(|| {
            let mut hash = Sha256::new();
            hash.update(CHECKS);
            hash.update(self.format);
            for file in &self.files {
                file.fingerprint_into(&mut hash);
            }
            hex(&hash.finalize())
        });
        Ok(made.clone())
    }

    fn content_hash(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.format);
        for file in &self.files {
            hash.update(file.bytes());
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
