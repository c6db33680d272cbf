//! The text decoder: one step takes any mix of rows, each with one or more new tokens.

use super::attention::attend;
use super::block::{LayerNorm, Mlp, project, project_onto};
use super::embedding::Embedding;
use super::matrix::Matrix;
use super::state::{CpuAudio, CpuText};
use crate::attention::{AttentionBackend, CrossRow, GrowingRow, SliceKv};
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::kernels::attention::{CrossKv, PackedDtype};
use crate::kernels::linear::PackedLinear;
use crate::kernels::storage::Store;

/// Token and position embeddings, a stack of blocks, and the embedding again as output matrix.
pub(super) struct Decoder {
    /// `(n_vocab, width)`
    pub token_embedding: Embedding,
    /// `(n_text_ctx, width)`
    pub positions: Store<f32>,
    pub blocks: Vec<DecoderBlock>,
    pub norm: LayerNorm,
    /// The token embedding packed as a linear layer without bias.
    pub logits: PackedLinear,
    pub heads: usize,
    pub width: usize,
}

/// Self-attention over the text, cross-attention to the audio and an MLP, each on a residual.
pub(super) struct DecoderBlock {
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

/// One window's rows in a step.
pub(super) struct StepRows<'a> {
    pub audio: &'a CpuAudio,
    pub text: &'a mut CpuText,
    /// New tokens, row after row.
    pub tokens: &'a [u32],
    pub rows: usize,
}

impl StepRows<'_> {
    pub fn per_row(&self) -> usize {
        self.tokens.len() / self.rows
    }

    /// From the prompt on, each beam's new tokens are in its own row; the prompt is in row 0.
    fn claim_positions(&mut self) {
        if self.text.len > 0 {
            let new = self.text.len..self.text.len + self.per_row();
            new.for_each(|position| self.text.lineage.advance(position));
        }
    }
}

/// The two backends a step computes with.
#[derive(Clone, Copy)]
pub(super) struct StepAttention<'a> {
    pub text: &'a dyn AttentionBackend,
    pub cross: &'a dyn AttentionBackend,
}

impl Decoder {
    /// Projects a window's encoder output `(positions, audio width)` into each layer's keys and values.
    pub fn fill_audio(
        &self,
        cpu: &Cpu,
        dtype: PackedDtype,
        encoded: &Matrix<'_>,
        to: &mut CpuAudio,
    ) {
        let (heads, head_dim) = (self.heads, self.width / self.heads);
        for (i, block) in self.blocks.iter().enumerate() {
            let kv = project(cpu, None, &block.cross_kv, encoded);
            let (k, v) = (kv.columns(0), kv.columns(self.width));
            match to.layers.get_mut(i) {
                Some(layer) => layer.repack(cpu, dtype, k, v, heads, head_dim),
                None => to
                    .layers
                    .push(CrossKv::pack(cpu, dtype, k, v, heads, head_dim)),
            }
        }
    }

