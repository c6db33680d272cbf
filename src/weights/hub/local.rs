//! Models that the user has somewhere: a folder or a file.

use std::path::Path;

use super::{ModelFiles, find as find_entry};
use crate::error::Result;
use crate::weights::weights_file;

/// The model at a path, or `None` where the word is no path.
///
/// A folder that happens to be called as a model of the catalogue, and holds no weights, is not
/// what is meant.
pub(super) fn find(model: &str) -> Result<Option<ModelFiles>> {
    let path = Path::new(model);
    if !path.exists() {
        return Ok(None);
    }
    match weights_file(path) {
        Ok(weights) => Ok(Some(files(path, weights))),
        Err(_) if find_entry(model).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

fn files(path: &Path, weights: std::path::PathBuf) -> ModelFiles {
    let dir = weights.parent().unwrap_or(Path::new("")).to_owned();
    ModelFiles {
        tokenizer: tokenizer(&dir),
        dir,
        weights,
        entry: None,
        source: format!("local {}", path.display()),
    }
}

/// The tokenizer beside a file of weights.
pub(super) fn tokenizer(dir: &Path) -> Option<std::path::PathBuf> {
    let file = dir.join("tokenizer.json");
    file.is_file().then_some(file)
}
