//! The network on the CPU: this crate's kernels on slices and buffers of its own.
//!
//! Reads top to bottom: [`CpuNetwork`], then `encoder`, `decoder`, `block`; `load` makes them from a
//! checkpoint, `packed` keeps on disk what packing gave.

mod attention;
mod block;
mod decoder;
mod embedding;
mod encoder;
mod load;
mod matrix;
mod packed;
mod state;
mod step;

use std::path::Path;
use std::sync::Arc;

pub use state::state_bytes;

use super::{
    AudioState, ComputeType, CrossWeights, Description, EncoderStages, Feeding, Network, Pending,
    StepWindow, TextState, usual_sizes,
};
use crate::attention::Plan;
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::attention::PackedDtype;
use crate::ranking::Answer;
use crate::weights::{Adapted, WeightSource};
use decoder::{Decoder, StepAttention};
use encoder::Encoder;
use load::{Layers, Loader};
use matrix::Matrix;
use state::{CpuAudio, CpuText, audio_dtype, text_dtype};

/// Windows from which on a step is worth its cost: among eight, a window costs half of what it costs
/// alone. Slots beyond these are for the encoding lanes, which would stop at a full batch.
const WORTH_A_STEP: usize = 8;

/// A Whisper network packed for this processor.
pub struct CpuNetwork {
    dims: ModelDimensions,
    compute: ComputeType,
    cpu: Cpu,
    plan: Plan,
    encoder: Encoder,
    decoder: Decoder,
    /// Both stacks' layers by name, for networks that share them.
    layers: Layers,
}

/// How precisely the encoder attends.
#[must_use]
pub fn encoder_attention(compute: ComputeType) -> PackedDtype {
    match compute.is_integer() {
        true => PackedDtype::I8,
        false => PackedDtype::F32,
    }
}

impl CpuNetwork {
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
        let dims = usual_sizes(source)?;
        let loader = Loader::new(source, compute, &cpu, packed);
        let (encoder, decoder, layers) = loader.network(&dims)?;
        Ok(Self {
            dims,
            compute,
            cpu,
            plan,
            encoder,
            decoder,
            layers,
        })
    }

    fn encoded(&self, mel: &[f32]) -> Result<Matrix<'_>> {
        let frames = mel.len() / self.dims.n_mels;
        self.encoder
            .forward(&self.cpu, self.plan.encoder(), mel, frames)
    }

    fn attention(&self) -> StepAttention<'_> {
        StepAttention {
            text: self.plan.decoder(),
            cross: self.plan.cross(),
        }
    }
}

impl Network for CpuNetwork {
    fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    fn describe(&self) -> Description {
        let (threads, level) = (self.cpu.threads(), self.cpu.level());
        let plural = if threads == 1 { "" } else { "s" };
        Description {
            executor: "cpu",
            device: format!("{threads} thread{plural}, {level}"),
            compute: self.compute,
            state: state_bytes(&self.dims, self.compute),
        }
    }

    fn feeding(&self) -> Feeding {
        Feeding {
            lanes: self.cpu.threads(),
            windows_an_encode: 1,
            worth_a_step: WORTH_A_STEP,
            most: None,
        }
    }

    fn audio_state(&self) -> Result<AudioState> {
        Ok(AudioState::new(CpuAudio::default()))
    }

    fn text_state(&self, beams: usize) -> Result<TextState> {
        let text = CpuText::new(&self.dims, text_dtype(self.compute), beams);
        Ok(TextState::new(text))
    }

    fn encode(&self, mels: &[&[f32]], into: &mut [AudioState]) -> Result<()> {
        let dtype = audio_dtype(self.compute);
        for (mel, state) in mels.iter().zip(into) {
            let encoded = self.encoded(mel)?;
            let state = state.memory_mut()?;
            self.decoder.fill_audio(&self.cpu, dtype, &encoded, state);
        }
        Ok(())
    }

    /// Computes at once; there is nothing to wait for.
    fn step(&self, windows: &mut [StepWindow<'_>]) -> Result<Pending> {
        step::step(&self.cpu, &self.decoder, self.attention(), windows).map(Pending::new)
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
        memory: Vec<f32>,
    ) -> Result<CrossWeights> {
        Ok(step::cross_weights(
            &self.cpu,
            audio.memory()?,
            text.memory()?,
            beam,
            memory,
        ))
    }

    fn encoder_stages(&self, mel: &[f32]) -> Result<EncoderStages> {
        let frames = mel.len() / self.dims.n_mels;
        let stem = self.encoder.stem(&self.cpu, mel, frames);
        let (attention, heads) = (self.plan.encoder(), self.encoder.heads);
        let block0 = self.encoder.blocks[0].forward(&self.cpu, attention, heads, &stem)?;
        Ok(EncoderStages {
            stem: stem.into_vec(),
            block0: block0.into_vec(),
            output: self.encoded(mel)?.into_vec(),
        })
    }

    /// Layers that the adapter leaves alone are the same memory.
    fn adapted(&self, weights: &Adapted<'_>) -> Result<Arc<dyn Network>> {
        let loaded = Loader::adapted(weights, self.compute, &self.cpu, &self.layers)?;
        let (encoder, decoder, layers) = loaded;
        Ok(Arc::new(Self {
            dims: self.dims.clone(),
            compute: self.compute,
            cpu: self.cpu.clone(),
            plan: self.plan.clone(),
            encoder,
            decoder,
            layers,
        }))
    }

    /// On the kernels' own threads: a kernel that is called from one of their tasks does not share its work
    /// out.
    fn run_lanes(&self, count: usize, lane: &(dyn Fn(usize) + Sync)) {
        self.cpu.pool().run(count, lane);
    }
}
