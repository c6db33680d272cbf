//! MPEG audio, layers 1 to 3: frames that follow one another, with tags before, between and behind.
//!
//! Several recordings joined to one file each have a header frame of their own (Xing, Info, VBRI)
//! with its own priming and padding; a count in it ends nothing while frames still come.

use std::collections::VecDeque;
use std::io::Result as IoResult;

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as codecs;

use super::{Change, Demuxer, Ending, Fault, Packet, Track, blocks};
use crate::audio::recognise;
use crate::audio::source::Source;

/// Frames read ahead, more than an encoder's padding (4,095 samples) can reach over.
const AHEAD: usize = 9;
/// Frames that the length of a file without a count is guessed from.
const GUESSED_FRAMES: u32 = 16;
/// Bytes that are searched at once for the next frame.
const SEARCH_BYTES: u64 = 64 << 10;
/// Bits of two headers in a row that differ only where the first is no audio; ffmpeg drops such a
/// first frame.
const SAME_STREAM: u32 = 0xfffe_0ccf;
/// The priming of a decoder, which the tag leaves out.
const DECODER_DELAY: u64 = 529;

const KBPS_1: [[u32; 14]; 3] = [
    [
        32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
    ],
    [
        32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
    ],
    [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ],
];
const KBPS_2: [[u32; 14]; 2] = [
    [
        32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
    ],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audio) struct Header {
    word: u32,
    layer: u32,
    rate: u32,
    channels: u32,
    is_version_1: bool,
    has_crc: bool,
    /// Samples of each channel in a frame.
    samples: u64,
    /// Bytes of the frame, header included.
    pub(in crate::audio) bytes: u64,
}

impl Header {
    /// Reads four bytes; `None` where they are no header, or one of a free bit rate.
    pub(in crate::audio) fn read(word: u32) -> Option<Self> {
        if word >> 21 != 0x7ff {
            return None;
        }
        let (version, layer) = (word >> 19 & 3, 4 - (word >> 17 & 3));
        let (bitrate, rate) = (word >> 12 & 15, word >> 10 & 3);
        if version == 1 || layer == 4 || bitrate == 15 || bitrate == 0 || rate == 3 {
            return None;
        }
        let is_version_1 = version == 3;
        let table = match is_version_1 {
            true => &KBPS_1[layer as usize - 1],
            false => &KBPS_2[usize::from(layer > 1)],
        };
        let bits = table[bitrate as usize - 1] * 1000;
        let halved = match version {
            3 => 1,
            2 => 2,
            _ => 4,
        };
        let rate = [44_100, 48_000, 32_000][rate as usize] / halved;
        let padding = word >> 9 & 1;
        let (samples, bytes) = match layer {
            1 => (384, (12 * bits / rate + padding) * 4),
            3 if !is_version_1 => (576, 72 * bits / rate + padding),
            _ => (1152, 144 * bits / rate + padding),
        };
        Some(Self {
            word,
            layer,
            rate,
            channels: if word >> 6 & 3 == 3 { 1 } else { 2 },
            is_version_1,
            has_crc: word >> 16 & 1 == 0,
            samples,
            bytes: u64::from(bytes),
        })
    }

    /// The header at an offset.
    pub(in crate::audio) fn at(source: &mut Source, offset: u64) -> IoResult<Option<Self>> {
        let word = source.array(offset)?.map(u32::from_be_bytes);
        Ok(word.and_then(Self::read))
    }

    /// Whether both belong to one stream: same version, layer, rate and channels.
    pub(in crate::audio) fn agrees(&self, other: &Self) -> bool {
        self.word >> 17 == other.word >> 17
            && self.rate == other.rate
            && self.channels == other.channels
    }

    pub(in crate::audio) fn params(&self) -> AudioCodecParameters {
        let codec = match self.layer {
            1 => codecs::CODEC_ID_MP1,
            2 => codecs::CODEC_ID_MP2,
            _ => codecs::CODEC_ID_MP3,
        };
        blocks::params(codec, self.rate, self.channels)
    }

