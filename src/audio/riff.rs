//! Repairs to the sizes in a wav header: streamed files leave them 0, truncated ones promise too
//! much, and RF64 keeps the real ones elsewhere. The demuxer then sees a plain, whole file.

use super::source::Patch;

const ID_BYTES: usize = 4;
const CHUNK_HEADER_BYTES: usize = 8;
const FORM_BYTES: usize = 12;

/// What to lay over the first bytes `head` of a file of `len` bytes, and what to warn about.
pub(super) fn repairs(head: &[u8], len: u64) -> (Vec<Patch>, Vec<String>) {
    let is_rf64 = head.starts_with(b"RF64") || head.starts_with(b"BW64");
    if !(head.starts_with(b"RIFF") || is_rf64) || head.get(8..FORM_BYTES) != Some(b"WAVE") {
        return (Vec::new(), Vec::new());
    }
    let Some(data) = find_data(head) else {
        return (Vec::new(), Vec::new());
    };
    let left = len.saturating_sub(data.start as u64);
    let actual = match data.promised {
        0 => left,
        promised => promised.min(left),
    };
    let mut patches = vec![
        Patch {
            offset: 0,
            bytes: b"RIFF".to_vec(),
        },
        Patch {
            offset: ID_BYTES as u64,
            bytes: u32::MAX.to_le_bytes().to_vec(),
        },
    ];
    let size = u32::try_from(actual).unwrap_or(u32::MAX);
    patches.push(Patch {
        offset: (data.start - ID_BYTES) as u64,
        bytes: size.to_le_bytes().to_vec(),
    });
    (patches, warning(&data, left).into_iter().collect())
}

struct DataChunk {
    /// Where its samples start.
    start: usize,
    /// The size it claims to have; `u32::MAX` marks a stream of unknown length.
    promised: u64,
    bytes_per_second: u64,
}

fn find_data(head: &[u8]) -> Option<DataChunk> {
    let mut at = FORM_BYTES;
    let mut wide_size = None;
    let mut bytes_per_second = 0;
    loop {
        let id = head.get(at..at + ID_BYTES)?;
        let size = u64::from(u32_at(head, at + ID_BYTES)?);
        let start = at + CHUNK_HEADER_BYTES;
        match id {
            b"ds64" => wide_size = u64_at(head, start + 8),
            b"fmt " => bytes_per_second = u64::from(u32_at(head, start + 8)?),
            b"data" => {
                let promised = match wide_size {
                    Some(wide) if size == u64::from(u32::MAX) => wide,
                    _ => size,
                };
                return Some(DataChunk {
                    start,
                    promised,
                    bytes_per_second,
                });
            }
            _ => {}
        }
        at = start.checked_add(usize::try_from(size + size % 2).ok()?)?;
    }
}

fn warning(data: &DataChunk, left: u64) -> Option<String> {
    let is_open_ended = data.promised == 0 || data.promised >= u64::from(u32::MAX) - 1;
    if is_open_ended || left >= data.promised || data.bytes_per_second == 0 {
        return None;
    }
    let seconds = |bytes: u64| bytes as f64 / data.bytes_per_second as f64;
    Some(format!(
        "truncated: the header promises {:.1} s, {:.1} s are there",
        seconds(data.promised),
        seconds(left)
    ))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
