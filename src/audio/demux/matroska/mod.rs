//! Matroska and WebM. The file is read as one flat row of elements, so that segments and clusters
//! of unknown size (live streams) are read like others, and one that is cut off ends early.

mod ebml;
mod tracks;

use std::collections::VecDeque;
use std::io::Result as IoResult;

use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::source::Source;
use ebml::{Head, find, float, number, signed, unsigned};
use tracks::Media;

const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_a966;
const TRACKS: u32 = 0x1654_ae6b;
const CLUSTER: u32 = 0x1f43_b675;
const TIMESTAMP: u32 = 0xe7;
const SIMPLE_BLOCK: u32 = 0xa3;
const BLOCK_GROUP: u32 = 0xa0;
const BLOCK: u32 = 0xa1;
const DISCARD_PADDING: u32 = 0x75a2;
/// Most bytes of an element that is read as a whole.
const MAX_ELEMENT_BYTES: u64 = 256 << 20;
/// Bytes that are searched at once for the next cluster behind damage.
const SEARCH_BYTES: u64 = 1 << 20;
/// Elements looked at on the way to the tracks.
const MAX_ELEMENTS: usize = 1 << 20;
/// Most frames in a block.
const MAX_LACES: usize = 256;

/// A Matroska file.
pub(in crate::audio) struct Matroska {
    source: Source,
    tracks: Vec<Track>,
    media: Vec<Media>,
    chosen: usize,
    at: u64,
    /// Nanoseconds of a tick, and the ticks at which the current cluster begins.
    tick_ns: u64,
    cluster: u64,
    /// Those of the first cluster: what was cut out of a longer stream begins late.
    origin: Option<u64>,
    packets: VecDeque<Packet>,
    /// Parameters since another segment began.
    change: Option<Box<Change>>,
    is_damaged: bool,
    is_cut: bool,
}

/// Opens a Matroska file; an error says what it lacks.
pub(in crate::audio) fn open(source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let mut file = Matroska {
        source,
        tracks: Vec::new(),
        media: Vec::new(),
        chosen: 0,
        at: 0,
        tick_ns: 1_000_000,
        cluster: 0,
        origin: None,
        packets: VecDeque::new(),
        change: None,
        is_damaged: false,
        is_cut: false,
    };
    let (mut duration, mut first_cluster) = (None, None);
    let mut has_tracks = false;
    for _ in 0..MAX_ELEMENTS {
        let Some(head) = Head::read(&mut file.source, file.at)?.filter(|head| head.id != 0) else {
            break;
        };
        match head.id {
            SEGMENT => {
                file.at = head.start;
                file.mark_cut(&head);
                continue;
            }
            INFO => {
                let body = file.body(&head)?;
                file.tick_ns = find(&body, 0x2ad7b1).map_or(1_000_000, unsigned).max(1);
                duration = find(&body, 0x4489).map(float);
            }
            TRACKS => {
                let body = file.body(&head)?;
                (file.tracks, file.media) = tracks::read(&body).into_iter().unzip();
                has_tracks = true;
            }
            CLUSTER => first_cluster = first_cluster.or(Some(file.at)),
            _ => {}
        }
        if has_tracks && first_cluster.is_some() {
            break;
        }
        match head.size {
            Some(size) => file.at = head.start.saturating_add(size),
            None => file.at = head.start,
        }
    }
    if !has_tracks {
        return Ok(Err("it ends before its tracks are described".to_owned()));
    }
    // Without one the row was broken off, and is searched from there.
    file.at = first_cluster.unwrap_or(file.at);
    let seconds = duration.map(|ticks| ticks * file.tick_ns as f64 / 1e9);
    for track in &mut file.tracks {
        track.duration_s = seconds.filter(|s| s.is_finite() && *s > 0.0);
    }
    Ok(Ok(Box::new(file)))
}

impl Matroska {
    fn body(&mut self, head: &Head) -> IoResult<Vec<u8>> {
        self.mark_cut(head);
        let size = head.size.unwrap_or(u64::MAX).min(MAX_ELEMENT_BYTES);
        self.source.upto(head.start, size)
    }

    fn mark_cut(&mut self, head: &Head) {
        let end = head.size.map(|size| head.start.saturating_add(size));
        self.is_cut |= end.is_some_and(|end| end > self.source.len());
    }

