//! Where nobody speaks, as places for cuts: speech is packed into windows that end in a pause.

use std::ops::Range;

use super::content::Content;
use super::cuts::quiet_window_end;
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
    fn window_end(&self, start: usize, end: usize) -> Option<usize> {
        let latest = end.saturating_sub(LEAST_LAST_FRAMES);
        ENDS.iter().find_map(|ends| {
            let (from, to) = (start + ends.start, (start + ends.end).min(latest));
            (from <= to).then(|| self.longest(from..to))?
        })
    }
}

/// The windows of a clip, in order: from speech to a pause, 30 s at most each. Only where somebody speaks for longer
/// without any pause a cut lies in speech, where it is quietest.
#[must_use]
pub(super) fn windows_of_speech(
    clip: Range<usize>,
    content: &Content,
    pauses: &Pauses,
    loudness: &[f32],
) -> Vec<Range<usize>> {
    let mut windows = Vec::new();
    let mut start = clip.start;
    while let Some(left) = content.spoken(start..clip.end) {
        let end = match left.len() <= N_FRAMES {
            true => left.end,
            false => pauses
                .window_end(left.start, left.end)
                .unwrap_or_else(|| quiet_window_end(&left, loudness)),
        };
        windows.extend(content.spoken(left.start..end));
        start = end;
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(spans: &[(usize, usize)], frames: usize) -> Speech {
        let samples: Vec<_> = spans.iter().map(|(a, b)| a * 160..b * 160).collect();
        Speech::of_samples(&samples, frames)
    }

    fn windows(spans: &[(usize, usize)], frames: usize, joints: &[usize]) -> Vec<Range<usize>> {
        let pauses = Pauses::between(&speech(spans, frames), frames, joints);
        windows_of_speech(0..frames, &frames.into(), &pauses, &vec![0.0; frames])
    }

    #[test]
    fn windows_end_in_the_last_long_pause() {
        // Pauses of 0.4, 0.8, 0.7 and 0.2 s: the third is a sentence's end and the last such.
        let spans = [
            (0, 2250),
            (2290, 2500),
            (2580, 2700),
            (2770, 2900),
            (2920, 6000),
        ];
        assert_eq!(windows(&spans, 6000, &[])[0], 0..2735);
        // The 0.4 s are all there is.
        let spans = [(0, 2250), (2290, 2950), (2960, 5000)];
        assert_eq!(windows(&spans, 5000, &[]), [0..2270, 2270..5000]);
        // An early one rather than none.
        let spans = [(0, 400), (430, 5000)];
        assert_eq!(windows(&spans, 3400, &[]), [0..415, 415..3400]);
        let one = windows(&[(0, 3000)], 3000, &[]);
        assert_eq!((one.len(), one[0].clone()), (1, 0..3000));
    }

    #[test]
    fn where_silence_was_cut_out_is_a_pause() {
        assert_eq!(windows(&[(0, 5000)], 5000, &[2400]), [0..2400, 2400..5000]);
        // Rather than in the 0.4 s behind it.
        let spans = [(0, 2500), (2540, 5000)];
        assert_eq!(windows(&spans, 5000, &[2400]), [0..2400, 2400..5000]);
    }

    #[test]
    fn speech_without_a_pause_is_cut_where_it_is_quiet() {
        let pauses = Pauses::between(&speech(&[(0, 9000)], 9000), 9000, &[]);
        let mut loudness = vec![0.0; 9000];
        loudness[2500..2600].fill(-1.0);
        let windows = windows_of_speech(0..9000, &9000.into(), &pauses, &loudness);
        assert_eq!(windows[0], 0..2550);
        assert!(windows.iter().all(|window| window.len() <= N_FRAMES));
        let together: usize = windows.iter().map(ExactSizeIterator::len).sum();
        assert_eq!(together, 9000);
    }

    #[test]
    fn silence_is_in_no_window() {
        let spoken = [(500, 1500), (9000, 9500), (9700, 14_000)];
        let content = Content {
            speech: Some(speech(&spoken, 20_000)),
            ..20_000.into()
        };
        let pauses = Pauses::between(&speech(&spoken, 20_000), 20_000, &[]);
        let windows = windows_of_speech(0..20_000, &content, &pauses, &vec![0.0; 20_000]);
        assert_eq!(windows[0], 500..1500);
        assert_eq!(windows[1], 9000..9500);
        assert_eq!(windows.last().map(|last| last.end), Some(14_000));
    }
}
