//! The bytes of an Ogg file for the library, page by page, with what it stumbles over made good.
//!
//! It gets to see an Opus stream's comments empty, since it refuses the ill-formed, an Opus header
//! whose mapping it does not know as one that it knows, and positions that contradict the frames
//! before them as ones that cut nothing. A page whose checksum is wrong it drops without a word:
//! such pages are noted here.

use std::collections::BTreeMap;
use std::io::{Read, Result as IoResult, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use symphonia::core::io::MediaSource;

use super::super::seeking::sought;
use super::page::{CHECKSUM, HEADER_BYTES, MARKER, POSITION, Page, checksum, segments};
use super::positions::Positions;
use crate::audio::opus::OpusHead;
use crate::audio::source::Source;

/// Bytes outside of pages that are read at once.
const BLOCK_BYTES: u64 = 4096;
/// How the comments of an Opus stream begin; RFC 7845, section 5.2.
const OPUS_TAGS: &[u8; 8] = b"OpusTags";
/// Where an Opus header has its channels and how they are mapped; RFC 7845, section 5.1.
const OPUS_CHANNELS: usize = 9;
const OPUS_FAMILY: usize = 18;
/// The mapping whose channels have no places, which the library does not know.
const NO_PLACES: u8 = 255;

/// What the pages tell that the library does not.
#[derive(Default)]
pub(super) struct Found {
    /// The headers of streams, by their number, that the library sees others of.
    pub(super) heads: BTreeMap<u32, Vec<u8>>,
    /// Where the first page is that was damaged since this was taken.
    pub(super) damaged: Option<u64>,
    /// A page was given another position than the file has: none says how long the recording is.
    pub(super) has_moved: bool,
}

/// The bytes of an Ogg file for the library, page by page.
pub(super) struct Pages {
    source: Source,
    position: u64,
    /// The page, or what lies between pages, that begins at `at`.
    page: Vec<u8>,
    at: u64,
    /// Up to here pages were read in their order; the library looks at later ones, too.
    followed: u64,
    /// The streams by their number; `None` for those that are no audio.
    streams: BTreeMap<u32, Option<Positions>>,
    /// Pages by their place with another position than the file has.
    moved: BTreeMap<u64, u64>,
    found: Arc<Mutex<Found>>,
}

impl Pages {
    pub(super) fn new(source: Source, found: Arc<Mutex<Found>>) -> Self {
        Self {
            source,
            position: 0,
            page: Vec::new(),
            at: 0,
            followed: 0,
            streams: BTreeMap::new(),
            moved: BTreeMap::new(),
            found,
        }
    }

    /// Makes `page` hold the byte at `position`, or nothing at the file's end.
    fn load(&mut self) -> IoResult<()> {
        if (self.at..self.at + self.page.len() as u64).contains(&self.position) {
            return Ok(());
        }
        self.at = self.position;
        self.page = match self.page_len()? {
            Some(len) => self.source.upto(self.at, len)?,
            None => self.source.upto(self.at, BLOCK_BYTES)?,
        };
        let is_next = self.at == self.followed;
        if self.page.starts_with(MARKER) {
            self.mend(is_next);
        } else {
            self.end_before_marker();
        }
        if is_next {
            self.followed += self.page.len() as u64;
        }
        Ok(())
    }

    /// What lies between pages ends where one begins.
    fn end_before_marker(&mut self) {
        let markers = self.page.windows(MARKER.len());
        let next = markers.clone().position(|bytes| bytes == MARKER);
        if let Some(next) = next {
            self.page.truncate(next);
        } else if self.page.len() as u64 == BLOCK_BYTES {
            // A marker may lie across this block's end.
            self.page.truncate(markers.len());
        }
    }

    /// Bytes of the page at `at`, if one begins there.
    fn page_len(&mut self) -> IoResult<Option<u64>> {
        let header = self.source.upto(self.at, HEADER_BYTES as u64 + 255)?;
        if !header.starts_with(MARKER) {
            return Ok(None);
        }
        let Some(segments) = segments(&header) else {
            return Ok(Some(header.len() as u64));
        };
        let body: u64 = segments.iter().map(|len| u64::from(*len)).sum();
        Ok(Some((HEADER_BYTES + segments.len()) as u64 + body))
    }

    /// Makes good what the library would stumble over in the page.
    fn mend(&mut self, is_next: bool) {
        let Some(page) = Page::read(&self.page) else {
            return;
        };
        let (serial, body) = (page.serial, page.body_at());
        let is_blanked = is_comments(&page);
        let is_whole =
            is_blanked || !is_next || self.page[CHECKSUM] == checksum(&self.page).to_le_bytes();
        if !is_whole {
            self.note_damage(serial);
            return;
        }
        let is_unknown = page.is_first && has_no_places(page.body);
        let position = match is_next {
            true => self.follow(),
            false => self.moved.get(&self.at).copied(),
        };
        if let Some(position) = position {
            self.page[POSITION].copy_from_slice(&position.to_le_bytes());
        }
        if is_blanked {
            self.page[body + OPUS_TAGS.len()..][..COUNT_BYTES].fill(0);
        }
        if is_unknown {
            let head = self.page[body..].to_vec();
            self.page[body + OPUS_CHANNELS] = head[OPUS_CHANNELS].min(2);
            self.page[body + OPUS_FAMILY] = 0;
            self.found().heads.insert(serial, head);
        }
        if is_blanked || is_unknown || position.is_some() {
            let sum = checksum(&self.page).to_le_bytes();
            self.page[CHECKSUM].copy_from_slice(&sum);
        }
    }

    /// Another position for the page, if its own contradicts those before.
    fn follow(&mut self) -> Option<u64> {
        let page = Page::read(&self.page)?;
        if page.is_first {
            self.streams.insert(page.serial, Positions::of(page.body));
        }
        let stream = self.streams.get_mut(&page.serial)?.as_mut()?;
        let position = stream.next(&page).filter(|next| *next != page.position)?;
        self.moved.insert(self.at, position);
        self.found().has_moved = true;
        Some(position)
    }

    /// Notes that the page is damaged, unless it belongs to a stream that is no audio.
    fn note_damage(&self, serial: u32) {
        if !matches!(self.streams.get(&serial), Some(None)) {
            self.found().damaged.get_or_insert(self.at);
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the length of the maker's name and of the count of comments. Both 0 are comments that
/// are none, behind which the format allows any bytes.
const COUNT_BYTES: usize = 8;

/// Whether an Opus stream's comments begin in a page.
fn is_comments(page: &Page<'_>) -> bool {
    page.body.starts_with(OPUS_TAGS) && page.first_packet >= OPUS_TAGS.len() + COUNT_BYTES
}

/// Whether a packet is a sound Opus header whose channels have no places.
fn has_no_places(packet: &[u8]) -> bool {
    OpusHead::read(packet).is_ok() && packet.get(OPUS_FAMILY) == Some(&NO_PLACES)
}

impl Read for Pages {
    fn read(&mut self, buf: &mut [u8]) -> IoResult<usize> {
        self.load()?;
        let from = (self.position - self.at) as usize;
        let bytes = self.page.get(from..).unwrap_or_default();
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Pages {
    fn seek(&mut self, to: SeekFrom) -> IoResult<u64> {
        self.position = sought(to, self.position, self.source.len())?;
        Ok(self.position)
    }
}

impl MediaSource for Pages {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.source.len())
    }
}
