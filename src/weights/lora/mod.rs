//! LoRA adapters as PEFT saves them, and a model with one merged in.
//!
//! In: a folder with `adapter_config.json` and `adapter_model.safetensors` (or `.bin`). Out: low-rank changes
//! of the linear layers of encoder and decoder blocks ([`Lora`]), and a [`WeightSource`] whose tensors have
//! them added ([`Adapted`]). What stays true: every tensor of the adapter is used, none that its configuration
//! names is missing, all numbers are finite; what is beyond plain LoRA is an error that names it.

mod adapted;
mod config;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

pub use self::adapted::Adapted;
pub(super) use self::config::CONFIG;
use self::config::Config;
use super::bytes::{Mapped, bad};
use super::checkpoint::hex;
use super::names::{self, NameRow};
use super::parts::{Found, Parts};
use super::tensor::WeightTensor;
use crate::dims::ModelDimensions;
use crate::error::Result;

/// The files that an adapter's weights may be in, in the order they are looked for.
const FILES: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
const WEIGHT: &str = ".weight";

/// The changes that an adapter makes, by openai/whisper's name of the weight.
pub struct Lora {
    /// The adapter's file of weights.
    file: PathBuf,
    changes: HashMap<String, Change>,
    /// A name for the content.
    fingerprint: String,
}

/// `scale · B · A`, which is added to a weight `(n_out, n_in)`.
struct Change {
    /// `(rank, n_in)`
    a: Vec<f32>,
    /// `(n_out, rank)`
    b: Vec<f32>,
    rank: usize,
    scale: f64,
}

impl Lora {
    /// Reads an adapter for a model of these sizes.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) and [`Error::Json`](crate::Error::Json) for files that cannot be
    /// read; [`Error::Weights`](crate::Error::Weights) naming the field that asks for what is not carried, or
    /// the tensor that is missing, left over, of another shape or not finite.
    pub fn read(folder: &Path, dims: &ModelDimensions) -> Result<Self> {
        let config = Config::read(folder)?;
        let file = FILES
            .iter()
            .map(|name| folder.join(name))
            .find(|file| file.is_file());
        let file = file.ok_or_else(|| {
            let reason = format!(
                "holds no adapter's weights; looked for: {}",
                FILES.join(", ")
            );
            bad(folder, None, reason)
        })?;
        let reader = Reader {
            parts: super::read(&file)?,
            config: &config,
        };
        let mut changes = HashMap::new();
        let mut used = BTreeSet::new();
        for (row, block) in modules(dims) {
            if let Some(change) = reader.change(row, block, dims, &mut used)? {
                changes.insert(names::numbered(row.openai, block), change);
            }
        }
        reader.all_used(&used)?;
        if changes.is_empty() {
            return Err(bad(&file, None, "changes no layer of this model".into()));
        }
        let mut hash = Sha256::new();
        Mapped::open(&folder.join(CONFIG))?.fingerprint_into(&mut hash);
        let files = reader.parts.files.iter();
        files.for_each(|file| file.fingerprint_into(&mut hash));
        Ok(Self {
            file,
            changes,
            fingerprint: hex(&hash.finalize()),
        })
    }

    /// An adapter of rank 1 that adds one to every weight of some modules.
    #[cfg(test)]
    pub fn of(modules: &[&str], dims: &ModelDimensions) -> Self {
        let change = |module: &str| {
            let name = format!("{module}{WEIGHT}");
            let is_it =
                |(row, block): &(&NameRow, usize)| names::numbered(row.openai, *block) == name;
            let (row, _) = self::modules(dims)
                .find(is_it)
                .expect("a module of the model");
            let shape = row.shape_in(dims);
            let change = Change {
                a: vec![1.0; shape[1]],
                b: vec![1.0; shape[0]],
                rank: 1,
                scale: 1.0,
            };
            (name, change)
        };
        Self {
            file: PathBuf::new(),
            changes: modules.iter().copied().map(change).collect(),
            fingerprint: String::new(),
        }
    }

    /// Whether the adapter changes a weight, by openai/whisper's name for it.
    pub fn changes(&self, name: &str) -> bool {
        self.changes.contains_key(name)
    }
}

/// The weights of linear layers in blocks: what an adapter may change.
fn modules(dims: &ModelDimensions) -> impl Iterator<Item = (&'static NameRow, usize)> {
    names::all(dims).filter(|(row, _)| row.openai.contains('#') && row.shape.len() == 2)
}

/// A module's name as Hugging Face has it, without the wrappers in front.
fn module(row: &NameRow, block: usize) -> String {
    let name = names::numbered(row.hf, block);
    name.strip_suffix(WEIGHT).unwrap_or(&name).to_owned()
}

