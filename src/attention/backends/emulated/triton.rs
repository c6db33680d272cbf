//! `TRITON_ATTN`: vLLM's own kernels in Triton, for all four types of layer.

use super::{Design, Shape};
use crate::attention::BackendName;
use crate::kernels::emulated::Walk;

/// Queries in a tile of the unified kernel where every head has its own keys, as in Whisper.
const QUERIES: usize = 16;
/// Keys in a tile: prompts, and single tokens.
const PREFILL_KEYS: usize = 32;
const DECODE_KEYS: usize = 16;
/// Parts that a single token's keys are dealt out to.
const SEGMENTS: usize = 16;
/// Queries and keys in a tile of the prefill kernel, which reads no cache.
const DENSE: usize = 128;

pub(super) static DESIGN: Design = Design {
    name: BackendName::TRITON_ATTN,
    encoder: false,
    walk,
};

/// Layers without a cache take the prefill kernel. With one, prompts take the unified kernel in two
/// dimensions (tiles of queries × heads), and single tokens in three (… × segments of the keys). vLLM
/// splits only while a batch is too small to fill the GPU; here a row must not depend on its neighbours,
/// so single tokens always do.
pub(super) fn walk(shape: Shape) -> Walk {
    if shape.dense {
        Walk::Tiles {
            queries: DENSE,
            keys: DENSE,
        }
    } else if shape.queries > 1 {
        Walk::Tiles {
            queries: QUERIES,
            keys: PREFILL_KEYS,
        }
    } else {
        Walk::Segments {
            count: SEGMENTS,
            keys: DECODE_KEYS,
        }
    }
}
