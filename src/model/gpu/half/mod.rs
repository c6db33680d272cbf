//! The stack in half floats on tensor cores, by kernels that every chip from Ampere on has; sums, the decoder's
//! residual stream and the logits are 32-bit floats.

mod arguments;
mod decoder;
mod encoder;
mod fast;
mod kernels;
mod memory;
mod names;
mod rank;
mod rates;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use ::half::f16;
use bytemuck::Zeroable as _;

use super::load::{Lay, Layers};
use super::stack::{Graphs, Pass, Pools, Stack, Watched, positions, read, repeated};
use crate::device::{Address, Card, Memory};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::kernels::Cpu;
use crate::model::{CardTimes, EncoderStages, StateBytes};
use crate::ranking::{self, Answer};
use decoder::Decoder;
pub(super) use encoder::most_windows;
use encoder::{Encoder, EncoderMemory};
pub(super) use kernels::Half;
use kernels::{CrossWeights, Group, KvLayout, Place};
use memory::{DecoderMemory, MOST_TOKENS};
use rank::{Asks, MOST_BEST, MOST_LISTED, Sets};

/// A head's numbers.
const HEAD: usize = 64;
/// Positions of audio that the kernels take together.
const BLOCK: usize = 32;

/// Why the kernels do not take a network of these sizes, if so.
pub(super) fn objection(dims: &ModelDimensions) -> Option<String> {
    let wide = |width: usize, heads: usize| {
        width == HEAD * heads && width.is_multiple_of(128) && width <= 1280
    };
    let fits = wide(dims.n_audio_state, dims.n_audio_head)
        && wide(dims.n_text_state, dims.n_text_head)
        && dims.n_text_ctx.is_multiple_of(64);
    (!fits).then(|| {
        format!(
            "f16 is for widths of up to 1280 in heads of {HEAD}; this network has {} in {} heads, and {} in {}",
            dims.n_audio_state, dims.n_audio_head, dims.n_text_state, dims.n_text_head
        )
    })
}

/// Numbers as the kernels want them.
pub(super) fn lay(card: &Card, half: &Half, numbers: &[f32], lay: Lay) -> Result<Memory> {
    match lay {
        Lay::Floats => card.memory_of(numbers),
        Lay::Normed { n, k } if half.narrow() => {
            let from = card.memory_of(numbers)?;
            let to = card.memory(n * k + 4 * n)?;
            half.narrow_rows(from.address(), to.address(), n, k)?;
            card.driver().wait()?;
            Ok(to)
        }
        Lay::Halves | Lay::Normed { .. } => halved(card, half, numbers),
        Lay::Taps { n_in } => {
            let tap = |o: &[f32]| {
                let of = |tap: usize| (0..n_in).map(move |i| 3 * i + tap);
                (0..3).flat_map(of).map(|at| o[at]).collect::<Vec<f32>>()
            };
            let turned: Vec<f32> = numbers.chunks_exact(3 * n_in).flat_map(tap).collect();
            halved(card, half, &turned)
        }
        Lay::Tiles { n, k } => {
            let from = card.memory_of(numbers)?;
            let to = card.memory(2 * n.next_multiple_of(64) * k)?;
            half.pack(from.address(), to.address(), n, k)?;
            // What comes up is needed until then.
            card.driver().wait()?;
            Ok(to)
        }
    }
}

fn halved(card: &Card, half: &Half, numbers: &[f32]) -> Result<Memory> {
    let from = card.memory_of(numbers)?;
    let to = card.memory(2 * numbers.len())?;
    half.halve(from.address(), to.address(), numbers.len())?;
    card.driver().wait()?;
    Ok(to)
}

/// Positions that a head of a window has room for.
fn padded(dims: &ModelDimensions, bytes: bool) -> usize {
    let block = if bytes { 2 * BLOCK } else { BLOCK };
    dims.n_audio_ctx.next_multiple_of(block)
}

/// Bytes of a window's keys in a layer: of each head and position 64 half floats, or 64 bytes and their scale.
fn window_bytes(dims: &ModelDimensions, bytes: bool) -> usize {
    let position = if bytes { HEAD + 1 } else { 2 * HEAD };
    position * padded(dims, bytes) * dims.n_text_state.div_ceil(HEAD)
}

/// What a window and a row cost. `bytes`: audio is kept as bytes, with a scale a dimension.
pub(super) fn state_bytes(dims: &ModelDimensions, bytes: bool) -> StateBytes {
    let scales = if bytes { 4 * dims.n_text_state } else { 0 };
    StateBytes {
        window: 2 * dims.n_text_layer * (window_bytes(dims, bytes) + scales),
        row: 2 * 2 * dims.n_text_layer * dims.n_text_state * dims.n_text_ctx,
    }
}

