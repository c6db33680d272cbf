//! The incremental log-mel spectrogram.

use std::sync::mpsc::sync_channel;

use super::filterbank::SparseFilters;
use super::log_mel::{FLOOR_LOG, LogMel};
use super::stft::PowerSpectrum;
use super::store::Store;
use crate::dims::{HOP_LENGTH, N_FFT, N_FRAMES, N_SAMPLES};
use crate::error::{Error, Result};

/// Samples of a frame on each side of its centre.
const HALF: usize = N_FFT / 2;
/// Energies below this count as this.
const FLOOR: f32 = 1e-10;
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
    /// Log energies, `(frames, n_mels)`: those that are not in the store.
    log: Vec<f32>,
    store: Store,
    max: f32,
    /// Frames that were handed on.
    earlier: usize,
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
            store: Store::new(n_mels),
            max: FLOOR_LOG,
            earlier: 0,
        }
    }

    /// Takes the next 16 kHz mono samples.
    pub fn push(&mut self, samples: &[f32]) {
        self.samples += samples.len();
        self.take(samples);
    }

    /// The next frames, which are there, as a recording of their own, whose maximum is the loudest value so far. What is
    /// behind them is left to the next.
    #[must_use]
    pub fn first(&mut self, frames: usize) -> LogMel {
        let store = self.store.first(&mut self.log, frames);
        self.earlier += frames;
        LogMel::new(store, self.n_mels, frames, frames + N_FRAMES, self.max)
    }

    /// Takes the zeros behind the recording into account and ends it.
    #[must_use]
    pub fn finish(mut self) -> LogMel {
        // Frames that still touch the recording: the last one begins at its last sample. Frames
        // after it see only zeros, and so does the reflection at the far end.
        let frames = (self.samples + HALF).div_ceil(HOP_LENGTH) - self.earlier;
        self.take(&[0.0; 2 * N_FFT]);
        let frames = frames - self.store.frames();
        self.log.truncate(frames * self.n_mels);
        self.into_log_mel()
    }

    fn into_log_mel(mut self) -> LogMel {
        self.store.end(self.log);
        let content_frames = self.samples / HOP_LENGTH - self.earlier;
        let total_frames = content_frames + N_FRAMES;
        LogMel::new(
            self.store,
            self.n_mels,
            content_frames,
            total_frames,
            self.max,
        )
    }

    /// Moves what is more than memory is to hold to a file.
    ///
    /// # Errors
    /// [`Error::Temporary`](crate::Error::Temporary).
    pub fn spill(&mut self, most_values: Option<usize>) -> Result<()> {
        self.store.spill(&mut self.log, most_values)
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

/// openai/whisper's `log_mel_spectrogram(pad_or_trim(audio))` as `(n_mels, 3000)`, row-major: the
/// first 30 s of `samples`, zeros behind a shorter clip, and no further padding.
///
/// # Errors
/// None: so few frames are in memory.
pub fn log_mel_of_clip(samples: &[f32], n_mels: usize) -> Result<Vec<f32>> {
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
    let MelExtractor {
        log,
        mut store,
        max,
        ..
    } = extractor;
    store.end(log);
    LogMel::new(store, n_mels, N_FRAMES, N_FRAMES, max).detection_window(0..N_FRAMES)
}

/// Samples that the audio's thread hands over at once: packets are some hundred, and waking the other thread
/// for each costs as much as a fifth of decoding.
const HANDED_OVER: usize = 16_000;

/// The spectrogram of all blocks that `next_block` writes until it returns false. Blocks are made
/// on a thread of their own, at most a few ahead; `progress` hears how many samples are done.
///
/// # Errors
/// The first error of `next_block`; [`Error::Thread`] where the system refuses a thread; [`Error::Temporary`] where it
/// refuses a temporary file for a long recording.
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
            extractor.spill(None)?;
            progress(extractor.samples);
        }
        decoding
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(extractor.finish())
}
