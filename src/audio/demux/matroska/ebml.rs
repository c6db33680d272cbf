//! EBML, what Matroska is written in: an id, a size, and bytes.

use std::io::Result as IoResult;

use crate::audio::source::Source;

/// The head of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: u32,
    /// Where its body begins.
    pub(super) start: u64,
    /// Bytes of its body; `None` where it is open (a live stream).
    pub(super) size: Option<u64>,
}

impl Head {
    /// The head at an offset; `None` at the end of the file, and an id of 0 where there is none.
    pub(super) fn read(source: &mut Source, at: u64) -> IoResult<Option<Self>> {
        let bytes = source.upto(at, 12)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let found = head(&bytes).map(|(id, size, len)| Self {
            id,
            start: at + len as u64,
            size,
        });
        Ok(Some(found.unwrap_or(Self {
            id: 0,
            start: at,
            size: None,
        })))
    }
}

/// Id, size and bytes of a head.
fn head(bytes: &[u8]) -> Option<(u32, Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    if length > 4 {
        return None;
    }
    let id = bytes.get(..length)?;
    let id = id.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let (size, more) = number(bytes.get(length..)?)?;
    Some((id, size, length + more))
}

/// A number of variable length and its bytes; all bits set is unknown.
pub(super) fn number(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let digits = bytes.get(..length)?;
    let value = digits
        .iter()
        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mask = (1u64 << (7 * length)) - 1;
    let value = value & mask;
    Some(((value != mask).then_some(value), length))
}

/// The elements in a body, id and bytes each; sizes that are too large are cut.
pub(super) fn children(mut body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (id, size, start) = head(body)?;
        let rest = &body[start..];
        let size = size.and_then(|size| usize::try_from(size).ok());
        let end = size.unwrap_or(rest.len()).min(rest.len());
        body = &rest[end..];
        Some((id, &rest[..end]))
    })
}

/// The first element of an id in a body.
pub(super) fn find(body: &[u8], id: u32) -> Option<&[u8]> {
    children(body)
        .find(|(found, _)| *found == id)
        .map(|(_, inside)| inside)
}

/// An unsigned number of up to 8 bytes.
pub(super) fn unsigned(bytes: &[u8]) -> u64 {
    let digits = &bytes[..bytes.len().min(8)];
    digits
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// A signed number of up to 8 bytes.
pub(super) fn signed(bytes: &[u8]) -> i64 {
    let bits = 8 * bytes.len().min(8) as u32;
    match bits {
        0 => 0,
        bits => (unsigned(bytes) << (64 - bits)).cast_signed() >> (64 - bits),
    }
}

/// A number of 4 or 8 bytes with a point.
pub(super) fn float(bytes: &[u8]) -> f64 {
    match bytes.len() {
        4 => f64::from(f32::from_bits(unsigned(bytes) as u32)),
        8 => f64::from_bits(unsigned(bytes)),
        _ => 0.0,
    }
}

/// Text up to its first zero.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_heads() {
        assert_eq!(number(&[0x81]), Some((Some(1), 1)));
        assert_eq!(number(&[0x40, 0x02]), Some((Some(2), 2)));
        assert_eq!(number(&[0xff]), Some((None, 1)));
        assert_eq!(
            number(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Some((None, 8))
        );
        assert_eq!(number(&[0x00; 9]), None);
        assert_eq!(
            head(&[0x1a, 0x45, 0xdf, 0xa3, 0x84]),
            Some((0x1a45_dfa3, Some(4), 5))
        );
        assert_eq!(head(&[0x00, 1]), None);
        let body = [0xae, 0x82, 1, 2, 0xec, 0xff, 3];
        let all: Vec<_> = children(&body).collect();
        assert_eq!(all, [(0xae, &[1, 2][..]), (0xec, &[3][..])]);
        assert_eq!(
            (signed(&[0xff]), signed(&[0, 0xff]), signed(&[])),
            (-1, 255, 0)
        );
        assert_eq!(text(b"ab\0c"), "ab");
    }
}
