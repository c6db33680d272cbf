//! Where packed copies are kept: one for a content and a compute type, whatever folders hold the weights.
//!
//! A copy is named by the SHA-256 of the weights. To hash them takes a full read, so the answer is
//! remembered under their fingerprint, which takes none: a small file `FINGERPRINT.content` beside the
//! copies. Losing it costs one more read.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::ComputeType;
use crate::weights::WeightSource;

/// Hexadecimal digits that a file's name takes of a key.
const NAME: usize = 32;
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// The file of a packed copy, and the key that it is marked with.
///
/// # Errors
/// Weights that cannot be read.
pub(super) fn place(
    folder: &Path,
    source: &dyn WeightSource,
    compute: ComputeType,
) -> Result<(PathBuf, String)> {
    let key = content(folder, source)?;
    let file = format!("{}.{}", &key[..key.len().min(NAME)], compute.name());
    Ok((folder.join(file), key))
}

/// Every file that `folder` keeps of these weights.
///
/// # Errors
/// Weights that cannot be read.
pub fn packed_copies(folder: &Path, source: &dyn WeightSource) -> Result<Vec<PathBuf>> {
    let (key, fingerprint) = (content(folder, source)?, source.fingerprint()?);
    let stems = [&key, &fingerprint].map(|text| text[..text.len().min(NAME)].to_owned());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_of_them = |path: &PathBuf| {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        stem.is_some_and(|stem| stems.iter().any(|known| *known == stem))
    };
    Ok(entries
        .map(|entry| entry.path())
        .filter(is_of_them)
        .collect())
}

/// The SHA-256 of the weights, remembered in `folder`.
fn content(folder: &Path, source: &dyn WeightSource) -> Result<String> {
    let fingerprint = source.fingerprint()?;
    let memory = folder.join(format!(
        "{}.content",
        &fingerprint[..fingerprint.len().min(NAME)]
    ));
    let is_hash =
        |text: &String| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(known) = std::fs::read_to_string(&memory).ok().filter(is_hash) {
        return Ok(known);
    }
    let hash = source.content_hash()?;
    // A folder that cannot be written keeps no copies either.
    let _ = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&memory, &hash));
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_weights_in_two_folders_have_one_copy() {
        const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico/model.safetensors");
        let place_of = |file: &Path, folder: &Path| {
            let source = crate::weights::open(file).unwrap();
            place(folder, source.as_ref(), ComputeType::Int8).unwrap()
        };
        let temp = tempfile::tempdir().unwrap();
        let packed = temp.path().join("packed");
        let copy = temp.path().join("model.safetensors");
        std::fs::copy(PICO, &copy).unwrap();
        let config = Path::new(PICO).with_file_name("config.json");
        std::fs::copy(config, temp.path().join("config.json")).unwrap();
        let first = place_of(Path::new(PICO), &packed);
        assert_eq!(place_of(&copy, &packed), first);
        assert!(first.0.extension().is_some_and(|ending| ending == "int8"));
        std::fs::write(&first.0, "a copy").unwrap();
        let source = crate::weights::open(&copy).unwrap();
        let kept = packed_copies(&packed, source.as_ref()).unwrap();
        assert!(kept.contains(&first.0) && kept.len() == 2, "{kept:?}");
        // Other weights have another.
        let mut bytes = std::fs::read(&copy).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&copy, bytes).unwrap();
        assert_ne!(place_of(&copy, &packed).0, first.0);
    }
}
