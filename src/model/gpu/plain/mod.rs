//! The stack in 32-bit floats, by the plain kernels: no sum depends on what shares a step.

mod decoder;
mod encoder;
mod kernels;

use std::sync::Arc;

use bytemuck::Zeroable as _;

use super::load::Layers;
use super::stack::{Pass, Pools, Stack, Watched, positions, rank_here, read};
use crate::device::{Address, Card};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::kernels::Cpu;
use crate::model::{CardTimes, EncoderStages, StateBytes};
use crate::ranking::Answer;
use decoder::{Decoder, DecoderMemory, window_floats};
use encoder::{Encoder, EncoderMemory};
pub(super) use kernels::Plain;
use kernels::{Gemm, Place};

/// What a window and a row cost.
pub(super) fn state_bytes(dims: &ModelDimensions) -> StateBytes {
    let position = 4 * 2 * dims.n_text_layer * dims.n_text_state;
    StateBytes {
        window: position * dims.n_audio_ctx,
        row: position * dims.n_text_ctx,
    }
}

/// Bytes of workspace.
pub(super) fn work_bytes(dims: &ModelDimensions) -> usize {
    EncoderMemory::bytes(dims) + DecoderMemory::bytes(dims)
}

/// Encoder and decoder with their memory.
pub(super) struct PlainStack {
    card: Card,
    kernels: Arc<Plain>,
    layers: Layers,
    dims: ModelDimensions,
    pools: Pools,
    encoder: EncoderMemory,
    decoder: DecoderMemory,
}

impl PlainStack {
    pub fn new(
        card: &Card,
        kernels: Arc<Plain>,
        layers: Layers,
        dims: &ModelDimensions,
        pools: Pools,
    ) -> Result<Self> {
        Ok(Self {
            encoder: EncoderMemory::new(card, dims)?,
            decoder: DecoderMemory::new(card, dims, pools.rows)?,
            card: card.clone(),
            kernels,
            layers,
            dims: dims.clone(),
            pools,
        })
    }

    fn encoder(&self, mel: &[f32]) -> Encoder<'_> {
        Encoder {
            card: &self.card,
            plain: &self.kernels,
            layers: &self.layers,
            dims: &self.dims,
            memory: &self.encoder,
            positions: positions(&self.dims, mel),
        }
    }

    /// Where a layer's keys of a window are, `(positions, 2 × n_text_state)` with the values.
    fn keys(&self, slot: usize, layer: usize) -> Address {
        let floats = window_floats(&self.dims);
        let at = slot * floats + layer * floats / self.dims.n_text_layer;
        self.pools.audio + (4 * at) as Address
    }
}

impl Stack for PlainStack {
    fn encode(&self, mels: &[&[f32]], slots: &[usize], _: &Cpu) -> Result<()> {
        for (mel, slot) in mels.iter().zip(slots) {
            let encoder = self.encoder(mel);
            encoder.forward(mel)?;
            for (i, block) in self.layers.decoder.iter().enumerate() {
                encoder.listen(&block.cross_kv, self.keys(*slot, i))?;
            }
        }
        Ok(())
    }

    fn stages(&self, mel: &[f32], _: &Cpu) -> Result<EncoderStages> {
        let encoder = self.encoder(mel);
        let floats = encoder.positions * self.dims.n_audio_state;
        encoder.stem(mel)?;
        let stem = read(&self.card, self.encoder.x(), floats)?;
        encoder.block(&self.layers.encoder[0])?;
        let block0 = read(&self.card, self.encoder.x(), floats)?;
        encoder.forward(mel)?;
        let output = read(&self.card, self.encoder.output(), floats)?;
        Ok(EncoderStages {
            stem,
            block0,
            output,
        })
    }

    /// Logits come to the CPU, which ranks them.
    fn answer(&self, pass: Pass<'_>) -> Result<Vec<Answer>> {
        let decoder = Decoder {
            card: &self.card,
            plain: &self.kernels,
            layers: &self.layers,
            dims: &self.dims,
            memory: &self.decoder,
            pools: self.pools,
        };
        let mut tables = pass.tables;
        tables.asked = pass.queries.iter().map(|(row, _)| *row as i32).collect();
        tables.asked.sort_unstable();
        tables.asked.dedup();
        decoder.forward(&tables, pass.kept)?;
        let n_vocab = self.dims.n_vocab;
        let floats = tables.asked.len() * n_vocab;
        let logits = read(&self.card, self.decoder.logits(), floats)?;
        let row_of = |i: usize| {
            let row = pass.queries[i].0 as i32;
            let place = tables.asked.binary_search(&row).unwrap_or_default();
            &logits[place * n_vocab..][..n_vocab]
        };
        Ok(rank_here(pass.cpu, pass.queries, &row_of))
    }

    fn card_times(&self) -> Result<Option<CardTimes>> {
        Ok(None)
    }

    fn cross_weights(&self, call: &Watched<'_>) -> Result<()> {
        let width = self.dims.n_text_state;
        let head_dim = width / self.dims.n_text_head;
        let rows = self.card.memory_of(call.rows)?;
        let own = self.card.memory(4 * call.rows.len() * width)?;
        let gather = Place {
            x: call.queries,
            y: own.address(),
            from: rows.address(),
            to: 0,
            d: width as u32,
            ldx: width as u32,
        };
        self.kernels.place(call.rows.len(), &gather)?;
        let of_head = (4 * call.head * head_dim) as Address;
        let scores = Gemm {
            a: own.address() + of_head,
            b: self.keys(call.slot, call.layer) + of_head,
            c: call.to,
            lda: width as u64,
            ldb: 2 * width as u64,
            ldc: call.positions as u64,
            m: call.rows.len() as u32,
            n: call.positions as u32,
            k: head_dim as u32,
            scale: 1.0 / (head_dim as f32).sqrt(),
            ..Gemm::zeroed()
        };
        self.kernels.gemm(1, &scores)?;
        self.kernels
            .softmax(call.to, call.rows.len(), call.positions)
    }
}
