//! The edit list: which stretches of the media are presented, in which order, and when.

use super::atoms::{be32, be64};

/// Most entries that are read.
const MAX_ENTRIES: u32 = 4096;
/// What a long list of frames begins with, in iTunes' note on priming and padding.
const GAPLESS: &[u8] = b"iTunSMPB";
/// Bytes behind that name in which the note stands.
const GAPLESS_BYTES: usize = 96;

/// A stretch of media, in ticks, and when it is presented.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stretch {
    start: i64,
    end: i64,
    at_s: f64,
}

/// The stretches of one track; the current one is looked at, the next ones wait.
pub(super) struct Edits {
    stretches: Vec<Stretch>,
    next: usize,
    timescale: f64,
    /// Seconds presented in all, if the list says so.
    duration_s: Option<f64>,
    is_trivial: bool,
    is_blank: bool,
}

impl Edits {
    /// Reads the body of `elst`, empty where there is none; then `priming` ticks are skipped.
    pub(super) fn new(list: &[u8], movie_timescale: u32, timescale: u32, priming: u64) -> Self {
        let timescale = f64::from(timescale.max(1));
        let movie_timescale = f64::from(movie_timescale.max(1));
        let (mut stretches, mut at_s, mut is_open) = (Vec::new(), 0.0, false);
        for (duration, start) in entries(list) {
            let seconds = duration as f64 / movie_timescale;
            if start >= 0 {
                let ticks = (seconds * timescale).round() as i64;
                is_open |= duration == 0;
                let end = match duration {
                    0 => i64::MAX,
                    _ => start.saturating_add(ticks),
                };
                stretches.push(Stretch { start, end, at_s });
            }
            at_s += seconds;
        }
        let is_trivial = stretches.is_empty();
        let is_blank = is_trivial && at_s > 0.0;
        if is_trivial {
            stretches.push(Stretch {
                start: i64::try_from(priming).unwrap_or(0),
                end: i64::MAX,
                at_s,
            });
        }
        Self {
            stretches,
            next: 0,
            timescale,
            duration_s: (!is_trivial && !is_open).then_some(at_s),
            is_trivial: is_trivial && priming == 0,
            is_blank,
        }
    }

    /// Nothing is cut: what the codec says of priming counts.
    pub(super) fn is_trivial(&self) -> bool {
        self.is_trivial
    }

    /// There is a list, and nothing but pauses in it.
    pub(super) fn is_blank(&self) -> bool {
        self.is_blank
    }

    pub(super) fn duration_s(&self) -> Option<f64> {
        self.duration_s
    }

    /// Seconds before anything is presented.
    pub(super) fn delay_s(&self) -> f64 {
        self.stretches.first().map_or(0.0, |first| first.at_s)
    }

    /// Makes the next stretch the current one; the tick it starts at.
    pub(super) fn advance(&mut self) -> Option<i64> {
        let stretch = self.stretches.get(self.next)?;
        self.next += 1;
        Some(stretch.start)
    }

    fn current(&self) -> Stretch {
        self.stretches[self.next.saturating_sub(1)]
    }

    /// The first tick of the current stretch, and the one behind it.
    pub(super) fn stretch(&self) -> (i64, i64) {
        let Stretch { start, end, .. } = self.current();
        (start, end)
    }

    /// Whether nothing is presented behind the current stretch.
    pub(super) fn is_last(&self) -> bool {
        self.next >= self.stretches.len()
    }

    /// When a tick of the current stretch is presented.
    pub(super) fn presented_s(&self, tick: i64) -> f64 {
        let Stretch { start, at_s, .. } = self.current();
        at_s + tick.saturating_sub(start) as f64 / self.timescale
    }
}

/// Duration in the movie's ticks and start in the media's; -1 is a pause.
fn entries(list: &[u8]) -> Vec<(u64, i64)> {
    let is_wide = list.first() == Some(&1);
    let count = be32(list, 4).unwrap_or(0).min(MAX_ENTRIES) as usize;
    let entry = |i: usize| match is_wide {
        true => Some((
            be64(list, 8 + i * 20)?,
            be64(list, 16 + i * 20)?.cast_signed(),
        )),
        false => {
            let start = be32(list, 12 + i * 12)?.cast_signed();
            Some((u64::from(be32(list, 8 + i * 12)?), i64::from(start)))
        }
    };
    (0..count).map_while(entry).collect()
}

/// Samples of priming that iTunes' note names; 0 without one.
pub(super) fn gapless_priming(moov: &[u8]) -> u64 {
    let note = || {
        let at = moov.windows(GAPLESS.len()).position(|b| b == GAPLESS)?;
        let near = &moov[at..moov.len().min(at + GAPLESS_BYTES)];
        let data = near.windows(4).position(|bytes| bytes == b"data")?;
        let text = String::from_utf8_lossy(near.get(data + 12..)?);
        let priming = text.split_whitespace().nth(1)?;
        u64::from_str_radix(priming, 16).ok()
    };
    note().filter(|samples| *samples < 1 << 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u32, i32)]) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend((entries.len() as u32).to_be_bytes());
        for (duration, start) in entries {
            bytes.extend(duration.to_be_bytes());
            bytes.extend(start.to_be_bytes());
            bytes.extend([0, 1, 0, 0]);
        }
        bytes
    }

    #[test]
    fn stretches_and_pauses() {
        let bytes = list(&[(500, -1), (1000, 1024), (250, -1), (2000, 0)]);
        let mut edits = Edits::new(&bytes, 1000, 48_000, 0);
        assert_eq!((edits.delay_s(), edits.duration_s()), (0.5, Some(3.75)));
        assert_eq!(edits.advance(), Some(1024));
        assert_eq!(edits.stretch(), (1024, 49_024));
        assert_eq!(edits.presented_s(1024 + 24_000), 1.0);
        assert_eq!(edits.advance(), Some(0));
        assert_eq!((edits.stretch(), edits.presented_s(0)), ((0, 96_000), 1.75));
        assert_eq!(edits.advance(), None);
        let blank = |entries: &[_]| Edits::new(&list(entries), 1000, 48_000, 0).is_blank();
        assert!(blank(&[(500, -1)]) && !edits.is_blank());
        assert!(!blank(&[(0, -1)]) && !blank(&[]));
    }

    #[test]
    fn without_an_end_or_a_list() {
        let mut edits = Edits::new(&list(&[(0, 2112)]), 1000, 44_100, 0);
        edits.advance();
        assert_eq!(
            (edits.stretch(), edits.duration_s()),
            ((2112, i64::MAX), None)
        );
        let mut edits = Edits::new(&[], 1000, 44_100, 2112);
        edits.advance();
        assert_eq!(edits.stretch().0, 2112);
        assert!(!edits.is_trivial() && Edits::new(&[], 1, 1, 0).is_trivial());
        assert!(entries(&list(&[(1, 1)])[..15]).is_empty());
    }

    #[test]
    fn the_note_on_priming() {
        let mut note = b"....iTunSMPB\0\0\0\x84data\0\0\0\x01\0\0\0\0".to_vec();
        note.extend(b" 00000000 00000840 000001CA 00000000003F31F6 00000000");
        assert_eq!(gapless_priming(&note), 2112);
        assert_eq!(gapless_priming(b"iTunSMPBdata"), 0);
    }
}