    /// Reads the next element of the row; false at the end.
    fn step(&mut self) -> Result<bool, Fault> {
        let Some(head) = Head::read(&mut self.source, self.at)? else {
            return Ok(false);
        };
        let is_known = matches!(
            head.id,
            EBML | SEGMENT | INFO | TRACKS | CLUSTER | TIMESTAMP | SIMPLE_BLOCK | BLOCK_GROUP
        );
        if head.id == 0 || (head.size.is_none() && !matches!(head.id, SEGMENT | CLUSTER)) {
            return self.search();
        }
        let size = head.size.unwrap_or(0);
        match head.id {
            SEGMENT | CLUSTER => {
                self.mark_cut(&head);
                self.at = head.start;
                return Ok(true);
            }
            TIMESTAMP => self.cluster = unsigned(&self.body(&head)?),
            SIMPLE_BLOCK => self.block_element(&head, false)?,
            BLOCK_GROUP => self.block_element(&head, true)?,
            INFO => {
                let body = self.body(&head)?;
                self.tick_ns = find(&body, 0x2ad7b1).map_or(1_000_000, unsigned).max(1);
            }
            TRACKS => {
                let body = self.body(&head)?;
                self.restart(&body);
            }
            _ => {}
        }
        let end = head.start.saturating_add(size);
        if end > self.source.len() {
            // A damaged size, unless it is the last element of a file that was cut off.
            self.is_cut = true;
            if !is_known {
                return self.search();
            }
        }
        self.at = end;
        Ok(true)
    }

    fn block_element(&mut self, head: &Head, is_group: bool) -> Result<(), Fault> {
        let body = self.body(head)?;
        if (body.len() as u64) < head.size.unwrap_or(0) {
            return Ok(());
        }
        match is_group {
            false => self.block(&body, 0),
            true => {
                let padding = find(&body, DISCARD_PADDING).map_or(0, signed);
                find(&body, BLOCK).map_or(Ok(()), |block| self.block(block, padding))
            }
        }
    }

    /// Goes to the next cluster behind bytes that are no element.
    fn search(&mut self) -> Result<bool, Fault> {
        let from = self.at + 1;
        let mut at = from;
        loop {
            let bytes = self.source.upto(at, SEARCH_BYTES)?;
            if bytes.len() < 4 {
                self.at = self.source.len();
                return Ok(false);
            }
            let found = bytes.windows(4).position(|b| b == CLUSTER.to_be_bytes());
            if let Some(found) = found {
                self.at = at + found as u64;
                self.is_damaged = true;
                return Ok(true);
            }
            at += bytes.len() as u64 - 3;
        }
    }

    /// Another segment describes its tracks: the one of the same number goes on.
    fn restart(&mut self, body: &[u8]) {
        let Some(number) = self.media.get(self.chosen).map(|media| media.number) else {
            return;
        };
        let mut found = tracks::read(body).into_iter();
        if let Some((track, media)) = found.find(|(_, media)| media.number == number) {
            self.media[self.chosen] = media;
            self.change = Some(Box::new(Change {
                params: track.params,
                skip_frames: Some(track.skip_frames),
            }));
        }
    }

    /// Puts the packets of a block of the chosen track in the queue; `padding` nanoseconds of the
    /// last (or, below 0, of the first) are to be dropped.
    fn block(&mut self, block: &[u8], padding: i64) -> Result<(), Fault> {
        let origin = *self.origin.get_or_insert(self.cluster);
        let Some(media) = self.media.get(self.chosen) else {
            return Ok(());
        };
        let Some((Some(track), length)) = number(block) else {
            return Ok(());
        };
        if track != media.number {
            return Ok(());
        }
        let Some([high, low, flags]) = block.get(length..length + 3) else {
            return Ok(());
        };
        let ticks = i64::from(i16::from_be_bytes([*high, *low]));
        let ticks = self.cluster.saturating_add_signed(ticks);
        let at_s = ticks.saturating_sub(origin) as f64 * self.tick_ns as f64 / 1e9;
        let damaged = || Fault::Damaged("a block whose frames make no sense".to_owned());
        let frames = laces(&block[length + 3..], flags >> 1 & 3).ok_or_else(damaged)?;
        let rate = self.tracks[self.chosen].params.sample_rate.unwrap_or(0);
        let dropped = (padding.unsigned_abs() as f64 * f64::from(rate) / 1e9).round() as u64;
        let last = frames.len().saturating_sub(1);
        for (i, frame) in frames.into_iter().enumerate() {
            let mut data = frame.to_vec();
            for packing in &media.packings {
                data = packing.unpack(data).map_err(Fault::Damaged)?;
            }
            let blocks = media.block.filter(|block| block.bytes > 0);
            let of_blocks = blocks.map_or(0, |b| data.len() as u64 / b.bytes * b.frames);
            self.packets.push_back(Packet {
                frames: of_blocks,
                at_s: (i == 0).then_some(at_s),
                trim_start: if padding < 0 && i == 0 { dropped } else { 0 },
                trim_end: if padding > 0 && i == last { dropped } else { 0 },
                change: self.change.take(),
                data,
            });
        }
        Ok(())
    }
}

