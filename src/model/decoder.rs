//! The text decoder: one step takes any mix of rows, each with one or more new tokens.

use candle_core::Tensor;

use super::block::{LayerNorm, Mlp, project, project_onto};
use super::ops;
use super::state::{AudioState, TextState};
use crate::attention::{AttentionBackend, AttentionCall, CrossRow, GrowingRow, Kv, KvFormat};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::attention::Rows as PackRows;
use crate::kernels::kv::CrossKv;
use crate::kernels::linear::PackedLinear;

/// Token and position embeddings, a stack of blocks, and the embedding again as output matrix.
pub(crate) struct Decoder {
    /// `(n_vocab, width)`
    pub token_embedding: super::embedding::Embedding,
    /// `(n_text_ctx, width)`
    pub positions: Vec<f32>,
    pub blocks: Vec<DecoderBlock>,
    pub norm: LayerNorm,
    /// The token embedding packed as a linear layer without bias.
    pub logits: PackedLinear,
    pub heads: usize,
    pub width: usize,
}

/// Self-attention over the text, cross-attention to the audio and an MLP, each on a residual.
pub(crate) struct DecoderBlock {
    pub attn_norm: LayerNorm,
    pub qkv: PackedLinear,
    pub out: PackedLinear,
    pub cross_norm: LayerNorm,
    pub cross_query: PackedLinear,
    /// Cross-attention's key and value in one matrix, `(2 × width, audio width)`.
    pub cross_kv: PackedLinear,
    pub cross_out: PackedLinear,
    pub mlp: Mlp,
}

/// One window's part of a step: its rows, all with the same number of new tokens.
pub struct StepWindow<'a> {
    /// The window's audio.
    pub audio: &'a AudioState,
    /// The window's text so far; the step appends to it.
    pub text: &'a mut TextState,
    /// New tokens, row after row.
    pub tokens: &'a [u32],
    /// How many rows (beams) there are; row `i` is beam `i` of the text state.
    pub rows: usize,
    /// Which of a row's new tokens logits are wanted for.
    pub logits_at: &'a [usize],
}

impl StepWindow<'_> {
    fn per_row(&self) -> usize {
        self.tokens.len() / self.rows
    }

    /// From the prompt on, each beam's new tokens are in its own row; the prompt is in row 0.
    fn claim_positions(&mut self) {
        if !self.text.is_empty() {
            let new = self.text.len..self.text.len + self.per_row();
            new.for_each(|position| self.text.lineage.advance(position));
        }
    }
}

/// The two backends a step computes with.
pub(crate) struct StepAttention<'a> {
    pub text: &'a dyn AttentionBackend,
    pub cross: &'a dyn AttentionBackend,
}

impl Decoder {
    /// Projects a window's encoder output `(positions, audio width)` into each layer's keys and
    /// values.
    pub fn audio_state(&self, cpu: &Cpu, format: KvFormat, audio: &Tensor) -> Result<AudioState> {
        let mut state = AudioState {
            layers: Vec::with_capacity(self.blocks.len()),
        };
        self.fill_audio_state(cpu, format, audio, &mut state)?;
        Ok(state)
    }

    /// As [`audio_state`](Self::audio_state), into the memory of a state that is not needed any more.
    pub fn fill_audio_state(
        &self,
        cpu: &Cpu,
        format: KvFormat,
        audio: &Tensor,
        state: &mut AudioState,
    ) -> Result<()> {
        let (heads, head_dim) = (self.heads, self.width / self.heads);
        for (i, block) in self.blocks.iter().enumerate() {
            let kv = project(cpu, None, &block.cross_kv, audio)?;
            ops::with_rows(&kv, |kv| {
                let part = |at| PackRows {
                    data: &kv.data[at..],
                    stride: kv.stride,
                    count: kv.rows,
                };
                let (k, v) = (part(0), part(self.width));
                match state.layers.get_mut(i) {
                    Some(layer) => layer.repack(cpu, format, k, v, heads, head_dim),
                    None => state
                        .layers
                        .push(CrossKv::pack(cpu, format, k, v, heads, head_dim)),
                }
            })?;
            ops::reuse(cpu, kv)?;
        }
        Ok(())
    }

    /// Runs every window's new tokens through the stack.
    ///
    /// Returns `(wanted, n_vocab)` logits: window after window, row after row, position after
    /// position of `logits_at`.
    pub fn step(
        &self,
        cpu: &Cpu,
        attention: &StepAttention<'_>,
        windows: &mut [StepWindow<'_>],
    ) -> Result<Tensor> {
        let mut x = self.embed(windows)?;
        windows.iter_mut().for_each(StepWindow::claim_positions);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(cpu, attention, self.heads, i, &x, windows)?;
        }
        for window in windows.iter_mut() {
            window.text.len += window.per_row();
        }
        let x = self.wanted(&x, windows)?;
        Ok(project(cpu, Some(&self.norm), &self.logits, &x)?)
    }

