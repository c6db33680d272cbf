//! The network written once, plainly, on candle: any device, 32-bit floats or doubles.
//!
//! Meant to be read, in openai/whisper's names (`model.py`), and to judge the other executors by. Reads top
//! to bottom: [`ReferenceNetwork`], then `encoder`, `decoder`, `block`, `attention`, `state`. Windows of a
//! step come one after another, and so do rows in attention, which the planned backends compute.

mod attention;
mod block;
mod decoder;
mod encoder;
mod kept;
mod state;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::{
    AudioState, ComputeType, CrossWeights, Description, EncoderStages, Feeding, Network, Pending,
    StateBytes, StepWindow, TextState, usual_sizes,
};
use crate::attention::backends::Naive;
use crate::attention::{Plan, Registry, Request, plan};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::ranking::{self, Answer};
use crate::weights::{Adapted, EMBEDDING, WeightSource, var_builder};
use decoder::TextDecoder;
use encoder::AudioEncoder;
use kept::Tensors;
use state::{Audio, Text};

/// `Whisper`: an encoder and a decoder of candle's tensors.
pub struct ReferenceNetwork {
    dims: ModelDimensions,
    dtype: DType,
    device: Device,
    plan: Plan,
    encoder: AudioEncoder,
    decoder: TextDecoder,
    /// All tensors by name, for networks that share them.
    tensors: Tensors,
}

impl ReferenceNetwork {
    /// Loads every tensor as `dtype`, f32 or f64, onto `device`. Attention is as precise as the backends
    /// that are planned.
    ///
    /// # Errors
    /// Sizes that no Whisper has; a tensor that is missing, damaged or of the wrong shape.
    pub fn load(
        source: &dyn WeightSource,
        dtype: DType,
        device: &Device,
        plan: Plan,
    ) -> Result<Self> {
        source.verify()?;
        Self::build(source, dtype, device, plan, Tensors::default())
    }

    /// From tensors that are there already, and a source for the others.
    fn build(
        source: &dyn WeightSource,
        dtype: DType,
        device: &Device,
        plan: Plan,
        tensors: Tensors,
    ) -> Result<Self> {
        let dims = usual_sizes(source)?;
        let vb = tensors.over(var_builder(source, dtype, device));
        let own_output = Some(source.output()).filter(|name| *name != EMBEDDING);
        let bad = |error: candle_core::Error| Error::Weights {
            file: source.file().to_owned(),
            tensor: None,
            reason: error.to_string(),
        };
        Ok(Self {
            encoder: AudioEncoder::load(&dims, &vb.pp("encoder")).map_err(bad)?,
            decoder: TextDecoder::load(&dims, &vb.pp("decoder"), own_output).map_err(bad)?,
            dims,
            dtype,
            device: device.clone(),
            plan,
            tensors,
        })
    }

    /// The judge of the others: all of it in doubles on the CPU, attention by `NAIVE`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn judge(source: &dyn WeightSource) -> Result<Self> {
        let registry = Registry::new(vec![Arc::new(Naive::in_f64())]);
        let plan = plan(&Request::default(), &registry, source.dims())?;
        Self::load(source, DType::F64, &Device::Cpu, plan)
    }

    fn stages(&self, mel: &[f32]) -> Result<Vec<Tensor>> {
        let shape = (1, self.dims.n_mels, mel.len() / self.dims.n_mels);
        let mel = Tensor::from_slice(mel, shape, &self.device)?.to_dtype(self.dtype)?;
        self.encoder.stages(self.plan.encoder(), &mel)
    }

    /// One window's part of a step: its answers, and its text afterwards.
    fn step_window(&self, window: &StepWindow<'_>) -> Result<(Vec<Answer>, Text)> {
        let new = window.new_tokens()?;
        let (audio, text): (&Audio, &Text) = (window.audio.memory()?, window.text.memory()?);
        let tokens = Tensor::from_slice(window.tokens, (window.rows, new), &self.device)?;
        let (x, text) = self.decoder.forward(&self.plan, &tokens, audio, text)?;
        if window.queries.is_empty() {
            return Ok((Vec::new(), text));
        }
        let places = window.queries.iter().map(|q| (q.row * new + q.at) as u32);
        let places = Tensor::from_iter(places, &self.device)?;
        let logits = self
            .decoder
            .logits(&x.flatten(0, 1)?.index_select(&places, 0)?)?;
        let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let ranked = logits.iter().zip(&window.queries);
        let answers = ranked.map(|(logits, query)| ranking::answer(logits, query));
        Ok((answers.collect(), text))
    }
}

