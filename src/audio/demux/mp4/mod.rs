//! MP4 and QuickTime: the tracks of `moov`, their tables of samples, their fragments, and the edit
//! list that says which stretches of the media are presented, and when.
//!
//! Of the compressed packet in which the last edit ends ffmpeg plays the whole, and so does this;
//! packets past it are not heard. Plain samples, and edits that others follow, are cut where they
//! say.

mod atoms;
mod edits;
mod entry;
mod fragments;
mod table;

use std::io::Result as IoResult;

use symphonia::core::codecs::audio::well_known as codecs;

use super::{Change, Demuxer, Ending, Fault, Packet, Track};
use crate::audio::source::Source;
use atoms::{Head, children, find};
use edits::Edits;
use entry::Entry;
use fragments::{Defaults, Fragments};
use table::{Piece, Table};

/// Atoms at the top of a file that are looked at.
const MAX_ATOMS: usize = 1 << 20;
/// Most bytes of the header.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Seconds of media before an edit that are decoded to get into step, and not heard.
const PREROLL_S: f64 = 1.0;

/// An MP4 or QuickTime file.
pub(in crate::audio) struct Mp4 {
    source: Source,
    tracks: Vec<Track>,
    media: Vec<Media>,
    chosen: usize,
    fragments: Fragments,
    /// A piece that was looked at and belongs to the next stretch.
    held: Option<Piece>,
    /// The description that the decoder was made for.
    description: usize,
    must_restart: bool,
    is_cut: bool,
    /// There is a second index, as of a file that was joined to this one.
    is_joined: bool,
}

/// What is needed to read one track.
struct Media {
    id: u32,
    timescale: u32,
    entries: Vec<Entry>,
    table: Table,
    edits: Edits,
    defaults: Defaults,
}

/// Opens an MP4 or QuickTime file; an error says what it lacks.
pub(in crate::audio) fn open(mut source: Source) -> IoResult<Result<Box<dyn Demuxer>, String>> {
    let (mut at, mut moov, mut first_fragment) = (0, None, None);
    let (mut is_cut, mut is_joined) = (false, false);
    for _ in 0..MAX_ATOMS {
        let Some(head) = Head::read(&mut source, at)? else {
            break;
        };
        is_cut |= head.is_cut;
        match &head.kind {
            b"moov" if moov.is_none() => {
                let size = (head.end - head.start).min(MAX_HEADER_BYTES);
                moov = Some(source.upto(head.start, size)?);
            }
            b"moov" => is_joined = true,
            b"moof" if first_fragment.is_none() => first_fragment = Some(at),
            _ => {}
        }
        if moov.is_some() && first_fragment.is_some() {
            break;
        }
        at = head.end;
    }
    let Some(moov) = moov else {
        return Ok(Err(
            "its index (moov) is missing; was it cut off?".to_owned()
        ));
    };
    if find(&moov, *b"cmov").is_some() {
        return Ok(Err("its index is compressed".to_owned()));
    }
    let fragments = Fragments::new(first_fragment);
    let mut mp4 = Mp4::new(source, &moov, fragments);
    (mp4.is_cut, mp4.is_joined) = (is_cut, is_joined);
    Ok(Ok(Box::new(mp4)))
}

