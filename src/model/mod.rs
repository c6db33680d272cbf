//! The network: immutable once loaded, shared by everybody, without any cache of its own.
//!
//! In: windows of log-mel and rows of tokens. Out: encoder vectors and logits. What belongs to a
//! window while it is decoded is in [`AudioState`] and [`TextState`].

mod block;
mod decoder;
mod embedding;
mod encoder;
mod load;
mod ops;
mod packed;
mod state;

use std::path::Path;

use candle_core::Tensor;

pub use decoder::StepWindow;
pub use state::{AudioState, StateBytes, TextState};

use crate::attention::{KvFormat, Plan};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::kernels::attention::Precision;
use crate::weights::WeightSource;
use decoder::{Decoder, StepAttention};
use encoder::Encoder;

/// In what precision the network computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ComputeType {
    /// 32-bit floats: the same tokens as openai/whisper.
    #[default]
    F32,
    /// 8-bit weights and activations in the linear layers, bytes in the encoder's attention and in the
    /// audio's keys and values, half floats in the text's; 32-bit floats elsewhere.
    Int8,
}

impl ComputeType {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    /// How precisely the encoder attends.
    #[must_use]
    pub fn encoder_attention(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Int8 => Precision::I8,
        }
    }

    /// How the text's keys and values are kept.
    #[must_use]
    pub fn text_kv(self) -> KvFormat {
        match self {
            Self::F32 => KvFormat::F32,
            Self::Int8 => KvFormat::F16,
        }
    }

    /// How the audio's keys and values are kept: every step reads all of them for every window.
    #[must_use]
    pub fn audio_kv(self) -> KvFormat {
        match self {
            Self::F32 => KvFormat::F32,
            Self::Int8 => KvFormat::I8,
        }
    }
}

/// A loaded Whisper network.
pub struct Whisper {
    dims: ModelDimensions,
    compute: ComputeType,
    cpu: Cpu,
    plan: Plan,
    encoder: Encoder,
    decoder: Decoder,
}

impl Whisper {
    /// Loads every tensor and packs it for `compute`. With `packed`, a path and a key to the weights,
    /// what packing gives is kept in that file and mapped the next time.
    ///
    /// # Errors
    /// Sizes that no Whisper has; a tensor that is missing, damaged or of the wrong shape.
    pub fn load(
        source: &dyn WeightSource,
        compute: ComputeType,
        cpu: Cpu,
        plan: Plan,
        packed: Option<(&Path, &str)>,
    ) -> Result<Self> {
        let dims = source.dims().clone();
        dims.check().map_err(|reason| Error::Weights {
            file: source.file().to_owned(),
            tensor: None,
            reason,
        })?;
        let loader = load::Loader::new(source, compute, &cpu, packed);
        let (encoder, decoder) = loader.network(&dims)?;
        Ok(Self {
            dims,
            compute,
            cpu,
            plan,
            encoder,
            decoder,
        })
    }

    /// The network's sizes.
    #[must_use]
    pub fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    /// In what precision it computes.
    #[must_use]
    pub fn compute_type(&self) -> ComputeType {
        self.compute
    }

    /// The attention backends it computes with.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The processor handle its kernels run on.
    #[must_use]
    pub fn cpu(&self) -> &Cpu {
        &self.cpu
    }

    /// Encodes one window: `mel` `(n_mels, frames)` row-major, `frames` even → `(frames / 2,
    /// n_audio_state)`.
    ///
    /// # Errors
    /// An attention backend that fails.
    pub fn encode(&self, mel: &[f32]) -> Result<Tensor> {
        let frames = mel.len() / self.dims.n_mels;
        self.encoder
            .forward(&self.cpu, self.plan.encoder(), mel, frames)
    }

    /// The encoder after its convolutions and positions, and after its first block: for comparing
    /// with stored tensors.
    ///
    /// # Errors
    /// An attention backend that fails.
    pub fn encoder_stages(&self, mel: &[f32]) -> Result<(Tensor, Tensor)> {
        let frames = mel.len() / self.dims.n_mels;
        let stem = self.encoder.stem(&self.cpu, mel, frames)?;
        let heads = self.encoder.heads;
        let block0 = &self.encoder.blocks[0];
        let block0 = block0.forward(&self.cpu, self.plan.encoder(), heads, &stem)?;
        Ok((stem, block0))
    }

    /// Projects encoder output `(positions, n_audio_state)` into the decoder's keys and values.
    ///
    /// # Errors
    /// Tensor arithmetic that fails.
    pub fn audio_state(&self, audio: &Tensor) -> Result<AudioState> {
        self.decoder
            .audio_state(&self.cpu, self.compute.audio_kv(), audio)
    }

    /// As [`audio_state`](Self::audio_state), into the memory of a state that is not needed any more.
    ///
    /// # Errors
    /// Tensor arithmetic that fails.
    pub fn refill_audio_state(&self, audio: &Tensor, state: &mut AudioState) -> Result<()> {
        self.decoder
            .fill_audio_state(&self.cpu, self.compute.audio_kv(), audio, state)
    }

    /// An empty text state for `beams` rows.
    #[must_use]
    pub fn text_state(&self, beams: usize) -> TextState {
        TextState::new(&self.dims, self.compute.text_kv(), beams)
    }

    /// One decoder step over any mix of windows: `(wanted, n_vocab)` logits, window after window,
    /// row after row, position after position of `logits_at`.
    ///
    /// # Errors
    /// An attention backend that fails.
    pub fn step(&self, windows: &mut [StepWindow<'_>]) -> Result<Tensor> {
        let attention = StepAttention {
            text: self.plan.decoder(),
            cross: self.plan.cross(),
        };
        self.decoder.step(&self.cpu, &attention, windows)
    }
}
