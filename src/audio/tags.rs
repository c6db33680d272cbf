//! Tags around a recording, which are skipped by their length.

use std::io::Result as IoResult;

use super::source::Source;

/// Bytes of the tag at an offset (ID3v2, APE, ID3v1), 0 where there is none.
pub(super) fn tag_bytes(source: &mut Source, at: u64) -> IoResult<u64> {
    let Some(head) = source.array::<10>(at)? else {
        return Ok(match source.upto(at, 3)?.as_slice() {
            b"TAG" => source.len() - at,
            _ => 0,
        });
    };
    if head.starts_with(b"ID3") && head[3] != 0xff && head[4] != 0xff {
        let size = head[6..]
            .iter()
            .fold(0, |sum, x| sum << 7 | u64::from(x & 0x7f));
        let footer = if head[5] & 0x10 != 0 { 10 } else { 0 };
        return Ok(10 + size + footer);
    }
    if head.starts_with(b"APETAGEX") {
        let field = |bytes: Option<[u8; 4]>| bytes.map_or(0, u32::from_le_bytes);
        let size = u64::from(field(source.array(at + 12)?));
        let is_header = field(source.array(at + 20)?) >> 29 & 1 == 1;
        return Ok(if is_header { 32 + size } else { 32 });
    }
    Ok(if head.starts_with(b"TAG") { 128 } else { 0 })
}
