//! `ROCM_AITER_UNIFIED_ATTN`: AITER's unified kernel over a cache in blocks of 64.

use super::{Design, Shape, triton};
use crate::attention::BackendName;
use crate::kernels::emulated::Walk;

/// The block of the cache that this backend asks for, and with it the keys in a tile.
const BLOCK: usize = 64;
/// Queries in a tile, and in one of a long prompt.
const QUERIES: usize = 16;
const LONG_QUERIES: usize = 128;
/// From how many queries on a prompt is long.
const LONG: usize = 256;
/// Up to how many keys a single token's are not split.
const UNSPLIT: usize = 512;
/// Fewest and most parts that a single token's keys are dealt out to.
const SEGMENTS: std::ops::RangeInclusive<usize> = 8..=128;

pub(super) static DESIGN: Design = Design {
    name: BackendName::ROCM_AITER_UNIFIED_ATTN,
    encoder: false,
    walk,
};

/// AITER's kernel is causal and nothing else, so layers that are not, cross-attention among them, take
/// vLLM's Triton kernels, as under `2026-08`. Under `2026-03` vLLM called a causal kernel for those too,
/// which gave prompts a wrong cross-attention; that is not copied.
fn walk(shape: Shape) -> Walk {
    if !shape.causal || shape.dense {
        return triton::walk(shape);
    }
    if shape.queries > 1 || shape.keys <= UNSPLIT {
        let queries = if shape.queries >= LONG {
            LONG_QUERIES
        } else {
            QUERIES
        };
        return Walk::Tiles {
            queries,
            keys: BLOCK,
        };
    }
    // A block a segment, to the next power of two: on so large a GPU parts are never scarce.
    let count = shape.keys.div_ceil(BLOCK).next_power_of_two();
    Walk::Segments {
        count: count.clamp(*SEGMENTS.start(), *SEGMENTS.end()),
        keys: BLOCK,
    }
}
