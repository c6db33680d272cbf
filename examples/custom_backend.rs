//! An attention backend of one's own: plain attention that counts the scores it computes.
//! `cargo run --release --example custom_backend -- FILE [MODEL]`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Tensor;
use candle_nn::ops::softmax_last_dim;
use undertone::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, AttentionRow, Objection, Request,
};
use undertone::{Engine, Result, TranscribeOptions};

#[derive(Default)]
struct Counting {
    scores: AtomicUsize,
}

impl AttentionBackend for Counting {
    fn name(&self) -> &str {
        "COUNTING"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        if query.flags.sliding_window {
            vec![Objection::SlidingWindow]
        } else {
            Vec::new()
        }
    }

    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended> {
        let rows = call.rows()?;
        let rows = rows
            .iter()
            .map(|row| self.row(row))
            .collect::<Result<_>>()?;
        Attended::from_rows(rows, call.weights)
    }
}

impl Counting {
    /// Output `(heads, queries, head_dim)` and weights `(heads, queries, keys)` of one row.
    fn row(&self, row: &AttentionRow) -> Result<(Tensor, Tensor)> {
        let scale = (row.q.dim(2)? as f64).powf(-0.5);
        let mut scores = (row.q.matmul(&row.k.t()?)? * scale)?;
        if let Some(visible) = row.visible()? {
            scores = scores.broadcast_add(&((visible - 1.0)? * 1e30)?)?;
        }
        self.scores
            .fetch_add(scores.elem_count(), Ordering::Relaxed);
        let weights = softmax_last_dim(&scores)?;
        Ok((weights.matmul(&row.v)?, weights))
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("an audio file");
    let model = arguments.next().unwrap_or_else(|| "tiny".into());

    let counting = Arc::new(Counting::default());
    // Asked for by name: it is used for all three roles, or loading fails and says why.
    let request = Request {
        backend: Some("counting".into()),
        ..Request::default()
    };
    let engine = Engine::builder()
        .model(model)
        .backend(counting.clone())
        .attention(request)
        .build()?;
    let transcript = engine.transcribe(file, &TranscribeOptions::default())?;
    println!("{}", transcript.text.trim());
    println!("{} scores", counting.scores.load(Ordering::Relaxed));
    Ok(())
}
