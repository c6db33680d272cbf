//! Files of weights as bytes: mapped into memory, read with every length checked.
//!
//! In: a path. Out: slices of the mapped file. Nothing here trusts a number that a file holds.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Bytes hashed at each of the places that [`Mapped::fingerprint_into`] looks at.
const SAMPLE_BYTES: usize = 4096;
/// How many places of a file it looks at.
const SAMPLES: usize = 64;

/// More of anything that a file counts than this is a damaged file.
const MAX_COUNT: u64 = 1 << 20;

/// An error about a weights file, naming the tensor or field at fault.
pub(super) fn bad(file: &Path, tensor: impl Into<Option<String>>, reason: String) -> Error {
    Error::Weights {
        file: file.to_owned(),
        tensor: tensor.into(),
        reason,
    }
}

/// An error about a file that the system does not let us read.
pub(super) fn unread(file: &Path, source: std::io::Error) -> Error {
    Error::File {
        file: file.to_owned(),
        source,
    }
}

/// A read-only file in memory.
pub(super) struct Mapped {
    path: PathBuf,
    map: Mmap,
    stamp: String,
}

impl Mapped {
    /// Maps a file that holds at least one byte.
    ///
    /// # Errors
    /// [`Error::File`] where the file cannot be read, [`Error::Weights`] where it is a folder or empty.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| unread(path, source);
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(bad(path, None, "is not a file".into()));
        }
        if meta.len() == 0 {
            return Err(bad(path, None, "is empty".into()));
        }
        let map = map(&file).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            stamp: stamp(&meta),
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Feeds a hash with what tells this file's content from another's, without reading all of it:
    /// length, times of change, and samples spread evenly over the whole.
    pub fn fingerprint_into(&self, hash: &mut Sha256) {
        hash.update(self.stamp.as_bytes());
        let bytes = self.bytes();
        let stride = (bytes.len() / SAMPLES).max(SAMPLE_BYTES);
        for start in (0..bytes.len()).step_by(stride) {
            let end = bytes.len().min(start + SAMPLE_BYTES);
            hash.update(bytes.get(start..end).unwrap_or_default());
        }
        let tail = bytes.len().saturating_sub(SAMPLE_BYTES);
        hash.update(bytes.get(tail..).unwrap_or_default());
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is the one way to load weights without a copy"
)]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process, and is only ever read as bytes, so
    // no content is invalid. A file cut short by another program while mapped raises SIGBUS, as it
    // does for every program that maps files; downloads never change a file in place.
    unsafe { Mmap::map(file) }
}

/// Length and times. The time of change of the inode is set by the system alone, so that a copy
/// that keeps the modification time still differs.
fn stamp(meta: &std::fs::Metadata) -> String {
    let modified = meta
        .modified()
        .ok()
        .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |d| d.as_nanos());
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        (meta.ctime(), meta.ctime_nsec())
    };
    #[cfg(not(unix))]
    let changed = (0, 0);
    format!("{} {modified} {} {}\n", meta.len(), changed.0, changed.1)
}

/// Reads little-endian fields one after another; running out of bytes is an error.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file: &'a Path,
}

impl<'a> Cursor<'a> {
    /// At the start of a file.
    pub fn new(file: &'a Mapped) -> Self {
        Self {
            bytes: file.bytes(),
            at: 0,
            file: file.path(),
        }
    }

    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// Where the next field starts.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next `n` bytes; `what` names them in the error.
    pub fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            let left = self.bytes.len().saturating_sub(self.at);
            let reason = format!("needs {n} bytes at {}, the file has {left} left", self.at);
            return Err(bad(self.file, what.to_owned(), reason));
        };
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut field = [0; N];
        field.copy_from_slice(self.take(N, what)?);
        Ok(field)
    }

    pub fn u8(&mut self, what: &str) -> Result<u8> {
        self.array::<1>(what).map(|[b]| b)
    }

    pub fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A `u32` that is a size in memory.
    pub fn size(&mut self, what: &str) -> Result<usize> {
        self.u32(what).map(|n| n as usize)
    }

    /// A `u64` that is a size in memory.
    pub fn long_size(&mut self, what: &str) -> Result<usize> {
        self.u64(what)
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    /// A `u32` that counts things to be kept: more of them than any model has is an error.
    pub fn count(&mut self, what: &str) -> Result<usize> {
        let count = self.u32(what)?;
        self.counted(count.into(), what)
    }

    /// As [`count`](Self::count), from a `u64`.
    pub fn long_count(&mut self, what: &str) -> Result<usize> {
        let count = self.u64(what)?;
        self.counted(count, what)
    }

    fn counted(&self, count: u64, what: &str) -> Result<usize> {
        if count > MAX_COUNT {
            let reason = format!("{count} is too many");
            return Err(bad(self.file, what.to_owned(), reason));
        }
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_names_what_it_could_not_read() {
        let mut cursor = Cursor {
            bytes: &[1, 0, 0, 0, 0, 0, 0, 1, 9],
            at: 0,
            file: Path::new("w.bin"),
        };
        assert_eq!(cursor.count("tensors").unwrap(), 1);
        let error = cursor.count("tensors").unwrap_err().to_string();
        assert_eq!(error, "w.bin: tensors: 16777216 is too many");
        let error = cursor.u64("size").unwrap_err().to_string();
        assert_eq!(
            error,
            "w.bin: size: needs 8 bytes at 8, the file has 1 left"
        );
        assert!(cursor.take(usize::MAX, "data").is_err());
        assert_eq!(cursor.u8("rest").unwrap(), 9);
        assert!(cursor.is_at_end());
    }

    #[test]
    fn fingerprint_changes_with_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w");
        let mut bytes = vec![7_u8; 1 << 20];
        let mut seen = std::collections::HashSet::new();
        for at in [0, 1, 5000, 1 << 19, (1 << 20) - 1] {
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let mut hash = Sha256::new();
            Mapped::open(&path).unwrap().fingerprint_into(&mut hash);
            assert!(seen.insert(hash.finalize().to_vec()), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        for path in [dir.path(), &empty, &dir.path().join("missing")] {
            assert!(Mapped::open(path).is_err(), "{}", path.display());
        }
    }
}
