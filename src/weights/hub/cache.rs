//! Our own cache: one folder a model, whole or not there.
//!
//! A folder is made elsewhere in the cache and renamed into place with a manifest inside. A folder
//! without a manifest, or with a file that has not the manifest's size, is not there.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{HubConfig, ModelFiles, Progress, Wanted, local};
use crate::weights::weights_file;

/// Name of the manifest in a model's folder.
pub(super) const MANIFEST: &str = "undertone.json";
/// Where downloads are put together, inside the cache.
const PARTIAL: &str = ".partial";
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

/// What a folder of the cache should hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// Where the files come from, in words.
    pub source: String,
    /// Whether every file's hash was known beforehand.
    pub pinned: bool,
    pub files: Vec<ManifestFile>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ManifestFile {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

/// A model's folder, if it is whole.
pub(super) fn find(wanted: &Wanted, config: &HubConfig) -> Option<ModelFiles> {
    let dir = config.models_dir.join(wanted.slug());
    let manifest = manifest(&dir)?;
    Some(ModelFiles {
        weights: weights_file(&dir).ok()?,
        tokenizer: local::tokenizer(&dir),
        dir,
        entry: wanted.entry(),
        source: format!("cache ({})", manifest.source),
    })
}

/// The manifest of a folder whose files all have the size it says.
pub(super) fn manifest(dir: &Path) -> Option<Manifest> {
    let path = dir.join(MANIFEST);
    if std::fs::metadata(&path).ok()?.len() > MAX_MANIFEST_BYTES {
        return None;
    }
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let whole = manifest.files.iter().all(|file| {
        std::fs::metadata(dir.join(&file.name)).is_ok_and(|meta| meta.len() == file.bytes)
    });
    whole.then_some(manifest)
}

/// Where a model's download is put together. Its lock must be held.
pub(super) fn partial(slug: &str, config: &HubConfig) -> PathBuf {
    config.models_dir.join(PARTIAL).join(slug)
}

/// Held while a model is fetched or removed; let go when dropped, or by the system when the
/// process dies.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Waits until no other process fetches this model.
pub(super) fn lock(
    slug: &str,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Lock, String> {
    let dir = config.models_dir.join(PARTIAL);
    let failed = |e: std::io::Error| format!("cache {}: {e}", config.models_dir.display());
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let file = File::create(dir.join(format!("{slug}.lock"))).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => progress(Progress::Waiting),
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    file.lock().map_err(failed)?;
    Ok(Lock { _file: file })
}

/// Renames a folder that was put together into its place. The lock must be held.
pub(super) fn publish(made: &Path, slug: &str, config: &HubConfig) -> std::io::Result<PathBuf> {
    let place = config.models_dir.join(slug);
    discard(&place, slug, config)?;
    super::digest::sync_dir(made);
    std::fs::rename(made, &place)?;
    super::digest::sync_dir(&config.models_dir);
    Ok(place)
}

/// Takes a folder away so that no moment shows half of it. The lock must be held.
pub(super) fn discard(place: &Path, slug: &str, config: &HubConfig) -> std::io::Result<()> {
    if !place.exists() {
        return Ok(());
    }
    let bin = config
        .models_dir
        .join(PARTIAL)
        .join(format!("{slug}.removed"));
    if bin.exists() {
        std::fs::remove_dir_all(&bin)?;
    }
    std::fs::rename(place, &bin)?;
    std::fs::remove_dir_all(&bin)
}
