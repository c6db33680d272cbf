//! Where a long recording is cut into windows that know nothing of each other: at quiet places.

use std::ops::Range;

use crate::dims::N_FRAMES;
use crate::longform::segments::WindowSpan;

/// The end of a window is looked for in its last third.
const SEARCH_FRAMES: usize = N_FRAMES / 3;
/// Length of the quiet stretch whose middle becomes the cut: shorter than most pauses between
/// words that are worth one, longer than the closure of a stop consonant.
const STRETCH_FRAMES: usize = 30;
/// A last window is not shorter than this: with little to hear the network invents.
const LEAST_FRAMES: usize = 500;

/// The windows of a clip, in order and without gaps: 20 to 30 s each, the last but one down to 15 s
/// and the last down to 5 s. `loudness` has a value for each frame of the recording.
#[must_use]
pub fn windows_at_quiet_places(clip: Range<usize>, loudness: &[f32]) -> Vec<WindowSpan> {
    let mut windows = Vec::new();
    let mut start = clip.start;
    while start < clip.end {
        let left = clip.end - start;
        let length = if left <= N_FRAMES {
            left
        } else {
            let last = N_FRAMES.min(left - LEAST_FRAMES);
            quietest(start + last - SEARCH_FRAMES..start + last, loudness) - start
        };
        windows.push(WindowSpan { seek_frames: start, segment_frames: length });
        start += length;
    }
    windows
}

/// The middle of the quietest stretch in a range of frames, the last of them where several are
/// equally quiet. Frames without a value count as silent.
fn quietest(range: Range<usize>, loudness: &[f32]) -> usize {
    let starts = range.start..=range.end - STRETCH_FRAMES;
    let quiet = starts.map(|start| (sum(start..start + STRETCH_FRAMES, loudness), start));
    let best = quiet.reduce(|best, next| if next.0 <= best.0 { next } else { best });
    best.map_or(range.end, |(_, start)| start + STRETCH_FRAMES / 2)
}

fn sum(range: Range<usize>, loudness: &[f32]) -> f64 {
    let value = |frame: usize| loudness.get(frame).copied().unwrap_or(f32::MIN);
    range.map(|frame| f64::from(value(frame))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(clip: Range<usize>, loudness: &[f32]) -> Vec<usize> {
        let windows = windows_at_quiet_places(clip.clone(), loudness);
        let mut next = clip.start;
        for window in &windows {
            assert_eq!(window.seek_frames, next, "a gap");
            next += window.segment_frames;
        }
        assert_eq!(next, clip.end.max(clip.start));
        windows.iter().map(|window| window.segment_frames).collect()
    }

    #[test]
    fn windows_end_where_it_is_quiet() {
        let mut loudness = vec![0.0; 7000];
        loudness[2395..2445].fill(-3.0);
        // Quieter, but too short to be a pause.
        loudness[2700..2705].fill(-9.0);
        // Quieter still, but outside of the last third.
        loudness[1500..1600].fill(-9.0);
        let cut = lengths(0..7000, &loudness)[0];
        assert!((2410..=2430).contains(&cut), "{cut}");
    }

    #[test]
    fn every_frame_belongs_to_a_window() {
        let loudness: Vec<f32> = (0..20_000).map(|i| ((i * 7919) % 211) as f32).collect();
        for clip in [0..0, 5..5, 0..1, 0..3000, 0..3001, 17..3499, 0..3501, 0..6000, 123..19_999] {
            let lengths = lengths(clip.clone(), &loudness);
            let long = clip.len() > N_FRAMES;
            for (i, length) in lengths.iter().enumerate() {
                let least = if long { LEAST_FRAMES } else { 1 };
                assert!((least..=N_FRAMES).contains(length), "{clip:?}: {length}");
                let full = 2 * N_FRAMES / 3;
                assert!(i + 2 >= lengths.len() || *length >= full, "{clip:?}: {length}");
            }
        }
    }

    #[test]
    fn equal_loudness_gives_long_windows() {
        let cut = N_FRAMES - STRETCH_FRAMES / 2;
        assert_eq!(lengths(0..6500, &[1.0; 6500]), [cut, cut, 6500 - 2 * cut]);
        // No values at all are no reason to panic.
        assert_eq!(lengths(0..6500, &[]), [cut, cut, 6500 - 2 * cut]);
    }
}
