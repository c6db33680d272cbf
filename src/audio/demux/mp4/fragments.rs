//! Fragments (`moof`): runs of samples that follow the tables of the header.

use std::collections::VecDeque;
use std::io::Result as IoResult;

use super::atoms::{Head, be32, be64, children, find};
use super::table::Piece;
use crate::audio::source::Source;

/// Most bytes of the header of one fragment.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// What fragments assume of a track's samples (`trex`).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Defaults {
    description: u32,
    duration: u32,
    size: u32,
}

impl Defaults {
    /// From the body of `mvex`, for one track.
    pub(super) fn read(extends: &[u8], track: u32) -> Self {
        let mut bodies = children(extends).filter(|(kind, _)| kind == b"trex");
        let found = bodies.find(|(_, body)| be32(body, 4) == Some(track));
        let field = |at| found.and_then(|(_, body)| be32(body, at)).unwrap_or(0);
        Self {
            description: field(8),
            duration: field(12),
            size: field(16),
        }
    }
}

/// The fragments of a file, one after another.
pub(super) struct Fragments {
    first: Option<u64>,
    at: u64,
    pieces: VecDeque<Piece>,
    /// Where the media that was handed out ends, once there was some.
    end_ticks: Option<i64>,
    /// A fragment passes the end of the file.
    pub(super) is_cut: bool,
}

impl Fragments {
    /// `first` is where the first fragment's head is.
    pub(super) fn new(first: Option<u64>) -> Self {
        Self {
            first,
            at: first.unwrap_or(0),
            pieces: VecDeque::new(),
            end_ticks: None,
            is_cut: false,
        }
    }

    pub(super) fn are_there(&self) -> bool {
        self.first.is_some()
    }

    pub(super) fn rewind(&mut self) {
        *self = Self::new(self.first);
    }

    /// The next piece of a track; its media goes on at `from` where nothing else is said.
    pub(super) fn next_piece(
        &mut self,
        source: &mut Source,
        track: u32,
        from: i64,
        defaults: &Defaults,
    ) -> IoResult<Option<Piece>> {
        while self.first.is_some() && self.pieces.is_empty() {
            let Some(head) = Head::read(source, self.at)? else {
                return Ok(None);
            };
            self.is_cut |= head.is_cut;
            if &head.kind == b"moof" {
                let size = (head.end - head.start).min(MAX_HEADER_BYTES);
                let body = source.upto(head.start, size)?;
                for (_, traf) in children(&body).filter(|(kind, _)| kind == b"traf") {
                    self.read(traf, self.at, track, from, defaults);
                }
            }
            self.at = head.end;
        }
        Ok(self.pieces.pop_front())
    }

    fn read(&mut self, traf: &[u8], moof: u64, track: u32, from: i64, defaults: &Defaults) {
        let Some(tfhd) = find(traf, *b"tfhd").filter(|body| be32(body, 4) == Some(track)) else {
            return;
        };
        let (base, defaults) = header(tfhd, moof, defaults);
        let given = find(traf, *b"tfdt").and_then(|body| match body.first() {
            Some(1) => be64(body, 4).map(u64::cast_signed),
            _ => be32(body, 4).map(i64::from),
        });
        let mut ticks = given.or(self.end_ticks).unwrap_or(from);
        let mut offset = base;
        for (_, run) in children(traf).filter(|(kind, _)| kind == b"trun") {
            offset = self.run(run, base, offset, &mut ticks, &defaults);
        }
        self.end_ticks = Some(ticks);
    }

    /// Adds the samples of a run; where the next one's bytes begin.
    fn run(
        &mut self,
        run: &[u8],
        base: u64,
        mut offset: u64,
        ticks: &mut i64,
        defaults: &Defaults,
    ) -> u64 {
        let flags = be32(run, 0).unwrap_or(0);
        let count = be32(run, 4).unwrap_or(0);
        let mut at = 8;
        if flags & 1 != 0 {
            let by = be32(run, at).unwrap_or(0).cast_signed();
            offset = base.saturating_add_signed(i64::from(by));
            at += 4;
        }
        at += if flags & 4 != 0 { 4 } else { 0 };
        let mut field = |bit: u32, default: u32| match flags & bit {
            0 => Some(default),
            _ => {
                at += 4;
                be32(run, at - 4)
            }
        };
        // Without a field of its own a sample costs no bytes here: then the file bounds them.
        let most = match flags & 0xf00 {
            0 => 1 << 20,
            _ => run.len() as u32,
        };
        for _ in 0..count.min(most) {
            let both = field(0x100, defaults.duration).zip(field(0x200, defaults.size));
            let rest = field(0x400, 0).zip(field(0x800, 0));
            let Some(((duration, size), _)) = both.zip(rest) else {
                break;
            };
            self.pieces.push_back(Piece {
                offset,
                bytes: u64::from(size),
                ticks: *ticks,
                duration: i64::from(duration),
                description: (defaults.description.max(1) - 1) as usize,
            });
            offset = offset.saturating_add(u64::from(size));
            *ticks = ticks.saturating_add(i64::from(duration));
        }
        offset
    }
}

/// Where the offsets of a fragment count from, and its own defaults.
fn header(tfhd: &[u8], moof: u64, defaults: &Defaults) -> (u64, Defaults) {
    let flags = be32(tfhd, 0).unwrap_or(0);
    let (mut at, mut base, mut defaults) = (8, moof, *defaults);
    if flags & 1 != 0 {
        base = be64(tfhd, at).unwrap_or(moof);
        at += 8;
    }
    for (bit, field) in [
        (2, &mut defaults.description),
        (8, &mut defaults.duration),
        (16, &mut defaults.size),
    ] {
        if flags & bit != 0 {
            *field = be32(tfhd, at).unwrap_or(*field);
            at += 4;
        }
    }
    (base, defaults)
}
