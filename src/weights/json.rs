//! The small JSON files beside weights: configurations and indexes.

use std::path::Path;

use serde::Deserialize;

use super::bytes::{bad, unread};
use crate::error::{Error, Result};

/// Larger ones are no such files.
const MAX_BYTES: u64 = 64 << 20;

/// Reads a file.
///
/// # Errors
/// [`Error::File`] where it cannot be read, [`Error::Json`] where it is something else.
pub(super) fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let len = std::fs::metadata(path).map_err(|e| unread(path, e))?.len();
    if len > MAX_BYTES {
        let reason = format!("{len} bytes are too many for a JSON file");
        return Err(bad(path, None, reason));
    }
    let text = std::fs::read(path).map_err(|e| unread(path, e))?;
    serde_json::from_slice(&text).map_err(|error| Error::Json {
        file: path.to_owned(),
        source: error.into(),
    })
}
