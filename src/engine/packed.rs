//! Where packed copies are kept, and the vocabulary beside them: one for a content and a compute type, whatever folders hold the weights.
//!
//! A copy is named by the SHA-256 of the weights. To hash them takes a full read, so the answer is
//! remembered under their fingerprint, which takes none: a small file `FINGERPRINT.content` beside the
//! copies. Losing it costs one more read.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::ComputeType;
use crate::tokenizer::Tokenizer;
use crate::weights::WeightSource;

/// Hexadecimal digits that a file's name takes of a key.
const NAME: usize = 32;
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// A tokenizer as `folder` keeps it for these weights under a key to all that it was made of; else as `make` makes it,
/// which is kept then.
///
/// # Errors
/// Those of `make`; weights that cannot be read.
pub(super) fn tokenizer(
    folder: &Path,
    source: &dyn WeightSource,
    key: &str,
    make: impl FnOnce() -> Result<Tokenizer>,
) -> Result<Tokenizer> {
    let file = folder.join(format!("{}.tokens", stem(&source.fingerprint()?)));
    let kept = std::fs::read(&file).ok();
    if let Some(kept) = kept.and_then(|kept| Tokenizer::from_kept(&kept, key)) {
        return Ok(kept);
    }
    let made = make()?;
    if let Some(kept) = made.to_kept(key) {
        // A folder that cannot be written costs the next start some milliseconds, nothing more.
        let _ = write(&file, &kept);
    }
    Ok(made)
}

/// Writes a file that is whole once it has its name.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.persist(file).map_err(|failed| failed.error)?;
    Ok(())
}

/// What a file's name takes of a key.
fn stem(key: &str) -> &str {
    &key[..key.len().min(NAME)]
}

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
    let file = format!("{}.{}", stem(&key), compute.name());
    Ok((folder.join(file), key))
}

/// Every file that `folder` keeps of these weights.
///
/// # Errors
/// Weights that cannot be read.
pub fn packed_copies(folder: &Path, source: &dyn WeightSource) -> Result<Vec<PathBuf>> {
    let (key, fingerprint) = (content(folder, source)?, source.fingerprint()?);
    let stems = [&key, &fingerprint].map(|text| stem(text).to_owned());
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
    let memory = folder.join(format!("{}.content", stem(&fingerprint)));
    let is_hash =
        |text: &String| text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(known) = std::fs::read_to_string(&memory).ok().filter(is_hash) {
        return Ok(known);
    }
    let hash = source.content_hash()?;
    // A folder that cannot be written keeps no copies either.
    let _ = write(&memory, hash.as_bytes());
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
    #[test]
    fn a_tokenizer_is_made_once_for_a_key() {
        let source = crate::weights::open(Path::new("models/pico")).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let made = std::cell::Cell::new(0);
        let file = Path::new("models/pico/tokenizer.json");
        let tokens = Tokenizer::from_file(file, None).unwrap().encode("one two");
        let tokenizer = |key: &str| {
            tokenizer(temp.path(), source.as_ref(), key, || {
                made.set(made.get() + 1);
                Tokenizer::from_file(file, None)
            })
        };
        for (key, times) in [("a", 1), ("a", 1), ("b", 2), ("b", 2), ("a", 3)] {
            assert_eq!(tokenizer(key).unwrap().encode("one two"), tokens);
            assert_eq!(made.get(), times, "{key}");
        }
        // Damaged, it is made again; and it goes with the weights' other copies.
        let kept = packed_copies(temp.path(), source.as_ref()).unwrap();
        let kept: Vec<_> = kept
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "tokens"))
            .collect();
        assert_eq!(kept.len(), 1);
        std::fs::write(kept[0], "no tokens").unwrap();
        tokenizer("a").unwrap();
        assert_eq!(made.get(), 4);
    }
}
