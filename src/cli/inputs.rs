//! What is to be transcribed: files as typed, the recordings of folders, and what is wrong with any of
//! them, known before a model is looked for.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use super::args::COMMANDS;
use super::near::meant;
use crate::audio::{self, AudioOptions, AudioStream, Input};

/// A recording, and why it cannot be read if that is known already.
pub struct Found {
    pub path: PathBuf,
    pub fault: Option<anyhow::Error>,
    /// Where it is the only one: the recording, open.
    pub opened: Option<AudioStream>,
}

/// The files that were typed, folders as the recordings in them, in natural order. Hidden files and,
/// unless `recursive`, folders in folders are left out. What has no such track as the options choose
/// has a fault.
///
/// # Errors
/// A folder that cannot be read or has no recordings in it is a [`Found`] with a fault, not an error.
pub fn all(typed: &[PathBuf], recursive: bool, options: &AudioOptions) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::with_capacity(typed.len());
    for path in typed {
        found.extend(one(path, recursive, options));
        if found.len() > 1 {
            // Many open files would be more than a process may have.
            found.iter_mut().for_each(|found| found.opened = None);
        }
    }
    found
}

fn one(path: &Path, recursive: bool, options: &AudioOptions) -> Vec<Found> {
    let found = |path: &Path, fault| {
        vec![Found {
            path: path.to_owned(),
            fault,
            opened: None,
        }]
    };
    if path.is_dir() {
        let mut recordings = Vec::new();
        if let Err(error) = walk(path, recursive, &mut recordings) {
            return found(path, Some(error));
        }
        if recordings.is_empty() {
            let deeper = match recursive {
                true => "",
                false => " (--recursive looks into its folders)",
            };
            let fault = anyhow!("{}: there are no recordings in it{deeper}", path.display());
            return found(path, Some(fault));
        }
        let found = recordings.into_iter().map(|path| Found {
            fault: open(&path, options).err(),
            path,
            opened: None,
        });
        return found.collect();
    }
    match open(path, options) {
        Ok(opened) => vec![Found {
            path: path.to_owned(),
            fault: None,
            opened,
        }],
        Err(fault) => found(path, Some(fault)),
    }
}

/// A file that can be read. What is no plain file (standard input, a pipe) is read only once, and not yet.
fn open(path: &Path, options: &AudioOptions) -> Result<Option<AudioStream>> {
    if path == Path::new("-") || std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Ok(None);
    }
    if !path.exists() {
        return Err(no_such(path));
    }
    Ok(Some(audio::open_with(Input::from(path), options)?))
}

fn no_such(path: &Path) -> anyhow::Error {
    let name = path.to_string_lossy();
    let hint = match name.split_once("://") {
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            "; addresses are not fetched: download it first (curl -O, yt-dlp -x) and give the file"
                .to_owned()
        }
        _ if path.extension().is_some() || name.contains('/') => String::new(),
        _ => meant(&name, COMMANDS.iter().copied()).replace("mean ", "mean the command "),
    };
    anyhow!("{name}: there is no such file{hint}")
}

/// Adds the recordings of a folder: what opens as one, whatever it is called.
fn walk(folder: &Path, recursive: bool, recordings: &mut Vec<PathBuf>) -> Result<()> {
    let unread = |error: std::io::Error| anyhow!("{}: cannot be read: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        paths.push(entry.map_err(unread)?.path());
    }
    paths.sort_by(|a, b| natural(&name(a), &name(b)));
    for path in paths.iter().filter(|path| !name(path).starts_with('.')) {
        if path.is_dir() {
            // A link that leads back up would never end.
            if recursive && !path.is_symlink() {
                walk(path, recursive, recordings)?;
            }
        } else if path.is_file()
            && audio::open_with(Input::from(path.as_path()), &AudioOptions::default()).is_ok()
        {
            recordings.push(path.clone());
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// As people count: 2 before 10, whatever the case.
fn natural(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u128, String)> {
        let mut parts: Vec<(u128, String)> = Vec::new();
        for c in text.to_lowercase().chars() {
            match (c.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((number, word))) if word.is_empty() => {
                    *number = number.saturating_mul(10).saturating_add(digit.into());
                }
                (Some(digit), _) => parts.push((digit.into(), String::new())),
                (None, Some((u128::MAX, word))) => word.push(c),
                (None, _) => parts.push((u128::MAX, c.to_string())),
            }
        }
        parts
    };
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_people_count() {
        let mut names = ["b.wav", "10.wav", "a10.wav", "2.wav", "A2.wav", "a2b.wav"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["2.wav", "10.wav", "A2.wav", "a2b.wav", "a10.wav", "b.wav"]
        );
    }

    #[test]
    fn a_folder_is_its_recordings() {
        const WAV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("more/.git")).unwrap();
        for name in [
            "2.wav",
            "10.wav",
            "no_ending",
            ".hidden.wav",
            "more/3.wav",
            "more/.git/4.wav",
        ] {
            std::fs::copy(WAV, path(name)).unwrap();
        }
        std::fs::write(path("notes.txt"), "no recording").unwrap();
        std::fs::write(path("cover.wav"), "nor this").unwrap();
        let names = |recursive| -> Vec<String> {
            let found = all(
                &[folder.path().to_owned()],
                recursive,
                &AudioOptions::default(),
            );
            assert!(found.iter().all(|found| found.fault.is_none()));
            let inside = found
                .iter()
                .map(|f| f.path.strip_prefix(folder.path()).unwrap());
            inside.map(|path| path.display().to_string()).collect()
        };
        assert_eq!(names(false), ["2.wav", "10.wav", "no_ending"]);
        assert_eq!(names(true), ["2.wav", "10.wav", "more/3.wav", "no_ending"]);
        let empty = all(
            &[path("more/.git/..").join(".git/nothing")],
            false,
            &AudioOptions::default(),
        );
        assert!(empty[0].fault.is_some());
    }

    #[test]
    fn what_is_not_there_is_told_with_what_may_help() {
        let told = |name: &str| {
            let found = all(&[PathBuf::from(name)], false, &AudioOptions::default());
            found[0]
                .fault
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        assert_eq!(told("nosuch.mp3"), "nosuch.mp3: there is no such file");
        assert!(told("model").ends_with("did you mean the command models?"));
        assert!(told("tanslate").ends_with("did you mean the command translate?"));
        assert!(told("https://example.org/a.mp3").contains("addresses are not fetched"));
        assert_eq!(told("-"), "");
    }
}
