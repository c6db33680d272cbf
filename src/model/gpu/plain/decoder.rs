//! The text decoder on a card: a step of rows, each at a position of its own, through the stack.

use std::cell::RefCell;

use super::kernels::{Attention, Embed, Norm, Place, Plain, Rows};
use crate::device::{Address, Card, Memory};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::model::gpu::load::{DecoderBlock, LayerNorm, Layers, Linear};
use crate::model::gpu::stack::Pools;
use crate::model::gpu::tables::{Keep, MOST_ROWS, Tables};

/// Memory that rows pass through, and the tables that say what they are.
pub(super) struct DecoderMemory {
    tables: Memory,
    /// Where the positions of each text are, `(places of the pool, context)`.
    places: RefCell<Vec<i32>>,
    x: Memory,
    normed: Memory,
    qkv: Memory,
    attended: Memory,
    hidden: Memory,
    logits: Memory,
}

impl DecoderMemory {
    /// Bytes of each part.
    fn sizes(dims: &ModelDimensions) -> [usize; 7] {
        let floats = |n: usize| 4 * MOST_ROWS * n;
        let width = dims.n_text_state;
        [
            table_bytes(dims.n_text_ctx),
            floats(width),
            floats(width),
            floats(3 * width),
            floats(width),
            floats(4 * width),
            floats(dims.n_vocab),
        ]
    }

    pub fn bytes(dims: &ModelDimensions) -> usize {
        Self::sizes(dims).iter().sum()
    }

    pub fn new(card: &Card, dims: &ModelDimensions, rows: usize) -> Result<Self> {
        let [tables, x, normed, qkv, attended, hidden, logits] =
            Self::sizes(dims).map(|bytes| card.memory(bytes));
        Ok(Self {
            tables: tables?,
            places: vec![0; rows * dims.n_text_ctx].into(),
            x: x?,
            normed: normed?,
            qkv: qkv?,
            attended: attended?,
            hidden: hidden?,
            logits: logits?,
        })
    }

    /// Where the logits of the rows that were asked about are.
    pub fn logits(&self) -> Address {
        self.logits.address()
    }
}

/// Where the tables are on the card.
struct Placed {
    tokens: Address,
    positions: Address,
    stores: Address,
    seen: Address,
    heard: Address,
    asked: Address,
    audio: Address,
    places: Address,
}

/// Bytes that the tables take.
fn table_bytes(context: usize) -> usize {
    MOST_ROWS * (4 * (8 + context))
}

impl Decoder<'_> {
    /// Copies them onto the card.
    fn write(&self, tables: &Tables) -> Result<Placed> {
        let small = [
            &tables.tokens,
            &tables.positions,
            &tables.stores,
            &tables.seen,
            &tables.heard,
            &tables.asked,
        ];
        let mut block = vec![0_i32; 6 * MOST_ROWS];
        for (part, table) in block.chunks_exact_mut(MOST_ROWS).zip(small) {
            part[..table.len()].copy_from_slice(table);
        }
        let mut bytes: Vec<u8> = bytemuck::cast_slice(&block).to_vec();
        let start = |slot: &i32| i64::from(*slot) * window_floats(self.dims) as i64;
        let starts: Vec<i64> = tables.audio.iter().map(start).collect();
        bytes.extend_from_slice(bytemuck::cast_slice(&starts));
        bytes.resize(4 * 8 * MOST_ROWS, 0);
        self.extend_by_places(tables, &mut bytes);
        let to = self.memory.tables.address();
        self.card.driver().write(to, &bytes)?;
        let at = |i: usize| to + (4 * i * MOST_ROWS) as Address;
        Ok(Placed {
            tokens: at(0),
            positions: at(1),
            stores: at(2),
            seen: at(3),
            heard: at(4),
            asked: at(5),
            audio: at(6),
            places: at(8),
        })
    }
}

impl Decoder<'_> {
    /// Appends where the positions that each row sees are, `(rows, context)`.
    fn extend_by_places(&self, tables: &Tables, bytes: &mut Vec<u8>) {
        let (mut places, context) = (self.memory.places.borrow_mut(), self.dims.n_text_ctx);
        for change in &tables.changes {
            places[change.at as usize] = change.place as i32;
        }
        for (i, text) in tables.texts.iter().enumerate() {
            let at = *text as usize * context + tables.positions[i] as usize;
            places[at] = tables.stores[i];
        }
        for text in &tables.texts {
            let of_text = &places[*text as usize * context..][..context];
            bytes.extend_from_slice(bytemuck::cast_slice(of_text));
        }
    }
}

/// Floats of a window in the audio pool, `(layers, positions, 2 × width)`.
pub(super) fn window_floats(dims: &ModelDimensions) -> usize {
    2 * dims.n_text_layer * dims.n_text_state * dims.n_audio_ctx
}

/// A pass through the decoder.
pub(super) struct Decoder<'a> {
    pub card: &'a Card,
    pub plain: &'a Plain,
    pub layers: &'a Layers,
    pub dims: &'a ModelDimensions,
    pub memory: &'a DecoderMemory,
    /// `(layers, 2, rows × context, width)` of text, `(windows, layers, positions, 2 × width)` of audio.
    pub pools: Pools,
}

