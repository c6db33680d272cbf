//! What windows gave, on disk, so that work that was ended goes on where it was.
//!
//! A journal is lines of text, only ever appended to: a checksum, a blank, and JSON. The first says which weights
//! the results are of, and in which precision; each other is an answer under its question's hash, and the question is all
//! that an answer depends on: the window's spectrogram, its options and gates. So no answer is ever taken for another
//! recording's, and what was changed between two runs is decoded anew. A last line that was torn, and whatever follows a
//! line that is damaged, is cut off.

mod stored;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Engine;
use crate::attention::Role;
use crate::batcher::WindowJob;
use crate::error::{Error, Result};
use crate::transcript::LanguageProbabilities;
pub(super) use stored::StoredResult;

/// What the first line begins with; other forms of journals are begun anew.
const FORM: &str = "undertone journal 1";

/// A question's hash.
pub(super) type Key = String;

/// One line.
#[derive(Serialize, Deserialize)]
enum Line {
    /// Which weights, in which precision, by which version.
    Of(String),
    Window(Key, StoredResult),
    Language(Key, LanguageProbabilities),
}

/// A journal that is open. Another run cannot open it meanwhile.
pub(super) struct Journal {
    path: PathBuf,
    file: RefCell<File>,
    windows: HashMap<Key, StoredResult>,
    languages: HashMap<Key, LanguageProbabilities>,
}

impl Journal {
    /// Opens the one at `path`, or begins it. What it holds of other weights, given by `of`, is dropped.
    ///
    /// # Errors
    /// [`Error::Output`] naming the file, also where another run has it open.
    pub fn open(path: &Path, of: &str) -> Result<Self> {
        let opened = Self::opened(path, of);
        opened.map_err(|source| failed(path, source))
    }

    fn opened(path: &Path, of: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other("another run goes on with it"));
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let of = format!("{FORM} {of}");
        let mut journal = Self {
            path: path.to_owned(),
            file: RefCell::new(file.try_clone()?),
            windows: HashMap::new(),
            languages: HashMap::new(),
        };
        let good = journal.read(BufReader::new(&file), &of)?;
        file.set_len(good)?;
        file.seek(SeekFrom::Start(good))?;
        if good == 0 {
            file.write_all(written(&Line::Of(of))?.as_bytes())?;
        }
        Ok(journal)
    }

    /// Reads lines up to the first that is not whole; how many bytes those are that are.
    fn read(&mut self, mut from: impl BufRead, of: &str) -> io::Result<u64> {
        let (mut good, mut bytes) = (0, Vec::new());
        loop {
            bytes.clear();
            let length = from.read_until(b'\n', &mut bytes)?;
            match (good, parsed(&bytes)) {
                (0, Some(Line::Of(known))) if known == of => {}
                (0, _) | (_, None | Some(Line::Of(_))) => return Ok(good),
                (_, Some(Line::Window(key, result))) => {
                    self.windows.insert(key, result);
                }
                (_, Some(Line::Language(key, found))) => {
                    self.languages.insert(key, found);
                }
            }
            good += length as u64;
        }
    }

    /// What a window gave in an earlier run.
    pub fn window(&self, key: &Key) -> Option<&StoredResult> {
        self.windows.get(key)
    }

    /// Which language a window was found to be of.
    pub fn language(&self, key: &Key) -> Option<&LanguageProbabilities> {
        self.languages.get(key)
    }

    /// Keeps what a window gave.
    pub fn add_window(&self, key: Key, result: StoredResult) -> Result<()> {
        self.add(&Line::Window(key, result))
    }

    /// Keeps which language a window is of.
    pub fn add_language(&self, key: Key, found: &LanguageProbabilities) -> Result<()> {
        self.add(&Line::Language(key, found.clone()))
    }

    fn add(&self, line: &Line) -> Result<()> {
        let append = || self.file.borrow_mut().write_all(written(line)?.as_bytes());
        append().map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Output {
        file: path.to_owned(),
        source,
    }
}

/// A line as it is written.
fn written(line: &Line) -> io::Result<String> {
    let json = serde_json::to_string(line)?;
    Ok(format!("{} {json}\n", checksum(&json)))
}

/// What a line says, if it is whole.
fn parsed(bytes: &[u8]) -> Option<Line> {
    let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (sum, json) = line.split_once(' ')?;
    let whole = sum == checksum(json);
    whole.then(|| serde_json::from_str(json).ok())?
}

fn checksum(text: &str) -> String {
    hex(&Sha256::digest(text)[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of all that an answer depends on, beside the weights.
pub(super) fn key(job: &WindowJob, what: &str) -> Result<Key> {
    let mut hash = Sha256::new();
    hash.update(what);
    let asked = serde_json::to_vec(&(
        &job.options,
        &job.gates,
        &job.align.as_ref().map(|align| &*align.heads),
    ));
    let asked = asked.map_err(|error| Error::Engine(format!("options without JSON: {error}")))?;
    hash.update((asked.len() as u64).to_le_bytes());
    hash.update(asked);
    for values in job.mel.chunks(1024) {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()[..16]))
}

impl Engine {
    /// What its answers depend on, beside the questions.
    pub(super) fn identity(&self) -> String {
        let loaded = &self.0;
        let described = self.describe();
        let parts = [
            env!("CARGO_PKG_VERSION"),
            &loaded.fingerprint,
            described.executor,
            described.compute.name(),
        ];
        let roles = Role::ALL.map(|role| loaded.plan.backend(role).name());
        let parts = [parts.as_slice(), &roles].concat().join("\n");
        hex(&Sha256::digest(parts)[..16])
    }
}
