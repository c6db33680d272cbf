//! The kernels in half floats for tensor cores, `kernels/gpu/*.cu`, as far as every chip from Ampere on has them: each
//! one's argument, and how it is launched. Sums are 32-bit floats throughout.

use bytemuck::{NoUninit, Zeroable};

use super::names::{self, ALONE, NAMES};
use super::rank::PART;
use crate::device::{Address, Arch, Card, Kernel, Launch, image};
use crate::error::Result;
use crate::model::gpu::objects;

/// Parts of the positions that audio is made bytes by.
const KV_PARTS: usize = 8;

/// Hopper, which has kernels of its own.
const HOPPER: Arch = Arch::Sm(9, 0);

/// A row of a step.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Row {
    pub token: i32,
    pub position: i32,
    /// Which row of the table of places is its text's.
    pub table: i32,
    pub store: i32,
}

/// Up to 8 neighbouring rows of one window.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Group {
    pub first: i32,
    pub rows: i32,
    pub window: i32,
    pub positions: i32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Halve {
    from: Address,
    to: Address,
    count: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Pack {
    from: Address,
    to: Address,
    n: u32,
    k: u32,
}

/// Log-mel as rows of frames, with a frame of zeros on either side, which `next` gets too.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Frames {
    pub mel: Address,
    pub out: Address,
    pub next: Address,
    pub frames: u32,
    pub n_mels: u32,
    pub d: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Positions {
    pub x: Address,
    pub table: Address,
    pub count: u64,
    pub period: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct EncNorm {
    pub x: Address,
    pub gamma: Address,
    pub beta: Address,
    pub y: Address,
    pub rows: u32,
    pub d: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct EncFlash {
    pub qkv: Address,
    pub out: Address,
    pub positions: u32,
    pub d: u32,
}

/// What an encoder's layer does behind its product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Gelu,
    Residual,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct EncGemm {
    pub a: Address,
    pub w: Address,
    pub bias: Address,
    pub residual: Address,
    pub out: Address,
    pub a_window: u64,
    pub a_row: u64,
    pub out_window: u64,
    pub out_row: u64,
    pub rows: u32,
    pub n: u32,
    pub k: u32,
    pub unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct KvLayout {
    pub kv: Address,
    pub keys: Address,
    pub values: Address,
    pub key_scale: Address,
    pub value_scale: Address,
    pub windows: Address,
    /// Memory for 256 floats a part, head and window, where audio is kept as bytes.
    pub spreads: Address,
    pub window_bytes: u64,
    pub positions: u32,
    pub d: u32,
    pub padded: u64,
}

/// What a step is told, from shared memory into the tables.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Tell {
    pub from: Address,
    pub changes: Address,
    pub rows: Address,
    pub groups: Address,
    pub asks: Address,
    pub places: Address,
    pub n_rows: u32,
    pub n_groups: u32,
    /// Of 16 bytes.
    pub n_asks: u32,
    pub n_changes: u32,
    pub context: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Embed {
    pub rows: Address,
    pub tokens: Address,
    pub positions: Address,
    pub x: Address,
    pub d: u64,
}

/// Of all rows, or of those that `pick` asks about.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct DecNorm {
    pub x: Address,
    pub gamma: Address,
    pub beta: Address,
    pub y: Address,
    pub pick: Address,
    pub d: u64,
}

/// What a decoder's layer does with its product: the order of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Half,
    Gelu,
    Residual,
    Qkv,
    Logits,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct StepGemm {
    pub weights: Address,
    pub bias: Address,
    pub x: Address,
    pub stream: Address,
    pub gamma: Address,
    pub beta: Address,
    pub out: Address,
    pub out32: Address,
    pub keys: Address,
    pub values: Address,
    pub rows: Address,
    pub n: u32,
    pub k: u32,
    pub b: u32,
    pub d: u32,
    pub share: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct SelfAttn {
    pub q: Address,
    pub keys: Address,
    pub values: Address,
    pub out: Address,
    pub rows: Address,
    pub places: Address,
    pub d: u32,
    pub context: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct CrossAttn {
    pub q: Address,
    pub keys: Address,
    pub values: Address,
    pub key_scale: Address,
    pub value_scale: Address,
    pub groups: Address,
    pub out: Address,
    pub parts: Address,
    pub window_bytes: u64,
    pub d: u32,
    pub padded: u32,
    /// Blocks that share a window's positions, up to [`MOST_SPLIT`].
    pub split: u64,
}

/// Blocks that share a window's positions, at most.
pub(super) const MOST_SPLIT: usize = 12;
/// Floats of what one of them says.
pub(super) const CROSS_PART: usize = 528;

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct CrossWeights {
    pub q: Address,
    pub keys: Address,
    pub key_scale: Address,
    pub groups: Address,
    pub heads: Address,
    pub out: Address,
    pub window_bytes: u64,
    pub d: u32,
    pub padded: u32,
    pub bytes: u32,
    pub first: u32,
    pub watched: u32,
    pub wide: u32,
}

/// Rows of 32-bit words to other places.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Place {
    pub x: Address,
    pub y: Address,
    pub from: Address,
    pub to: Address,
    pub d: u32,
    pub ldx: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Rank {
    pub logits: Address,
    pub asks: Address,
    pub sets: Address,
    pub listed: Address,
    pub parts: Address,
    pub few: Address,
    pub said: Address,
    pub probability: Address,
    pub vocab: u64,
}

/// The kernels, loaded onto a card.
pub(in crate::model::gpu) struct Half {
    card: Card,
    kernels: Vec<Kernel>,
    fast: Vec<Kernel>,
    bytes: bool,
}

impl Half {
    /// Loads them. `bytes`: audio is kept as bytes.
    pub(in crate::model::gpu) fn load(card: &Card, bytes: bool) -> Result<Self> {
        let image = image::pick(&objects(), card.info())?;
        let fast = names::names(card.info().arch == HOPPER);
        let names: Vec<&str> = NAMES
            .into_iter()
            .chain(fast.iter().map(String::as_str))
            .collect();
        let mut kernels = card.driver().load(&image, &names)?;
        let fast = kernels.split_off(NAMES.len());
        Ok(Self {
            kernels,
            fast,
            card: card.clone(),
            bytes,
        })
    }

    /// Whether audio is kept as bytes.
    pub(in crate::model::gpu) fn bytes(&self) -> bool {
        self.bytes
    }

    pub(super) fn card(&self) -> &Card {
        &self.card
    }

    pub(super) fn fast_kernels(&self) -> &[Kernel] {
        &self.fast
    }

    pub(super) fn hopper(&self) -> bool {
        self.card.info().arch == HOPPER
    }

    /// Whether `small` was compiled for a ring of four stages: where a block may have 227 kB.
    pub(super) fn ring_of_four(&self) -> bool {
        matches!(self.card.info().arch, HOPPER | Arch::Sm(10, 0))
    }

    fn launch<T: NoUninit>(
        &self,
        kernel: usize,
        grid: [usize; 3],
        threads: u32,
        shared: u32,
        argument: &T,
    ) -> Result<()> {
        self.card.driver().launch(&Launch {
            kernel: self.kernels[kernel],
            grid: grid.map(|n| n as u32),
            threads,
            shared,
            cluster: 1,
            overlapped: !ALONE.contains(&NAMES[kernel]),
            maps: &[],
            argument: bytemuck::bytes_of(argument),
        })
    }

    /// Floats to half floats.
    pub(super) fn halve(&self, from: Address, to: Address, count: usize) -> Result<()> {
        let blocks = count.div_ceil(1024);
        let count = count as u64;
        self.launch(0, [blocks, 1, 1], 256, 0, &Halve { from, to, count })
    }

    /// Floats `(n, k)` to tiles of 64 by 64 half floats.
    pub(super) fn pack(&self, from: Address, to: Address, n: usize, k: usize) -> Result<()> {
        let blocks = n.div_ceil(64) * (k / 64);
        let (n, k) = (n as u32, k as u32);
        self.launch(1, [blocks, 1, 1], 256, 0, &Pack { from, to, n, k })
    }

    pub(super) fn frames(&self, windows: usize, frames: &Frames) -> Result<()> {
        let blocks = frames.frames as usize / 32 + 1;
        self.launch(2, [blocks, windows, 1], 256, 0, frames)
    }

    pub(super) fn positions(&self, positions: &Positions) -> Result<()> {
        let blocks = positions.count as usize / 2048 + 1;
        self.launch(3, [blocks, 1, 1], 256, 0, positions)
    }

    pub(super) fn enc_norm(&self, norm: &EncNorm) -> Result<()> {
        self.launch(4, [norm.rows.div_ceil(8) as usize, 1, 1], 256, 0, norm)
    }

    pub(super) fn enc_attention(
        &self,
        heads: usize,
        call: &EncFlash,
        windows: usize,
    ) -> Result<()> {
        if self.hopper() {
            return self.enc_attn(heads, call, windows);
        }
        let tiles = call.positions.div_ceil(64) as usize;
        self.launch(5, [tiles, heads, windows], 128, 5 * 64 * 144, call)
    }

    /// Rows of as many windows.
    pub(super) fn enc_gemm(&self, after: After, gemm: &EncGemm, windows: usize) -> Result<()> {
        if self.hopper() {
            return self.enc_tiles(after, gemm, windows);
        }
        let tiles = |n: u32| n.div_ceil(128) as usize;
        let grid = [tiles(gemm.n), tiles(gemm.rows), windows];
        self.launch(6 + after as usize, grid, 256, 3 * 256 * 80, gemm)
    }

    /// Keys and values of windows that were encoded together, as half floats or as bytes with scales.
    pub(super) fn lay_audio(&self, heads: usize, windows: usize, layout: &KvLayout) -> Result<()> {
        if layout.key_scale != 0 {
            let grid = [KV_PARTS, heads, windows];
            self.launch(27, grid, 256, 0, layout)?;
            return self.launch(22, grid, 256, 0, layout);
        }
        let grid = [layout.padded as usize / 32, heads, windows];
        self.launch(9, grid, 128, 0, layout)
    }

    pub(super) fn tell(&self, tell: &Tell) -> Result<()> {
        let words = (tell.n_rows + tell.n_groups + tell.n_asks).max(tell.n_changes);
        self.launch(26, [words.div_ceil(256) as usize, 1, 1], 256, 0, tell)
    }

    pub(super) fn embed(&self, rows: usize, embed: &Embed) -> Result<()> {
        self.launch(10, [rows, 1, 1], 128, 0, embed)
    }

    pub(super) fn dec_norm(&self, rows: usize, norm: &DecNorm) -> Result<()> {
        self.launch(11, [rows, 1, 1], 128, 0, norm)
    }

    pub(super) fn step_gemm(&self, what: What, gemm: &StepGemm) -> Result<()> {
        if self.step_fast(what, gemm)? {
            return Ok(());
        }
        let tiles = |n: u32| n.div_ceil(64) as usize;
        let grid = [tiles(gemm.n), tiles(gemm.b), 1];
        self.launch(12 + what as usize, grid, 256, 3 * 128 * 80, gemm)
    }

    pub(super) fn self_attention(&self, heads: usize, rows: usize, call: &SelfAttn) -> Result<()> {
        self.launch(17, [heads, rows, 1], 128, 0, call)
    }

    pub(super) fn cross_attention(
        &self,
        heads: usize,
        groups: usize,
        call: &CrossAttn,
    ) -> Result<()> {
        let kernel = if call.key_scale == 0 { 18 } else { 23 };
        self.launch(kernel, [call.split as usize, heads, groups], 128, 0, call)?;
        match call.split {
            0 | 1 => Ok(()),
            _ => self.launch(19, [heads, groups, 1], 64, 0, call),
        }
    }

    pub(super) fn cross_weights(&self, groups: usize, call: &CrossWeights) -> Result<()> {
        self.launch(20, [1, groups, 1], 128, 0, call)
    }

    pub(super) fn place(&self, rows: usize, place: &Place) -> Result<()> {
        self.launch(21, [rows, 1, 1], 128, 0, place)
    }

    /// As many questions about logits.
    pub(super) fn rank(&self, asks: usize, rank: &Rank) -> Result<()> {
        let parts = (rank.vocab as usize).div_ceil(PART);
        self.launch(24, [parts, asks, 1], 256, 0, rank)?;
        self.launch(25, [asks, 1, 1], 256, 0, rank)
    }
}