    fn side_bytes(&self) -> usize {
        match (self.is_version_1, self.channels) {
            (true, 1) => 17,
            (true, _) => 32,
            (false, 1) => 9,
            (false, _) => 17,
        }
    }
}

/// One recording in the file, of several where they were joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Song {
    /// Frames that its header promises.
    promised: Option<u64>,
    /// Samples of priming and padding, where the header says so.
    delay: u64,
    padding: u64,
    is_gapless: bool,
    /// Frames handed out.
    done: u64,
}

enum Item {
    /// A header frame: what follows is another recording.
    Song(Song),
    Frame(Header, Vec<u8>),
    Lost(u64),
}

/// A stream of frames.
pub(in crate::audio) struct Mpeg {
    source: Source,
    container: &'static str,
    tracks: [Track; 1],
    at: u64,
    end: u64,
    ahead: VecDeque<Item>,
    has_ended: bool,
    /// The last frame's header, and the decoder's.
    last: Option<Header>,
    current: Option<Header>,
    song: Song,
    /// A new decoder is due, since another recording begins.
    is_new_song: bool,
    is_cut: bool,
}

impl Mpeg {
    /// Frames from `start` to `end` of a file, in a container or (`mp3`) in none.
    pub(in crate::audio) fn open(
        source: Source,
        start: u64,
        end: u64,
        container: &'static str,
    ) -> IoResult<Self> {
        let mut stream = Self {
            end: end.min(source.len()),
            source,
            container,
            tracks: [Track::default()],
            at: start,
            ahead: VecDeque::new(),
            has_ended: false,
            last: None,
            current: None,
            song: Song::default(),
            is_new_song: false,
            is_cut: false,
        };
        stream.fill()?;
        if let Some(Item::Song(song)) = stream.ahead.front() {
            stream.song = song.clone();
            stream.ahead.pop_front();
            stream.fill()?;
        }
        stream.describe(start);
        stream.drop_first();
        Ok(stream)
    }

    fn describe(&mut self, start: u64) {
        let headers: Vec<&Header> = self
            .ahead
            .iter()
            .filter_map(|item| match item {
                Item::Frame(header, _) => Some(header),
                _ => None,
            })
            .take(GUESSED_FRAMES as usize)
            .collect();
        let Some(first) = headers.first() else {
            let name = "MPEG audio".to_owned();
            self.tracks[0].codec = Some(name);
            return;
        };
        let song = &self.song;
        let mean = headers.iter().map(|header| header.bytes).sum::<u64>() / headers.len() as u64;
        let samples = match song.promised {
            Some(frames) => (frames * first.samples).saturating_sub(song.delay + song.padding),
            None => (self.end - start.min(self.end)) / mean.max(1) * first.samples,
        };
        let track = &mut self.tracks[0];
        track.params = first.params();
        track.duration_s = Some(samples as f64 / f64::from(first.rate));
        if self.container == "mp3" {
            self.container = match first.layer {
                1 => "mp1",
                2 => "mp2",
                _ => "mp3",
            };
        }
    }

    /// Drops the first frame where its header does not fit the second's: it is no audio.
    fn drop_first(&mut self) {
        let mut headers = self.ahead.iter().filter_map(|item| match item {
            Item::Frame(header, _) => Some(header.word),
            _ => None,
        });
        if let (Some(first), Some(second)) = (headers.next(), headers.next())
            && (first ^ second) & SAME_STREAM != 0
            && self.container == "mp3"
        {
            self.ahead.pop_front();
        }
    }

    fn fill(&mut self) -> IoResult<()> {
        while self.ahead.len() < AHEAD && !self.has_ended {
            match self.next_item()? {
                Some(item) => self.ahead.push_back(item),
                None => self.has_ended = true,
            }
        }
        Ok(())
    }

