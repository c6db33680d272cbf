//! Models by name: where their files are, and how they get there.
//!
//! In: what a user calls a model, and a [`HubConfig`]. Out: a folder on this machine. Sources in
//! order: a local path, our cache, the Hub's cache, the Hub, the package mirror. What stays true:
//! a download that is cut off never looks whole; what has a known hash is checked against it; a
//! source that cannot be reached costs seconds, not minutes; the error says what each source said.

#[cfg(feature = "hub")]
mod cache;
mod catalog;
#[cfg(feature = "hub")]
mod digest;
#[cfg(feature = "hub")]
mod failure;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod hf;
mod local;
#[cfg(feature = "hub")]
mod mirror;
#[cfg(feature = "hub")]
mod stock;
#[cfg(feature = "hub")]
mod wanted;
#[cfg(not(feature = "hub"))]
mod without;

use std::path::PathBuf;
use std::time::Duration;

pub use self::catalog::{
    CatalogEntry, FileEntry, MirrorEntry, PackageEntry, Published, RepoEntry, catalog, find,
};
#[cfg(feature = "hub")]
use self::fetch as remote;
#[cfg(feature = "hub")]
pub use self::stock::{list, remove, verify};
#[cfg(feature = "hub")]
use self::wanted::Wanted;
#[cfg(not(feature = "hub"))]
use self::without as remote;
#[cfg(not(feature = "hub"))]
pub use self::without::{list, remove, verify};
use crate::error::{Error, Result};

/// Where to look and how long to wait. All of it comes from the caller.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubConfig {
    /// Our cache of models; made where it is missing.
    pub models_dir: PathBuf,
    /// The Hub's cache (`$HF_HOME/hub`), shared with other programs.
    pub hf_cache_dir: PathBuf,
    /// Another address for the Hub (`HF_ENDPOINT`).
    pub endpoint: Option<String>,
    /// A key for private repositories (`HF_TOKEN`).
    pub token: Option<String>,
    /// Whether nothing may be fetched, from the Hub or the package mirror (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Whether the package mirror may be asked.
    pub mirror: bool,
    /// How to call pip; the first that exists is taken.
    pub pip: Vec<Vec<String>>,
    /// How long a source may take to answer at all.
    pub connect_timeout: Duration,
    /// How long a download may go without a byte.
    pub stall_timeout: Duration,
}

impl HubConfig {
    /// The two caches, everything else as usual.
    #[must_use]
    pub fn new(models_dir: PathBuf, hf_cache_dir: PathBuf) -> Self {
        let pip: [&[&str]; 4] = [
            &["python3", "-m", "pip"],
            &["python", "-m", "pip"],
            &["pip3"],
            &["pip"],
        ];
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Self {
            models_dir,
            hf_cache_dir,
            endpoint: None,
            token: None,
            offline: false,
            mirror: true,
            pip: pip.into_iter().map(owned).collect(),
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for HubConfig {
    /// The caches in the usual places of the user's home, which on Unix is `HOME` where that is set; no other
    /// variable is read.
    fn default() -> Self {
        let cache = user_cache();
        Self::new(
            cache.join("undertone/models"),
            cache.join("huggingface/hub"),
        )
    }
}

/// Where packed copies of models are kept unless their builder is told another folder.
pub(crate) fn packed_dir() -> PathBuf {
    user_cache().join("undertone/packed")
}

/// The home folder's usual place for what can be had again.
fn user_cache() -> PathBuf {
    let home = std::env::home_dir().unwrap_or_else(|| ".".into());
    home.join(".cache")
}

/// What is going on while a model is found or fetched.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Another process is getting the same model; this one waits for it.
    Waiting,
    /// A source is being asked.
    Trying {
        /// Its name.
        source: &'a str,
    },
    /// Bytes of a file that are here.
    Bytes {
        /// The file's name.
        file: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in the end, where known.
        total: Option<u64>,
    },
    /// A file's hash is being checked.
    Checking {
        /// The file's name.
        file: &'a str,
    },
    /// A file is taken out of what was fetched.
    Unpacking {
        /// The file's name.
        file: &'a str,
    },
    /// The weights are being packed for the kernels; the packed copy may be kept.
    Packing {
        /// The compute type.
        compute: &'a str,
    },
    /// A source could not deliver; the next one is asked.
    Failed {
        /// Its name.
        source: &'a str,
        /// Why.
        reason: &'a str,
    },
}

/// A model's files on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelFiles {
    /// The folder they are in.
    pub dir: PathBuf,
    /// The file of weights, for [`open`](super::open).
    pub weights: PathBuf,
    /// `tokenizer.json`, where there is one.
    pub tokenizer: Option<PathBuf>,
    /// What the catalogue knows of the model.
    pub entry: Option<&'static CatalogEntry>,
    /// Where they come from, in words.
    pub source: String,
}

/// A model that is on this machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalModel {
    /// Its name in the catalogue, or its repository.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Where it comes from, in words.
    pub source: String,
    /// Whether the hash of its weights was known beforehand.
    pub pinned: bool,
    /// Its folder.
    pub path: PathBuf,
}

/// A file's hash, compared.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// The file's name.
    pub file: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Whether it is as it should be; `None` where nobody knows its hash.
    pub intact: Option<bool>,
}

/// What was taken away.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Removed {
    /// The folder.
    pub path: PathBuf,
    /// How many bytes it held.
    pub bytes: u64,
}

/// Finds a model on this machine, without any network.
///
/// # Errors
/// [`Error::Weights`] where a path was given that holds no weights.
pub fn locate(model: &str, config: &HubConfig) -> Result<Option<ModelFiles>> {
    if let Some(files) = local::find(model)? {
        return Ok(Some(files));
    }
    Ok(remote::find(model, config))
}

/// Finds a model on this machine, or fetches it.
///
/// `model` is a name of the catalogue, a Hub repository (`organisation/name`), a folder or a file.
///
/// # Errors
/// [`Error::ModelUnavailable`] with every source tried; [`Error::Weights`] where a path was given
/// that holds no weights.
pub fn resolve(
    model: &str,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles> {
    if let Some(files) = locate(model, config)? {
        return Ok(files);
    }
    remote::fetch(model, config, progress)
}

fn unavailable(model: &str, tried: Vec<String>) -> Error {
    Error::ModelUnavailable {
        model: model.to_owned(),
        tried,
    }
}

#[cfg(all(test, feature = "hub"))]
mod tests;