    /// Runs every window's new tokens through the stack: `(tokens, width)`, before the final norm. The
    /// windows' lengths stay: whoever has used the step [closes](Self::close) it.
    pub fn forward<'a>(
        &self,
        cpu: &'a Cpu,
        attention: StepAttention<'_>,
        windows: &mut [StepRows<'_>],
    ) -> Result<Matrix<'a>> {
        windows.iter().try_for_each(|window| self.check(window))?;
        let mut x = self.embed(cpu, windows);
        windows.iter_mut().for_each(StepRows::claim_positions);
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(cpu, attention, self.heads, i, &x, windows)?;
        }
        Ok(x)
    }

    /// Whether there is room for a window's new tokens, and an embedding.
    fn check(&self, window: &StepRows<'_>) -> Result<()> {
        let (context, beams) = (
            self.positions.numbers().len() / self.width,
            window.text.lineage.beams(),
        );
        let len = window.text.len + window.per_row();
        if len > context {
            return Err(Error::Engine(format!(
                "a text of {len} tokens, of at most {context}"
            )));
        }
        if window.rows > beams {
            let rows = window.rows;
            return Err(Error::Engine(format!(
                "{rows} rows of a text that has {beams}"
            )));
        }
        let n_vocab = self.logits.n_out();
        match window
            .tokens
            .iter()
            .find(|token| **token as usize >= n_vocab)
        {
            None => Ok(()),
            Some(token) => Err(Error::Engine(format!(
                "token {token} of a vocabulary of {n_vocab}"
            ))),
        }
    }

    /// The step's tokens are part of the windows' texts.
    pub fn close(windows: &mut [StepRows<'_>]) {
        for window in windows {
            window.text.len += window.per_row();
        }
    }

    /// Logits `(wanted, n_vocab)` of some of the rows of x, which are ascending.
    pub fn logits<'a>(&self, cpu: &'a Cpu, x: &Matrix<'_>, wanted: &[usize]) -> Matrix<'a> {
        if wanted.len() == x.rows() {
            return project(cpu, Some(&self.norm), &self.logits, x);
        }
        let mut kept = Matrix::new(cpu, wanted.len(), self.width);
        let rows = kept.data_mut().chunks_exact_mut(self.width);
        rows.zip(wanted)
            .for_each(|(to, &i)| to.copy_from_slice(x.row(i)));
        project(cpu, Some(&self.norm), &self.logits, &kept)
    }

    fn embed<'a>(&self, cpu: &'a Cpu, windows: &[StepRows<'_>]) -> Matrix<'a> {
        let tokens: usize = windows.iter().map(|w| w.tokens.len()).sum();
        let mut x = Matrix::new(cpu, tokens, self.width);
        let mut out = x.data_mut().chunks_exact_mut(self.width);
        for window in windows {
            let per_row = window.per_row();
            for (i, &token) in window.tokens.iter().enumerate() {
                let position = window.text.len + i % per_row;
                let at = position * self.width;
                let positional = &self.positions.numbers()[at..at + self.width];
                self.token_embedding
                    .add_row(token, positional, out.next().expect("one a token"));
            }
        }
        x
    }
}

impl DecoderBlock {
    fn forward<'a>(
        &self,
        cpu: &'a Cpu,
        attention: StepAttention<'_>,
        heads: usize,
        layer: usize,
        x: &Matrix<'_>,
        windows: &mut [StepRows<'_>],
    ) -> Result<Matrix<'a>> {
        let width = x.width();
        let shape = (heads, width / heads);
        let mut attended = Matrix::new(cpu, x.rows(), width);

        let qkv = project(cpu, Some(&self.attn_norm), &self.qkv, x);
        write_cache(layer, &qkv, width, windows);
        let rows = text_rows(layer, windows);
        let (q, kv) = (qkv.columns(0), SliceKv::Growing(&rows));
        attend(attention.text, q, shape, &kv, true, attended.data_mut())?;
        let x = project_onto(cpu, &self.out, &attended, x);

        let query = project(cpu, Some(&self.cross_norm), &self.cross_query, &x);
        watch(layer, &query, windows);
        let rows = audio_rows(layer, windows);
        let (q, kv) = (query.columns(0), SliceKv::Cross(&rows));
        attend(attention.cross, q, shape, &kv, false, attended.data_mut())?;
        let x = project_onto(cpu, &self.cross_out, &attended, &x);
        Ok(self.mlp.forward(cpu, &x))
    }
}

/// Calls `f` for each new token of the step: its number, its window's text, its row and position.
fn each_token(windows: &mut [StepRows<'_>], mut f: impl FnMut(usize, &mut CpuText, usize, usize)) {
    let mut token = 0;
    for window in windows {
        let (per_row, len) = (window.per_row(), window.text.len);
        for row in 0..window.rows {
            for i in 0..per_row {
                f(token, window.text, row, len + i);
                token += 1;
            }
        }
    }
}

/// Appends the new tokens' keys and values to their windows' caches.
fn write_cache(layer: usize, qkv: &Matrix<'_>, width: usize, windows: &mut [StepRows<'_>]) {
    each_token(windows, |token, text, row, position| {
        let (k, v) = qkv.row(token)[width..].split_at(width);
        text.layers[layer].write(row, position, k, v);
    });
}

/// Keeps the queries that word timing will ask for.
fn watch(layer: usize, query: &Matrix<'_>, windows: &mut [StepRows<'_>]) {
    if windows.iter().any(|window| window.text.watched.sees(layer)) {
        each_token(windows, |token, text, row, position| {
            text.watched.keep(layer, row, position, query.row(token));
        });
    }
}

fn text_rows<'a>(layer: usize, windows: &'a [StepRows<'_>]) -> Vec<GrowingRow<'a>> {
    let rows = |window: &'a StepRows<'_>| {
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

fn audio_rows<'a>(layer: usize, windows: &'a [StepRows<'_>]) -> Vec<CrossRow<'a>> {
    let rows = |window: &'a StepRows<'_>| {
        let queries = window.per_row();
        (0..window.rows).map(move |_| CrossRow {
            queries,
            cache: &window.audio.layers[layer],
        })
    };
    windows.iter().flat_map(rows).collect()
}
