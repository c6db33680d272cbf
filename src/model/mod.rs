//! The network behind one seam: what encodes windows, steps rows and ranks what comes out.
//!
//! In: windows of log-mel, rows of tokens and queries. Out: opaque states of windows, and answers.
//! [`Network`] is what the batcher, and with it everything else, knows of an executor. A network is
//! immutable once loaded and shared by everybody; what belongs to a window while it is decoded is in
//! [`AudioState`] and [`TextState`]. [`cpu`] is this crate's kernels; [`reference`] is the network as it is
//! written down, on candle, which judges the others. [`Executor`] chooses.

pub mod cpu;
mod executor;
pub mod gpu;
pub mod reference;
mod state;

use std::any::Any;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use executor::Executor;
pub use state::{AudioState, StateBytes, TextMemory, TextState};

use serde::{Deserialize, Serialize};

use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::ranking::{Answer, Query};
use crate::weights::{Adapted, WeightSource};

/// In what precision the network computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComputeType {
    /// 32-bit floats: the same tokens as openai/whisper.
    #[default]
    F32,
    /// 8-bit integers for weights and activations of the linear layers, for the encoder's attention
    /// and for the audio's keys and values; 16-bit floats for the text's; 32-bit floats elsewhere.
    Int8,
    /// As `int8`, but the decoder's weights, those of the logits among them, are 4-bit integers with a scale for
    /// every 32 inputs of an output: for models whose decoder waits for memory. On the CPU alone.
    Int4,
    /// 16-bit floats for weights, activations and caches, 32-bit floats for sums, the decoder's residual stream and
    /// logits: on a GPU alone.
    F16,
    /// As `f16`, but the audio's keys and values are 8-bit integers with a scale a dimension and one a position.
    #[serde(rename = "int8_float16")]
    Int8Float16,
    /// As `int8_float16`, and the encoder's products behind a LayerNorm (half of its multiplications) are of 8-bit
    /// floats, e4m3, with a scale a row: on Hopper's GPUs alone.
    Fp8,
}

impl ComputeType {
    /// Every compute type.
    pub const ALL: [Self; 6] = [
        Self::F32,
        Self::Int8,
        Self::Int4,
        Self::F16,
        Self::Int8Float16,
        Self::Fp8,
    ];

    /// The name, as on the command line: `f32`, `int8`, `int4`, `f16`, `int8_float16`, `fp8`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::F16 => "f16",
            Self::Int8Float16 => "int8_float16",
            Self::Fp8 => "fp8",
        }
    }

    /// Whether linear layers multiply integers, and the audio's keys and values are bytes: on the CPU alone.
    pub(crate) const fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }

    /// Whether only a GPU computes in it.
    pub(crate) const fn needs_gpu(self) -> bool {
        matches!(self, Self::F16 | Self::Int8Float16 | Self::Fp8)
    }
}

impl fmt::Display for ComputeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ComputeType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let named = Self::ALL.into_iter().find(|compute| compute.name() == name);
        named.ok_or_else(|| Error::Option {
            option: "compute_type",
            reason: format!("{name} is none of f32, int8, int4, f16, int8_float16, fp8"),
        })
    }
}

/// An executor: one Whisper network on one device.
///
/// What is true of every executor: a row's answer does not depend on what shares its step (to the bit in
/// `cpu`); `f32` gives openai/whisper's tokens; a step that fails leaves the text states as they were,
/// so that its windows can be stepped again one by one.
pub trait Network: Send + Sync {
    /// The network's sizes.
    fn dims(&self) -> &ModelDimensions;

    /// What computes, and what a window costs on it.
    fn describe(&self) -> Description;

    /// How it likes to be fed: all that a scheduler needs to know of a device.
    fn feeding(&self) -> Feeding;

    /// An empty place for a window's audio.
    ///
    /// # Errors
    /// Where the device's memory is full.
    fn audio_state(&self) -> Result<AudioState>;