impl Decoder<'_> {
    /// Runs the rows through the stack; the logits of those asked about are then in
    /// [`DecoderMemory::logits`].
    pub fn forward(&self, tables: &Tables, kept: &[Keep]) -> Result<()> {
        let at = self.write(tables)?;
        let (rows, width) = (tables.rows(), self.dims.n_text_state);
        let embed = Embed {
            token: at.tokens,
            position: at.positions,
            tokens: self.layers.tokens.address(),
            positions: self.layers.text_positions.address(),
            x: self.memory.x.address(),
            d: width as u64,
        };
        self.plain.embed(rows, &embed)?;
        for (layer, block) in self.layers.decoder.iter().enumerate() {
            self.block(layer, block, rows, &at, kept)?;
        }
        if tables.asked.is_empty() {
            return Ok(());
        }
        self.norm(&self.layers.decoder_norm, tables.asked.len(), at.asked)?;
        let (normed, logits) = (&self.memory.normed, self.memory.logits());
        self.linear(
            &self.layers.logits,
            tables.asked.len(),
            normed,
            logits,
            0,
            false,
        )
    }

    fn block(
        &self,
        layer: usize,
        block: &DecoderBlock,
        rows: usize,
        at: &Placed,
        kept: &[Keep],
    ) -> Result<()> {
        let memory = self.memory;
        let (x, normed) = (memory.x.address(), &memory.normed);
        self.norm(&block.attn_norm, rows, 0)?;
        self.linear(&block.qkv, rows, normed, memory.qkv.address(), 0, false)?;
        self.self_attention(layer, rows, at)?;
        self.linear(&block.out, rows, &memory.attended, x, x, false)?;
        self.norm(&block.cross_norm, rows, 0)?;
        self.linear(
            &block.cross_query,
            rows,
            normed,
            memory.qkv.address(),
            0,
            false,
        )?;
        let of_layer = kept.iter().filter(|keep| keep.layer == layer);
        of_layer.into_iter().try_for_each(|keep| self.keep(keep))?;
        self.cross_attention(layer, rows, at)?;
        self.linear(&block.cross_out, rows, &memory.attended, x, x, false)?;
        self.norm(&block.mlp_norm, rows, 0)?;
        let [first, second] = &block.mlp;
        self.linear(first, rows, normed, memory.hidden.address(), 0, true)?;
        self.linear(second, rows, &memory.hidden, x, x, false)
    }

    /// Keeps rows' queries.
    fn keep(&self, keep: &Keep) -> Result<()> {
        let width = self.dims.n_text_state;
        let from = self.memory.qkv.address() + (4 * keep.row * width) as Address;
        let place = Place {
            x: from,
            y: keep.to,
            from: 0,
            to: 0,
            d: width as u32,
            ldx: width as u32,
        };
        self.plain.place(keep.rows, &place)
    }

    /// Stores the rows' keys and values, then attends to all that they see: a prompt's rows see each other's.
    fn self_attention(&self, layer: usize, rows: usize, at: &Placed) -> Result<()> {
        let width = self.dims.n_text_state;
        let bytes = (4 * self.pools.rows * self.dims.n_text_ctx * width) as Address;
        let keys = self.pools.text + 2 * layer as Address * bytes;
        let part = |i: usize| self.memory.qkv.address() + (4 * i * width) as Address;
        for (i, cache) in [(1, keys), (2, keys + bytes)] {
            let place = Place {
                x: part(i),
                y: cache,
                from: 0,
                to: at.stores,
                d: width as u32,
                ldx: 3 * width as u32,
            };
            self.plain.place(rows, &place)?;
        }
        let call = Attention {
            q: part(0),
            keys,
            values: keys + bytes,
            count: at.seen,
            places: at.places,
            start: 0,
            ldq: 3 * width as u32,
            ld: width as u32,
            context: self.dims.n_text_ctx as u32,
            most: self.dims.n_text_ctx as u32,
            ..self.attention()
        };
        self.plain.attention(rows, self.dims.n_text_head, &call)
    }

    fn cross_attention(&self, layer: usize, rows: usize, at: &Placed) -> Result<()> {
        let (width, positions) = (self.dims.n_text_state, self.dims.n_audio_ctx);
        let keys = self.pools.audio + (4 * layer * positions * 2 * width) as Address;
        let call = Attention {
            q: self.memory.qkv.address(),
            keys,
            values: keys + (4 * width) as Address,
            count: at.heard,
            places: 0,
            start: at.audio,
            ldq: width as u32,
            ld: 2 * width as u32,
            context: 0,
            most: positions as u32,
            ..self.attention()
        };
        self.plain.attention(rows, self.dims.n_text_head, &call)
    }

    /// What both kinds of attention have in common.
    fn attention(&self) -> Attention {
        let (width, heads) = (self.dims.n_text_state, self.dims.n_text_head);
        let head_dim = width / heads;
        Attention {
            out: self.memory.attended.address(),
            d: width as u32,
            head_dim: head_dim as u32,
            scale: 1.0 / (head_dim as f32).sqrt(),
            ..bytemuck::Zeroable::zeroed()
        }
    }

    /// Of the rows that a table names, 0: of all.
    fn norm(&self, norm: &LayerNorm, rows: usize, from: Address) -> Result<()> {
        let call = Norm {
            x: self.memory.x.address(),
            gamma: norm.gamma.address(),
            beta: norm.beta.address(),
            from,
            y: self.memory.normed.address(),
            d: self.dims.n_text_state as u64,
        };
        self.plain.norm(rows, &call)
    }

    /// Rows through a layer. `residual`: 0 for none.
    fn linear(
        &self,
        layer: &Linear,
        rows: usize,
        from: &Memory,
        to: Address,
        residual: Address,
        gelu: bool,
    ) -> Result<()> {
        let call = Rows {
            a: from.address(),
            b: layer.weight.address(),
            c: to,
            bias: layer.bias(),
            residual,
            m: rows as u32,
            n: layer.n_out,
            k: layer.n_in,
            gelu: gelu.into(),
        };
        self.plain.rows(&call)
    }
}