struct Reader<'a> {
    parts: Parts,
    config: &'a Config,
}

impl Reader<'_> {
    /// What becomes of one module; nothing where the adapter leaves it alone.
    fn change(
        &self,
        row: &NameRow,
        block: usize,
        dims: &ModelDimensions,
        used: &mut BTreeSet<String>,
    ) -> Result<Option<Change>> {
        let module = module(row, block);
        let [a_name, b_name] = ["A", "B"].map(|part| format!("{module}.lora_{part}{WEIGHT}"));
        let found = |name: &String| self.parts.found.get(name);
        let (a, b) = match (found(&a_name), found(&b_name)) {
            _ if !self.config.targets(&module, block) => return Ok(None),
            (Some(a), Some(b)) => (a, b),
            (None, _) => return Err(self.missing(a_name)),
            (_, None) => return Err(self.missing(b_name)),
        };
        let (rank, scale) = self.config.rank_and_scale(&module)?;
        let shape = row.shape_in(dims);
        let change = Change {
            a: self.floats(&a_name, a, [rank, shape[1]])?,
            b: self.floats(&b_name, b, [shape[0], rank])?,
            rank,
            scale,
        };
        used.extend([a_name, b_name]);
        Ok(Some(change))
    }

    fn missing(&self, name: String) -> crate::Error {
        let what = self.parts.unusable.get(&name);
        let reason = match what {
            Some(what) => format!("is {what}, which holds no weights that can be computed with"),
            None => "is missing, though target_modules names its module".into(),
        };
        bad(&self.parts.path, name, reason)
    }

    fn floats(&self, name: &str, found: &Found, shape: [usize; 2]) -> Result<Vec<f32>> {
        let fail = |reason: String| bad(&self.parts.path, name.to_owned(), reason);
        if found.shape != shape {
            let reason = format!("has shape {:?} where {shape:?} is due", found.shape);
            return Err(fail(reason));
        }
        let bytes = self
            .parts
            .bytes(found)
            .ok_or_else(|| fail("is not in the file".into()))?;
        let tensor = WeightTensor::new(shape.to_vec(), found.encoding, bytes, Vec::new());
        let tensor = match &found.strides {
            Some(strides) => {
                let dims: Vec<_> = shape.into_iter().zip(strides.iter().copied()).collect();
                tensor.gathered(&dims)
            }
            None => tensor,
        };
        let floats = tensor.to_f32();
        match floats.iter().all(|x| x.is_finite()) {
            true => Ok(floats),
            false => Err(super::not_finite(&self.parts.path, name, &floats)),
        }
    }

    /// Every tensor has its use: one that has none would have changed the text.
    fn all_used(&self, used: &BTreeSet<String>) -> Result<()> {
        let names: BTreeSet<&String> = self
            .parts
            .found
            .keys()
            .chain(self.parts.unusable.keys())
            .collect();
        match names.into_iter().find(|name| !used.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(bad(&self.parts.path, name.clone(), no_use(name).into())),
        }
    }
}

/// Why a tensor has no use here, as far as its name tells.
fn no_use(name: &str) -> &'static str {
    const KNOWN: [(&str, &str); 5] = [
        (
            "lora_magnitude_vector",
            "belongs to DoRA, which is not carried",
        ),
        (
            "lora_embedding",
            "changes the token embedding, which is not carried",
        ),
        (
            "proj_out",
            "changes the output matrix, which is not carried",
        ),
        ("conv", "changes a convolution, which is not carried"),
        ("bias", "is a trained bias, which is not carried"),
    ];
    let known = KNOWN.iter().find(|(part, _)| name.contains(part));
    known.map_or(
        "changes nothing that this model and the adapter's target_modules have",
        |(_, why)| why,
    )
}

impl Change {
    /// `weight + scale · B · A`, computed in doubles and rounded once.
    fn merged(&self, weight: &[f32]) -> candle_core::Result<Vec<f32>> {
        let (n_out, n_in) = (self.b.len() / self.rank, self.a.len() / self.rank);
        let doubles = |x: &[f32], shape: (usize, usize)| {
            Tensor::from_iter(x.iter().map(|x| f64::from(*x)), &Device::Cpu)?.reshape(shape)
        };
        let product =
            doubles(&self.b, (n_out, self.rank))?.matmul(&doubles(&self.a, (self.rank, n_in))?)?;
        let product = product.flatten_all()?.to_vec1::<f64>()?;
        let sums = weight.iter().zip(product);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the network computes in f32"
        )]
        let merged = sums.map(|(w, x)| (f64::from(*w) + self.scale * x) as f32);
        Ok(merged.collect())
    }
}
