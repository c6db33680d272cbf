//! One page of an Ogg file; RFC 3533, section 6.

use std::ops::Range;

use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

pub(super) const MARKER: &[u8; 4] = b"OggS";
/// A page's header without its table of segments; RFC 3533, section 6.
pub(super) const HEADER_BYTES: usize = 27;
/// Where the header has the position of the page's end, and its checksum.
pub(super) const POSITION: Range<usize> = 6..14;
pub(super) const CHECKSUM: Range<usize> = 22..26;

/// A whole page.
pub(super) struct Page<'b> {
    /// Bytes of the page, header included.
    pub(super) bytes: usize,
    pub(super) body: &'b [u8],
    pub(super) serial: u32,
    /// Where the stream stands behind the last packet that ends in this page.
    pub(super) position: u64,
    pub(super) is_continued: bool,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    /// Packets that end here, and the bytes of the first, as far as they are here.
    pub(super) packets: u64,
    pub(super) first_packet: usize,
}

impl<'b> Page<'b> {
    /// The page that `bytes` begin with, if all of it is there.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let segments = segments(bytes).filter(|_| bytes.starts_with(MARKER))?;
        let body = HEADER_BYTES + segments.len();
        let body_len: usize = segments.iter().map(|len| usize::from(*len)).sum();
        let mut goes_on = true;
        let first = segments
            .iter()
            .take_while(|len| std::mem::replace(&mut goes_on, **len == 255));
        let first_packet = first.map(|len| usize::from(*len)).sum();
        Some(Self {
            bytes: body + body_len,
            body: bytes.get(body..body + body_len)?,
            serial: u32::from_le_bytes(bytes[14..18].try_into().ok()?),
            position: u64::from_le_bytes(bytes[POSITION].try_into().ok()?),
            is_continued: bytes[5] & 1 != 0,
            is_first: bytes[5] & 2 != 0,
            is_last: bytes[5] & 4 != 0,
            packets: segments.iter().filter(|len| **len < 255).count() as u64,
            first_packet,
        })
    }

    /// Where its body begins.
    pub(super) fn body_at(&self) -> usize {
        self.bytes - self.body.len()
    }
}

/// The lengths of a page's segments, if its header is whole.
pub(super) fn segments(page: &[u8]) -> Option<&[u8]> {
    let count = usize::from(*page.get(HEADER_BYTES - 1)?);
    page.get(HEADER_BYTES..HEADER_BYTES + count)
}

pub(super) fn checksum(page: &[u8]) -> u32 {
    let mut sum = Crc32::new(0);
    sum.process_buf_bytes(&page[..CHECKSUM.start]);
    sum.process_buf_bytes(&[0; 4]);
    sum.process_buf_bytes(&page[CHECKSUM.end..]);
    sum.crc()
}
