//! A packed model on disk: what packing made of a checkpoint, mapped instead of made again.
//!
//! A file is its sections, then an index, the index's length and a mark. It is written under a
//! name of its own and renamed when it is whole, so several processes may write the same one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::linear::PackedLinear;
use crate::kernels::storage::{LINE, Owner, Store, bytes_of};
use bytemuck::Pod;

/// Closes every file; the last digits are the layout's version.
const MARK: &[u8; 16] = b"undertone-pack01";

#[derive(Serialize, Deserialize)]
struct Index {
    /// What the file was made from, and how.
    key: String,
    sections: HashMap<String, Range<usize>>,
}

/// A packed model that is mapped.
pub(super) struct PackedFile {
    path: PathBuf,
    owner: Owner,
    sections: HashMap<String, Range<usize>>,
}

impl PackedFile {
    /// Maps the file if it is there, whole, and made for `key`.
    #[expect(unsafe_code, reason = "the file is mapped into memory")]
    pub fn open(path: &Path, key: &str) -> Option<Self> {
        let file = File::open(path).ok()?;
        // SAFETY: the file is only ever replaced by renaming, never changed; whoever cuts it short
        // by hand while it is in use gets a bus error, as with any mapped library.
        let map = unsafe { memmap2::Mmap::map(&file) }.ok()?;
        let body = map.strip_suffix(MARK)?;
        let (body, len) = body.split_last_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
        let start = body.len().checked_sub(len)?;
        let index: Index = serde_json::from_slice(&body[start..]).ok()?;
        let sane = |r: &Range<usize>| r.start <= r.end && r.end <= start;
        if index.key != key || !index.sections.values().all(sane) {
            return None;
        }
        let sections = index.sections;
        Some(Self {
            path: path.to_owned(),
            owner: Arc::new(map),
            sections,
        })
    }

    /// A layer of `n_in` inputs and `n_out` outputs.
    pub fn linear(&self, name: &str, n_out: usize, n_in: usize) -> Result<PackedLinear> {
        let range = self.range(name)?;
        let layer = PackedLinear::from_bytes(&self.owner, range)
            .map_err(|reason| self.broken(name, reason))?;
        if (layer.n_out(), layer.n_in()) != (n_out, n_in) {
            return Err(self.broken(name, "has another size".into()));
        }
        Ok(layer)
    }

    pub fn numbers<T: Pod>(&self, name: &str, count: usize) -> Result<Store<T>> {
        let range = self.range(name)?;
        if range.len() < count * size_of::<T>() {
            return Err(self.broken(name, "is cut short".into()));
        }
        let range = range.start..range.start + count * size_of::<T>();
        Store::lent(&self.owner, range).map_err(|reason| self.broken(name, reason))
    }

    fn range(&self, name: &str) -> Result<Range<usize>> {
        self.sections
            .get(name)
            .cloned()
            .ok_or_else(|| self.broken(name, "is missing".into()))
    }

    fn broken(&self, name: &str, reason: String) -> Error {
        Error::Weights {
            file: self.path.clone(),
            tensor: Some(name.into()),
            reason,
        }
    }
}

/// Writes a packed model while it is being loaded.
pub(super) struct Recorder {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
    written: usize,
    index: Index,
}

impl Recorder {
    /// Starts a file beside `path`.
    pub fn create(path: &Path, key: &str) -> std::io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        let index = Index {
            key: key.into(),
            sections: HashMap::new(),
        };
        Ok(Self {
            temporary,
            path: path.into(),
            written: 0,
            index,
        })
    }

    pub fn linear(&mut self, name: &str, layer: &PackedLinear) -> std::io::Result<()> {
        self.section(name, &layer.to_bytes())
    }

    pub fn numbers<T: Pod>(&mut self, name: &str, numbers: &[T]) -> std::io::Result<()> {
        self.section(name, bytes_of(numbers))
    }

    fn section(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let range = self.written..self.written + bytes.len();
        let mut out = BufWriter::new(self.temporary.as_file_mut());
        out.write_all(bytes)?;
        out.write_all(&[0; LINE][..range.end.next_multiple_of(LINE) - range.end])?;
        out.flush()?;
        self.written = range.end.next_multiple_of(LINE);
        self.index.sections.insert(name.into(), range);
        Ok(())
    }

    /// Closes the file and gives it its name.
    pub fn finish(mut self) -> std::io::Result<()> {
        let index = serde_json::to_vec(&self.index)?;
        let out = self.temporary.as_file_mut();
        out.write_all(&index)?;
        out.write_all(&(index.len() as u64).to_le_bytes())?;
        out.write_all(MARK)?;
        out.sync_all()?;
        self.temporary
            .persist(&self.path)
            .map(drop)
            .map_err(|failed| failed.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("a.pack");
        let mut recorder = Recorder::create(&path, "key").unwrap();
        recorder.numbers("one", &[1.0f32, 2.0, 3.0]).unwrap();
        recorder.numbers("two", &[7u16; 5]).unwrap();
        assert!(!path.exists(), "nothing has the name before it is whole");
        recorder.finish().unwrap();
        path
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = PackedFile::open(&written(folder.path()), "key").unwrap();
        assert_eq!(
            file.numbers::<f32>("one", 3).unwrap().numbers(),
            [1.0, 2.0, 3.0]
        );
        assert_eq!(file.numbers::<u16>("two", 5).unwrap().numbers(), [7; 5]);
        assert!(file.numbers::<f32>("one", 4).is_err());
        assert!(file.numbers::<f32>("three", 1).is_err());
    }

    #[test]
    fn a_file_for_another_key_or_cut_anywhere_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        assert!(PackedFile::open(&path, "other").is_none());
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(
                PackedFile::open(&path, "key").is_none(),
                "cut to {len} bytes"
            );
        }
    }
}
