//! What belongs to one window while it is decoded: the keys and values of its text and its audio.

use super::ComputeType;
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

    /// Ready for another prompt, with `beams` rows; keeps the memory of as many rows as there were.
    pub fn reset(&mut self, beams: usize) {
        for layer in &mut self.layers {
            layer.reset(beams);
        }
        if self.lineage.beams() == beams.max(1) {
            self.lineage.reset();
        } else {
            let capacity = self.layers.first().map_or(0, GroupKv::capacity);
            self.lineage = Lineage::new(beams, capacity);
        }
        self.len = 0;
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

/// What a window costs while it is decoded, in bytes of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBytes {
    /// A window's audio: every layer's keys and values at every position.
    pub window: usize,
    /// A row's text, when all of the text context is used.
    pub row: usize,
}

impl StateBytes {
    /// The cost in a network of these sizes that computes in `compute`.
    #[must_use]
    pub fn new(dims: &ModelDimensions, compute: ComputeType) -> Self {
        let numbers = 2 * dims.n_text_layer * dims.n_text_state;
        Self {
            window: numbers * bytes(compute.audio_kv()) * dims.n_audio_ctx,
            row: numbers * bytes(compute.text_kv()) * dims.n_text_ctx,
        }
    }

    /// What `windows` of `rows` in all cost, at most; language detection holds as many windows more.
    #[must_use]
    pub fn of(self, windows: usize, rows: usize) -> usize {
        2 * windows * self.window + (windows + rows) * self.row
    }
}

/// Bytes a number takes, scales not counted.
fn bytes(format: KvFormat) -> usize {
    match format {
        KvFormat::F32 => 4,
        KvFormat::F16 => 2,
        KvFormat::I8 => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::StateBytes;
    use crate::dims::ModelDimensions;
    use crate::model::ComputeType;

    #[test]
    fn bytes_follow_the_sizes() {
        let base = ModelDimensions {
            n_mels: 80,
            n_audio_ctx: 1500,
            n_audio_state: 512,
            n_audio_head: 8,
            n_audio_layer: 6,
            n_vocab: 51_865,
            n_text_ctx: 448,
            n_text_state: 512,
            n_text_head: 8,
            n_text_layer: 6,
        };
        let bytes = StateBytes::new(&base, ComputeType::Int8);
        assert_eq!((bytes.window, bytes.row), (9_216_000, 5_505_024));
        let floats = StateBytes::new(&base, ComputeType::F32);
        assert_eq!((floats.window, floats.row), (36_864_000, 11_010_048));
        assert_eq!(bytes.of(1, 1), 2 * bytes.window + 2 * bytes.row);
    }
}