/// The frames of a block by its way of lacing: none, Xiph's, all of one size, EBML's.
fn laces(body: &[u8], way: u8) -> Option<Vec<&[u8]>> {
    if way == 0 {
        return Some(vec![body]);
    }
    let (count, mut rest) = body.split_first()?;
    let count = usize::from(*count) + 1;
    debug_assert!(count <= MAX_LACES);
    let mut sizes: Vec<usize> = Vec::new();
    match way {
        1 => {
            for _ in 1..count {
                let mut size = 0;
                loop {
                    let (byte, next) = rest.split_first()?;
                    rest = next;
                    size += usize::from(*byte);
                    if *byte != 255 {
                        break;
                    }
                }
                sizes.push(size);
            }
        }
        2 => sizes = vec![rest.len() / count; count - 1],
        _ => {
            let mut size = 0i64;
            for i in 1..count {
                let (value, length) = number(rest)?;
                let value = value?;
                rest = &rest[length..];
                size = match i {
                    1 => i64::try_from(value).ok()?,
                    // Differences are written above the middle of what their bytes can hold.
                    _ => size.checked_add(
                        i64::try_from(value).ok()? - ((1i64 << (7 * length - 1)) - 1),
                    )?,
                };
                sizes.push(usize::try_from(size).ok()?);
            }
        }
    }
    let mut frames = Vec::new();
    for size in sizes {
        let (frame, next) = rest.split_at_checked(size)?;
        frames.push(frame);
        rest = next;
    }
    frames.push(rest);
    Some(frames)
}

impl Demuxer for Matroska {
    fn container(&self) -> &'static str {
        "matroska"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, track: usize) {
        self.chosen = track;
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(packet));
            }
            if std::mem::take(&mut self.is_damaged) {
                return Err(Fault::Damaged("bytes that are no Matroska".to_owned()));
            }
            let before = self.at;
            match self.step() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(fault) => {
                    // The element that failed is left behind.
                    if self.at == before {
                        let head = Head::read(&mut self.source, before)?;
                        let end = head.map(|h| h.start.saturating_add(h.size.unwrap_or(1)));
                        self.at = end.unwrap_or(before + 1);
                    }
                    return Err(fault);
                }
            }
        }
    }

    fn ending(&self) -> Ending {
        match self.is_cut {
            true => Ending::CutShort,
            false => Ending::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ebml::children;
    use super::*;

    #[test]
    fn ways_of_lacing() {
        let frames = |way, body: &[u8]| {
            laces(body, way).map(|f| f.iter().map(|x| x.len()).collect::<Vec<_>>())
        };
        assert_eq!(frames(0, &[1, 2]), Some(vec![2]));
        assert_eq!(frames(1, &[2, 1, 2, 9, 9, 9, 9, 9]), Some(vec![1, 2, 2]));
        assert_eq!(frames(2, &[1, 9, 9, 9, 9]), Some(vec![2, 2]));
        // 2 bytes, then one more than that, then the rest.
        assert_eq!(
            frames(3, &[2, 0x82, 0xc0, 9, 9, 9, 9, 9, 9]),
            Some(vec![2, 3, 1])
        );
        assert_eq!(frames(1, &[2, 9, 9]), None);
        assert_eq!(frames(3, &[1, 0x00]), None);
        let body = [0xa1, 0x81, 7];
        assert_eq!(children(&body).next(), Some((BLOCK, &[7][..])));
    }
}
