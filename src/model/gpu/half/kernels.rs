//! The kernels in half floats for tensor cores, `kernels/gpu/*.cu`, as far as every chip from Ampere on has them, and how
//! each is launched. Sums are 32-bit floats throughout.

use bytemuck::NoUninit;

pub(super) use super::arguments::{
    After, CROSS_PART, CrossAttn, CrossWeights, DecNorm, Embed, EncFlash, EncGemm, EncNorm, Frames,
    Group, KvLayout, MOST_SPLIT, Place, Positions, Rank, Row, SWEEPERS, SelfAttn, StepGemm, Tell,
    What,
};
use super::arguments::{Halve, Pack, Sweep};
use super::names::{self, ALONE, NAMES};
use super::rank::PART;
use crate::device::{Address, Arch, Card, Kernel, Launch, image};
use crate::error::{Error, Result};
use crate::model::ComputeType;
use crate::model::gpu::objects;

/// Parts of the positions that audio is made bytes by.
const KV_PARTS: usize = 8;

/// Hopper, which has kernels of its own.
const HOPPER: Arch = Arch::Sm(9, 0);

/// The kernels, loaded onto a card.
pub(in crate::model::gpu) struct Half {
    card: Card,
    kernels: Vec<Kernel>,
    fast: Vec<Kernel>,
    compute: ComputeType,
}

impl Half {
    /// Loads them.
    ///
    /// # Errors
    /// A chip that has no kernels, or none in these numbers.
    pub(in crate::model::gpu) fn load(card: &Card, compute: ComputeType) -> Result<Self> {
        let info = card.info();
        if compute == ComputeType::Fp8 && info.arch != HOPPER {
            let (arch, name) = (&info.arch, &info.name);
            return Err(Error::Device {
                device: info.id.clone(),
                reason: format!(
                    "fp8 is for Hopper (sm_90: H100, H200, GH200); {name} is an {arch}"
                ),
            });
        }
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
            compute,
        })
    }

    pub(in crate::model::gpu) fn compute(&self) -> ComputeType {
        self.compute
    }

    /// Whether audio is kept as bytes.
    pub(in crate::model::gpu) fn bytes(&self) -> bool {
        self.compute != ComputeType::F16
    }

    /// Whether the encoder's products behind a LayerNorm are of eight-bit floats.
    pub(in crate::model::gpu) fn narrow(&self) -> bool {
        self.compute == ComputeType::Fp8
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

    /// Whether a block may have 227 kB of shared memory: `small` was compiled for a deeper ring there.
    pub(super) fn roomy(&self) -> bool {
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
            return self.enc_tiles(after, gemm, windows, None);
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

    /// Reads as many pieces of 16 bytes; `found` has room for 4 bytes a warp of [`SWEEPERS`] blocks.
    pub(super) fn sweep(&self, from: Address, found: Address, pieces: usize) -> Result<()> {
        let pieces = pieces as u64;
        self.launch(
            28,
            [SWEEPERS, 1, 1],
            256,
            0,
            &Sweep {
                from,
                found,
                pieces,
            },
        )
    }

    /// As many questions about logits.
    pub(super) fn rank(&self, asks: usize, rank: &Rank) -> Result<()> {
        let parts = (rank.vocab as usize).div_ceil(PART);
        self.launch(24, [parts, asks, 1], 256, 0, rank)?;
        self.launch(25, [asks, 1, 1], 256, 0, rank)
    }
}
