//! Where an Ogg stream's pages say that they end. A page that says so wrongly would cut the frames in
//! it, or those of every page behind it.

use super::page::Page;

/// More frames than any packet has.
const PACKET_FRAMES: u64 = 1 << 16;
/// Positions from here on are none: -1, and what comes before it.
const NO_POSITION: u64 = 1 << 62;

/// A codec, for what its headers begin with.
#[derive(Clone, Copy, Debug)]
enum Codec {
    Vorbis,
    Opus,
    Flac,
}

/// The positions of one stream, page by page.
#[derive(Debug)]
pub(super) struct Positions {
    codec: Codec,
    /// The position of the last page with audio, as the library sees it.
    last: Option<u64>,
    /// No page contradicted those before it.
    are_sound: bool,
}

impl Positions {
    /// Of the stream that begins with a packet; `None` if it is no audio.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let begins = [
            (b"\x01vorbis".as_slice(), Codec::Vorbis),
            (b"OpusHead", Codec::Opus),
            (b"\x7fFLAC", Codec::Flac),
        ];
        let found = begins.iter().find(|(first, _)| packet.starts_with(first));
        found.map(|(_, codec)| Self {
            codec: *codec,
            last: None,
            are_sound: true,
        })
    }

    /// The position for the next page; `None` where no frames end in it.
    pub(super) fn next(&mut self, page: &Page<'_>) -> Option<u64> {
        let is_audio = self.last.is_some() || !page.is_continued && !self.is_header(page.body);
        if page.packets == 0 || !is_audio {
            return None;
        }
        self.are_sound &= !self.contradicts(page);
        let position = match (self.are_sound, self.last) {
            (true, _) => page.position,
            // Nothing is cut from a stream's first page unless it is the last, too.
            (false, None) if !page.is_last => 0,
            (false, last) => last.unwrap_or(0) + page.packets * PACKET_FRAMES,
        };
        self.last = Some(position);
        Some(position)
    }

    /// Whether a page cannot end where it says. The last one may hold nothing but padding.
    fn contradicts(&self, page: &Page<'_>) -> bool {
        let Some(last) = self.last else {
            return page.position >= NO_POSITION || page.position == 0 && page.is_last;
        };
        let goes_on = page.position > last || page.position == last && page.is_last && last > 0;
        !goes_on || page.position >= NO_POSITION
    }

    fn is_header(&self, packet: &[u8]) -> bool {
        match self.codec {
            Codec::Vorbis => packet.first().is_some_and(|byte| byte & 1 == 1),
            Codec::Opus => packet.starts_with(b"Opus"),
            Codec::Flac => packet.first() != Some(&0xff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of pages of two packets of Vorbis each, the last one marked.
    fn after(positions: &[u64]) -> Vec<u64> {
        let mut stream = Positions::of(b"\x01vorbis").unwrap();
        let pages = positions.iter().enumerate();
        let next = |(at, position): (usize, &u64)| {
            let flags = if at + 1 == positions.len() { 4 } else { 0 };
            let mut bytes = b"OggS\0".to_vec();
            bytes.push(flags);
            bytes.extend(position.to_le_bytes());
            bytes.extend([0; 12]);
            bytes.extend([2, 1, 1, 0, 0]);
            stream.next(&Page::read(&bytes).unwrap()).unwrap()
        };
        pages.map(next).collect()
    }

    #[test]
    fn positions_that_contradict_themselves_cut_nothing() {
        const FAR: u64 = 2 * PACKET_FRAMES;
        assert_eq!(after(&[0, 500, 900, 1_000]), [0, 500, 900, 1_000]);
        assert_eq!(after(&[700, 900, 900]), [700, 900, 900]);
        assert_eq!(after(&[700, 900, 850]), [700, 900, 900 + FAR]);
        let none = u64::MAX;
        assert_eq!(after(&[0, 0, 0]), [0, FAR, 2 * FAR]);
        assert_eq!(after(&[0, 0]), [0, FAR]);
        assert_eq!(after(&[0]), [FAR]);
        assert_eq!(after(&[none, none, 900]), [0, FAR, 2 * FAR]);
        let back = [700, 900, 300, 500];
        assert_eq!(after(&back), [700, 900, 900 + FAR, 900 + 2 * FAR]);
    }

    #[test]
    fn headers_and_pages_without_an_end_have_no_position() {
        let mut bytes = b"OggS\0\0".to_vec();
        bytes.extend([0; 20]);
        let with = |segments: &[u8], body: &[u8]| {
            let head = [&bytes[..], &[segments.len() as u8], segments].concat();
            [&head[..], body].concat()
        };
        let mut stream = Positions::of(b"OpusHead").unwrap();
        for page in [with(&[8], b"OpusTags"), with(&[255], &[1; 255])] {
            assert_eq!(stream.next(&Page::read(&page).unwrap()), None);
        }
        assert_eq!(
            stream.next(&Page::read(&with(&[1], b"\x08")).unwrap()),
            Some(0)
        );
        assert!(Positions::of(b"\x80theora").is_none());
    }
}
