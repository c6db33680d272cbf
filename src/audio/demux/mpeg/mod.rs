//! MPEG audio, layers 1 to 3: frames that follow one another, with tags before, between and behind.
//!
//! Several recordings joined to one file each have a header frame of their own (Xing, Info, VBRI)
//! with its own priming and padding; a count in it ends nothing while frames still come.

mod header;
mod song;

use std::collections::VecDeque;
use std::io::Result as IoResult;

use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::source::Source;
use crate::audio::tags::tag_bytes;
pub(in crate::audio) use header::Header;
use song::Song;

/// Frames read ahead, more than an encoder's padding (4,095 samples) can reach over.
const AHEAD: usize = 9;
/// Frames that the length of a file without a count is guessed from.
const GUESSED_FRAMES: u32 = 16;
/// Bytes that are searched at once for the next frame.
const SEARCH_BYTES: u64 = 64 << 10;
/// Bits of two headers in a row that differ only where the first is no audio; ffmpeg drops such a
/// first frame.
const SAME_STREAM: u32 = 0xfffe_0ccf;

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
        track.obstacle = first.obstacle();
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
            let tag = tag_bytes(&mut self.source, self.at)?;
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
            None => Ok(next == self.end || tag_bytes(&mut self.source, next)? > 0),
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
                    if let Some(reason) = header.obstacle().filter(|_| is_new) {
                        let codec = "MP2".to_owned();
                        return Err(Fault::Undecodable { codec, reason });
                    }
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
