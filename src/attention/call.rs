//! One attention computation: what goes in and what comes out.

use candle_core::Tensor;

use crate::kernels::attention::Rows;
use crate::kernels::attention::{CrossKv, GroupKv, Lineage};

/// Queries against keys and values, for any mix of rows of different lengths.
///
/// A *row* is one window or one beam of a window. Scores are scaled by `head_dim^-1/2`.
pub struct AttentionCall<'a> {
    /// `(tokens, heads × head_dim)` f32 (f64 where the reference executor judges): the queries of all
    /// rows, one row after another.
    /// Rows of the tensor may be further apart than its width (a view into a fused projection).
    pub queries: &'a Tensor,
    /// Number of heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Keys and values.
    pub kv: Kv<'a>,
    /// With `n` queries and `m` keys in a row, query `i` sees keys `0 ..= m - n + i`.
    pub causal: bool,
    /// Whether [`Attended::weights`] is wanted (word timing).
    pub weights: bool,
}

/// Where the keys and values are.
pub enum Kv<'a> {
    /// One row as plain tensors: `(tokens, heads × head_dim)` each, of the queries' type (encoder
    /// self-attention; of the reference executor every role, with the cached tokens in front).
    Dense {
        /// Keys.
        k: &'a Tensor,
        /// Values.
        v: &'a Tensor,
    },
    /// Decoder self-attention: each row's own growing cache, the new tokens already written.
    Growing(&'a [GrowingRow<'a>]),
    /// Decoder cross-attention: the window's keys and values, written once.
    Cross(&'a [CrossRow<'a>]),
}

/// As [`Kv`], with slices instead of tensors: how the network calls the kernels of this crate.
pub(crate) enum SliceKv<'a> {
    /// As [`Kv::Dense`].
    Dense { k: Rows<'a>, v: Rows<'a> },
    /// As [`Kv::Growing`].
    Growing(&'a [GrowingRow<'a>]),
    /// As [`Kv::Cross`].
    Cross(&'a [CrossRow<'a>]),
}

/// One row's queries and its place in a cache of its window's beams. [`AttentionCall::rows`] gives
/// its keys and values as tensors.
pub struct GrowingRow<'a> {
    /// How many queries belong to this row.
    pub queries: usize,
    /// The cache of the row's window, this layer: for backends inside this crate.
    #[doc(hidden)]
    pub cache: &'a GroupKv,
    /// Which row of the cache holds each position of each beam's history, likewise.
    #[doc(hidden)]
    pub lineage: &'a Lineage,
    /// Which beam of the window the row is.
    pub beam: usize,
    /// Keys this row sees in all, its new tokens included.
    pub kv_len: usize,
}

/// One row's queries and the window it listens to. [`AttentionCall::rows`] gives the keys and values
/// as tensors.
pub struct CrossRow<'a> {
    /// How many queries belong to this row.
    pub queries: usize,
    /// The window's keys and values, this layer; rows of one window share them. For backends inside
    /// this crate.
    #[doc(hidden)]
    pub cache: &'a CrossKv,
}

/// The result.
pub struct Attended {
    /// `(tokens, heads × head_dim)` f32, contiguous.
    pub output: Tensor,
    /// Per row `(heads, queries, keys)` f32, where asked for.
    pub weights: Option<Vec<Tensor>>,
}
