//! `ROCM_ATTN`: a Triton kernel for prompts, paged attention for single tokens.

use super::{Design, Shape, triton};
use crate::attention::BackendName;
use crate::kernels::emulated::Walk;

/// Queries and keys in a tile of a prompt.
const QUERIES: usize = 128;
const KEYS: usize = 64;
/// Keys in a part of paged attention.
pub(super) const PARTITION: usize = 256;

pub(super) static DESIGN: Design = Design {
    name: BackendName::ROCM_ATTN,
    encoder: false,
    walk,
};

/// Prompts: the context from the cache first, then the prompt's own tokens under the mask. Single tokens:
/// parts of 256 keys on their own and a reduction over the parts. Layers without a cache take the prefill
/// kernel of `TRITON_ATTN`.
fn walk(shape: Shape) -> Walk {
    if shape.dense {
        triton::walk(shape)
    } else if shape.queries > 1 {
        Walk::ContextFirst {
            queries: QUERIES,
            keys: KEYS,
        }
    } else {
        Walk::Partitions { keys: PARTITION }
    }
}
