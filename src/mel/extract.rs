//! The incremental log-mel spectrogram.

use std::ops::Range;
use std::sync::mpsc::sync_channel;

use super::filterbank::SparseFilters;
use super::stft::PowerSpectrum;
use crate::dims::{HOP_LENGTH, N_FFT, N_FRAMES, N_SAMPLES};
use crate::error::{Error, Result};

/// Samples of a frame on each side of its centre.
const HALF: usize = N_FFT / 2;
/// Energies below this count as this.
const FLOOR: f32 = 1e-10;
/// The logarithm of [`FLOOR`]: the value of every frame that holds nothing but zeros.
const FLOOR_LOG: f32 = -10.0;
/// How far below the maximum of the whole recording values are cut off (80 dB).
const RANGE: f32 = 8.0;
/// Consumed samples are dropped once there are this many.
const COMPACT_SAMPLES: usize = 16_384;
/// Blocks that may wait between the decoding thread and the one that transforms.
const WAITING_BLOCKS: usize = 16;

/// Turns blocks of samples into log-mel frames as they come.
pub struct MelExtractor {
    n_mels: usize,
    filters: SparseFilters,
    spectrum: PowerSpectrum,
    /// Samples not yet past; once the start is reflected, the next frame begins at `start`.
    buffer: Vec<f32>,
    start: usize,
    is_primed: bool,
    samples: usize,
    /// Log energies, `(frames, n_mels)`.
    log: Vec<f32>,
    max: f32,
}

impl MelExtractor {
    /// An extractor of `n_mels` bins (80 or 128).
    #[must_use]
    pub fn new(n_mels: usize) -> Self {
        Self {
            n_mels,
            filters: SparseFilters::new(n_mels),
            spectrum: PowerSpectrum::new(),
            buffer: Vec::new(),
            start: 0,
            is_primed: false,
            samples: 0,
            log: Vec::new(),
            max: FLOOR_LOG,
        }
    }

