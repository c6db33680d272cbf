//! An attention backend of one's own, for the encoder:
//! `cargo run --release --example custom_backend -- FILE [MODEL]`.
//!
//! It computes with candle's plain operations and objects to what it doesn't do, so the decoder
//! stays with the built-in kernels.

use std::sync::Arc;

use candle_core::{D, Tensor};
use undertone::attention::{
    Attended, AttentionBackend, AttentionCall, AttentionQuery, Kv, Objection, Request, Role,
};
use undertone::{Engine, Error, Result, TranscribeOptions};

/// Softmax of all scores at once: `matmul`, `softmax`, `matmul`.
struct Textbook;

impl AttentionBackend for Textbook {
    fn name(&self) -> &str {
        "TEXTBOOK"
    }

    fn objections(&self, query: &AttentionQuery) -> Vec<Objection> {
        match query.role() {
            Role::Encoder => Vec::new(),
            Role::DecoderSelf | Role::DecoderCross => {
                vec![Objection::AttentionType(query.attn_type)]
            }
        }
    }

    fn attend(&self, call: &AttentionCall<'_>) -> Result<Attended> {
        let Kv::Dense { k, v } = call.kv else {
            return Err(Error::Attention("TEXTBOOK serves the encoder only".into()));
        };
        // (tokens, heads × head_dim) → (heads, tokens, head_dim)
        let split = |x: &Tensor| {
            let tokens = x.dim(0)?;
            x.reshape((tokens, call.heads, call.head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        let scale = (call.head_dim as f64).powf(-0.5);
        let scores = (split(call.queries)?.matmul(&split(k)?.transpose(1, 2)?)? * scale)?;
        let top = scores.max_keepdim(D::Minus1)?;
        let weights = scores.broadcast_sub(&top)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        let output = weights.matmul(&split(v)?)?;
        let output = output.transpose(0, 1)?.contiguous()?.flatten_from(1)?;
        Ok(Attended {
            output,
            weights: None,
        })
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("an audio file");
    let model = arguments.next().unwrap_or_else(|| "tiny".into());

    let engine = Engine::builder()
        .model(model)
        .backend(Arc::new(Textbook))
        .attention(Request {
            backend_for: vec!["encoder=textbook".into()],
            ..Request::default()
        })
        .build()?;
    for answer in engine.model().plan().answers() {
        println!("{}: {}", answer.role, answer.name().unwrap_or("none"));
    }
    let transcript = engine.transcribe(file, &TranscribeOptions::default())?;
    println!("{}", transcript.text.trim());
    Ok(())
}