    /// An empty text of `beams` rows.
    ///
    /// # Errors
    /// Where the device's memory is full.
    fn text_state(&self, beams: usize) -> Result<TextState>;

    /// Encodes windows, `(n_mels, frames)` row-major each with `frames` even, into the cross-attention's
    /// keys and values. A state's memory is used again, whatever it held.
    ///
    /// # Errors
    /// An attention backend that fails; a state of another executor.
    fn encode(&self, mels: &[&[f32]], into: &mut [AudioState]) -> Result<()>;

    /// One decoder step over any mix of windows, prompts (prefill) and single tokens alike. A device may
    /// still be computing when this returns.
    ///
    /// # Errors
    /// An attention backend that fails; a state of another executor; a query of a row that is not there.
    fn step(&self, windows: &mut [StepWindow<'_>]) -> Result<Pending>;

    /// Waits for a step and appends its answers: window after window, in the order of their queries.
    ///
    /// # Errors
    /// A device that fails.
    fn collect(&self, step: Pending, answers: &mut Vec<Answer>) -> Result<()>;

    /// The cross-attention weights that a beam's tokens had on the audio's positions, for the heads that
    /// the text state [watches](TextState::watch): what word timing aligns by. `memory`, whatever it holds,
    /// may be used for them.
    ///
    /// # Errors
    /// States of another executor.
    fn cross_weights(
        &self,
        audio: &AudioState,
        text: &TextState,
        beam: usize,
        memory: Vec<f32>,
    ) -> Result<CrossWeights>;

    /// The encoder's stages for one window: for judging an executor by another, or by stored tensors.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn encoder_stages(&self, mel: &[f32]) -> Result<EncoderStages>;

    /// What a card takes for each stage of a window and a step like the last ones; nothing where no card computes,
    /// or where it does not queue them as one. For measuring alone.
    ///
    /// # Errors
    /// A device that fails.
    fn card_times(&self) -> Result<Option<CardTimes>> {
        Ok(None)
    }

    /// The same network under an adapter, computed as this one is. `weights` are this network's own with the
    /// adapter merged in. What the adapter leaves alone should be the same memory.
    ///
    /// # Errors
    /// Merged weights that are not finite.
    fn adapted(&self, weights: &Adapted<'_>) -> Result<Arc<dyn Network>>;

    /// Runs `lane(0)`, `lane(1)`, … `lane(count - 1)` side by side and waits for all of them; each may call the
    /// network. An executor whose kernels have threads of their own runs the lanes on those.
    fn run_lanes(&self, count: usize, lane: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            let refused = |i: &usize| {
                let (i, thread) = (*i, std::thread::Builder::new());
                thread.spawn_scoped(scope, move || lane(i)).is_err()
            };
            let refused: Vec<usize> = (1..count).filter(refused).collect();
            lane(0);
            // Without threads of their own they come one by one.
            refused.into_iter().for_each(lane);
        });
    }
}

/// Steps windows and waits for the answers.
///
/// # Errors
/// As [`Network::step`] and [`Network::collect`].
pub fn step(network: &dyn Network, windows: &mut [StepWindow<'_>]) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let pending = network.step(windows)?;
    network.collect(pending, &mut answers)?;
    Ok(answers)
}

/// One window's part of a step: its rows, all with the same number of new tokens.
pub struct StepWindow<'a> {
    /// The window's audio.
    pub audio: &'a AudioState,
    /// The window's text so far; the step appends to it.
    pub text: &'a mut TextState,
    /// New tokens, row after row.
    pub tokens: &'a [u32],
    /// How many rows (beams) there are; row `i` is beam `i` of the text state.
    pub rows: usize,
    /// What is wanted of the rows.
    pub queries: Vec<Query<'a>>,
}

impl StepWindow<'_> {
    /// New tokens of each row, where the window's part of the step makes sense.
    fn new_tokens(&self) -> Result<usize> {
        let (tokens, rows) = (self.tokens.len(), self.rows);
        if rows == 0 || tokens == 0 || !tokens.is_multiple_of(rows) {
            let reason = format!("a step of {tokens} tokens in {rows} rows");
            return Err(Error::Engine(reason));
        }
        let new = tokens / rows;
        let stray = |query: &&Query<'_>| query.row >= rows || query.at >= new;
        match self.queries.iter().find(stray) {
            None => Ok(new),
            Some(Query { row, at, .. }) => Err(Error::Engine(format!(
                "asked about token {at} of row {row}, of {rows} rows of {new}"
            ))),
        }
    }
}

