//! The text decoder in half floats; its residual stream and its logits are 32-bit floats.

use super::kernels::{
    Ask, CrossAttn, DecNorm, Embed, Group, Half, MOST_SPLIT, PART, Place, Row, SelfAttn, StepGemm,
    What,
};
use crate::device::{Address, Card, Memory};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::model::gpu::load::{DecoderBlock, LayerNorm, Layers, Linear};
use crate::model::gpu::stack::Pools;
use crate::model::gpu::tables::{Keep, MOST_ROWS, Tables};
use bytemuck::Zeroable as _;

/// Rows of a window that cross-attention takes together.
const GROUP: usize = 8;
/// Blocks of cross-attention that fill a card.
const FULL: usize = 396;

/// Memory that rows pass through, and the tables that say what they are.
pub(super) struct DecoderMemory {
    tables: Memory,
    x: Memory,
    normed: Memory,
    q: Memory,
    attended: Memory,
    hidden: Memory,
    parts: Memory,
    logits: Memory,
}

/// Bytes in front of the table of places: rows, groups, questions.
const SMALL: usize = MOST_ROWS * (16 + 16 + 64);

impl DecoderMemory {
    /// Bytes of each part.
    fn sizes(dims: &ModelDimensions) -> [usize; 8] {
        let width = dims.n_text_state;
        [
            SMALL + 4 * MOST_ROWS * dims.n_text_ctx,
            4 * MOST_ROWS * width,
            2 * MOST_ROWS * width,
            2 * MOST_ROWS * width,
            2 * MOST_ROWS * width,
            2 * MOST_ROWS * 4 * width,
            4 * MOST_ROWS.max(FULL) * 2 * dims.n_text_head * PART,
            4 * MOST_ROWS * dims.n_vocab,
        ]
    }

    pub fn bytes(dims: &ModelDimensions) -> usize {
        Self::sizes(dims).iter().sum()
    }

    pub fn new(card: &Card, dims: &ModelDimensions) -> Result<Self> {
        let [tables, x, normed, q, attended, hidden, parts, logits] =
            Self::sizes(dims).map(|bytes| card.memory(bytes));
        Ok(Self {
            tables: tables?,
            x: x?,
            normed: normed?,
            q: q?,
            attended: attended?,
            hidden: hidden?,
            parts: parts?,
            logits: logits?,
        })
    }

    /// Where the logits of the rows that were asked about are.
    pub fn logits(&self) -> Address {
        self.logits.address()
    }
}

/// Where the tables are on the card, and how many groups there are.
struct Placed {
    rows: Address,
    groups: Address,
    asks: Address,
    places: Address,
    group_count: usize,
}

/// Neighbouring rows that hear the same window.
fn groups(tables: &Tables) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, (window, positions)) in tables.audio.iter().zip(&tables.heard).enumerate() {
        match groups.last_mut() {
            Some(group) if group.window == *window && (group.rows as usize) < GROUP => {
                group.rows += 1;
            }
            _ => groups.push(Group {
                first: i as i32,
                rows: 1,
                window: *window,
                positions: *positions,
            }),
        }
    }
    groups
}

/// Numbers as bytes, filled up to what `MOST_ROWS` of them take.
fn filled<T: bytemuck::NoUninit>(numbers: &[T]) -> Vec<u8> {
    let mut bytes: Vec<u8> = bytemuck::cast_slice(numbers).to_vec();
    bytes.resize(MOST_ROWS * size_of::<T>(), 0);
    bytes
}

/// A pass through the decoder.
pub(super) struct Decoder<'a> {
    pub card: &'a Card,
    pub half: &'a Half,
    pub layers: &'a Layers,
    pub dims: &'a ModelDimensions,
    pub memory: &'a DecoderMemory,
    /// `(layers, 2, blocks of 64 positions, heads, 64, 64)` of text, `(layers, 2, windows, heads, padded × 64)` of
    /// audio.
    pub pools: Pools,
    /// Bytes of a window's keys in a layer, and positions that a head has room for.
    pub window_bytes: usize,
    pub padded: usize,
}

