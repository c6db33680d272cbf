//! The log-mel spectrogram of a recording, or of what is left of one.

use std::ops::Range;

use super::store::Store;
use crate::dims::N_FRAMES;
use crate::error::Result;

/// The logarithm of the least energy: the value of every frame that holds nothing but zeros.
pub(super) const FLOOR_LOG: f32 = -10.0;
/// How far below the maximum of the whole recording values are cut off (80 dB).
const RANGE: f32 = 8.0;

/// The log-mel spectrogram of a whole recording: 115 MB an hour with 80 bins, 184 MB with 128, of which the first
/// quarter of an hour is in memory if that is all, and else most of it in an unnamed temporary file.
///
/// Values are kept before the cut at the maximum of the whole recording, which is known last;
/// windows are cut and scaled as they are handed out.
#[derive(Clone, Debug)]
pub struct LogMel {
    n_mels: usize,
    content_frames: usize,
    total_frames: usize,
    store: Store,
    /// What of the store is heard, in order; frames in no part hold [`FLOOR_LOG`].
    parts: Vec<Part>,
    max: f32,
}

/// Frames of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Where they are heard.
    at: usize,
    stored: Range<usize>,
}

impl Part {
    fn end(&self) -> usize {
        self.at + self.stored.len()
    }

    /// What of it is heard in a range.
    fn within(&self, range: &Range<usize>) -> Option<Self> {
        let (start, end) = (self.at.max(range.start), self.end().min(range.end));
        (start < end).then(|| Self {
            at: start,
            stored: self.stored.start + start - self.at..self.stored.start + end - self.at,
        })
    }
}

impl LogMel {
    /// Of all frames of a store, whose loudest value is `max`.
    pub(super) fn new(
        store: Store,
        n_mels: usize,
        content_frames: usize,
        total_frames: usize,
        max: f32,
    ) -> Self {
        let all = Part {
            at: 0,
            stored: 0..store.frames(),
        };
        Self {
            n_mels,
            content_frames,
            total_frames,
            store,
            parts: vec![all],
            max,
        }
    }

    /// Mel bins.
    #[must_use]
    pub fn n_mels(&self) -> usize {
        self.n_mels
    }

    /// Frames of the recording itself, without the zeros behind it.
    #[must_use]
    pub fn content_frames(&self) -> usize {
        self.content_frames
    }

    /// How loud each frame of the recording is: the mean of its log energies, cut at the maximum.
    ///
    /// # Errors
    /// [`Error::Temporary`](crate::Error::Temporary): the temporary file of a long recording cannot be read.
    pub fn loudness(&self) -> Result<Vec<f32>> {
        let low = self.max - RANGE;
        let mean =
            |frame: &[f32]| frame.iter().map(|log| log.max(low)).sum::<f32>() / frame.len() as f32;
        let mut loudness = vec![FLOOR_LOG.max(low); self.content_frames];
        self.each(0..self.content_frames, |at, values| {
            let frames = values.chunks_exact(self.n_mels);
            for (loudness, frame) in loudness[at..].iter_mut().zip(frames) {
                *loudness = mean(frame);
            }
        })?;
        Ok(loudness)
    }

    /// What is left of the recording where only some stretches are kept, joined in their order. Its maximum
    /// is theirs. What a frame hears around it stays what it was.
    ///
    /// # Errors
    /// As [`loudness`](Self::loudness).
    pub fn keep(mut self, stretches: &[Range<usize>]) -> Result<Self> {
        let (mut parts, mut before) = (Vec::new(), 0);
        for stretch in stretches {
            parts.extend(self.parts_within(stretch).map(|part| Part {
                at: before + part.at - stretch.start,
                ..part
            }));
            before += stretch.len();
        }
        self.parts = parts;
        self.content_frames = before;
        self.total_frames = before + N_FRAMES;
        self.with_own_maximum()
    }

