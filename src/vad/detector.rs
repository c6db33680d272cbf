//! A recording's probabilities of speech, as its samples come.

use super::CHUNK;
use super::lstm::Memory;
use super::network::{CONTEXT, Silero};
use crate::error::Result;
use crate::kernels::{Cpu, SimdLevel};

/// Chunks that are computed together: one second and a quarter. More gain nothing.
const TOGETHER: usize = 40;

/// A recording whose loudest sample so far is below this is lifted to [`LIFTED`]: the model hears no speech in what is
/// very quiet, and noise is none to it however loud it is.
const QUIET: f32 = 0.02;
const LIFTED: f32 = 0.2;

/// Listens to a recording, on the thread that it is told of samples on.
pub struct Detector {
    cpu: Cpu,
    network: Silero,
    memory: Memory,
    /// The context of the next chunk, and the samples behind it.
    heard: Vec<f32>,
    samples: usize,
    probabilities: Vec<f32>,
    /// The loudest sample so far, where very quiet recordings are lifted.
    loudest: Option<f32>,
}

impl Detector {
    /// With the vector level to compute at (default: the best).
    ///
    /// # Errors
    /// [`Error::Engine`](crate::error::Error::Engine) for a defect of this program.
    pub fn new(level: Option<SimdLevel>) -> Result<Self> {
        let cpu = Cpu::new(Some(1), level);
        Ok(Self {
            network: Silero::new(&cpu)?,
            memory: Silero::memory(),
            heard: vec![0.0; CONTEXT],
            samples: 0,
            probabilities: Vec::new(),
            loudest: None,
            cpu,
        })
    }

    /// Hears speech in very quiet recordings too; of others it says the same.
    #[must_use]
    pub fn lifting_quiet(mut self, lifts: bool) -> Self {
        self.loudest = lifts.then_some(0.0);
        self
    }

    /// Takes the next samples.
    pub fn push(&mut self, mut samples: &[f32]) {
        self.samples += samples.len();
        while !samples.is_empty() {
            let room = CONTEXT + TOGETHER * CHUNK - self.heard.len();
            let (now, later) = samples.split_at(room.min(samples.len()));
            self.heard.extend_from_slice(now);
            if now.len() == room {
                self.run();
            }
            samples = later;
        }
    }

    /// What it says of the chunks so far.
    #[must_use]
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The recording ends: its last chunk is filled up with silence, or is silence alone.
    #[must_use]
    pub fn finish(mut self) -> Heard {
        let whole = (self.heard.len() - CONTEXT) / CHUNK + 1;
        self.heard.resize(CONTEXT + whole * CHUNK, 0.0);
        self.run();
        Heard {
            probabilities: self.probabilities,
            samples: self.samples,
        }
    }

    fn run(&mut self) {
        let Self {
            cpu,
            network,
            memory,
            heard,
            probabilities,
            loudest,
            ..
        } = self;
        let mut lifted = Vec::new();
        if let Some(loudest) = loudest {
            *loudest = heard.iter().fold(*loudest, |most, x| most.max(x.abs()));
            if *loudest > 0.0 && *loudest < QUIET {
                let gain = LIFTED / *loudest;
                lifted.extend(heard.iter().map(|x| x * gain));
            }
        }
        let heard_so = if lifted.is_empty() { &*heard } else { &lifted };
        network.run(cpu, heard_so, memory, probabilities);
        let context = heard.len() - CONTEXT;
        heard.drain(..context);
    }
}

/// What the model says of a whole recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// Of each chunk, how probable speech is; and of the silence behind a last one that is whole.
    pub probabilities: Vec<f32>,
    /// The recording's samples.
    pub samples: usize,
}
