//! Attention cut up as the GPU kernels of vLLM's ROCm platform cut it: one walk over queries and keys
//! for each of them, on the same few pieces.
//!
//! In: [`Queries`] and a [`History`], rounded to the numbers of a GPU; out: f32 sums, unrounded. A
//! [`Walk`] says which tiles there are, what is kept between them and how parts are put together; the
//! arithmetic of a tile is the same for all (`softmax`). Written to be read, not to be fast.
//!
//! A query's result has the same bits whatever other rows there are, at every thread count and SIMD
//! level. The GPUs' kernels round the probabilities once more before they meet the values; here they stay
//! in f32.

mod operands;
mod softmax;
#[cfg(test)]
mod tests;
mod walk;

pub use operands::{History, Queries, Rounding, Source};

use self::softmax::Seen;
use self::walk::QueryTile;
use super::Cpu;
use super::simd::dispatch;

/// In which order a row's keys are visited, and what is kept on the way.
///
/// Sizes count queries or keys. Sizes of key tiles are multiples of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Each tile of queries meets the tiles of keys one after another, with a running maximum and sum;
    /// one division at the end.
    Tiles {
        /// Queries in a tile.
        queries: usize,
        /// Keys in a tile.
        keys: usize,
    },
    /// As [`Walk::Tiles`], but the context (what was there before this call's tokens) is visited first
    /// and unmasked, and the tiles of the call's own tokens begin where they begin.
    ContextFirst {
        /// Queries in a tile.
        queries: usize,
        /// Keys in a tile.
        keys: usize,
    },
    /// Context and the call's own tokens are attended to apart, and the two finished outputs are weighed
    /// by the logarithms of their sums.
    ContextMerged {
        /// Queries in a tile.
        queries: usize,
        /// Keys in a tile.
        keys: usize,
    },
    /// The keys are dealt out to segments of whole tiles; each leaves maximum, sum and undivided output,
    /// and one pass puts them together.
    Segments {
        /// How many segments.
        count: usize,
        /// Keys in a tile.
        keys: usize,
    },
    /// The keys are cut every so many positions; each part is one tile and leaves maximum, sum and
    /// finished output, and one pass weighs them.
    Partitions {
        /// Keys in a part.
        keys: usize,
    },
}

impl Walk {
    /// Queries that go through the keys together.
    fn query_tile(self) -> usize {
        match self {
            Walk::Tiles { queries, .. }
            | Walk::ContextFirst { queries, .. }
            | Walk::ContextMerged { queries, .. } => queries,
            Walk::Segments { .. } | Walk::Partitions { .. } => 1,
        }
    }
}

/// One row's attention: `out` is `(queries, heads × head_dim)`.
///
/// With `causal`, query `i` of `n` sees keys `0 ..= m - n + i` of `m`. A query that sees nothing gives 0.
///
/// # Panics
/// Where queries, history and `out` have different shapes.
pub fn attend(
    cpu: &Cpu,
    walk: Walk,
    queries: &Queries,
    history: &History,
    causal: bool,
    out: &mut [f32],
) {
    let (heads, head_dim) = queries.shape();
    assert_eq!(history.shape(), (heads, head_dim), "heads of the history");
    assert_eq!(
        out.len(),
        queries.count() * heads * head_dim,
        "the output's size"
    );
    let width = queries.width();
    let seen = Seen::new(causal, queries.count(), history.len());
    // What was there before the call's own tokens; without causality there is no such border.
    let context = match causal {
        true => history.len().saturating_sub(queries.count()),
        false => history.len(),
    };
    let tile = walk.query_tile().clamp(1, queries.count().max(1));
    let tiles = queries.count().div_ceil(tile);
    // Tiles of all heads side by side, each of the same size, so that threads share nothing.
    let mut results = vec![0.0; heads * tiles * tile * width];
    cpu.pool()
        .run_chunks(&mut results, tile * width, |task, result| {
            let (head, first) = (task / tiles, task % tiles * tile);
            let rows = first..queries.count().min(first + tile);
            // The last query of the tile sees most.
            let parts = walk.parts(history.len(), seen.by(rows.end - 1), context);
            let out = &mut result[..rows.len() * width];
            let remembered = dispatch(
                cpu.level(),
                QueryTile {
                    queries: queries.head(head),
                    history: history.head(head),
                    rows,
                    seen,
                    parts: &parts,
                },
            );
            walk.join(&remembered, width, out);
        });
    for (row, out) in out.chunks_exact_mut(heads * head_dim).enumerate() {
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let at = (head * tiles * tile + row) * width;
            out.copy_from_slice(&results[at..at + head_dim]);
        }
    }
}