    /// Silences everything but some stretches, which are in order and do not overlap.
    ///
    /// # Errors
    /// As [`loudness`](Self::loudness).
    pub fn mute_but(mut self, stretches: &[Range<usize>]) -> Result<Self> {
        let left = stretches
            .iter()
            .flat_map(|stretch| self.parts_within(stretch));
        self.parts = left.collect();
        self.with_own_maximum()
    }

    fn with_own_maximum(mut self) -> Result<Self> {
        let mut max = FLOOR_LOG;
        self.each(0..usize::MAX, |_, values| {
            max = values.iter().copied().fold(max, f32::max);
        })?;
        self.max = max;
        Ok(self)
    }

    fn parts_within(&self, range: &Range<usize>) -> impl Iterator<Item = Part> {
        let first = self.parts.partition_point(|part| part.end() <= range.start);
        let parts = self.parts[first..].iter();
        let parts = parts.take_while(|part| part.at < range.end);
        parts.filter_map(|part| part.within(range))
    }

    /// Hands on the stored frames of a range: their place in it, and their values.
    fn each(&self, range: Range<usize>, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        for part in self.parts_within(&range) {
            let place = part.at - range.start;
            self.store
                .each(part.stored, |at, values| take(place + at, values))?;
        }
        Ok(())
    }

    /// The window from `seek_frames` on as `(n_mels, 3000)`, row-major: cut at the recording's
    /// end and filled up with 0.0, as `transcribe()` does.
    ///
    /// # Errors
    /// As [`loudness`](Self::loudness).
    pub fn window(&self, seek_frames: usize) -> Result<Vec<f32>> {
        let mut window = vec![0.0; self.n_mels * N_FRAMES];
        self.write_window(seek_frames, N_FRAMES, &mut window)?;
        Ok(window)
    }

    /// As [`LogMel::window`], of at most `segment_frames` frames (`clip_timestamps` may end a
    /// window early), into `window`, whose length must be `n_mels * 3000`.
    ///
    /// # Errors
    /// As [`loudness`](Self::loudness).
    pub fn write_window(
        &self,
        seek_frames: usize,
        segment_frames: usize,
        window: &mut [f32],
    ) -> Result<()> {
        let end = seek_frames.saturating_add(segment_frames.min(N_FRAMES));
        self.write(seek_frames, end.min(self.content_frames), window)
    }

    /// The frames of a range, 3000 at most, and behind it and the recording zeros as they sound, which is what
    /// `transcribe()` detects the language on (of the first 30 s): `(n_mels, 3000)`, row-major.
    ///
    /// # Errors
    /// As [`loudness`](Self::loudness).
    pub fn detection_window(&self, range: Range<usize>) -> Result<Vec<f32>> {
        let mut window = vec![0.0; self.n_mels * N_FRAMES];
        let end = self.total_frames.min(range.start + N_FRAMES);
        self.write(range.start, end, &mut window)?;
        let (heard, end) = (range.len().min(N_FRAMES), end - range.start.min(end));
        let silence = (FLOOR_LOG.max(self.max - RANGE) + 4.0) / 4.0;
        for row in window.chunks_exact_mut(N_FRAMES) {
            row[heard.min(end)..end].fill(silence);
        }
        Ok(window)
    }

    /// Writes the frames from `start` to `end` to the front of each row, 0.0 behind them.
    fn write(&self, start: usize, end: usize, window: &mut [f32]) -> Result<()> {
        let low = self.max - RANGE;
        let scale = |log: f32| (log.max(low) + 4.0) / 4.0;
        let frames = end.saturating_sub(start);
        for row in window.chunks_exact_mut(N_FRAMES) {
            let (heard, rest) = row.split_at_mut(frames);
            heard.fill(scale(FLOOR_LOG));
            rest.fill(0.0);
        }
        self.each(start..start + frames, |at, values| {
            for (frame, values) in (at..).zip(values.chunks_exact(self.n_mels)) {
                for (mel, &log) in values.iter().enumerate() {
                    window[mel * N_FRAMES + frame] = scale(log);
                }
            }
        })
    }
}
