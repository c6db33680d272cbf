//! In which numbers a card computes, and what follows from it.

use std::sync::Arc;

use super::half::{self, Half, HalfStack};
use super::load::{Lay, Layers};
use super::plain::{self, Plain, PlainStack};
use super::stack::{Pools, Stack};
use crate::device::{Card, Memory};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::model::{ComputeType, StateBytes};

/// Heads may be as wide as a block of plain attention has threads.
const WIDEST_HEAD: usize = 256;

/// A set of kernels, loaded onto a card.
#[derive(Clone)]
pub(super) enum Numbers {
    /// 32-bit floats.
    Plain(Arc<Plain>),
    /// Half floats.
    Half(Arc<Half>),
}

impl Numbers {
    /// Loads the kernels for a network of these sizes.
    pub fn load(compute: ComputeType, dims: &ModelDimensions, card: &Card) -> Result<Self> {
        if let Some(reason) = objection(compute, dims) {
            let device = card.info().id.clone();
            return Err(Error::Device { device, reason });
        }
        Ok(match compute {
            compute if compute.needs_gpu() => Self::Half(Arc::new(Half::load(card, compute)?)),
            _ => Self::Plain(Arc::new(Plain::load(card)?)),
        })
    }

    pub fn compute(&self) -> ComputeType {
        match self {
            Self::Plain(_) => ComputeType::F32,
            Self::Half(half) => half.compute(),
        }
    }

    /// Bytes of a number of the decoder's.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 4,
            Self::Half(_) => 2,
        }
    }

    /// Whether numbers are floats, whatever they are for.
    pub fn floats_alone(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Bytes that the weights take.
    pub fn weight_bytes(&self, dims: &ModelDimensions, own_output: bool) -> usize {
        let output = dims.n_vocab * dims.n_text_state;
        let again = own_output || !self.floats_alone();
        // Keys are given biases of zeros.
        let zeros =
            dims.n_audio_layer * dims.n_audio_state + 2 * dims.n_text_layer * dims.n_text_state;
        self.bytes() * (dims.parameters() + zeros + if again { output } else { 0 })
    }

    /// Bytes of workspace.
    pub fn work_bytes(&self, dims: &ModelDimensions) -> usize {
        match self {
            Self::Plain(_) => plain::work_bytes(dims),
            Self::Half(_) => half::work_bytes(dims),
        }
    }

    /// What a window and a row cost.
    pub fn state_bytes(&self, dims: &ModelDimensions) -> StateBytes {
        match self {
            Self::Plain(_) => plain::state_bytes(dims),
            Self::Half(half) => half::state_bytes(dims, half.bytes()),
        }
    }

    /// Numbers as the kernels want them.
    pub fn put(&self, card: &Card, numbers: &[f32], lay: Lay) -> Result<Memory> {
        match self {
            Self::Plain(_) => card.memory_of(numbers),
            Self::Half(half) => half::lay(card, half, numbers, lay),
        }
    }

    /// Encoder and decoder.
    pub fn stack(
        &self,
        card: &Card,
        layers: Layers,
        dims: &ModelDimensions,
        pools: Pools,
    ) -> Result<Box<dyn Stack>> {
        Ok(match self {
            Self::Plain(plain) => {
                Box::new(PlainStack::new(card, plain.clone(), layers, dims, pools)?)
            }
            Self::Half(half) => Box::new(HalfStack::new(card, half.clone(), layers, dims, pools)?),
        })
    }
}

/// Why no kernels take a network of these sizes, if so.
fn objection(compute: ComputeType, dims: &ModelDimensions) -> Option<String> {
    if compute.needs_gpu() {
        return half::objection(dims);
    }
    let (width, head) = (
        dims.n_text_state,
        dims.n_text_state / dims.n_text_head.max(1),
    );
    let fits = head <= WIDEST_HEAD && width.is_multiple_of(4);
    (!fits).then(|| format!("there are no kernels for a decoder {width} wide with heads of {head}"))
}
