//! The bytes of a recording: always seekable, with the header repairs of [`riff`] laid over them.

use std::fs::File;
use std::io::{
    BufRead, BufReader, Cursor, ErrorKind, Read, Result as IoResult, Seek, SeekFrom, Write,
};
use std::path::Path;

use symphonia::core::io::MediaSource;
use tempfile::SpooledTempFile;

use super::input::{Input, Limits};
use super::riff;
use crate::error::{Error, Result};

/// Bytes of a forward-only reader that stay in memory; beyond that they go to a temporary file.
const SPOOL_BYTES: usize = 8 << 20;
/// Bytes that are copied there at a time.
const SPOOL_BLOCK: usize = 64 << 10;
/// Bytes at the start that are looked at for repairs.
const HEAD_BYTES: u64 = 64 << 10;

trait SeekRead: Read + Seek + Send + Sync {}
impl<T: Read + Seek + Send + Sync> SeekRead for T {}

/// Bytes that replace those of the file from `offset` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// A seekable file of known length.
pub(super) struct Source {
    inner: Box<dyn SeekRead>,
    position: u64,
    len: u64,
    patches: Vec<Patch>,
}

impl Source {
    /// Opens what `input` names; `input` must not be samples. Also returns warnings.
    pub(super) fn open(input: Input, limits: &Limits) -> Result<(Self, Vec<String>)> {
        let name = input.name();
        let inner = match input {
            Input::Path(path) => open_path(&name, &path, limits)?,
            Input::Bytes { data, .. } => Box::new(Cursor::new(data)),
            Input::Reader { reader, .. } => spool(&name, reader, limits)?,
            Input::Samples { .. } => Box::new(Cursor::new([0u8; 0])),
        };
        let mut source = Self {
            inner,
            position: 0,
            len: 0,
            patches: Vec::new(),
        };
        let warnings = source.measure(&name, limits)?;
        Ok((source, warnings))
    }

    fn measure(&mut self, name: &str, limits: &Limits) -> Result<Vec<String>> {
        let fail = |e| unreadable(name, e);
        self.len = self.inner.seek(SeekFrom::End(0)).map_err(fail)?;
        self.inner.rewind().map_err(fail)?;
        if self.len == 0 {
            let empty = std::io::Error::new(ErrorKind::UnexpectedEof, "it is empty");
            return Err(fail(empty));
        }
        if limits.max_bytes.is_some_and(|max| self.len > max) {
            let reason = format!("{} bytes are more than the limit allows", self.len);
            return Err(fail(std::io::Error::new(ErrorKind::FileTooLarge, reason)));
        }
        let mut head = Vec::new();
        (&mut self.inner)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)
            .map_err(fail)?;
        self.inner.rewind().map_err(fail)?;
        let (patches, warnings) = riff::repairs(&head, self.len);
        self.patches = patches;
        Ok(warnings)
    }

    /// Bytes in the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        let read = self.inner.read(buf)?;
        let (start, end) = (self.position, self.position + read as u64);
        for patch in &self.patches {
            for (offset, &byte) in (patch.offset..).zip(&patch.bytes) {
                if (start..end).contains(&offset) {
                    buf[(offset - start) as usize] = byte;
                }
            }
        }
        self.position = end;
        Ok(read)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        self.position = self.inner.seek(to)?;
        Ok(self.position)
    }
}

impl MediaSource for Source {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
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

fn unreadable(name: &str, source: std::io::Error) -> Error {
    Error::Input {
        input: name.to_owned(),
        source,
    }
}
