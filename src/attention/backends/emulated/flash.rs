//! `FLASH_ATTN`: the `flash_attn` package, which the encoder's chooser takes where it is installed.

use super::{Design, Shape};
use crate::attention::BackendName;
use crate::kernels::emulated::Walk;

/// Flash attention's tiles for heads of 64.
pub(super) const QUERIES: usize = 128;
pub(super) const KEYS: usize = 64;

pub(super) static DESIGN: Design = Design {
    name: BackendName::FLASH_ATTN,
    encoder: false,
    walk,
};

/// Everything in the same tiles: the encoder, prompts and single tokens.
fn walk(_: Shape) -> Walk {
    Walk::Tiles {
        queries: QUERIES,
        keys: KEYS,
    }
}
