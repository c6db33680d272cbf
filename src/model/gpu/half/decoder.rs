//! The text decoder in half floats; its residual stream and its logits are 32-bit floats.

use bytemuck::Zeroable as _;

use super::kernels::{
    CrossAttn, DecNorm, Embed, Group, Half, MOST_SPLIT, Place, Rank, SelfAttn, StepGemm, Tell, What,
};
use super::memory::{DecoderMemory, FULL, MOST_CHANGES, Shape, groups, told};
use super::rank::{Asks, MOST_BEST, MOST_LISTED, Said};
use crate::device::{Address, Card};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::model::gpu::load::{DecoderBlock, LayerNorm, Layers, Linear};
use crate::model::gpu::stack::{Pools, repeated};
use crate::model::gpu::tables::{Keep, Tables};

/// Where a layer's audio is, of all windows.
pub(super) struct Audio {
    pub keys: Address,
    pub values: Address,
    /// 0: there are none.
    pub key_scale: Address,
    pub value_scale: Address,
}

/// A pass through the decoder.
pub(super) struct Decoder<'a> {
    pub card: &'a Card,
    pub half: &'a Half,
    pub layers: &'a Layers,
    pub dims: &'a ModelDimensions,
    pub memory: &'a DecoderMemory,
    /// `(layers, 2, blocks of 64 positions, heads, 64, 64)` of text, `(layers, 2, windows, heads, padded × 64)` of
    /// audio, behind which are its scales where it is kept as bytes.
    pub pools: Pools,
    /// Bytes of a window's keys in a layer, and positions that a head has room for.
    pub window_bytes: usize,
    pub padded: usize,
    pub bytes: bool,
}