    fn next_item(&mut self) -> IoResult<Option<Item>> {
        let skipped = self.synchronise()?;
        if skipped > 0 && self.last.is_some() {
            self.last = None;
            return Ok(Some(Item::Lost(skipped)));
        }
        let Some(header) = self.header_at(self.at)? else {
            return Ok(None);
        };
        let data = self.source.upto(self.at, header.bytes)?;
        if (data.len() as u64) < header.bytes || self.at + header.bytes > self.end {
            return Ok(None);
        }
        self.at += header.bytes;
        self.last = Some(header);
        Ok(Some(match Song::read(&data, &header) {
            Some(song) => Item::Song(song),
            None => Item::Frame(header, data),
        }))
    }

    fn header_at(&mut self, at: u64) -> IoResult<Option<Header>> {
        match at + 4 <= self.end {
            true => Header::at(&mut self.source, at),
            false => Ok(None),
        }
    }

    /// Goes to the next frame; the bytes that were skipped and are no tag.
    fn synchronise(&mut self) -> IoResult<u64> {
        let mut skipped = 0;
        while self.at + 4 <= self.end && !self.is_frame(self.at)? {
            let tag = recognise::tag_bytes(&mut self.source, self.at)?;
            if tag > 0 {
                self.at = (self.at + tag).min(self.end);
                continue;
            }
            let bytes = self.source.upto(self.at + 1, SEARCH_BYTES)?;
            let found = bytes.windows(2).position(|pair| {
                pair[0] == 0xff && pair[1] >= 0xe0
                    || pair == b"ID"
                    || pair == b"TA"
                    || pair == b"AP"
            });
            let by = 1 + found.unwrap_or(bytes.len().saturating_sub(1).max(1)) as u64;
            self.at = (self.at + by).min(self.end);
            skipped += by;
        }
        Ok(skipped)
    }

    /// Whether a frame begins here: one that goes on as before, or that another follows.
    fn is_frame(&mut self, at: u64) -> IoResult<bool> {
        let Some(header) = self.header_at(at)? else {
            return Ok(false);
        };
        if self.last.is_some_and(|last| last.agrees(&header)) {
            return Ok(true);
        }
        let next = at + header.bytes;
        match self.header_at(next)? {
            Some(second) => Ok(header.agrees(&second)),
            None => Ok(next == self.end || recognise::tag_bytes(&mut self.source, next)? > 0),
        }
    }

    /// Samples of a frame to drop from its start and its end.
    fn trim(&self, header: &Header) -> (u64, u64) {
        let Song {
            promised,
            delay,
            padding,
            is_gapless,
            done,
        } = self.song;
        if !is_gapless {
            return (0, 0);
        }
        let (start, end) = (done * header.samples, (done + 1) * header.samples);
        let trim_start = delay.saturating_sub(start).min(header.samples);
        let is_frame = |item: &&Item| matches!(item, Item::Frame(..));
        let following = self.ahead.iter().take_while(is_frame).count();
        let ends_in_sight = following < self.ahead.len() || self.has_ended;
        let frames = done + 1 + following as u64;
        let trim_end = match promised {
            Some(promised) if ends_in_sight && frames <= promised => {
                end.saturating_sub((promised * header.samples).saturating_sub(padding))
            }
            _ => 0,
        };
        (trim_start, trim_end.min(header.samples - trim_start))
    }

    fn is_song_cut(&self) -> bool {
        let Song { promised, done, .. } = self.song;
        promised.is_some_and(|promised| done + 1 < promised)
    }
}

