//! The stretches of a recording that are processed.

use std::ops::Range;

use crate::dims::FRAMES_PER_SECOND;

/// Reads start and end seconds in turn as ranges of mel frames. No times mean the whole recording;
/// the last end may be missing. Ends past the recording are its end (openai/whisper would go on
/// there without end).
#[must_use]
pub fn seek_clips(clip_timestamps_s: &[f64], content_frames: usize) -> Vec<Range<usize>> {
    let frame = |s: &f64| (s * FRAMES_PER_SECOND as f64).round_ties_even() as usize;
    let mut points: Vec<usize> = clip_timestamps_s.iter().map(frame).collect();
    if points.is_empty() {
        points.push(0);
    }
    if points.len() % 2 == 1 {
        points.push(content_frames);
    }
    points
        .chunks_exact(2)
        .map(|clip| clip[0]..clip[1].min(content_frames))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_ranges_of_frames() {
        type Clips = &'static [(usize, usize)];
        let cases: [(&[f64], Clips); 7] = [
            (&[], &[(0, 1000)]),
            (&[0.0], &[(0, 1000)]),
            (&[2.5], &[(250, 1000)]),
            (&[1.0, 2.0, 4.0], &[(100, 200), (400, 1000)]),
            (&[1.0, 99.0], &[(100, 1000)]),
            // Halves go to the even frame, as Python rounds.
            (&[0.125, 0.375], &[(12, 38)]),
            (&[4.0, 6.0, 1.0, 2.0], &[(400, 600), (100, 200)]),
        ];
        for (times, expected) in cases {
            let clips = seek_clips(times, 1000);
            let clips: Vec<_> = clips
                .into_iter()
                .map(|clip| (clip.start, clip.end))
                .collect();
            assert_eq!(clips, expected, "{times:?}");
        }
    }
}
