//! Atoms: a size, a kind, a body, and atoms inside. Sizes that are too large are cut.

use std::io::Result as IoResult;

use crate::audio::source::Source;

/// The head of an atom at the top of a file.
pub(super) struct Head {
    pub(super) kind: [u8; 4],
    /// Where its body begins, and where it ends as far as the file goes.
    pub(super) start: u64,
    pub(super) end: u64,
    /// It claims to be longer than the file.
    pub(super) is_cut: bool,
}

impl Head {
    pub(super) fn read(source: &mut Source, at: u64) -> IoResult<Option<Self>> {
        let Some([a, b, c, d, kind @ ..]) = source.array::<8>(at)? else {
            return Ok(None);
        };
        let (start, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (at + 8, source.len() - at),
            1 => match source.array(at + 8)? {
                Some(size) => (at + 16, u64::from_be_bytes(size)),
                None => return Ok(None),
            },
            size => (at + 8, u64::from(size)),
        };
        let end = at.saturating_add(size);
        Ok((end >= start).then_some(Self {
            kind,
            start,
            end: end.min(source.len()),
            is_cut: end > source.len(),
        }))
    }
}

/// The atoms in a body, kind and body each.
pub(super) fn children(mut body: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d, kind @ ..] = *body.first_chunk::<8>()?;
        let (head, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (8, body.len()),
            1 => (16, usize::try_from(be64(body, 8)?).unwrap_or(usize::MAX)),
            size => (8, size as usize),
        };
        let end = size.min(body.len());
        let inside = body.get(head..end)?;
        body = &body[end..];
        Some((kind, inside))
    })
}

/// The first atom of a kind in a body.
pub(super) fn find(body: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    children(body)
        .find(|(found, _)| *found == kind)
        .map(|(_, inside)| inside)
}

/// Ticks a second, and ticks in all, of `mvhd` and `mdhd`.
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) timescale: u32,
    pub(super) duration: u64,
}

pub(super) fn times(body: &[u8]) -> Times {
    let is_wide = body.first() == Some(&1);
    let timescale = be32(body, if is_wide { 20 } else { 12 }).unwrap_or(0);
    let duration = match is_wide {
        true => be64(body, 24).filter(|ticks| *ticks != u64::MAX),
        false => be32(body, 16)
            .filter(|ticks| *ticks != u32::MAX)
            .map(u64::from),
    };
    Times {
        timescale,
        duration: duration.unwrap_or(0),
    }
}

/// The duration of a movie with its fragments (`mehd`).
pub(super) fn extended_duration(body: &[u8]) -> u64 {
    let duration = match body.first() {
        Some(1) => be64(body, 4),
        _ => be32(body, 4).map(u64::from),
    };
    duration.unwrap_or(0)
}

/// The number of a track (`tkhd`).
pub(super) fn track_id(body: &[u8]) -> u32 {
    let at = if body.first() == Some(&1) { 20 } else { 12 };
    be32(body, at).unwrap_or(0)
}

/// The language in `mdhd`, three letters of 5 bits each.
pub(super) fn language(body: &[u8]) -> Option<String> {
    let at = if body.first() == Some(&1) { 32 } else { 20 };
    let packed = u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?);
    let letters = [10, 5, 0].map(|shift| 0x60 + (packed >> shift & 31) as u8);
    let is_code = letters.iter().all(u8::is_ascii_lowercase) && letters != *b"und";
    is_code.then(|| letters.iter().map(|letter| char::from(*letter)).collect())
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(word.try_into().ok()?))
}