impl Mp4 {
    fn new(source: Source, moov: &[u8], fragments: Fragments) -> Self {
        let movie = find(moov, *b"mvhd").map(atoms::times).unwrap_or_default();
        let extends = find(moov, *b"mvex").unwrap_or_default();
        let extended = find(extends, *b"mehd").map_or(0, atoms::extended_duration);
        let priming = edits::gapless_priming(moov);
        let mut mp4 = Self {
            source,
            tracks: Vec::new(),
            media: Vec::new(),
            chosen: 0,
            fragments,
            held: None,
            description: 0,
            must_restart: false,
            is_cut: false,
            is_joined: false,
        };
        for (_, trak) in children(moov).filter(|(kind, _)| kind == b"trak") {
            let Some((mut track, mut media)) = read_track(trak, movie.timescale, priming) else {
                continue;
            };
            media.defaults = Defaults::read(extends, media.id);
            if media.edits.is_blank() && extends.is_empty() {
                track.obstacle = Some("its edit list presents none of it".to_owned());
            }
            if media.table.is_empty() && !mp4.fragments.are_there() {
                let lack = "its table of samples is empty or cut off";
                track.obstacle = track.obstacle.or(Some(lack.to_owned()));
            }
            if mp4.fragments.are_there() && track.duration_s.is_none() {
                let ticks = extended.max(movie.duration);
                let seconds = ticks as f64 / f64::from(movie.timescale.max(1));
                track.duration_s = Some(seconds).filter(|seconds| *seconds > 0.0);
            }
            mp4.tracks.push(track);
            mp4.media.push(media);
        }
        mp4
    }

    /// The next piece of media that the file holds; of plain samples also a part of one.
    fn next_piece(&mut self) -> Result<Option<Piece>, Fault> {
        let Some(mut piece) = self.promised_piece()? else {
            return Ok(None);
        };
        let left = self.source.len().saturating_sub(piece.offset);
        if piece.bytes <= left {
            return Ok(Some(piece));
        }
        self.is_cut = true;
        let entries = &self.media[self.chosen].entries;
        let block = entries.get(piece.description).and_then(|entry| entry.block);
        let bytes = block.map_or(0, |block| left / block.bytes * block.bytes);
        piece.duration = (piece.duration as f64 * bytes as f64 / piece.bytes as f64) as i64;
        piece.bytes = bytes;
        Ok((bytes > 0).then_some(piece))
    }

    /// The next piece, from the table and then from the fragments.
    fn promised_piece(&mut self) -> Result<Option<Piece>, Fault> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let Some(media) = self.media.get_mut(self.chosen) else {
            return Ok(None);
        };
        if let Some(piece) = media.table.next_piece(&media.entries) {
            return Ok(Some(piece));
        }
        let (id, from) = (media.id, media.table.end_ticks());
        let found = self
            .fragments
            .next_piece(&mut self.source, id, from, &media.defaults)?;
        self.is_cut |= self.fragments.is_cut;
        Ok(found)
    }

    /// Reads a piece that the edit list presents, with the ticks to drop at both ends.
    fn packet(&mut self, piece: &Piece, start: i64, end: i64) -> Result<Option<Packet>, Fault> {
        let data = self.source.upto(piece.offset, piece.bytes)?;
        let media = &self.media[self.chosen];
        let entry = media.entries.get(piece.description);
        let params = entry.map(|entry| &entry.track.params);
        let rate = params.and_then(|params| params.sample_rate).unwrap_or(1);
        let frames = |ticks: i64| {
            let ticks = ticks.max(0) as f64 / f64::from(media.timescale);
            (ticks * f64::from(rate)).round() as u64
        };
        let is_new = piece.description != self.description || self.must_restart;
        self.description = piece.description;
        self.must_restart = false;
        let block = entry.and_then(|entry| entry.block);
        Ok(Some(Packet {
            data,
            frames: block.map_or(0, |block| piece.bytes / block.bytes * block.frames),
            at_s: Some(media.edits.presented_s(start.max(piece.ticks))),
            trim_start: match start >= piece.ticks + piece.duration {
                // Nothing says when a sample of this track is to be heard.
                true if piece.duration == 0 && !media.table.is_timed => 0,
                true => u64::MAX,
                false => frames(start - piece.ticks),
            },
            trim_end: match block.is_some() || !media.edits.is_last() {
                true => frames((piece.ticks + piece.duration).saturating_sub(end)),
                false => 0,
            },
            change: params.filter(|_| is_new).map(|params| {
                Box::new(Change {
                    params: params.clone(),
                    skip_frames: None,
                })
            }),
        }))
    }

    /// Goes to the next stretch of the edit list; false after the last one.
    fn next_stretch(&mut self, piece: Option<Piece>) -> bool {
        let timescale = f64::from(self.media[self.chosen].timescale);
        let media = &mut self.media[self.chosen];
        let Some(start) = media.edits.advance() else {
            return false;
        };
        let preroll = start.saturating_sub((PREROLL_S * timescale) as i64);
        let here = piece
            .as_ref()
            .map_or(media.table.end_ticks(), |piece| piece.ticks);
        if here > start {
            media.table.rewind();
            self.fragments.rewind();
            self.must_restart = true;
        } else {
            self.must_restart |= here < preroll;
            self.held = piece;
        }
        true
    }
}

