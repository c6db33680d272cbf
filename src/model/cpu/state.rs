//! A window's KV caches in this crate's layouts.

use crate::dims::ModelDimensions;
use crate::kernels::attention::{CrossKv, GroupKv, GrowingDtype, Lineage, PackedDtype};
use crate::model::{ComputeType, StateBytes, TextMemory};

/// Cross-attention's keys and values, per layer. Written once a window.
#[derive(Default)]
pub(super) struct CpuAudio {
    pub layers: Vec<CrossKv>,
}

/// Self-attention's keys and values: one row per beam.
///
/// All beams are equally long. What they share is stored once: `lineage` says for each beam and
/// position which row holds it.
pub(super) struct CpuText {
    pub layers: Vec<GroupKv>,
    pub lineage: Lineage,
    pub len: usize,
    pub watched: Watched,
    capacity: usize,
    head_dim: usize,
}

impl CpuText {
    /// An empty text for `beams` rows of at most `n_text_ctx` tokens.
    pub fn new(dims: &ModelDimensions, dtype: GrowingDtype, beams: usize) -> Self {
        let (capacity, head_dim) = (dims.n_text_ctx, dims.n_text_state / dims.n_text_head);
        let layer = || GroupKv::new(dtype, dims.n_text_head, head_dim, beams, capacity);
        Self {
            layers: (0..dims.n_text_layer).map(|_| layer()).collect(),
            lineage: Lineage::new(beams, capacity),
            len: 0,
            watched: Watched::default(),
            capacity,
            head_dim,
        }
    }
}

impl TextMemory for CpuText {
    fn len(&self) -> usize {
        self.len
    }

    fn reset(&mut self, beams: usize) {
        for layer in &mut self.layers {
            layer.reset(beams);
        }
        if self.lineage.beams() == beams.max(1) {
            self.lineage.reset();
        } else {
            self.lineage = Lineage::new(beams, self.capacity);
        }
        self.watched.rest();
        self.len = 0;
    }

    fn reorder(&mut self, parents: &[usize]) {
        self.lineage.reorder(parents);
    }

    /// What lies behind is written over by the next tokens.
    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn watch(&mut self, heads: &[(usize, usize)]) {
        let beams = self.lineage.beams();
        self.watched
            .begin(heads, beams, self.capacity, self.head_dim);
    }
}

/// Numbers of queries whose memory is kept between texts: 4 MB.
const MOST_KEPT: usize = 1 << 20;

/// The cross-attention queries of chosen heads, kept while decoding: word timing scores them against the
/// audio's keys afterwards, instead of running the decoder a second time.
#[derive(Default)]
pub(super) struct Watched {
    /// Layer and head of each.
    pub heads: Vec<(usize, usize)>,
    capacity: usize,
    head_dim: usize,
    /// `(beams, capacity, heads, head_dim)`
    queries: Vec<f32>,
}

impl Watched {
    /// What is there already is overwritten as tokens are fed.
    fn begin(&mut self, heads: &[(usize, usize)], beams: usize, capacity: usize, head_dim: usize) {
        let numbers = beams * capacity * heads.len() * head_dim;
        self.queries.resize(numbers.max(self.queries.len()), 0.0);
        (self.capacity, self.head_dim) = (capacity, head_dim);
        self.heads = heads.to_vec();
    }

    /// Watches nothing; memory is kept where it is not much.
    fn rest(&mut self) {
        self.heads.clear();
        if self.queries.len() > MOST_KEPT {
            self.queries = Vec::new();
        }
    }

    /// Whether a head of this layer is watched.
    pub fn sees(&self, layer: usize) -> bool {
        self.heads.iter().any(|(of, _)| *of == layer)
    }

    /// Keeps what is watched of a layer's query, `(heads × head_dim)`.
    pub fn keep(&mut self, layer: usize, row: usize, position: usize, query: &[f32]) {
        let width = self.head_dim;
        for (i, &(of, head)) in self.heads.iter().enumerate() {
            if of == layer {
                let at = ((row * self.capacity + position) * self.heads.len() + i) * width;
                self.queries[at..at + width].copy_from_slice(&query[head * width..][..width]);
            }
        }
    }

    /// What was kept for the watched head `i`.
    pub fn query(&self, i: usize, row: usize, position: usize) -> &[f32] {
        let at = ((row * self.capacity + position) * self.heads.len() + i) * self.head_dim;
        &self.queries[at..at + self.head_dim]
    }
}

/// How the text's keys and values are kept.
pub(super) fn text_dtype(compute: ComputeType) -> GrowingDtype {
    match compute {
        compute if compute.is_integer() => GrowingDtype::F16,
        _ => GrowingDtype::F32,
    }
}

/// How the audio's keys and values are kept: every step reads all of them for every window.
pub(super) fn audio_dtype(compute: ComputeType) -> PackedDtype {
    match compute {
        compute if compute.is_integer() => PackedDtype::I8,
        _ => PackedDtype::F32,
    }
}

/// What a window and a row cost in a network of these sizes that computes in `compute`.
#[must_use]
pub fn state_bytes(dims: &ModelDimensions, compute: ComputeType) -> StateBytes {
    let numbers = 2 * dims.n_text_layer * dims.n_text_state;
    StateBytes {
        window: numbers * audio_dtype(compute).size() * dims.n_audio_ctx,
        row: numbers * text_dtype(compute).size() * dims.n_text_ctx,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let bytes = state_bytes(&base, ComputeType::Int8);
        assert_eq!((bytes.window, bytes.row), (9_216_000, 5_505_024));
        let floats = state_bytes(&base, ComputeType::F32);
        assert_eq!((floats.window, floats.row), (36_864_000, 11_010_048));
        assert_eq!(bytes.of(1, 1), 2 * bytes.window + 2 * bytes.row);
    }
}