impl Decoder<'_> {
    /// Runs the rows through the stack and asks about them. `sets`: where allowed tokens are.
    pub fn forward(
        &self,
        tables: &Tables,
        kept: &[Keep],
        asks: &Asks,
        sets: Address,
    ) -> Result<()> {
        let groups = groups(tables);
        let shape = Shape::of(tables.rows(), groups.len(), asks.asks.len());
        self.memory.last.set(shape);
        self.lay_down(shape, tables, &groups, asks)?;
        let mut run = || self.run(shape, kept, sets);
        if !kept.is_empty() {
            return run();
        }
        self.memory.graphs.run(self.card.driver(), shape, &mut run)
    }

    /// Queues all kernels of a pass.
    fn run(&self, shape: Shape, kept: &[Keep], sets: Address) -> Result<()> {
        self.tell([shape.rows, shape.groups, shape.asks], 0)?;
        self.rows_through(shape, kept)?;
        self.rank(shape, sets)
    }

    /// Rows from their tokens to the end of the last layer.
    fn rows_through(&self, shape: Shape, kept: &[Keep]) -> Result<()> {
        let (memory, width) = (self.memory, self.dims.n_text_state);
        let embed = Embed {
            rows: memory.rows(),
            tokens: self.layers.tokens.address(),
            positions: self.layers.text_positions.address(),
            x: memory.x.address(),
            d: width as u64,
        };
        self.half.embed(shape.rows, &embed)?;
        let mut blocks = self.layers.decoder.iter().enumerate();
        blocks.try_for_each(|(layer, block)| self.block(layer, block, shape, kept))
    }

    /// Logits of the rows that are asked about, and answers.
    fn rank(&self, shape: Shape, sets: Address) -> Result<()> {
        if shape.asks == 0 {
            return Ok(());
        }
        let memory = self.memory;
        let logits = StepGemm {
            pick: memory.asks(),
            ..self.linear(&self.layers.logits, shape.asks, 0, memory.logits())
        };
        self.normed(What::Logits, &self.layers.decoder_norm, logits)?;
        let rank = Rank {
            logits: memory.logits(),
            asks: memory.asks(),
            sets,
            listed: memory.listed(),
            parts: memory.ranked.address(),
            few: memory.few.address(),
            said: memory.said.address(),
            probability: memory.probability.address(),
            vocab: self.dims.n_vocab as u64,
        };
        self.half.rank(shape.asks, &rank)
    }

    /// Seconds that the card takes for a step like the last one: rows, then their ranking.
    pub fn seconds(&self, sets: Address) -> Result<[f64; 2]> {
        let shape = self.memory.last.get();
        Ok([
            repeated(self.card, &mut || self.rows_through(shape, &[]))?,
            repeated(self.card, &mut || self.rank(shape, sets))?,
        ])
    }

    /// Waits for what the card says: [`MOST_BEST`] tokens a question, and [`MOST_LISTED`] probabilities where any
    /// are asked for.
    pub fn said(&self, asks: &Asks) -> Result<(Vec<Said>, Vec<f32>)> {
        let count = asks.asks.len();
        let mut said = vec![Said::default(); count * MOST_BEST];
        let mut probabilities = Vec::new();
        let (memory, driver) = (self.memory, self.card.driver());
        if count > 0 {
            let bytes = bytemuck::cast_slice_mut(&mut said);
            driver.fetch(memory.said.address(), bytes)?;
            memory.telling.set(false);
        }
        if asks.probabilities() {
            probabilities.resize(count * MOST_LISTED, 0.0_f32);
            let bytes = bytemuck::cast_slice_mut(&mut probabilities);
            driver.fetch(memory.probability.address(), bytes)?;
        }
        Ok((said, probabilities))
    }

    /// Lays down what a pass is where the card finds it, and tells it of places that have changed.
    fn lay_down(&self, shape: Shape, tables: &Tables, groups: &[Group], asks: &Asks) -> Result<()> {
        let (memory, driver) = (self.memory, self.card.driver());
        if memory.telling.replace(true) {
            driver.wait()?;
        }
        for (i, changed) in tables.changes.chunks(MOST_CHANGES).enumerate() {
            if i > 0 {
                driver.wait()?;
            }
            driver.post(memory.changes(), bytemuck::cast_slice(changed))?;
            self.tell([0; 3], changed.len())?;
        }
        if !asks.listed.is_empty() {
            driver.write(memory.listed(), bytemuck::cast_slice(&asks.listed))?;
        }
        let words = told(shape, tables, groups, asks);
        driver.post(memory.told.address(), &words)
    }

    /// Queues the kernel that reads as many rows, groups and questions, and changes.
    fn tell(&self, [rows, groups, asks]: [usize; 3], changes: usize) -> Result<()> {
        let memory = self.memory;
        self.half.tell(&Tell {
            from: memory.told.address(),
            changes: memory.changes(),
            rows: memory.rows(),
            groups: memory.groups(),
            asks: memory.asks(),
            places: memory.places.address(),
            n_rows: rows as u32,
            n_groups: groups as u32,
            n_asks: 4 * asks as u32,
            n_changes: changes as u32,
            context: self.dims.n_text_ctx as u64,
        })
    }

    fn block(&self, layer: usize, block: &DecoderBlock, shape: Shape, kept: &[Keep]) -> Result<()> {
        let (memory, rows) = (self.memory, shape.rows);
        let (x, q) = (memory.x.address(), memory.q.address());
        let (attended, hidden) = (memory.attended.address(), memory.hidden.address());
        self.self_attention(layer, block, rows)?;
        let out = self.linear(&block.out, rows, attended, x);
        self.half.step_gemm(What::Residual, &out)?;
        let query = self.linear(&block.cross_query, rows, 0, q);
        self.normed(What::Half, &block.cross_norm, query)?;
        let mut of_layer = kept.iter().filter(|keep| keep.layer == layer);
        of_layer.try_for_each(|keep| self.keep(keep))?;
        self.cross_attention(layer, shape.groups)?;
        let out = self.linear(&block.cross_out, rows, attended, x);
        self.half.step_gemm(What::Residual, &out)?;
        let [first, second] = &block.mlp;
        let first = self.linear(first, rows, 0, hidden);
        self.normed(What::Gelu, &block.mlp_norm, first)?;
        let second = self.linear(second, rows, hidden, x);
        self.half.step_gemm(What::Residual, &second)
    }

    /// A layer of the normed residual stream: the kernel for few rows takes the LayerNorm along.
    fn normed(&self, what: What, norm: &LayerNorm, layer: StepGemm) -> Result<()> {
        let rows = layer.b as usize;
        if !self.half.norms_along(rows, self.dims.n_text_state) {
            self.norm(norm, rows, layer.pick)?;
        }
        let layer = StepGemm {
            x: self.memory.normed.address(),
            stream: self.memory.x.address(),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            ..layer
        };
        self.half.step_gemm(what, &layer)
    }

    /// Queries, keys and values, which are stored, then attention to all that the rows see.
    fn self_attention(&self, layer: usize, block: &DecoderBlock, rows: usize) -> Result<()> {
        let (memory, width) = (self.memory, self.dims.n_text_state);
        let bytes = (2 * self.pools.rows * self.dims.n_text_ctx * width) as Address;
        let keys = self.pools.text + 2 * layer as Address * bytes;
        let values = keys + bytes;
        let gemm = StepGemm {
            keys,
            values,
            rows: memory.rows(),
            ..self.linear(&block.qkv, rows, 0, memory.q.address())
        };
        self.normed(What::Qkv, &block.attn_norm, gemm)?;
        let call = SelfAttn {
            q: memory.q.address(),
            keys,
            values,
            out: memory.attended.address(),
            rows: memory.rows(),
            places: memory.places.address(),
            d: width as u32,
            context: self.dims.n_text_ctx as u32,
        };
        self.half.self_attention(self.dims.n_text_head, rows, &call)
    }

    fn cross_attention(&self, layer: usize, groups: usize) -> Result<()> {
        let heads = self.dims.n_text_head;
        let (audio, blocks) = (self.audio(layer), heads * groups);
        let split = ((FULL + blocks / 2) / blocks).clamp(1, MOST_SPLIT);
        let call = CrossAttn {
            q: self.memory.q.address(),
            keys: audio.keys,
            values: audio.values,
            key_scale: audio.key_scale,
            value_scale: audio.value_scale,
            groups: self.memory.groups(),
            out: self.memory.attended.address(),
            parts: self.memory.parts.address(),
            window_bytes: self.window_bytes as u64,
            d: self.dims.n_text_state as u32,
            padded: self.padded as u32,
            split: split as u64,
        };
        self.half.cross_attention(heads, groups, &call)
    }

    /// Where a layer's audio is.
    pub fn audio(&self, layer: usize) -> Audio {
        let windows = self.pools.windows;
        let at = |i: usize| self.pools.audio + (i * windows * self.window_bytes) as Address;
        let layers = self.dims.n_text_layer;
        let scales = |i: usize| match self.bytes {
            true => at(2 * layers) + (4 * i * windows * self.dims.n_text_state) as Address,
            false => 0,
        };
        Audio {
            keys: at(2 * layer),
            values: at(2 * layer + 1),
            key_scale: scales(2 * layer),
            value_scale: scales(2 * layer + 1),
        }
    }

    /// Keeps rows' queries, as words of two half floats.
    fn keep(&self, keep: &Keep) -> Result<()> {
        let width = self.dims.n_text_state;
        let words = width as u32 / 2;
        let place = Place {
            x: self.memory.q.address() + (2 * keep.row * width) as Address,
            y: keep.to,
            from: 0,
            to: 0,
            d: words,
            ldx: words,
        };
        self.half.place(keep.rows, &place)
    }

    /// Of the rows that are asked about, 0: of all.
    fn norm(&self, norm: &LayerNorm, rows: usize, pick: Address) -> Result<()> {
        let call = DecNorm {
            x: self.memory.x.address(),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            y: self.memory.normed.address(),
            pick,
            d: self.dims.n_text_state as u64,
        };
        self.half.dec_norm(rows, &call)
    }

    /// Rows through a layer; `to` is where half floats, a residual stream or logits are.
    fn linear(&self, layer: &Linear, rows: usize, x: Address, to: Address) -> StepGemm {
        StepGemm {
            weights: layer.weight.address(),
            bias: layer.bias(),
            x,
            out: to,
            out32: to,
            n: layer.n_out,
            k: layer.n_in,
            b: rows as u32,
            d: self.dims.n_text_state as u32,
            ..StepGemm::zeroed()
        }
    }
}