/// A sound track, and its media; `None` for other tracks and ones without a clock.
fn read_track(trak: &[u8], movie_timescale: u32, priming: u64) -> Option<(Track, Media)> {
    let mdia = find(trak, *b"mdia")?;
    let minf = find(mdia, *b"minf").unwrap_or_default();
    let handler = find(mdia, *b"hdlr").and_then(|body| body.get(8..12));
    if handler != Some(b"soun") && find(minf, *b"smhd").is_none() {
        return None;
    }
    let mdhd = find(mdia, *b"mdhd")?;
    let times = atoms::times(mdhd);
    let stbl = find(minf, *b"stbl").unwrap_or_default();
    let entries: Vec<Entry> = find(stbl, *b"stsd").map(entry::read).unwrap_or_default();
    let mut track = match entries.first() {
        Some(entry) => entry.track.clone(),
        None => Track {
            codec: Some("its track".to_owned()),
            obstacle: Some("the codec is unknown".to_owned()),
            ..Track::default()
        },
    };
    let tkhd = find(trak, *b"tkhd").unwrap_or_default();
    let timescale = match times.timescale {
        0 => track.params.sample_rate.unwrap_or(1),
        timescale => timescale,
    };
    let list = find(trak, *b"edts").and_then(|edts| find(edts, *b"elst"));
    let priming = match track.params.codec {
        codecs::CODEC_ID_AAC => priming,
        _ => 0,
    };
    let edits = Edits::new(
        list.unwrap_or_default(),
        movie_timescale,
        timescale,
        priming,
    );
    let media_s = times.duration as f64 / f64::from(timescale);
    track.duration_s = Some(edits.duration_s().unwrap_or(media_s)).filter(|s| *s > 0.0);
    track.is_default = tkhd.get(3).is_none_or(|flags| flags & 1 == 1);
    track.language = atoms::language(mdhd);
    track.start_s = edits.delay_s();
    if edits.is_trivial() {
        track.skip_frames = entries.first().map_or(0, |entry| entry.pre_skip);
    }
    let media = Media {
        id: atoms::track_id(tkhd),
        timescale,
        table: Table::read(stbl),
        entries,
        edits,
        defaults: Defaults::default(),
    };
    Some((track, media))
}

impl Demuxer for Mp4 {
    fn container(&self) -> &'static str {
        "isomp4"
    }

    fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn select(&mut self, track: usize) {
        self.chosen = track;
        if let Some(media) = self.media.get_mut(track) {
            media.edits.advance();
        }
    }

    fn next_packet(&mut self) -> Result<Option<Packet>, Fault> {
        loop {
            let piece = self.next_piece()?;
            let Some(media) = self.media.get(self.chosen) else {
                return Ok(None);
            };
            let (start, end) = media.edits.stretch();
            let preroll = start.saturating_sub((PREROLL_S * f64::from(media.timescale)) as i64);
            match piece {
                Some(piece) if piece.ticks < end => {
                    if piece.ticks.saturating_add(piece.duration) > preroll {
                        return self.packet(&piece, start, end);
                    }
                    self.must_restart = true;
                }
                piece => {
                    if !self.next_stretch(piece) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn unheard(&self) -> Option<&'static str> {
        let what = "what is joined to its end has an index of its own and is not heard";
        self.is_joined.then_some(what)
    }

    fn ending(&self) -> Ending {
        match self.is_cut {
            true => Ending::CutShort,
            false => Ending::Whole,
        }
    }
}
