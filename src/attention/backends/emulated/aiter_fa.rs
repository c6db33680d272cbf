//! `ROCM_AITER_FA`: AITER's flash attention for prompts and encoders, its paged attention for single
//! tokens.

use super::{Design, Shape, flash, rocm_attn};
use crate::attention::BackendName;
use crate::kernels::emulated::Walk;

pub(super) static DESIGN: Design = Design {
    name: BackendName::ROCM_AITER_FA,
    encoder: true,
    walk,
};

/// A prompt without context goes through flash attention; one with a context attends to context and
/// prompt apart and merges the two by the logarithms of their sums. Single tokens take paged attention in
/// parts of 256 keys.
fn walk(shape: Shape) -> Walk {
    let (queries, keys) = (flash::QUERIES, flash::KEYS);
    if shape.dense || !shape.causal || shape.keys == shape.queries {
        Walk::Tiles { queries, keys }
    } else if shape.queries > 1 {
        Walk::ContextMerged { queries, keys }
    } else {
        Walk::Partitions {
            keys: rocm_attn::PARTITION,
        }
    }
}
