//! What windows are laid over: a recording's length, and where in it they may begin and end.

use std::ops::Range;

use super::pauses::Pauses;
use super::segments::WindowSpan;
use super::speech::Speech;
use crate::dims::N_FRAMES;
use crate::transcript::Segment;

/// A recording as the long forms see it.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Mel frames, padding not counted.
    pub frames: usize,
    /// Where there is speech, if windows are to begin and end there.
    pub speech: Option<Speech>,
    /// Where somebody speaks, to the tenth of a second, where speech was looked for or given.
    pub voiced: Option<Speech>,
    /// Whether text is held against that.
    pub guarded: bool,
    /// Where nobody does: places for cuts.
    pub pauses: Option<Pauses>,
    /// Which language is spoken where, if segments are to say it: in order, without gaps.
    pub runs: Vec<LanguageRun>,
}

/// A stretch of one language.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageRun {
    /// Mel frames of the recording.
    pub frames: Range<usize>,
    /// Its code.
    pub language: String,
    /// How probable it is.
    pub probability: f64,
}

impl From<usize> for Content {
    fn from(frames: usize) -> Self {
        Self {
            frames,
            ..Self::default()
        }
    }
}

impl Content {
    /// The stretch of a range that windows are laid over: from its first speech to its last. None is empty.
    #[must_use]
    pub fn spoken(&self, range: Range<usize>) -> Option<Range<usize>> {
        match &self.speech {
            Some(speech) => speech.extent(range),
            None => (!range.is_empty()).then_some(range),
        }
    }

    /// The parts of a range that are of one language each.
    #[must_use]
    pub fn parts(&self, range: Range<usize>) -> Vec<Range<usize>> {
        if self.runs.is_empty() {
            return vec![range];
        }
        let parts = self.runs.iter().map(|run| {
            let (start, end) = (run.frames.start, run.frames.end);
            start.max(range.start)..end.min(range.end)
        });
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// The language at a frame, if it is known for each.
    #[must_use]
    pub fn run_at(&self, frame: usize) -> Option<&LanguageRun> {
        self.runs.iter().find(|run| run.frames.contains(&frame))
    }

    /// Segments of a window say its language.
    pub fn label(&self, span: WindowSpan, segments: &mut [Segment]) {
        if let Some(run) = self.run_at(span.seek_frames) {
            for segment in segments {
                segment.language = Some(run.language.clone());
                segment.language_probability = Some(run.probability);
            }
        }
    }

    /// The first window of a range: 30 s, or what is left.
    #[must_use]
    pub fn window(&self, left: Range<usize>) -> Option<WindowSpan> {
        let start = self.spoken(left.clone())?.start;
        let window = self.spoken(start..left.end.min(start + N_FRAMES))?;
        Some(WindowSpan {
            seek_frames: window.start,
            segment_frames: window.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_and_end_with_speech() {
        let place = |content: &Content, left| {
            let span = content.window(left)?;
            Some((span.seek_frames, span.segment_frames))
        };
        let plain = Content::from(5000);
        assert_eq!(place(&plain, 100..5000), Some((100, 3000)));
        assert_eq!(place(&plain, 4000..5000), Some((4000, 1000)));
        assert_eq!(place(&plain, 5000..5000), None);
        let speech = Speech::of_samples(&[16_000..32_000, 480_000..640_000], 5000);
        let spoken = Content {
            speech: Some(speech),
            ..plain
        };
        // From 1 s to 2 s, and from 30 s to 40 s.
        assert_eq!(place(&spoken, 0..5000), Some((100, 3000)));
        assert_eq!(place(&spoken, 150..2900), Some((150, 50)));
        assert_eq!(place(&spoken, 200..5000), Some((3000, 1000)));
        assert_eq!(place(&spoken, 4000..5000), None);
    }
}
