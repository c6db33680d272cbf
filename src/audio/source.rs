//! The bytes of a recording: always seekable, with the header repairs of [`riff`] laid over them.

use std::fs::File;
use std::io::{Cursor, Read, Result as IoResult, Seek, SeekFrom};
use std::path::Path;

use symphonia::core::io::MediaSource;
use tempfile::SpooledTempFile;

use super::input::{Input, Limits};
use super::riff;
use crate::error::{Error, Result};

/// Bytes of a forward-only reader that stay in memory; beyond that they go to a temporary file.
const SPOOL_BYTES: usize = 8 << 20;
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
            Input::Path(path) => open_path(&path, limits).map_err(|e| unreadable(&name, &e))?,
            Input::Bytes { data, .. } => Box::new(Cursor::new(data)),
            Input::Reader { reader, .. } => {
                spool(reader, limits).map_err(|e| unreadable(&name, &e))?
            }
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
        let fail = |e: &std::io::Error| unreadable(name, e);
        self.len = self.inner.seek(SeekFrom::End(0)).map_err(|e| fail(&e))?;
        self.inner.rewind().map_err(|e| fail(&e))?;
        if self.len == 0 {
            return Err(Error::Input {
                input: name.to_owned(),
                reason: "it is empty".to_owned(),
            });
        }
        if limits.max_bytes.is_some_and(|max| self.len > max) {
            let reason = format!("{} bytes are more than the limit allows", self.len);
            return Err(Error::Input {
                input: name.to_owned(),
                reason,
            });
        }
        let mut head = Vec::new();
        (&mut self.inner)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)
            .map_err(|e| fail(&e))?;
        self.inner.rewind().map_err(|e| fail(&e))?;
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

fn open_path(path: &Path, limits: &Limits) -> IoResult<Box<dyn SeekRead>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(std::io::Error::other("it is a folder"));
    }
    if metadata.is_file() {
        Ok(Box::new(file))
    } else {
        spool(Box::new(file), limits)
    }
}

fn spool(reader: Box<dyn Read + Send>, limits: &Limits) -> IoResult<Box<dyn SeekRead>> {
    let mut file = SpooledTempFile::new(SPOOL_BYTES);
    let most = limits
        .max_bytes
        .map_or(u64::MAX, |max| max.saturating_add(1));
    std::io::copy(&mut reader.take(most), &mut file)?;
    file.rewind()?;
    Ok(Box::new(file))
}

fn unreadable(name: &str, error: &std::io::Error) -> Error {
    Error::Input {
        input: name.to_owned(),
        reason: error.to_string(),
    }
}
