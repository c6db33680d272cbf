//! Where the frames of a spectrogram are: in memory, and of a long recording mostly in a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Values that are kept in memory, 32 MiB: a quarter of an hour with 80 bins. The file takes them all at once, and so
/// on.
const MOST_VALUES: usize = 8 << 20;
/// Values that are read from the file at once where all are looked at.
const READ_VALUES: usize = 1 << 18;

/// Frames of `n_mels` values each. The first of many are in an unnamed temporary file.
#[derive(Clone, Debug)]
pub(super) struct Store {
    n_mels: usize,
    spilled: Option<Arc<Mutex<File>>>,
    /// Where in the file they begin, in frames: those before are of an earlier store.
    begins: usize,
    /// Frames in the file.
    spilled_frames: usize,
    /// The frames behind those.
    rest: Vec<f32>,
}

impl Store {
    pub fn new(n_mels: usize) -> Self {
        Self {
            n_mels,
            spilled: None,
            begins: 0,
            spilled_frames: 0,
            rest: Vec::new(),
        }
    }

    /// Takes the next frames from the front of `log`, if they are more than memory is to hold; they are whole frames,
    /// but for the last few, which stay.
    ///
    /// # Errors
    /// [`Error::Temporary`].
    pub fn spill(&mut self, log: &mut Vec<f32>, most_values: Option<usize>) -> Result<()> {
        if log.len() < most_values.unwrap_or(MOST_VALUES) {
            return Ok(());
        }
        // The last ones may lie behind the recording.
        let frames = (log.len() / self.n_mels).saturating_sub(STAY_FRAMES);
        let file = match &self.spilled {
            Some(file) => file.clone(),
            None => Arc::new(Mutex::new(tempfile::tempfile().map_err(Error::Temporary)?)),
        };
        let values = log.drain(..frames * self.n_mels);
        append(&file, values.as_slice()).map_err(Error::Temporary)?;
        drop(values);
        self.spilled_frames += frames;
        self.spilled = Some(file);
        Ok(())
    }

    /// The next frames as a store of their own; what is behind them stays here and in `log`.
    pub fn first(&mut self, log: &mut Vec<f32>, frames: usize) -> Self {
        let in_file = frames.min(self.spilled_frames);
        let first = Self {
            spilled_frames: in_file,
            rest: log.drain(..(frames - in_file) * self.n_mels).collect(),
            ..self.clone()
        };
        self.begins += in_file;
        self.spilled_frames -= in_file;
        if self.spilled_frames == 0 {
            *self = Self::new(self.n_mels);
        }
        first
    }

    /// All frames are there with these.
    pub fn end(&mut self, mut rest: Vec<f32>) {
        rest.shrink_to_fit();
        self.rest = rest;
    }

    pub fn frames(&self) -> usize {
        self.spilled_frames + self.rest.len() / self.n_mels
    }

    /// Hands on the frames of a range, which must be there, some at a time: the first one's place in the range, and
    /// their values.
    ///
    /// # Errors
    /// [`Error::Temporary`].
    pub fn each(&self, range: Range<usize>, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        let in_file = range.start..range.end.min(self.spilled_frames);
        if let Some(file) = self.spilled.as_ref().filter(|_| !in_file.is_empty()) {
            let at_once = (READ_VALUES / self.n_mels).max(1);
            for start in in_file.clone().step_by(at_once) {
                let end = in_file.end.min(start + at_once);
                let place = |frame: usize| (self.begins + frame) * self.n_mels;
                let values = read(file, place(start)..place(end));
                take(start - range.start, &values.map_err(Error::Temporary)?);
            }
        }
        let start = range.start.max(self.spilled_frames);
        if start < range.end {
            let values = |frame: usize| (frame - self.spilled_frames) * self.n_mels;
            take(
                start - range.start,
                &self.rest[values(start)..values(range.end)],
            );
        }
        Ok(())
    }
}

/// Frames that are never in the file: those behind the recording that are taken away at its end.
const STAY_FRAMES: usize = 16;

const BYTES: usize = size_of::<f32>();

fn append(file: &Mutex<File>, values: &[f32]) -> io::Result<()> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::End(0))?;
    for block in values.chunks(READ_VALUES) {
        let bytes: Vec<u8> = block.iter().flat_map(|value| value.to_ne_bytes()).collect();
        file.write_all(&bytes)?;
    }
    Ok(())
}

fn read(file: &Mutex<File>, values: Range<usize>) -> io::Result<Vec<f32>> {
    let mut bytes = vec![0; values.len() * BYTES];
    {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start((values.start * BYTES) as u64))?;
        file.read_exact(&mut bytes)?;
    }
    let (values, _) = bytes.as_chunks::<BYTES>();
    Ok(values
        .iter()
        .map(|bytes| f32::from_ne_bytes(*bytes))
        .collect())
}
