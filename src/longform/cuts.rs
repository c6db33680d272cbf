//! Where a recording is cut into stretches that are decoded side by side: at quiet places.

use std::ops::Range;

/// A stretch is at least about this long: two windows, as a window's last segment is seldom closed
/// at its very end. What is nearer to one of these than to two stays whole.
const SHORT_FRAMES: usize = 5200;
/// A stretch is at most about this long. In between, a recording is cut into [`PARTS`].
const LONG_FRAMES: usize = 30_000;
const PARTS: usize = 8;
/// How far from where it should be a cut may lie.
const SEARCH_FRAMES: usize = 800;
/// Length of the quiet piece whose middle becomes the cut: the pause after a sentence.
const PAUSE_FRAMES: usize = 40;

/// The stretches of a clip, in order, without gaps and about equally long. `loudness` has a value
/// for each frame of the recording.
#[must_use]
pub fn stretches_at_quiet_places(clip: Range<usize>, loudness: &[f32]) -> Vec<Range<usize>> {
    if clip.is_empty() {
        return Vec::new();
    }
    let about = (clip.len() / PARTS).clamp(SHORT_FRAMES, LONG_FRAMES);
    let count = ((clip.len() + about / 2) / about).max(1);
    let mut stretches = Vec::with_capacity(count);
    let mut start = clip.start;
    for cut in 1..count {
        let middle = clip.start + clip.len() * cut / count;
        let end = quietest(middle - SEARCH_FRAMES..middle + SEARCH_FRAMES, loudness);
        stretches.push(start..end);
        start = end;
    }
    stretches.push(start..clip.end);
    stretches
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
    use super::*;

    #[test]
    fn stretches_end_where_it_is_quiet() {
        let mut loudness = vec![0.0; 8000];
        loudness[3395..3445].fill(-3.0);
        // Quieter, but too short to be a pause.
        loudness[4100..4105].fill(-9.0);
        // Quieter still, but far from the middle.
        loudness[2500..2600].fill(-9.0);
        let stretches = stretches_at_quiet_places(0..8000, &loudness);
        assert_eq!(stretches.len(), 2);
        assert!((3415..=3425).contains(&stretches[0].end), "{stretches:?}");
    }

    #[test]
    fn every_frame_belongs_to_a_stretch() {
        let loudness: Vec<f32> = (0..400_000).map(|i| ((i * 7919) % 211) as f32).collect();
        // frames of the clip, stretches
        let cases = [
            (0, 0),
            (1, 1),
            (3001, 1),
            (7799, 1),
            (7800, 2),
            (15_307, 3),
            (32_598, 6),
            (41_600, 8),
            (60_000, 8),
            (240_000, 8),
            (360_000, 12),
        ];
        for (frames, count) in cases {
            let clip = 123..123 + frames;
            let stretches = stretches_at_quiet_places(clip.clone(), &loudness);
            assert_eq!(stretches.len(), count, "{frames}");
            let mut next = clip.start;
            for stretch in &stretches {
                assert_eq!(stretch.start, next, "{frames}: a gap");
                let about = frames / count;
                let near = about.saturating_sub(2 * SEARCH_FRAMES)..=about + 2 * SEARCH_FRAMES;
                assert!(near.contains(&stretch.len()), "{frames}: {stretch:?}");
                next = stretch.end;
            }
            assert_eq!(next, clip.end);
        }
    }

    #[test]
    fn no_loudness_at_all_is_no_reason_to_panic() {
        assert_eq!(
            stretches_at_quiet_places(0..10_000, &[]),
            [0..5780, 5780..10_000]
        );
    }
}
