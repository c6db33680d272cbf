//! Where a recording is cut into stretches that are decoded side by side: at quiet places.

use std::ops::Range;

use super::content::Content;
use super::pauses::Pauses;
use crate::dims::N_FRAMES;

/// Stretches that a long recording is cut into, so that many are decoded side by side.
const PARTS: usize = 8;
/// A stretch of a long recording is at least about this long: two windows.
const SHORT_FRAMES: usize = 5200;
/// And at most about this long: five minutes.
const LONG_FRAMES: usize = 30_000;
/// How far from where it should be a cut of a long recording may lie.
const SEARCH_FRAMES: usize = 800;
/// A shorter recording is cut into single windows; each is at least this long where it can be.
const LEAST_WINDOW_FRAMES: usize = 2200;
/// The last window of several is at least this long.
const LEAST_LAST_FRAMES: usize = 1000;
/// Length of the quiet piece whose middle becomes the cut: the pause after a sentence, rather than
/// the one after a phrase, whose end the model would leave open.
const PAUSE_FRAMES: usize = 100;

/// The stretches of a clip, in order, without gaps. `loudness` has a value for each frame of the
/// recording. A clip that is long enough for eight stretches of two windows is cut into equal
/// ones; a shorter one into single windows.
#[must_use]
pub fn stretches_at_quiet_places(clip: Range<usize>, loudness: &[f32]) -> Vec<Range<usize>> {
    let mut stretches = Vec::new();
    let mut start = clip.start;
    while start < clip.end {
        let end = next_cut(&clip, start, stretches.len(), loudness).unwrap_or(clip.end);
        stretches.push(start..end);
        start = end;
    }
    stretches
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

/// Where the stretch that starts at `start`, the `index`th, ends; `None` is the clip's end.
fn next_cut(clip: &Range<usize>, start: usize, index: usize, loudness: &[f32]) -> Option<usize> {
    if clip.len() >= PARTS * SHORT_FRAMES {
        let about = (clip.len() / PARTS).min(LONG_FRAMES);
        let count = (clip.len() + about / 2) / about;
        let middle = clip.start + clip.len() * (index + 1) / count;
        let around = middle - SEARCH_FRAMES..middle + SEARCH_FRAMES;
        return (index + 1 < count).then(|| quietest(around, loudness));
    }
    let left = start..clip.end;
    (left.len() > N_FRAMES).then(|| quiet_window_end(&left, loudness))
}

/// Where a window ends that begins with `left`, which is longer than a window: at a quiet place.
fn quiet_window_end(left: &Range<usize>, loudness: &[f32]) -> usize {
    let last = N_FRAMES.min(left.len() - LEAST_LAST_FRAMES);
    let first = LEAST_WINDOW_FRAMES.min(left.len() / 2);
    quietest(left.start + first..left.start + last, loudness)
}

/// The middle of the quietest piece in a range of frames, the last of them where several are equally
/// quiet. Frames without a value count as silent.
fn quietest(range: Range<usize>, loudness: &[f32]) -> usize {
    let starts = range.start..=range.end - PAUSE_FRAMES;
    let quiet = starts.map(|start| (sum(start..start + PAUSE_FRAMES, loudness), start));
    let best = quiet.reduce(|best, next| if next.0 <= best.0 { next } else { best });
    best.map_or(range.end, |(_, start)| start + PAUSE_FRAMES / 2)
}

fn sum(range: Range<usize>, loudness: &[f32]) -> f64 {
    let value = |frame: usize| loudness.get(frame).copied().unwrap_or(f32::MIN);
    range.map(|frame| f64::from(value(frame))).sum()
}

#[cfg(test)]
mod tests {
    use super::super::speech::Speech;
    use super::*;

    #[test]
    fn windows_end_where_it_is_quiet_for_long() {
        let mut loudness = vec![0.0; 5000];
        loudness[2400..2500].fill(-3.0);
        // Quieter, but too short to be a pause.
        loudness[2700..2720].fill(-9.0);
        // Quieter still, but too early for a window.
        loudness[1500..1700].fill(-9.0);
        let stretches = stretches_at_quiet_places(0..5000, &loudness);
        assert_eq!(stretches.len(), 2);
        assert!((2445..=2455).contains(&stretches[0].end), "{stretches:?}");
    }

    #[test]
    fn every_frame_belongs_to_a_stretch() {
        let loudness: Vec<f32> = (0..400_000).map(|i| ((i * 7919) % 211) as f32).collect();
        // frames of the clip, fewest and most stretches, longest stretch
        let cases = [
            (0, 0, 0, 0),
            (1, 1, 1, 1),
            (3000, 1, 1, 3000),
            (3001, 2, 2, 2001),
            (4500, 2, 2, 3000),
            (15_307, 6, 8, 3000),
            (32_598, 11, 15, 3000),
            (41_599, 14, 20, 3000),
            (41_600, 8, 8, 6800),
            (60_000, 8, 8, 9100),
            (240_000, 8, 8, 31_600),
            (360_000, 12, 12, 31_600),
        ];
        for (frames, fewest, most, longest) in cases {
            let clip = 123..123 + frames;
            let stretches = stretches_at_quiet_places(clip.clone(), &loudness);
            let count = fewest..=most;
            assert!(count.contains(&stretches.len()), "{frames}: {stretches:?}");
            let mut next = clip.start;
            for stretch in &stretches {
                assert_eq!(stretch.start, next, "{frames}: a gap");
                assert!(!stretch.is_empty(), "{frames}: {stretches:?}");
                assert!(stretch.len() <= longest, "{frames}: {stretches:?}");
                next = stretch.end;
            }
            assert_eq!(next, clip.end);
        }
    }

    #[test]
    fn no_loudness_at_all_is_no_reason_to_panic() {
        let stretches = stretches_at_quiet_places(0..10_000, &[]);
        assert_eq!(stretches.last().map(|last| last.end), Some(10_000));
    }

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
