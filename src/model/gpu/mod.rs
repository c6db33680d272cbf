//! The network on a graphics card: this crate's own kernels, launched through [`crate::device`].
//!
//! Reads top to bottom: [`GpuNetwork`], then `step`, which makes `tables` of rows; `plain` and `half` are the encoder
//! and decoder in 32-bit floats and in half floats, both behind `stack`. `load` copies a checkpoint onto the card,
//! `pools` plans what is left of its memory, `numbers` says what depends on the kind of number.

mod attention;
mod half;
mod load;
mod numbers;
mod plain;
mod pools;
mod stack;
mod state;
mod step;
mod tables;
mod weights;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use attention::plan;

use super::{
    AudioState, CardTimes, ComputeType, CrossWeights, Description, EncoderStages, Feeding, Network,
    Pending, StateBytes, StepWindow, TextState, usual_sizes,
};
use crate::device::{Card, CodeObject};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::kernels::gpu::{OBJECTS, Object};
use crate::ranking::Answer;
use crate::weights::{Adapted, EMBEDDING, WeightSource};
use load::{Kept, Layers, Loader};
use numbers::Numbers;
use pools::{Pool, Room};
use stack::{Pools, Stack, positions};
use state::{GpuAudio, GpuText};

/// Memory left alone: what the driver takes for itself, and queries that word times keep.
const RESERVE: usize = 64 << 20;

/// The kernels' code objects.
#[must_use]
pub fn objects() -> Vec<CodeObject> {
    let object = |&(arch, compressed): &Object| CodeObject { arch, compressed };
    OBJECTS.iter().map(object).collect()
}

/// What a window and a row cost on a card.
#[must_use]
pub fn state_bytes(dims: &ModelDimensions, compute: ComputeType) -> StateBytes {
    match compute {
        ComputeType::F16 => half::state_bytes(dims, false),
        ComputeType::Int8Float16 | ComputeType::Fp8 => half::state_bytes(dims, true),
        _ => plain::state_bytes(dims),
    }
}

/// How much of a card may be used.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Windows that are to be decoded side by side.
    pub windows: usize,
    /// Of the card's memory, what may be taken: 0 to 1.
    pub memory: f64,
}

/// A Whisper network on a card.
pub struct GpuNetwork {
    dims: ModelDimensions,
    card: Card,
    /// Ranks.
    cpu: Cpu,
    share: Share,
    numbers: Numbers,
    /// The layers' numbers by name, for networks that share them.
    kept: Kept,
    room: Room,
    audios: Pool,
    texts: Pool,
    stack: Mutex<Box<dyn Stack>>,
}

impl GpuNetwork {
    /// Copies every tensor onto the card, and plans what is left of its memory.
    ///
    /// # Errors
    /// Sizes that no Whisper has, or that there are no kernels for; a tensor that is missing, damaged or of the
    /// wrong shape; a card that has no kernels or too little memory.
    pub fn load(
        source: &dyn WeightSource,
        compute: ComputeType,
        card: Card,
        cpu: Cpu,
        share: Share,
    ) -> Result<Self> {
        source.verify()?;
        let dims = usual_sizes(source)?;
        let numbers = Numbers::load(compute, &dims, &card)?;
        let weights = numbers.weight_bytes(&dims, source.output() != EMBEDDING);
        let room = room(&dims, &numbers, &card, share, weights)?;
        let put = |floats: &[f32], lay| numbers.put(&card, floats, lay);
        let loader = Loader::new(source, &put, numbers.floats_alone());
        let loaded = loader.layers(&dims)?;
        Self::with(dims, card, cpu, share, numbers, room, loaded)
    }