/// Bytes of workspace.
pub(super) fn work_bytes(dims: &ModelDimensions) -> usize {
    EncoderMemory::bytes(dims) + DecoderMemory::bytes(dims) + Sets::bytes(dims.n_vocab)
}

/// Encoder and decoder with their memory.
pub(super) struct HalfStack {
    card: Card,
    half: Arc<Half>,
    layers: Layers,
    dims: ModelDimensions,
    pools: Pools,
    encoder: EncoderMemory,
    decoder: DecoderMemory,
    /// 0, 1, 2, … as many as a decoder has heads.
    numbers: Memory,
    /// Where windows that are encoded together go.
    places: Memory,
    sets: RefCell<Sets>,
    /// By windows and positions.
    encodings: Graphs<(usize, usize)>,
    /// Windows that were last encoded together, and their positions.
    last: Cell<(usize, usize)>,
    /// Whether audio is kept as bytes.
    bytes: bool,
}

impl HalfStack {
    pub fn new(
        card: &Card,
        half: Arc<Half>,
        layers: Layers,
        dims: &ModelDimensions,
        pools: Pools,
    ) -> Result<Self> {
        let count = dims.n_text_head as i32;
        Ok(Self {
            places: card.memory(4 * most_windows(dims))?,
            sets: RefCell::new(Sets::new(card, dims.n_vocab)?),
            last: Cell::default(),
            encodings: Graphs::default(),
            bytes: half.bytes(),
            numbers: card.memory_of(&(0..count).collect::<Vec<i32>>())?,
            encoder: EncoderMemory::new(card, dims)?,
            decoder: DecoderMemory::new(card, dims, pools.rows)?,
            card: card.clone(),
            half,
            layers,
            dims: dims.clone(),
            pools,
        })
    }

    fn encoder(&self, mels: &[&[f32]]) -> Encoder<'_> {
        let positions = mels.first().map_or(0, |mel| positions(&self.dims, mel));
        self.last.set((mels.len(), positions));
        self.encoder_of(mels.len(), positions)
    }

    /// Of as many windows of as many positions.
    fn encoder_of(&self, windows: usize, positions: usize) -> Encoder<'_> {
        Encoder {
            card: &self.card,
            half: &self.half,
            layers: &self.layers,
            dims: &self.dims,
            memory: &self.encoder,
            positions,
            windows,
        }
    }

    fn decoder(&self) -> Decoder<'_> {
        Decoder {
            card: &self.card,
            half: &self.half,
            layers: &self.layers,
            dims: &self.dims,
            memory: &self.decoder,
            pools: self.pools,
            window_bytes: window_bytes(&self.dims, self.bytes),
            padded: padded(&self.dims, self.bytes),
            bytes: self.bytes,
        }
    }

    /// The encoder's output as the keys and values of every layer of the decoder.
    fn project(&self, encoder: &Encoder<'_>) -> Result<()> {
        let decoder = self.decoder();
        for (layer, block) in self.layers.decoder.iter().enumerate() {
            encoder.listen(&block.cross_kv)?;
            let audio = decoder.audio(layer);
            let layout = KvLayout {
                kv: self.encoder.keys_values(),
                keys: audio.keys,
                values: audio.values,
                key_scale: audio.key_scale,
                value_scale: audio.value_scale,
                windows: self.places.address(),
                spreads: self.encoder.spare(),
                window_bytes: decoder.window_bytes as u64,
                positions: encoder.positions as u32,
                d: self.dims.n_text_state as u32,
                padded: decoder.padded as u64,
            };
            let heads = self.dims.n_text_head;
            self.half.lay_audio(heads, encoder.windows, &layout)?;
        }
        Ok(())
    }

    /// Bytes of the pool of audio.
    fn audio_bytes(&self) -> usize {
        self.pools.windows * state_bytes(&self.dims, self.bytes).window
    }

    fn number(&self, i: usize) -> Address {
        self.numbers.address() + 4 * i as Address
    }

    fn read(&self, from: Address, numbers: usize) -> Result<Vec<f32>> {
        let mut halves = vec![0_u16; numbers];
        let bytes = bytemuck::cast_slice_mut(&mut halves);
        self.card.driver().read(from, bytes)?;
        Ok(halves
            .into_iter()
            .map(|bits| f16::from_bits(bits).to_f32())
            .collect())
    }
}

