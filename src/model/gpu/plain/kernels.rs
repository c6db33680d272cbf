//! The plain kernels in 32-bit floats, `kernels/gpu/plain.cu`: each one's argument, and how it is launched.

use bytemuck::{NoUninit, Zeroable};

use crate::device::{Address, Card, Kernel, Launch, image};
use crate::error::Result;
use crate::model::gpu::objects;

/// Names of the kernels, in the order of [`Plain`]'s constants.
const NAMES: [&str; 8] = [
    "plain_gemm",
    "plain_rows",
    "plain_norm",
    "plain_taps",
    "plain_softmax",
    "plain_embed",
    "plain_place",
    "plain_attention",
];

/// `c = gelu(scale a b + bias) + residual`: a `(m, k)`, b `(n, k)`, or `(k, n)` where turned, c `(m, n)`.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Gemm {
    pub a: Address,
    pub b: Address,
    pub c: Address,
    /// 0: none, as are the next.
    pub bias: Address,
    pub residual: Address,
    /// Numbers from one row to the next, and from one problem to the next.
    pub lda: u64,
    pub ldb: u64,
    pub ldc: u64,
    pub a_batch: u64,
    pub b_batch: u64,
    pub c_batch: u64,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub turned: u32,
    pub gelu: u32,
    pub scale: f32,
}

/// The same for the rows of a step.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Rows {
    pub a: Address,
    pub b: Address,
    pub c: Address,
    pub bias: Address,
    pub residual: Address,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub gelu: u32,
}

/// `LayerNorm` of rows that a table names, 0: of each row.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Norm {
    pub x: Address,
    pub gamma: Address,
    pub beta: Address,
    pub from: Address,
    pub y: Address,
    pub d: u64,
}

/// What a convolution sees at each output.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Taps {
    pub x: Address,
    pub y: Address,
    pub channel_step: u64,
    pub time_step: u64,
    pub channels: u32,
    pub length: u32,
    pub stride: u32,
    pub unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
struct Softmax {
    x: Address,
    n: u64,
}

/// Embeddings of tokens, plus positions.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Embed {
    pub token: Address,
    pub position: Address,
    pub tokens: Address,
    pub positions: Address,
    pub x: Address,
    pub d: u64,
}

/// Rows to other places: from and to which, by tables (0: each row its own).
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Place {
    pub x: Address,
    pub y: Address,
    pub from: Address,
    pub to: Address,
    pub d: u32,
    pub ldx: u32,
}

/// One query a row and head: over keys that lie one after another, or where a table says.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Attention {
    pub q: Address,
    pub keys: Address,
    pub values: Address,
    pub out: Address,
    /// Keys that each row sees.
    pub count: Address,
    pub places: Address,
    /// Where each row's keys start.
    pub start: Address,
    pub d: u32,
    pub head_dim: u32,
    pub ldq: u32,
    pub ld: u32,
    pub context: u32,
    /// The most keys that a row may see.
    pub most: u32,
    pub scale: f32,
    pub unused: u32,
}

/// The kernels, loaded onto a card.
pub(in crate::model::gpu) struct Plain {
    card: Card,
    kernels: Vec<Kernel>,
}

impl Plain {
    /// Loads them.
    pub(in crate::model::gpu) fn load(card: &Card) -> Result<Self> {
        let image = image::pick(&objects(), card.info())?;
        Ok(Self {
            kernels: card.driver().load(&image, &NAMES)?,
            card: card.clone(),
        })
    }

    fn launch<T: NoUninit>(
        &self,
        kernel: usize,
        grid: [usize; 3],
        threads: u32,
        floats: usize,
        argument: &T,
    ) -> Result<()> {
        self.card.driver().launch(&Launch {
            kernel: self.kernels[kernel],
            grid: grid.map(|n| n as u32),
            threads,
            shared: 4 * floats as u32,
            cluster: 1,
            overlapped: false,
            maps: &[],
            argument: bytemuck::bytes_of(argument),
        })
    }

    /// `batch` problems.
    pub(super) fn gemm(&self, batch: usize, gemm: &Gemm) -> Result<()> {
        let tiles = |n: u32| n.div_ceil(64) as usize;
        let grid = [tiles(gemm.n), tiles(gemm.m), batch];
        self.launch(0, grid, 256, 2 * 16 * 68, gemm)
    }

    pub(super) fn rows(&self, rows: &Rows) -> Result<()> {
        let eighth = |n: u32| n.div_ceil(8) as usize;
        self.launch(1, [eighth(rows.n), eighth(rows.m), 1], 256, 0, rows)
    }

    pub(super) fn norm(&self, rows: usize, norm: &Norm) -> Result<()> {
        self.launch(2, [rows, 1, 1], 128, 4, norm)
    }

    pub(super) fn taps(&self, outputs: usize, taps: &Taps) -> Result<()> {
        let blocks = (taps.channels * 3).div_ceil(128) as usize;
        self.launch(3, [blocks, outputs, 1], 128, 0, taps)
    }

    /// Of each row of `n`, in place.
    pub(super) fn softmax(&self, x: Address, rows: usize, n: usize) -> Result<()> {
        let softmax = Softmax { x, n: n as u64 };
        self.launch(4, [rows, 1, 1], 256, 8, &softmax)
    }

    pub(super) fn embed(&self, rows: usize, embed: &Embed) -> Result<()> {
        self.launch(5, [rows, 1, 1], 128, 0, embed)
    }

    pub(super) fn place(&self, rows: usize, place: &Place) -> Result<()> {
        self.launch(6, [rows, 1, 1], 128, 0, place)
    }

    pub(super) fn attention(&self, rows: usize, heads: usize, call: &Attention) -> Result<()> {
        let floats = call.most as usize + 256 + 8 + call.head_dim as usize;
        self.launch(7, [heads, rows, 1], 256, floats, call)
    }
}
