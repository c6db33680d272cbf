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

/// What to tell of stretches that the recording does not have.
#[must_use]
pub fn clips_past_the_end(clip_timestamps_s: &[f64], content_frames: usize) -> Vec<String> {
    let length_s = content_frames as f64 / FRAMES_PER_SECOND as f64;
    let past = clip_timestamps_s.chunks(2).filter_map(|clip| match *clip {
        [start, ..] if start >= length_s && start > 0.0 => {
            Some(format!("the clip from {start} s on is past the end"))
        }
        [_, end] if end > length_s + ROUNDING_S => {
            Some(format!("the clip to {end} s ends past the end"))
        }
        _ => None,
    });
    past.map(|what| format!("{what} of the recording, which is {length_s:.2} s long"))
        .collect()
}

/// A frame and a half: lengths are rounded to frames.
const ROUNDING_S: f64 = 0.015;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_past_the_end_is_told() {
        let cases: [(&[f64], usize); 8] = [
            (&[], 0),
            (&[0.0], 0),
            (&[1.0, 10.0], 0),
            (&[1.0, 10.01], 0),
            (&[1.0, 11.0], 1),
            (&[10.0], 1),
            (&[30.0, 40.0], 1),
            (&[0.0, 2.0, 12.0, 13.0, 14.0], 2),
        ];
        for (times, expected) in cases {
            let told = clips_past_the_end(times, 1000);
            assert_eq!(told.len(), expected, "{times:?}: {told:?}");
            assert!(
                told.iter().all(|what| what.contains("10.00 s long")),
                "{told:?}"
            );
        }
        assert!(clips_past_the_end(&[0.0], 0).is_empty());
    }

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
