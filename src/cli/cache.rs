//! `cache`: what models and packed copies take on this disk, and how to get it back.

use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::DecimalBytes;

use super::args::{CacheCommand, CleanArgs};
use super::{FINE, resolve};

/// Runs one of the `cache` commands.
pub fn run(command: &CacheCommand) -> Result<u8> {
    match command {
        CacheCommand::Size => size(),
        CacheCommand::Clean(args) => clean(args),
    }
}

/// A folder of ours or the Hub's, and what it is for.
struct Place {
    what: &'static str,
    folder: PathBuf,
}

fn places() -> [Place; 3] {
    let config = resolve::hub_config(None);
    let place = |what, folder| Place { what, folder };
    [
        place("models", config.models_dir),
        place("packed copies", resolve::packed_dir()),
        place("the Hub's cache", config.hf_cache_dir),
    ]
}

fn size() -> Result<u8> {
    let mut ours = 0;
    for (index, Place { what, folder }) in places().into_iter().enumerate() {
        let bytes = bytes_in(&folder);
        say!(
            "{what:<16} {:>10}  {}",
            DecimalBytes(bytes).to_string(),
            folder.display()
        );
        ours += if index < 2 { bytes } else { 0 };
    }
    say!(
        "{} are undertone's; `undertone cache clean` takes the packed copies away, --models the rest",
        DecimalBytes(ours)
    );
    Ok(FINE)
}

fn clean(args: &CleanArgs) -> Result<u8> {
    let [models, packed, _] = places();
    let chosen = match args.models {
        true => vec![packed, models],
        false => vec![packed],
    };
    let mut freed = 0;
    for place in chosen {
        let Ok(entries) = std::fs::read_dir(&place.folder) else {
            continue;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let bytes = bytes_in(&path);
            if !args.dry_run {
                take_away(&path)?;
            }
            say!(
                "{:>10}  {}",
                DecimalBytes(bytes).to_string(),
                path.display()
            );
            freed += bytes;
        }
    }
    let word = match args.dry_run {
        true => "would be free",
        false => "are free again",
    };
    say!("{} {word}", DecimalBytes(freed));
    Ok(FINE)
}

fn take_away(path: &Path) -> std::io::Result<()> {
    match path.is_dir() && !path.is_symlink() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

/// Bytes of a file, or of all files below a folder; links are not followed.
pub fn bytes_in(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if !meta.is_dir() {
        return meta.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes_in(&entry.path())).sum()
}