impl Stack for HalfStack {
    fn encode(&self, mels: &[&[f32]], slots: &[usize], cpu: &Cpu) -> Result<()> {
        let encoder = self.encoder(mels);
        let places: Vec<i32> = slots.iter().map(|slot| *slot as i32).collect();
        let driver = self.card.driver();
        driver.write(self.places.address(), bytemuck::cast_slice(&places))?;
        encoder.upload(mels, cpu)?;
        let shape = (encoder.windows, encoder.positions);
        self.encodings.run(driver, shape, &mut || {
            encoder.forward()?;
            self.project(&encoder)
        })
    }

    fn stages(&self, mel: &[f32], cpu: &Cpu) -> Result<EncoderStages> {
        let mels = [mel];
        let encoder = self.encoder(&mels);
        let numbers = encoder.positions * self.dims.n_audio_state;
        encoder.stem(&mels, cpu)?;
        let stem = self.read(self.encoder.x(), numbers)?;
        encoder.block(&self.layers.encoder[0])?;
        let block0 = self.read(self.encoder.x(), numbers)?;
        encoder.forward()?;
        let output = self.read(self.encoder.output(), numbers)?;
        Ok(EncoderStages {
            stem,
            block0,
            output,
        })
    }

    fn card_times(&self) -> Result<Option<CardTimes>> {
        let (windows, positions) = self.last.get();
        let encoder = self.encoder_of(windows.max(1), positions.max(1));
        let each = windows.max(1) as f64;
        let [rows, ranking] = self.decoder().seconds(self.sets.borrow().address())?;
        Ok(Some(CardTimes {
            encoder: encoder.seconds()? / each,
            projection: repeated(&self.card, &mut || self.project(&encoder))? / each,
            rows,
            ranking,
            rates: rates::rates(&self.half, self.pools.audio, self.audio_bytes()).ok(),
        }))
    }

    /// The card ranks, but for what it has no room for.
    fn answer(&self, pass: Pass<'_>) -> Result<Vec<Answer>> {
        let mut sets = self.sets.borrow_mut();
        sets.next_step();
        let asks = Asks::new(&mut sets, pass.queries, MOST_TOKENS)?;
        let decoder = self.decoder();
        decoder.forward(&pass.tables, pass.kept, &asks, sets.address())?;
        let (said, probabilities) = decoder.said(&asks)?;
        let n_vocab = self.dims.n_vocab;
        let mut answers = Vec::with_capacity(pass.queries.len());
        for (i, (_, query)) in pass.queries.iter().enumerate() {
            if asks.on_host[i] {
                let row = self.decoder.logits() + (4 * i * n_vocab) as Address;
                let logits = read(&self.card, row, n_vocab)?;
                answers.push(ranking::answer(&logits, query));
                continue;
            }
            let said = &said[i * MOST_BEST..][..MOST_BEST];
            let probabilities = probabilities.get(i * MOST_LISTED..).unwrap_or_default();
            answers.push(rank::answer(query, said, probabilities));
        }
        Ok(answers)
    }

    fn cross_weights(&self, call: &Watched<'_>) -> Result<()> {
        let (width, tokens, decoder) = (self.dims.n_text_state, call.rows.len(), self.decoder());
        let rows = self.card.memory_of(call.rows)?;
        let own = self.card.memory(2 * tokens * width)?;
        let words = width as u32 / 2;
        let gather = Place {
            x: call.queries,
            y: own.address(),
            from: rows.address(),
            to: 0,
            d: words,
            ldx: words,
        };
        self.half.place(tokens, &gather)?;
        let group = |first: usize| Group {
            first: first as i32,
            rows: 1,
            window: call.slot as i32,
            positions: call.positions as i32,
        };
        let groups = self
            .card
            .memory_of(&(0..tokens).map(group).collect::<Vec<_>>())?;
        let weights = CrossWeights {
            q: own.address(),
            keys: decoder.audio(call.layer).keys,
            key_scale: decoder.audio(call.layer).key_scale,
            bytes: self.bytes.into(),
            groups: groups.address(),
            heads: self.number(call.head),
            out: call.to,
            window_bytes: decoder.window_bytes as u64,
            d: width as u32,
            padded: decoder.padded as u32,
            watched: 1,
            wide: call.positions as u32,
            ..CrossWeights::zeroed()
        };
        self.half.cross_weights(tokens, &weights)?;
        // The tables are needed until then.
        self.card.driver().wait()
    }
}
