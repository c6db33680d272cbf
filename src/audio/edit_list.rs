//! Which part of an MP4 audio track is to be heard: its edit list, which the demuxer leaves out.
//!
//! Encoders put priming samples in front and padding behind; the edit list says how much.

use std::collections::HashMap;
use std::io::{Read, Result as IoResult, Seek, SeekFrom};

/// Atoms looked at before a file is given up as hostile.
const MAX_ATOMS: usize = 4096;
/// Most edit list entries read of one track.
const MAX_ENTRIES: u32 = 64;

/// The part of a track's media that is presented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edit {
    /// Seconds of silence before the media begins.
    pub(super) delay_s: f64,
    /// Seconds of media that are skipped.
    pub(super) skip_s: f64,
}

/// The edits of all tracks, by track id; empty for anything but an MP4 file.
pub(super) fn read<S: Read + Seek>(source: &mut S, len: u64) -> HashMap<u32, Edit> {
    let mut scan = Scan {
        source,
        atoms_left: MAX_ATOMS,
    };
    let edits = scan.movie(len).unwrap_or_default();
    // What the demuxer makes of an unreadable file decides; a failed rewind shows up there too.
    let _ = scan.source.rewind();
    edits
}

struct Scan<'s, S> {
    source: &'s mut S,
    atoms_left: usize,
}

#[derive(Clone, Copy)]
struct Atom {
    kind: [u8; 4],
    start: u64,
    end: u64,
}

#[derive(Default)]
struct TrackTimes {
    id: u32,
    timescale: u32,
    entries: Vec<(u64, i64)>,
}

impl<S: Read + Seek> Scan<'_, S> {
    fn movie(&mut self, len: u64) -> IoResult<HashMap<u32, Edit>> {
        let top = self.atoms(0, len)?;
        if top.first().is_none_or(|atom| atom.kind != *b"ftyp") {
            return Ok(HashMap::new());
        }
        let Some(moov) = top.iter().find(|atom| atom.kind == *b"moov") else {
            return Ok(HashMap::new());
        };
        let (mut movie_timescale, mut tracks) = (0, Vec::new());
        for atom in self.atoms(moov.start, moov.end)? {
            match &atom.kind {
                b"mvhd" => movie_timescale = self.timescale(atom)?,
                b"trak" => {
                    let mut track = TrackTimes::default();
                    self.track(atom, &mut track)?;
                    tracks.push(track);
                }
                _ => {}
            }
        }
        Ok(tracks
            .iter()
            .filter_map(|t| Some((t.id, t.edit(movie_timescale)?)))
            .collect())
    }

    fn track(&mut self, parent: Atom, track: &mut TrackTimes) -> IoResult<()> {
        for atom in self.atoms(parent.start, parent.end)? {
            match &atom.kind {
                b"mdia" | b"edts" => self.track(atom, track)?,
                b"tkhd" => track.id = self.number_after_times(atom)?,
                b"mdhd" => track.timescale = self.timescale(atom)?,
                b"elst" => track.entries = self.entries(atom)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The headers of all atoms in a range; one that overruns it ends the list.
    fn atoms(&mut self, mut at: u64, end: u64) -> IoResult<Vec<Atom>> {
        let mut atoms = Vec::new();
        while at + 8 <= end && self.atoms_left > 0 {
            self.atoms_left -= 1;
            self.source.seek(SeekFrom::Start(at))?;
            let size = u64::from(self.u32()?);
            let kind = self.bytes::<4>()?;
            let (start, size) = match size {
                0 => (at + 8, end - at),
                1 => (at + 16, self.u64()?),
                size => (at + 8, size),
            };
            let Some(next) = at
                .checked_add(size)
                .filter(|&next| next >= start && next <= end)
            else {
                break;
            };
            atoms.push(Atom {
                kind,
                start,
                end: next,
            });
            at = next;
        }
        Ok(atoms)
    }

    fn timescale(&mut self, atom: Atom) -> IoResult<u32> {
        self.number_after_times(atom)
    }

    /// The field after the creation and modification times of `mvhd`, `mdhd` and `tkhd`.
    fn number_after_times(&mut self, atom: Atom) -> IoResult<u32> {
        self.source.seek(SeekFrom::Start(atom.start))?;
        let is_wide = self.u32()? >> 24 == 1;
        self.source
            .seek(SeekFrom::Start(atom.start + if is_wide { 20 } else { 12 }))?;
        self.u32()
    }

    fn entries(&mut self, atom: Atom) -> IoResult<Vec<(u64, i64)>> {
        self.source.seek(SeekFrom::Start(atom.start))?;
        let is_wide = self.u32()? >> 24 == 1;
        let count = self.u32()?.min(MAX_ENTRIES);
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(if is_wide {
                (self.u64()?, self.u64()?.cast_signed())
            } else {
                (u64::from(self.u32()?), i64::from(self.u32()?.cast_signed()))
            });
            let _rate = self.u32()?;
        }
        Ok(entries)
    }

    fn bytes<const N: usize>(&mut self) -> IoResult<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> IoResult<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> IoResult<u64> {
        self.bytes().map(u64::from_be_bytes)
    }
}

impl TrackTimes {
    /// Empty edits (media time -1) delay the track; the first real one says where it starts.
    fn edit(&self, movie_timescale: u32) -> Option<Edit> {
        let first = self
            .entries
            .iter()
            .find(|(_, media_time)| *media_time >= 0)?;
        if self.timescale == 0 {
            return None;
        }
        let empty: u64 = self
            .entries
            .iter()
            .take_while(|(_, media_time)| *media_time < 0)
            .fold(0, |sum, (duration, _)| sum.saturating_add(*duration));
        Some(Edit {
            delay_s: empty as f64 / f64::from(movie_timescale.max(1)),
            skip_s: first.1 as f64 / f64::from(self.timescale),
        })
    }
}