    fn with(
        dims: ModelDimensions,
        card: Card,
        cpu: Cpu,
        share: Share,
        numbers: Numbers,
        room: Room,
        (layers, kept): (Layers, Kept),
    ) -> Result<Self> {
        let cost = numbers.state_bytes(&dims);
        let audios = Pool::new(&card, room.audio, cost.window, "windows")?;
        let texts = Pool::new(&card, room.rows(), cost.row, "rows of text")?;
        let pools = Pools {
            audio: audios.address(),
            windows: room.audio,
            text: texts.address(),
            rows: room.rows(),
        };
        Ok(Self {
            stack: Mutex::new(numbers.stack(&card, layers, &dims, pools)?),
            dims,
            card,
            cpu,
            share,
            numbers,
            kept,
            room,
            audios,
            texts,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Stack>> {
        // What a failed call leaves in its memory is written again before it is read.
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of a number of the decoder's.
    fn number_bytes(&self) -> usize {
        self.numbers.bytes()
    }

    /// Positions of a window that the encoder takes.
    fn positions(&self, mel: &[f32]) -> Result<usize> {
        match positions(&self.dims, mel) {
            0 => Err(Error::Engine("a window without frames".into())),
            n if n > self.dims.n_audio_ctx => {
                Err(Error::Engine(format!("a window of {n} positions")))
            }
            n => Ok(n),
        }
    }
}

/// Room for windows in what is left of the card's memory beside this many bytes of weights.
fn room(
    dims: &ModelDimensions,
    numbers: &Numbers,
    card: &Card,
    share: Share,
    weights: usize,
) -> Result<Room> {
    let (free, total) = (card.driver().free_memory()?, card.info().memory);
    let kept_free = (total as f64 * (1.0 - share.memory.clamp(0.0, 1.0))) as usize;
    let usable = free.saturating_sub(kept_free);
    let fixed = weights + numbers.work_bytes(dims) + RESERVE;
    let cost = numbers.state_bytes(dims);
    let room = Room::plan(share.windows, usable.saturating_sub(fixed), cost);
    room.ok_or_else(|| {
        let mb = |bytes: usize| bytes.div_ceil(1_000_000);
        let needed = mb(fixed + Room::least(cost));
        Error::Device {
            device: card.info().id.clone(),
            reason: format!(
                "the model needs {needed} MB of the card's memory, and {} MB may be taken ({} MB are free)",
                mb(usable),
                mb(free)
            ),
        }
    })
}

impl Network for GpuNetwork {
    fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    fn describe(&self) -> Description {
        Description {
            executor: "gpu",
            device: self.card.info().to_string(),
            compute: self.numbers.compute(),
            state: self.numbers.state_bytes(&self.dims),
        }
    }

    fn feeding(&self) -> Feeding {
        Feeding {
            lanes: 1,
            windows_an_encode: half::most_windows(&self.dims),
            worth_a_step: 1,
            most: Some(self.room.most),
        }
    }

    fn audio_state(&self) -> Result<AudioState> {
        let slot = self.audios.take()?;
        Ok(AudioState::new(GpuAudio { slot, positions: 0 }))
    }

    fn text_state(&self, beams: usize) -> Result<TextState> {
        let text = GpuText::new(self.texts.clone(), beams, self.dims.n_text_ctx);
        Ok(TextState::new(text))
    }

    /// Queues windows of the same length together; the card may still be computing when this returns.
    fn encode(&self, mels: &[&[f32]], into: &mut [AudioState]) -> Result<()> {
        let stack = self.lock();
        let mut slots = Vec::with_capacity(mels.len());
        for (mel, state) in mels.iter().zip(into.iter_mut()) {
            let state: &mut GpuAudio = state.memory_mut()?;
            state.positions = 0;
            slots.push((state.slot.index, self.positions(mel)?));
        }
        let mut first = 0;
        for alike in slots.chunk_by(|a, b| a.1 == b.1) {
            let places: Vec<usize> = alike.iter().map(|(slot, _)| *slot).collect();
            let mels = &mels[first..first + alike.len()];
            let most = half::most_windows(&self.dims);
            for (mels, places) in mels.chunks(most).zip(places.chunks(most)) {
                stack.encode(mels, places, &self.cpu)?;
            }
            first += alike.len();
        }
        for (state, (_, positions)) in into.iter_mut().zip(slots) {
            state.memory_mut::<GpuAudio>()?.positions = positions;
        }
        Ok(())
    }

    /// Waits for the answers.
    fn step(&self, windows: &mut [StepWindow<'_>]) -> Result<Pending> {
        let stack = self.lock();
        step::step(self, &**stack, windows).map(Pending::new)
    }

    fn collect(&self, step: Pending, answers: &mut Vec<Answer>) -> Result<()> {
        answers.append(&mut step.into_inner()?);
        Ok(())
    }

    fn cross_weights(
        &self,
        audio: &AudioState,
        text: &TextState,
        beam: usize,
        _memory: Vec<f32>,
    ) -> Result<CrossWeights> {
        let stack = self.lock();
        weights::cross_weights(self, &**stack, audio.memory()?, text.memory()?, beam)
    }

    fn encoder_stages(&self, mel: &[f32]) -> Result<EncoderStages> {
        self.positions(mel)?;
        self.lock().stages(mel, &self.cpu)
    }

    fn card_times(&self) -> Result<Option<CardTimes>> {
        self.lock().card_times()
    }

    /// Layers that the adapter leaves alone are the same memory; windows have places of their own.
    fn adapted(&self, weights: &Adapted<'_>) -> Result<Arc<dyn Network>> {
        let (dims, card, numbers) = (self.dims.clone(), self.card.clone(), self.numbers.clone());
        let put = |floats: &[f32], lay| numbers.put(&card, floats, lay);
        let loader = Loader::adapted(weights, &put, numbers.floats_alone(), &self.kept);
        let loaded = loader.layers(&dims)?;
        let room = room(&dims, &numbers, &card, self.share, 0)?;
        let (cpu, share) = (self.cpu.clone(), self.share);
        let network = Self::with(dims, card, cpu, share, numbers, room, loaded)?;
        Ok(Arc::new(network))
    }
}