impl Decoder<'_> {
    /// Runs the rows through the stack; the logits of those asked about are then in
    /// [`DecoderMemory::logits`].
    pub fn forward(&self, tables: &Tables, kept: &[Keep]) -> Result<()> {
        let at = self.write(tables)?;
        let (rows, width) = (tables.rows(), self.dims.n_text_state);
        let embed = Embed {
            rows: at.rows,
            tokens: self.layers.tokens.address(),
            positions: self.layers.text_positions.address(),
            x: self.memory.x.address(),
            d: width as u64,
        };
        self.half.embed(rows, &embed)?;
        for (layer, block) in self.layers.decoder.iter().enumerate() {
            self.block(layer, block, rows, &at, kept)?;
        }
        let asked = tables.asked.len();
        if asked == 0 {
            return Ok(());
        }
        self.norm(&self.layers.decoder_norm, asked, at.asks)?;
        let normed = self.memory.normed.address();
        let logits = self.linear(&self.layers.logits, asked, normed, self.memory.logits());
        self.half.step_gemm(What::Logits, &logits)
    }

    fn write(&self, tables: &Tables) -> Result<Placed> {
        let row = |i: usize| Row {
            token: tables.tokens[i],
            position: tables.positions[i],
            table: i as i32,
            store: tables.stores[i],
        };
        let ask = |row: &i32| Ask {
            row: *row,
            ..Ask::zeroed()
        };
        let rows: Vec<Row> = (0..tables.rows()).map(row).collect();
        let asks: Vec<Ask> = tables.asked.iter().map(ask).collect();
        let groups = groups(tables);
        let mut bytes = filled(&rows);
        bytes.extend(filled(&groups));
        bytes.extend(filled(&asks));
        bytes.extend_from_slice(bytemuck::cast_slice(&tables.places));
        let to = self.memory.tables.address();
        self.card.driver().write(to, &bytes)?;
        let at = |bytes: usize| to + (MOST_ROWS * bytes) as Address;
        Ok(Placed {
            rows: at(0),
            groups: at(16),
            asks: at(32),
            places: at(96),
            group_count: groups.len(),
        })
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
        let (x, normed, q) = (
            memory.x.address(),
            memory.normed.address(),
            memory.q.address(),
        );
        let (attended, hidden) = (memory.attended.address(), memory.hidden.address());
        self.norm(&block.attn_norm, rows, 0)?;
        self.self_attention(layer, &block.qkv, rows, at)?;
        let out = self.linear(&block.out, rows, attended, x);
        self.half.step_gemm(What::Residual, &out)?;
        self.norm(&block.cross_norm, rows, 0)?;
        let query = self.linear(&block.cross_query, rows, normed, q);
        self.half.step_gemm(What::Half, &query)?;
        let mut of_layer = kept.iter().filter(|keep| keep.layer == layer);
        of_layer.try_for_each(|keep| self.keep(keep))?;
        self.cross_attention(layer, at)?;
        let out = self.linear(&block.cross_out, rows, attended, x);
        self.half.step_gemm(What::Residual, &out)?;
        self.norm(&block.mlp_norm, rows, 0)?;
        let [first, second] = &block.mlp;
        let first = self.linear(first, rows, normed, hidden);
        self.half.step_gemm(What::Gelu, &first)?;
        let second = self.linear(second, rows, hidden, x);
        self.half.step_gemm(What::Residual, &second)
    }

    /// Queries, keys and values, which are stored, then attention to all that the rows see.
    fn self_attention(&self, layer: usize, qkv: &Linear, rows: usize, at: &Placed) -> Result<()> {
        let (memory, width) = (self.memory, self.dims.n_text_state);
        let bytes = (2 * self.pools.rows * self.dims.n_text_ctx * width) as Address;
        let keys = self.pools.text + 2 * layer as Address * bytes;
        let values = keys + bytes;
        let gemm = StepGemm {
            keys,
            values,
            rows: at.rows,
            ..self.linear(qkv, rows, memory.normed.address(), memory.q.address())
        };
        self.half.step_gemm(What::Qkv, &gemm)?;
        let call = SelfAttn {
            q: memory.q.address(),
            keys,
            values,
            out: memory.attended.address(),
            rows: at.rows,
            places: at.places,
            d: width as u32,
            context: self.dims.n_text_ctx as u32,
        };
        self.half.self_attention(self.dims.n_text_head, rows, &call)
    }

    fn cross_attention(&self, layer: usize, at: &Placed) -> Result<()> {
        let (heads, groups) = (self.dims.n_text_head, at.group_count);
        let keys = self.keys(layer);
        let blocks = heads * groups;
        let split = ((FULL + blocks / 2) / blocks).clamp(1, MOST_SPLIT);
        let call = CrossAttn {
            q: self.memory.q.address(),
            keys,
            values: keys + (self.pools.windows * self.window_bytes) as Address,
            groups: at.groups,
            out: self.memory.attended.address(),
            parts: self.memory.parts.address(),
            window_bytes: self.window_bytes as u64,
            d: self.dims.n_text_state as u32,
            padded: self.padded as u32,
            split: split as u64,
            ..CrossAttn::zeroed()
        };
        self.half.cross_attention(heads, groups, &call)
    }

    /// Where all windows' keys of a layer are.
    pub fn keys(&self, layer: usize) -> Address {
        self.pools.audio + (2 * layer * self.pools.windows * self.window_bytes) as Address
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_up_to_eight_neighbours_of_one_window() {
        let audio = [[3; 10].as_slice(), &[4], &[3; 2]].concat();
        let tables = Tables {
            heard: audio.iter().map(|window| 100 * window).collect(),
            audio,
            ..Tables::default()
        };
        let groups = groups(&tables);
        let groups: Vec<_> = groups
            .iter()
            .map(|g| (g.first, g.rows, g.window, g.positions))
            .collect();
        assert_eq!(
            groups,
            [
                (0, 8, 3, 300),
                (8, 2, 3, 300),
                (10, 1, 4, 400),
                (11, 2, 3, 300)
            ]
        );
    }
}