    fn embed(&self, windows: &[StepWindow<'_>]) -> Result<Tensor> {
        let tokens: usize = windows.iter().map(|w| w.tokens.len()).sum();
        let mut x = vec![0f32; tokens * self.width];
        let mut out = x.chunks_exact_mut(self.width);
        for window in windows {
            let per_row = window.per_row();
            for (i, &token) in window.tokens.iter().enumerate() {
                let position = window.text.len + i % per_row;
                let at = position * self.width;
                let positional = &self.positions[at..at + self.width];
                self.token_embedding
                    .add_row(token, positional, out.next().expect("one a token"));
            }
        }
        Ok(Tensor::from_vec(
            x,
            (tokens, self.width),
            &candle_core::Device::Cpu,
        )?)
    }

    /// Keeps the rows of x that logits are wanted for.
    fn wanted(&self, x: &Tensor, windows: &[StepWindow<'_>]) -> Result<Tensor> {
        let mut at = Vec::new();
        let mut start = 0;
        for window in windows {
            for _ in 0..window.rows {
                at.extend(window.logits_at.iter().map(|p| start + p));
                start += window.per_row();
            }
        }
        if at.len() == start {
            return Ok(x.clone());
        }
        let kept = ops::with_rows(x, |x| {
            at.iter()
                .flat_map(|&i| x.row(i))
                .copied()
                .collect::<Vec<f32>>()
        })?;
        Ok(Tensor::from_vec(
            kept,
            (at.len(), self.width),
            &candle_core::Device::Cpu,
        )?)
    }
}

impl DecoderBlock {
    fn forward(
        &self,
        cpu: &Cpu,
        attention: &StepAttention<'_>,
        heads: usize,
        layer: usize,
        x: &Tensor,
        windows: &mut [StepWindow<'_>],
    ) -> Result<Tensor> {
        let width = x.dim(1)?;
        let call = |queries: &Tensor, kv: Kv<'_>, causal, backend: &dyn AttentionBackend| {
            backend.attend(&AttentionCall {
                queries,
                heads,
                head_dim: width / heads,
                kv,
                causal,
                weights: false,
            })
        };
        let qkv = project(cpu, Some(&self.attn_norm), &self.qkv, x)?;
        write_cache(layer, &qkv, width, windows)?;
        let rows = text_rows(layer, windows);
        let q = qkv.narrow(1, 0, width)?;
        let a = call(&q, Kv::Growing(&rows), true, attention.text)?;
        let x = project_onto(cpu, &self.out, &a.output, x)?;

        let q = project(cpu, Some(&self.cross_norm), &self.cross_query, &x)?;
        let rows = audio_rows(layer, windows);
        let a = call(&q, Kv::Cross(&rows), false, attention.cross)?;
        let x = project_onto(cpu, &self.cross_out, &a.output, &x)?;
        Ok(self.mlp.forward(cpu, &x)?)
    }
}

/// Appends the new tokens' keys and values to their windows' caches.
fn write_cache(
    layer: usize,
    qkv: &Tensor,
    width: usize,
    windows: &mut [StepWindow<'_>],
) -> Result<()> {
    ops::with_rows(qkv, |qkv| {
        let mut token = 0;
        for window in windows {
            let (per_row, len) = (window.per_row(), window.text.len);
            for row in 0..window.rows {
                for i in 0..per_row {
                    let kv = &qkv.row(token)[width..];
                    window.text.layers[layer].write(row, len + i, &kv[..width], &kv[width..]);
                    token += 1;
                }
            }
        }
    })?;
    Ok(())
}

fn text_rows<'a>(layer: usize, windows: &'a [StepWindow<'_>]) -> Vec<GrowingRow<'a>> {
    let rows = |window: &'a StepWindow<'_>| {
        let queries = window.per_row();
        (0..window.rows).map(move |beam| GrowingRow {
            queries,
            cache: &window.text.layers[layer],
            lineage: &window.text.lineage,
            beam,
            kv_len: window.text.len + queries,
        })
    };
    windows.iter().flat_map(rows).collect()
}

fn audio_rows<'a>(layer: usize, windows: &'a [StepWindow<'_>]) -> Vec<CrossRow<'a>> {
    let rows = |window: &'a StepWindow<'_>| {
        let queries = window.per_row();
        (0..window.rows).map(move |_| CrossRow {
            queries,
            cache: &window.audio.layers[layer],
        })
    };
    windows.iter().flat_map(rows).collect()
}