impl Network for ReferenceNetwork {
    fn dims(&self) -> &ModelDimensions {
        &self.dims
    }

    fn describe(&self) -> Description {
        let device = format!("{:?}", self.device.location()).to_lowercase();
        let numbers = 2 * self.dims.n_text_layer * self.dims.n_text_state;
        let bytes = numbers * self.dtype.size_in_bytes();
        Description {
            executor: "reference",
            device: format!("candle on {device} in {}", self.dtype.as_str()),
            compute: ComputeType::F32,
            state: StateBytes {
                window: bytes * self.dims.n_audio_ctx,
                row: bytes * self.dims.n_text_ctx,
            },
        }
    }

    fn feeding(&self) -> Feeding {
        Feeding {
            lanes: 1,
            windows_an_encode: 1,
            worth_a_step: 1,
            most: None,
        }
    }

    fn audio_state(&self) -> Result<AudioState> {
        Ok(AudioState::new(Audio::default()))
    }

    fn text_state(&self, beams: usize) -> Result<TextState> {
        Ok(TextState::new(Text::new(beams)))
    }

    fn encode(&self, mels: &[&[f32]], into: &mut [AudioState]) -> Result<()> {
        for (mel, state) in mels.iter().zip(into) {
            let stages = self.stages(mel)?;
            *state.memory_mut()? = self.decoder.listen(&stages[stages.len() - 1])?;
        }
        Ok(())
    }

    /// Computes at once; texts change when every window is done.
    fn step(&self, windows: &mut [StepWindow<'_>]) -> Result<Pending> {
        let steps = windows.iter().map(|window| self.step_window(window));
        let steps = steps.collect::<Result<Vec<_>>>()?;
        let mut answers = Vec::new();
        for (window, (own, text)) in windows.iter_mut().zip(steps) {
            answers.extend(own);
            *window.text.memory_mut()? = text;
        }
        Ok(Pending::new(answers))
    }

    fn collect(&self, step: Pending, answers: &mut Vec<Answer>) -> Result<()> {
        answers.append(&mut step.into_inner()?);
        Ok(())
    }

    /// They were computed while decoding.
    fn cross_weights(
        &self,
        audio: &AudioState,
        text: &TextState,
        beam: usize,
        _memory: Vec<f32>,
    ) -> Result<CrossWeights> {
        let (audio, text): (&Audio, &Text) = (audio.memory()?, text.memory()?);
        let of_beam = |weights: &Tensor| numbers(&weights.get(text.parents[beam])?);
        Ok(CrossWeights {
            heads: text.watched.clone(),
            tokens: text.len,
            positions: audio.layer(0)?.k.dim(1)?,
            weights: text.weights.as_ref().map_or(Ok(Vec::new()), of_beam)?,
        })
    }

    /// Tensors that the adapter leaves alone are the same memory.
    fn adapted(&self, weights: &Adapted<'_>) -> Result<Arc<dyn Network>> {
        let unchanged = self.tensors.without(|name| weights.changes(name));
        let plan = self.plan.clone();
        let network = Self::build(weights, self.dtype, &self.device, plan, unchanged)?;
        Ok(Arc::new(network))
    }

    fn encoder_stages(&self, mel: &[f32]) -> Result<EncoderStages> {
        let stages = self.stages(mel)?;
        Ok(EncoderStages {
            stem: numbers(&stages[0])?,
            block0: numbers(&stages[1])?,
            output: numbers(&stages[stages.len() - 1])?,
        })
    }
}

/// A tensor's numbers in 32 bits, row-major.
fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
