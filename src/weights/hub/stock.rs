//! What models are on this machine: list, check, take away.

use std::path::{Path, PathBuf};

use super::cache::{self, Manifest};
use super::{HubConfig, LocalModel, ModelFiles, Removed, Verified, Wanted, catalog, digest, hf};
use crate::error::{Error, Result};

/// All models in our cache, and those of the catalogue in the Hub's.
#[must_use]
pub fn list(config: &HubConfig) -> Vec<LocalModel> {
    let mut models = ours(config);
    for entry in catalog() {
        let wanted = Wanted::Named(entry);
        for repo in &entry.repo {
            let Some(files) = hf::snapshot(repo, &wanted, config) else {
                continue;
            };
            models.push(LocalModel {
                name: entry.name.clone(),
                bytes: folder_bytes(&files.dir),
                source: files.source,
                pinned: repo.files.iter().any(|file| file.sha256.is_some()),
                path: files.dir,
            });
        }
    }
    models
}

fn ours(config: &HubConfig) -> Vec<LocalModel> {
    let Ok(entries) = std::fs::read_dir(&config.models_dir) else {
        return Vec::new();
    };
    let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    dirs.sort();
    let model = |dir: PathBuf| {
        let Manifest { source, pinned, .. } = cache::manifest(&dir)?;
        let name = dir.file_name()?.to_string_lossy().replace("--", "/");
        let bytes = folder_bytes(&dir);
        Some(LocalModel {
            name,
            bytes,
            source: format!("cache ({source})"),
            pinned,
            path: dir,
        })
    };
    dirs.into_iter().filter_map(model).collect()
}

/// Bytes of a folder's files; links count as what they lead to.
fn folder_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let sizes = entries
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path()).ok());
    sizes
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
        .sum()
}

fn not_here(model: &str, config: &HubConfig) -> Error {
    let reason = "is not on this machine".to_owned();
    let place = config.models_dir.display();
    Error::ModelCannot {
        model: model.to_owned(),
        reason: format!("{reason} ({place})"),
    }
}

/// Takes a model away: its folder in our cache, and its repositories in the Hub's.
///
/// # Errors
/// [`Error::ModelUnavailable`] where the name is unknown, [`Error::ModelCannot`] where the model
/// is not here, [`Error::Output`] where a folder cannot be deleted.
pub fn remove(model: &str, config: &HubConfig) -> Result<Vec<Removed>> {
    let wanted = Wanted::of(model)?;
    let slug = wanted.slug();
    let ours = config.models_dir.join(&slug);
    let failed = |file: &Path, source| Error::Output {
        file: file.to_owned(),
        source,
    };
    let mut removed = Vec::new();
    if ours.exists() {
        let lock = cache::lock(&slug, config, &mut |_| {});
        let _lock = lock.map_err(|why| failed(&ours, std::io::Error::other(why)))?;
        let bytes = folder_bytes(&ours);
        cache::discard(&ours, &slug, config).map_err(|e| failed(&ours, e))?;
        removed.push(Removed { path: ours, bytes });
    }
    for repo in wanted.repos() {
        let dir = hf::repo_dir(&repo, config);
        if dir.exists() {
            let bytes = folder_bytes(&dir.join("blobs"));
            std::fs::remove_dir_all(&dir).map_err(|e| failed(&dir, e))?;
            removed.push(Removed { path: dir, bytes });
        }
    }
    match removed.is_empty() {
        true => Err(not_here(model, config)),
        false => Ok(removed),
    }
}

/// Reads every file of a model that is here, and compares hashes.
///
/// # Errors
/// [`Error::ModelUnavailable`] where the name is unknown, [`Error::ModelCannot`] where the model
/// is not here.
pub fn verify(model: &str, config: &HubConfig) -> Result<Vec<Verified>> {
    let wanted = Wanted::of(model)?;
    if let Some(files) = cache::find(&wanted, config) {
        let manifest = cache::manifest(&files.dir);
        let listed = manifest.map(|manifest| manifest.files).unwrap_or_default();
        let known = listed
            .into_iter()
            .map(|file| (file.name, Some(file.sha256)));
        return Ok(known
            .map(|(name, hash)| compare(&files.dir, name, hash))
            .collect());
    }
    let files = hf::find(&wanted, config).ok_or_else(|| not_here(model, config))?;
    Ok(verify_snapshot(&wanted, &files))
}

fn verify_snapshot(wanted: &Wanted, files: &ModelFiles) -> Vec<Verified> {
    let Ok(entries) = std::fs::read_dir(&files.dir) else {
        return Vec::new();
    };
    let source = &files.source;
    let repos = wanted.repos();
    let repo = repos
        .iter()
        .find(|repo| source.contains(&format!("({})", repo.id)));
    let pinned = |name: &str| {
        let file = repo?.files.iter().find(|file| file.name == name)?;
        file.sha256.clone()
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let check = |name: String| {
        let blob = std::fs::canonicalize(files.dir.join(&name)).ok();
        let hash = pinned(&name).or_else(|| hf::stored_hash(&blob?));
        compare(&files.dir, name, hash)
    };
    names.into_iter().map(check).collect()
}

fn compare(dir: &Path, file: String, hash: Option<String>) -> Verified {
    let path = dir.join(&file);
    let bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let intact = hash.map(|hash| digest::sha256(&path).is_ok_and(|found| found == hash));
    Verified {
        file,
        bytes,
        intact,
    }
}
