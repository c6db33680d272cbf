//! The attention of the card's executor as a backend's name: it is computed inside a step, on caches that never
//! leave the card, so nothing else can call it.

use crate::attention::{Attended, AttentionBackend, AttentionCall, AttentionQuery, Objection};
use crate::error::{Error, Result};
use crate::model::ComputeType;

/// Attention by the kernels of a compute type.
pub struct CardAttention(&'static str);

impl CardAttention {
    /// `CUDA_PLAIN` in 32-bit floats; `CUDA_FLASH` on tensor cores, flash and paged; `CUDA_FLASH_INT8` where the
    /// audio's keys and values are bytes.
    #[must_use]
    pub fn of(compute: ComputeType) -> Self {
        Self(match compute {
            ComputeType::F16 => "CUDA_FLASH",
            ComputeType::Int8Float16 => "CUDA_FLASH_INT8",
            _ => "CUDA_PLAIN",
        })
    }
}

impl AttentionBackend for CardAttention {
    fn name(&self) -> &'static str {
        self.0
    }

    fn objections(&self, _: &AttentionQuery) -> Vec<Objection> {
        Vec::new()
    }

    fn attend(&self, _: &AttentionCall<'_>) -> Result<Attended> {
        let name = self.0;
        let reason = format!("{name} computes on a card's own caches, inside its executor");
        Err(Error::Attention(reason))
    }
}
