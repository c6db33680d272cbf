//! The attention of the card's executor as a backend's name: it is computed inside a step, on caches that never
//! leave the card, so nothing else can call it.

use crate::attention::{Attended, AttentionBackend, AttentionCall, AttentionQuery, Objection};
use crate::error::{Error, Result};

/// `CUDA_PLAIN`: attention by the plain kernels.
pub struct CardAttention;

impl AttentionBackend for CardAttention {
    fn name(&self) -> &'static str {
        "CUDA_PLAIN"
    }

    fn objections(&self, _: &AttentionQuery) -> Vec<Objection> {
        Vec::new()
    }

    fn attend(&self, _: &AttentionCall<'_>) -> Result<Attended> {
        let reason = "CUDA_PLAIN computes on a card's own caches, inside its executor";
        Err(Error::Attention(reason.into()))
    }
}
