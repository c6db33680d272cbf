//! Where a stream for the library's demuxers stands.

use std::io::{Error, Result, SeekFrom};

/// The position after a seek in a stream of `len` bytes; past its end is allowed.
pub(super) fn sought(to: SeekFrom, position: u64, len: u64) -> Result<u64> {
    let (from, by) = match to {
        SeekFrom::Start(at) => (at, 0),
        SeekFrom::End(by) => (len, by),
        SeekFrom::Current(by) => (position, by),
    };
    from.checked_add_signed(by)
        .ok_or_else(|| Error::other("a seek before the begin"))
}
