//! Where nobody speaks, as places for cuts.

use std::ops::Range;

use super::speech::Speech;
use crate::dims::N_FRAMES;

/// A pause this long is one between sentences; a longer one is no better place for a cut.
const SENTENCE_FRAMES: usize = 60;
/// Where a window may end, counted from its start: late if it can, so that there are few windows. The first of
/// these that has a pause is taken.
const ENDS: [Range<usize>; 3] = [2200..N_FRAMES, 1000..2200, 200..1000];
/// The last window of several is at least this long, if there is a pause for that.
const LEAST_LAST_FRAMES: usize = 300;

/// Pauses in order; none overlaps another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(Vec<Pause>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pause {
    frames: Range<usize>,
    /// How long it is in the recording, which may have had more of it.
    length: usize,
}

impl Pauses {
    /// What is between the speech of `frames` frames; at `joints` a longer pause was cut out.
    #[must_use]
    pub fn between(voiced: &Speech, frames: usize, joints: &[usize]) -> Self {
        let starts = std::iter::once(0).chain(voiced.spans().iter().map(|span| span.end));
        let ends = voiced.spans().iter().map(|span| span.start);
        let gaps = starts.zip(ends.chain([frames]));
        let gaps = gaps.filter(|(start, end)| start < end);
        let mut pauses: Vec<Pause> = gaps
            .map(|(start, end)| Pause {
                frames: start..end,
                length: end - start,
            })
            .collect();
        for &joint in joints {
            let at = pauses.partition_point(|pause| pause.frames.end < joint);
            match pauses
                .get_mut(at)
                .filter(|pause| pause.frames.start <= joint)
            {
                Some(pause) => pause.length = pause.length.max(SENTENCE_FRAMES),
                None => pauses.insert(
                    at,
                    Pause {
                        frames: joint..joint,
                        length: SENTENCE_FRAMES,
                    },
                ),
            }
        }
        Self(pauses)
    }

    /// The middle of the longest pause in a range, as far as it lies there; of equally long ones that of the last.
    fn longest(&self, range: Range<usize>) -> Option<usize> {
        let first = self
            .0
            .partition_point(|pause| pause.frames.end < range.start);
        let inside = self.0[first..]
            .iter()
            .take_while(|pause| pause.frames.start <= range.end);
        let best = inside.max_by_key(|pause| pause.length.min(SENTENCE_FRAMES))?;
        let (start, end) = (
            best.frames.start.max(range.start),
            best.frames.end.min(range.end),
        );
        Some((start + end) / 2)
    }

    /// Where a window from `start` on ends, if what is left up to `end` is more than one window.
    pub fn window_end(&self, start: usize, end: usize) -> Option<usize> {
        let latest = end.saturating_sub(LEAST_LAST_FRAMES);
        ENDS.iter().find_map(|ends| {
            let (from, to) = (start + ends.start, (start + ends.end).min(latest));
            (from <= to).then(|| self.longest(from..to))?
        })
    }
}