/// A step under way; its answers are [collected](Network::collect).
pub struct Pending(Box<dyn Any + Send>);

impl Pending {
    /// Wraps what an executor needs to find its step again.
    #[must_use]
    pub fn new<T: Any + Send>(step: T) -> Self {
        Self(Box::new(step))
    }

    /// What was wrapped.
    ///
    /// # Errors
    /// [`Error::Engine`] where it is another executor's.
    pub fn into_inner<T: Any>(self) -> Result<T> {
        let step = self.0.downcast().map_err(|_| foreign("step"))?;
        Ok(*step)
    }
}

/// A state or a step that another executor made.
fn foreign(what: &str) -> Error {
    Error::Engine(format!("a {what} of another executor"))
}

/// The sizes of a network that takes windows as openai/whisper makes them.
fn usual_sizes(source: &dyn WeightSource) -> Result<ModelDimensions> {
    let dims = source.dims().clone();
    match dims.check() {
        Ok(()) => Ok(dims),
        Err(reason) => Err(Error::Weights {
            file: source.file().to_owned(),
            tensor: None,
            reason,
        }),
    }
}

/// How an executor likes to be fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feeding {
    /// Lanes that work side by side: all but one encode while the last one steps. 1: everything in turn.
    pub lanes: usize,
    /// Windows that one call of [`Network::encode`] takes best.
    pub windows_an_encode: usize,
    /// Windows in slots from which on a step is worth its cost, rather than encoding one more first.
    pub worth_a_step: usize,
    /// Windows, and rows of them, that its memory has room for, where that is bounded.
    pub most: Option<Most>,
}

/// What an executor's memory has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Windows side by side.
    pub windows: usize,
    /// Rows of them.
    pub rows: usize,
}

/// What an executor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name: `cpu`.
    pub executor: &'static str,
    /// The device: `2 threads, avx512-vnni`.
    pub device: String,
    /// The precision.
    pub compute: ComputeType,
    /// What a window and a row cost while they are decoded.
    pub state: StateBytes,
}

/// What a card does at its best, each second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardRates {
    /// Bytes of its memory that it reads.
    pub memory: f64,
    /// Multiplications and additions of half floats by its tensor cores, in a large product.
    pub tensor: f64,
}

/// Seconds that a card takes by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CardTimes {
    /// To encode a window.
    pub encoder: f64,
    /// To make a window's keys and values of what was encoded.
    pub projection: f64,
    /// For a step's rows, from tokens to the last layer.
    pub rows: f64,
    /// For their logits, and for ranking them.
    pub ranking: f64,
    /// What it could do; unknown where it has no memory to be measured in.
    pub rates: Option<CardRates>,
}

/// Cross-attention weights of one beam's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossWeights {
    /// Layer and head of each plane.
    pub heads: Vec<(usize, usize)>,
    /// Tokens that were fed, the prompt's among them.
    pub tokens: usize,
    /// Positions of the audio.
    pub positions: usize,
    /// `(heads, tokens, positions)`; each token's sum to 1.
    pub weights: Vec<f32>,
}

/// What the encoder makes of one window, `(positions, n_audio_state)` each.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderStages {
    /// After both convolutions, with the positions.
    pub stem: Vec<f32>,
    /// After the first block.
    pub block0: Vec<f32>,
    /// What cross-attention hears.
    pub output: Vec<f32>,
}
