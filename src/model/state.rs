//! What belongs to one window while it is decoded: the keys and values of its text and its audio.

use crate::attention::KvFormat;
use crate::dims::ModelDimensions;
use crate::kernels::kv::{CrossKv, GroupKv, Lineage};

/// The audio of one window as the decoder's cross-attention sees it, per layer. Written once.
pub struct AudioState {
    pub(crate) layers: Vec<CrossKv>,
}

/// The text of one window as the decoder's self-attention sees it: one row per beam.
///
/// All beams are equally long. What they share is stored once: `lineage` says for each beam and
/// position which row holds it.
pub struct TextState {
    pub(crate) layers: Vec<GroupKv>,
    pub(crate) lineage: Lineage,
    pub(crate) len: usize,
}

impl TextState {
    /// An empty state for `beams` rows of at most `n_text_ctx` tokens.
    #[must_use]
    pub fn new(dims: &ModelDimensions, format: KvFormat, beams: usize) -> Self {
        let head_dim = dims.n_text_state / dims.n_text_head;
        let layer = || GroupKv::new(format, dims.n_text_head, head_dim, beams, dims.n_text_ctx);
        Self {
            layers: (0..dims.n_text_layer).map(|_| layer()).collect(),
            lineage: Lineage::new(beams, dims.n_text_ctx),
            len: 0,
        }
    }

    /// Tokens each beam has seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no token has been seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Beam `i` continues what beam `parents[i]` was.
    pub fn reorder(&mut self, parents: &[usize]) {
        self.lineage.reorder(parents);
    }
}