impl Demuxer for Mpeg {
    fn container(&self) -> &'static str {
        self.container
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, _: usize) {}

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            self.fill()?;
            match self.ahead.pop_front() {
                None => {
                    self.is_cut |= self.is_song_cut();
                    return Ok(None);
                }
                Some(Item::Lost(bytes)) => {
                    let what = format!("{bytes} bytes that are no MPEG audio");
                    return Err(Fault::Damaged(what));
                }
                Some(Item::Song(song)) => {
                    self.is_cut |= self.is_song_cut();
                    self.song = song;
                    self.is_new_song = true;
                }
                Some(Item::Frame(header, data)) => {
                    let is_same = self.current.is_none_or(|last| last.agrees(&header));
                    let is_new = std::mem::take(&mut self.is_new_song) || !is_same;
                    let (trim_start, trim_end) = self.trim(&header);
                    self.song.done += 1;
                    self.current = Some(header);
                    return Ok(Some(Packet {
                        data,
                        frames: header.samples,
                        trim_start,
                        trim_end,
                        change: is_new.then(|| {
                            Box::new(Change {
                                params: header.params(),
                                skip_frames: None,
                            })
                        }),
                        ..Packet::default()
                    }));
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

impl Song {
    /// What a header frame says; `None` for a frame of audio.
    fn read(frame: &[u8], header: &Header) -> Option<Self> {
        if header.layer != 3 {
            return None;
        }
        let side = 4 + header.side_bytes();
        let first = if header.has_crc { 6 } else { 4 };
        let is_silent = |to: usize| {
            frame
                .get(first..to)
                .is_some_and(|b| b.iter().all(|x| *x == 0))
        };
        match frame.get(side..side + 8) {
            Some([b'X', b'i', b'n', b'g', ..] | [b'I', b'n', b'f', b'o', ..])
                if is_silent(side) =>
            {
                return Self::xing(frame, side, header);
            }
            _ => {}
        }
        let vbri = frame.get(36..54)?;
        (vbri.starts_with(b"VBRI") && is_silent(36)).then(|| Self {
            promised: Some(u64::from(be32(vbri, 14))),
            ..Self::default()
        })
    }

    fn xing(frame: &[u8], side: usize, header: &Header) -> Option<Self> {
        let flags = be32(frame, side + 4);
        let mut at = side + 8;
        let promised = (flags & 1 != 0).then(|| u64::from(be32(frame, at)));
        for (bit, bytes) in [(1, 4), (2, 4), (4, 100), (8, 4)] {
            at += if flags & bit != 0 { bytes } else { 0 };
        }
        let mut song = Self {
            promised,
            ..Self::default()
        };
        let Some(tag) = frame.get(at..).filter(|tag| tag.len() >= 24) else {
            return Some(song);
        };
        let is_lame = tag.starts_with(b"LAME");
        let has_crc = tag.len() >= 36 && (header.has_crc || is_lame);
        let crc = if has_crc { be32(tag, 32) & 0xffff } else { 0 };
        song.is_gapless = crc == 0 || crc == u32::from(crc16(&frame[..at + 34]));
        if song.is_gapless && (is_lame || tag.starts_with(b"Lavf") || tag.starts_with(b"Lavc")) {
            let both = be32(tag, 20) & 0x00ff_ffff;
            song.delay = u64::from(both >> 12) + DECODER_DELAY;
            song.padding = u64::from(both & 0xfff).saturating_sub(DECODER_DELAY);
        }
        Some(song)
    }
}

/// CRC-16 of ANSI, low bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xa001 } else { 0 }
        })
    })
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let header = Header::read(0xfffb_9064).unwrap();
        assert_eq!(
            (header.rate, header.bytes, header.samples),
            (44_100, 417, 1152)
        );
        let header = Header::read(0xfff3_40c4).unwrap();
        assert_eq!(
            (header.rate, header.channels, header.samples),
            (22_050, 1, 576)
        );
        for word in [
            0xffff_ffff,
            0xfffb_f064,
            0xfffb_0064,
            0xffe8_9064,
            0x1234_5678,
        ] {
            assert_eq!(Header::read(word), None, "{word:x}");
        }
    }

    #[test]
    fn checksum() {
        assert_eq!(crc16(b"123456789"), 0xbb3d);
    }
}
