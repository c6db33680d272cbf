//! The bytes of a recording: always seekable, of known length, read at any offset.

use std::fs::File;
use std::io::{
    BufRead, BufReader, Cursor, ErrorKind, Read, Result as IoResult, Seek, SeekFrom, Write,
};
use std::path::Path;

use tempfile::SpooledTempFile;

use super::input::{Input, Limits};
use crate::error::{Error, Result};

/// Bytes of a forward-only reader that stay in memory; beyond that they go to a temporary file.
const SPOOL_BYTES: usize = 8 << 20;
/// Bytes that are copied there at a time.
const SPOOL_BLOCK: usize = 64 << 10;
/// Bytes that are read from the file at once.
const BUFFER_BYTES: usize = 64 << 10;

trait SeekRead: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> SeekRead for T {}

/// A file without the tags in front of it: offset 0 is where the recording begins.
pub(super) struct Source {
    inner: BufReader<Box<dyn SeekRead>>,
    /// Where the reader stands and where the recording begins, in bytes of the file.
    position: u64,
    start: u64,
    /// Bytes of the whole file.
    end: u64,
}

impl Source {
    /// Opens what `input` names; `input` must not be samples.
    pub(super) fn open(input: Input, limits: &Limits) -> Result<Self> {
        let name = input.name();
        let fail = |e| unreadable(&name, e);
        let mut inner: Box<dyn SeekRead> = match input {
            Input::Path(path) => open_path(&name, &path, limits)?,
            Input::Bytes { data, .. } => Box::new(Cursor::new(data)),
            Input::Reader { reader, .. } => spool(&name, reader, limits)?,
            Input::Samples { .. } => Box::new(Cursor::new([0u8; 0])),
        };
        let end = inner.seek(SeekFrom::End(0)).map_err(fail)?;
        inner.rewind().map_err(fail)?;
        if end == 0 {
            let empty = std::io::Error::new(ErrorKind::UnexpectedEof, "it is empty");
            return Err(fail(empty));
        }
        if limits.max_bytes.is_some_and(|max| end > max) {
            let reason = format!("{end} bytes are more than the limit allows");
            return Err(fail(std::io::Error::new(ErrorKind::FileTooLarge, reason)));
        }
        Ok(Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, inner),
            position: 0,
            start: 0,
            end,
        })
    }

    /// Lets the recording begin `bytes` later.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.start = self.start.saturating_add(bytes).min(self.end);
    }

    /// Bytes from the recording's begin to the file's end.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Fills `buf` from `offset` as far as the file goes; the bytes that were there.
    pub(super) fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> IoResult<usize> {
        let at = self.start.saturating_add(offset);
        if at >= self.end {
            return Ok(0);
        }
        match i64::try_from(i128::from(at) - i128::from(self.position)) {
            Ok(0) => {}
            Ok(by) => self.inner.seek_relative(by)?,
            Err(_) => drop(self.inner.seek(SeekFrom::Start(at))?),
        }
        self.position = at;
        let mut filled = 0;
        while filled < buf.len() {
            match self.inner.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    self.position += n as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Up to `n` bytes from `offset`: fewer where the file ends before.
    pub(super) fn upto(&mut self, offset: u64, n: u64) -> IoResult<Vec<u8>> {
        let n = n.min(self.len().saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(n).map_err(std::io::Error::other)?];
        let read = self.read_at(offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// The `N` bytes at `offset`, or `None` where the file ends before.
    pub(super) fn array<const N: usize>(&mut self, offset: u64) -> IoResult<Option<[u8; N]>> {
        let mut bytes = [0; N];
        Ok((self.read_at(offset, &mut bytes)? == N).then_some(bytes))
    }
}

fn open_path(name: &str, path: &Path, limits: &Limits) -> Result<Box<dyn SeekRead>> {
    let fail = |e| unreadable(name, e);
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if metadata.is_dir() {
        let folder = std::io::Error::new(ErrorKind::IsADirectory, "it is a folder");
        return Err(fail(folder));
    }
    if metadata.is_file() {
        Ok(Box::new(file))
    } else {
        spool(name, Box::new(file), limits)
    }
}

/// Keeps what can be read but once: in memory, past [`SPOOL_BYTES`] in a temporary file.
fn spool(name: &str, reader: Box<dyn Read + Send>, limits: &Limits) -> Result<Box<dyn SeekRead>> {
    let mut file = SpooledTempFile::new(SPOOL_BYTES);
    let most = limits
        .max_bytes
        .map_or(u64::MAX, |max| max.saturating_add(1));
    let mut reader = BufReader::with_capacity(SPOOL_BLOCK, reader.take(most));
    loop {
        let block = match reader.fill_buf() {
            Ok(block) => block,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(name, error)),
        };
        let len = block.len();
        if len == 0 {
            break;
        }
        file.write_all(block).map_err(Error::Temporary)?;
        reader.consume(len);
    }
    file.rewind().map_err(Error::Temporary)?;
    Ok(Box::new(file))
}

pub(super) fn unreadable(name: &str, source: std::io::Error) -> Error {
    Error::Input {
        input: name.to_owned(),
        source,
    }
}