    /// Takes the next 16 kHz mono samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.samples += samples.len();
        self.take(samples);
    }

    /// Takes the zeros behind the recording into account and ends it.
    #[must_use]
    pub fn finish(mut self) -> LogMel {
        // Frames that still touch the recording: the last one begins at its last sample. Frames
        // after it see only zeros, and so does the reflection at the far end.
        let frames = (self.samples + HALF).div_ceil(HOP_LENGTH);
        self.take(&[0.0; 2 * N_FFT]);
        self.log.truncate(frames * self.n_mels);
        self.log.shrink_to_fit();
        LogMel {
            n_mels: self.n_mels,
            content_frames: self.samples / HOP_LENGTH,
            total_frames: (self.samples + N_SAMPLES) / HOP_LENGTH,
            log: self.log,
            max: self.max,
        }
    }

    fn take(&mut self, samples: &[f32]) {
        self.buffer.extend_from_slice(samples);
        if !self.is_primed {
            if self.buffer.len() <= HALF {
                return;
            }
            let reflection: Vec<f32> = self.buffer[1..=HALF].iter().rev().copied().collect();
            self.buffer.splice(..0, reflection);
            self.is_primed = true;
        }
        while let Some(frame) = self.buffer.get(self.start..self.start + N_FFT) {
            let power = self.spectrum.of(frame);
            for energy in self.filters.energies(power) {
                let log = energy.max(FLOOR).log10();
                self.max = self.max.max(log);
                self.log.push(log);
            }
            self.start += HOP_LENGTH;
        }
        if self.start >= COMPACT_SAMPLES {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

/// The log-mel spectrogram of a whole recording: 115 MB an hour with 80 bins, 184 MB with 128.
///
/// Values are kept before the cut at the maximum of the whole recording, which is known last;
/// windows are cut and scaled as they are handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct LogMel {
    n_mels: usize,
    content_frames: usize,
    total_frames: usize,
    /// `(frames, n_mels)`; frames after these hold [`FLOOR_LOG`].
    log: Vec<f32>,
    max: f32,
}

impl LogMel {
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
    #[must_use]
    pub fn loudness(&self) -> Vec<f32> {
        let low = self.max - RANGE;
        let mean =
            |frame: &[f32]| frame.iter().map(|log| log.max(low)).sum::<f32>() / frame.len() as f32;
        let mut loudness: Vec<f32> = self.log.chunks_exact(self.n_mels).map(mean).collect();
        loudness.resize(self.content_frames, FLOOR_LOG.max(low));
        loudness
    }

    /// What is left of the recording where only some stretches are kept, joined in their order. Its maximum
    /// is theirs. What a frame hears around it stays what it was.
    #[must_use]
    pub fn keep(&self, stretches: &[Range<usize>]) -> Self {
        let content_frames = stretches.iter().map(ExactSizeIterator::len).sum();
        let mut log = Vec::with_capacity(content_frames * self.n_mels);
        for stretch in stretches {
            let stored = self.log.len() / self.n_mels;
            let (start, end) = (stretch.start.min(stored), stretch.end.min(stored));
            log.extend_from_slice(&self.log[start * self.n_mels..end * self.n_mels]);
            log.resize(
                log.len() + (stretch.len() - (end - start)) * self.n_mels,
                FLOOR_LOG,
            );
        }
        Self {
            n_mels: self.n_mels,
            content_frames,
            total_frames: content_frames + N_FRAMES,
            max: log.iter().copied().fold(FLOOR_LOG, f32::max),
            log,
        }
    }

    /// Silences everything but some stretches, which are in order and do not overlap.
    pub fn mute_but(&mut self, stretches: &[Range<usize>]) {
        let mut from = 0;
        let end = self.log.len() / self.n_mels;
        for stretch in stretches.iter().cloned().chain(std::iter::once(end..end)) {
            let silent = from..stretch.start.clamp(from, end);
            self.log[silent.start * self.n_mels..silent.end * self.n_mels].fill(FLOOR_LOG);
            from = stretch.end.min(end);
        }
        self.max = self.log.iter().copied().fold(FLOOR_LOG, f32::max);
    }

    /// The window from `seek_frames` on as `(n_mels, 3000)`, row-major: cut at the recording's
    /// end and filled up with 0.0, as `transcribe()` does.
    #[must_use]
    pub fn window(&self, seek_frames: usize) -> Vec<f32> {
        let mut window = vec![0.0; self.n_mels * N_FRAMES];
        self.write_window(seek_frames, N_FRAMES, &mut window);
        window
    }

    /// As [`LogMel::window`], of at most `segment_frames` frames (`clip_timestamps` may end a
    /// window early), into `window`, whose length must be `n_mels * 3000`.
    pub fn write_window(&self, seek_frames: usize, segment_frames: usize, window: &mut [f32]) {
        let end = seek_frames.saturating_add(segment_frames.min(N_FRAMES));
        self.write(seek_frames, end.min(self.content_frames), window);
    }

    /// The frames of a range, 3000 at most, and behind it and the recording zeros as they sound, which is what
    /// `transcribe()` detects the language on (of the first 30 s): `(n_mels, 3000)`, row-major.
    #[must_use]
    pub fn detection_window(&self, range: Range<usize>) -> Vec<f32> {
        let mut window = vec![0.0; self.n_mels * N_FRAMES];
        let end = self.total_frames.min(range.start + N_FRAMES);
        self.write(range.start, end, &mut window);
        let (heard, end) = (range.len().min(N_FRAMES), end - range.start.min(end));
        let silence = (FLOOR_LOG.max(self.max - RANGE) + 4.0) / 4.0;
        for row in window.chunks_exact_mut(N_FRAMES) {
            row[heard.min(end)..end].fill(silence);
        }
        window
    }

    /// Writes the frames from `start` to `end` to the front of each row, 0.0 behind them.
    fn write(&self, start: usize, end: usize, window: &mut [f32]) {
        let low = self.max - RANGE;
        let scale = |log: f32| (log.max(low) + 4.0) / 4.0;
        let frames = end.saturating_sub(start);
        for row in window.chunks_exact_mut(N_FRAMES) {
            let (heard, rest) = row.split_at_mut(frames);
            heard.fill(scale(FLOOR_LOG));
            rest.fill(0.0);
        }
        let stored = self.log.chunks_exact(self.n_mels).skip(start).take(frames);
        for (frame, values) in stored.enumerate() {
            for (mel, &log) in values.iter().enumerate() {
                window[mel * N_FRAMES + frame] = scale(log);
            }
        }
    }
}

/// openai/whisper's `log_mel_spectrogram(pad_or_trim(audio))` as `(n_mels, 3000)`, row-major: the
/// first 30 s of `samples`, zeros behind a shorter clip, and no further padding.
#[must_use]
pub fn log_mel_of_clip(samples: &[f32], n_mels: usize) -> Vec<f32> {
    let heard = &samples[..samples.len().min(N_SAMPLES)];
    let mut extractor = MelExtractor::new(n_mels);
    extractor.push(heard);
    if heard.len() + N_FFT <= N_SAMPLES {
        return extractor.finish().detection_window(0..N_FRAMES);
    }
    extractor.take(&vec![0.0; N_SAMPLES - heard.len()]);
    // The clip's end is reflected too, and the last frame reaches this far beyond it.
    let sample = |n: usize| heard.get(n).copied().unwrap_or(0.0);
    let reflection: Vec<f32> = (1..=HALF - HOP_LENGTH)
        .map(|n| sample(N_SAMPLES - 1 - n))
        .collect();
    extractor.take(&reflection);
    let MelExtractor { log, max, .. } = extractor;
    LogMel {
        n_mels,
        content_frames: N_FRAMES,
        total_frames: N_FRAMES,
        log,
        max,
    }
    .detection_window(0..N_FRAMES)
}

/// Samples that the audio's thread hands over at once: packets are some hundred, and waking the other thread
/// for each costs as much as a fifth of decoding.
const HANDED_OVER: usize = 16_000;

/// The spectrogram of all blocks that `next_block` writes until it returns false. Blocks are made
/// on a thread of their own, at most a few ahead; `progress` hears how many samples are done.
///
/// # Errors
/// The first error of `next_block`; [`Error::Thread`] where the system refuses a thread.
pub fn from_blocks(
    n_mels: usize,
    mut next_block: impl FnMut(&mut Vec<f32>) -> Result<bool> + Send,
    mut progress: impl FnMut(usize),
) -> Result<LogMel> {
    let mut extractor = MelExtractor::new(n_mels);
    let (sender, receiver) = sync_channel::<Vec<f32>>(WAITING_BLOCKS);
    std::thread::scope(|scope| {
        let decode = move || -> Result<()> {
            let (mut block, mut gathered) = (Vec::new(), Vec::new());
            while next_block(&mut block)? {
                gathered.append(&mut block);
                if gathered.len() >= HANDED_OVER
                    && sender.send(std::mem::take(&mut gathered)).is_err()
                {
                    return Ok(());
                }
            }
            // Whoever would hear of the last samples may be gone.
            let _ = sender.send(gathered);
            Ok(())
        };
        let thread = std::thread::Builder::new().name("undertone-audio".into());
        let decoding = thread.spawn_scoped(scope, decode).map_err(Error::Thread)?;
        for block in receiver {
            extractor.push(&block);
            progress(extractor.samples);
        }
        decoding
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(extractor.finish())
}
