//! Kernels that are faster for some: for up to 8 rows, and on Hopper. Which of them a layer gets, and how each is
//! launched. `tests/gpu/` runs all of them with the same sizes.

use bytemuck::NoUninit;

use super::kernels::{After, EncFlash, EncGemm, Half, StepGemm, What};
use super::names::{CHUNKS, MIDS};
use crate::device::{Address, Kernel, Launch, Tensor, TensorMap};
use crate::error::Result;

/// Rows up to which reading the weights is all that counts.
const FEW_ROWS: usize = 8;
/// Blocks that an H100 or H200 runs side by side where one fills a multiprocessor.
const PROCESSORS: usize = 132;
/// Rows of the encoder from which on the wider tile pays.
const MANY_POSITIONS: usize = 2_000;
/// Positions that the encoder's attention on Hopper takes together, a warpgroup.
const GROUP: usize = 64;

/// Where each kind begins among the [`names`](super::names::names).
const MID: usize = 15;
const TILES: usize = 40;
const ATTENTION: usize = 46;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct EncTiles {
    bias: Address,
    tiles_m: u32,
    windows: u32,
    tiles_n: u32,
    blocks: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct EncAttn {
    out: Address,
    positions: u32,
    d: u32,
    heads: u32,
    windows: u32,
    tiles: u32,
    unused: u32,
}

fn chunk(width: usize) -> Option<usize> {
    CHUNKS
        .iter()
        .position(|chunk| width.is_multiple_of(*chunk) && width <= 1280)
}

/// Bytes of shared memory that `small` takes.
fn small_shared(chunk: usize, stages: usize, what: What, k: usize) -> usize {
    let (streamed, normed) = (
        what == What::Residual,
        what < What::Residual || what == What::Qkv,
    );
    let row = chunk * 2 + 16;
    let stage = (16 + if streamed { FEW_ROWS } else { 0 }) * row;
    let kept = if streamed { 0 } else { FEW_ROWS * (k * 2 + 16) };
    let norm = if normed { k * 8 } else { 0 };
    stages * stage + 8 * FEW_ROWS * 17 * 4 + kept + norm
}

/// Blocks of a cluster that share a layer's columns.
fn split(what: What) -> usize {
    match what {
        What::Logits => 1,
        What::Qkv | What::Gelu => 2,
        What::Half | What::Residual => 5,
    }
}

/// Bytes of shared memory that `mid` takes where each block has `share` blocks of columns.
fn mid_shared(
    (rows, stages, shared_stages): (usize, usize, usize),
    what: What,
    share: usize,
) -> usize {
    let (stages, kept, stage) = match what {
        What::Logits => (shared_stages, 0, 8192 + rows * 128),
        _ => (stages, share * 8192, rows * 128),
    };
    let bytes = 1024 + kept + stages * stage + 16 * stages + 8 * share + 64;
    bytes.max(1024 + rows * 68 * 4 + 64)
}

impl Half {
    /// Whether layers of so many rows take their LayerNorm along.
    pub(super) fn norms_along(&self, rows: usize, width: usize) -> bool {
        rows <= FEW_ROWS && chunk(width).is_some()
    }

    /// Queues one of the fast kernels.
    fn launch_fast<T: NoUninit>(
        &self,
        kernel: usize,
        grid: [usize; 3],
        (threads, cluster): (u32, usize),
        shared: usize,
        (maps, argument): (&[TensorMap], &T),
    ) -> Result<()> {
        self.card().driver().launch(&Launch {
            kernel: self.fast(kernel),
            grid: grid.map(|n| n as u32),
            threads,
            shared: shared as u32,
            cluster: cluster as u32,
            overlapped: true,
            maps,
            argument: bytemuck::bytes_of(argument),
        })
    }

    /// A decoder's layer by the fastest kernel for its rows; whether there is one.
    pub(super) fn step_fast(&self, what: What, gemm: &StepGemm) -> Result<bool> {
        let (rows, n, k) = (gemm.b as usize, gemm.n as usize, gemm.k as usize);
        if let (true, Some(which)) = (rows <= FEW_ROWS, chunk(gemm.d as usize)) {
            let stages = if self.ring_of_four() { 4 } else { 3 };
            let shared = small_shared(CHUNKS[which], stages, what, k);
            let grid = [n.div_ceil(16).min(PROCESSORS), 1, 1];
            let kernel = 5 * which + what as usize;
            self.launch_fast(kernel, grid, (256, 1), shared, (&[], gemm))?;
            return Ok(true);
        }
        let which = MIDS.iter().position(|(most, ..)| rows <= *most);
        let (Some(which), true) = (which, self.hopper()) else {
            return Ok(false);
        };
        let split = split(what);
        let gemm = StepGemm {
            share: (k / 64).div_ceil(split) as u64,
            ..*gemm
        };
        let x = self.card().driver().tensor_map(&Tensor {
            address: gemm.x,
            sizes: [k as u64, rows as u64, 1],
            strides: [k as u64, (k * rows) as u64],
            rows: MIDS[which].0 as u32,
            dimensions: 2,
        })?;
        let shared = mid_shared(MIDS[which], what, gemm.share as usize);
        let grid = [split, n.div_ceil(64), 1];
        let kernel = MID + 5 * which + what as usize;
        self.launch_fast(kernel, grid, (160, split), shared, (&[x], &gemm))?;
        Ok(true)
    }

    /// An encoder's layer on Hopper.
    pub(super) fn enc_tiles(&self, after: After, gemm: &EncGemm, windows: usize) -> Result<()> {
        let (rows, n, k) = (gemm.rows as usize, gemm.n as usize, gemm.k as usize);
        let many = rows * windows > MANY_POSITIONS || n >= 4 * k;
        let (which, wide, stages) = match many && n.is_multiple_of(256) {
            true => (0, 256, 4),
            false => (1, 128, 5),
        };
        // The copy engine takes no stride of zero, also where nothing is reached by it.
        let window = |step: u64, row: u64| if windows > 1 { step } else { row * rows as u64 };
        let driver = self.card().driver();
        let tensor = |address, columns: usize, row, step, rows_at_once| {
            driver.tensor_map(&Tensor {
                address,
                sizes: [columns as u64, rows as u64, windows as u64],
                strides: [row, window(step, row)],
                rows: rows_at_once,
                dimensions: 3,
            })
        };
        let a = tensor(gemm.a, k, gemm.a_row, gemm.a_window, 128)?;
        let out = tensor(gemm.out, n, gemm.out_row, gemm.out_window, 16)?;
        let w = driver.tensor_map(&Tensor {
            address: gemm.w,
            sizes: [k as u64, n as u64, 1],
            strides: [k as u64, (k * n) as u64],
            rows: 128,
            dimensions: 2,
        })?;
        let argument = EncTiles {
            bias: gemm.bias,
            tiles_m: rows.div_ceil(128) as u32,
            windows: windows as u32,
            tiles_n: (n / wide) as u32,
            blocks: k.div_ceil(64) as u32,
        };
        let tiles = rows.div_ceil(128) * windows * (n / wide);
        let shared = 1024 + stages * (16_384 + wide * 128) + 8 * 4096 + 256;
        let kernel = TILES + 3 * which + after as usize;
        let grid = [tiles.min(PROCESSORS), 1, 1];
        self.launch_fast(
            kernel,
            grid,
            (384, 1),
            shared,
            (&[a, w, out, out], &argument),
        )
    }

    /// The encoder's attention on Hopper: three warpgroups a block, two where there is one window.
    pub(super) fn enc_attn(&self, heads: usize, call: &EncFlash, windows: usize) -> Result<()> {
        let (which, groups, stages) = if windows > 1 { (0, 3, 2) } else { (1, 2, 3) };
        let (positions, row) = (u64::from(call.positions), 3 * u64::from(call.d));
        let driver = self.card().driver();
        let map = |rows| {
            driver.tensor_map(&Tensor {
                address: call.qkv,
                sizes: [row, positions, windows as u64],
                strides: [row, row * positions],
                rows,
                dimensions: 3,
            })
        };
        let maps = [map(64)?, map(128)?];
        let tiles = (positions as usize).div_ceil(groups * GROUP);
        let argument = EncAttn {
            out: call.out,
            positions: call.positions,
            d: call.d,
            heads: heads as u32,
            windows: windows as u32,
            tiles: tiles as u32,
            unused: 0,
        };
        let shared = 1024 + groups * 8192 + stages * 32_768 + 256;
        let threads = 128 * (groups as u32 + 1);
        let grid = [(tiles * heads * windows).min(PROCESSORS), 1, 1];
        self.launch_fast(
            ATTENTION + which,
            grid,
            (threads, 1),
            shared,
            (&maps, &argument),
        )
    }

    fn fast(&self, kernel: usize) -> Kernel {
        self.fast_kernels()[kernel]
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn kernels_are_found_by_their_place() {
        let names = names::names(true);
        assert_eq!(names[5 + What::Qkv as usize], "small_512_qkv");
        assert_eq!(names[MID + 10 + What::Logits as usize], "mid_64_logits");
        assert_eq!(
            names[TILES + 3 + After::Gelu as usize],
            "enc_tiles_128_gelu"
        );
        assert_eq!(names[ATTENTION..], ["enc_attn_3", "enc_attn_2"]);
        assert_eq!(names[..15], names::names(false));
    }

    #[test]
    fn shared_memory_is_what_the_chips_have() {
        let whats = [
            What::Half,
            What::Gelu,
            What::Residual,
            What::Qkv,
            What::Logits,
        ];
        for width in [384, 512, 640, 768, 1024, 1280] {
            let chunk = CHUNKS[chunk(width).unwrap()];
            for what in whats {
                let k = if what == What::Residual {
                    4 * width
                } else {
                    width
                };
                assert!(
                    small_shared(chunk, 3, what, k) <= 99 << 10,
                    "{width} {what:?}"
                );
                assert!(
                    small_shared(chunk, 4, what, k) <= 227 << 10,
                    "{width} {what:?}"
                );
                let share = (k / 64).div_ceil(split(what));
                for mid in MIDS {
                    assert!(
                        mid_shared(mid, what, share) <= 227 << 10,
                        "{width} {what:?} {mid:?}"
                    );
                }
            }
        }
        assert_eq!((chunk(448), chunk(1408)), (None, None));
    }
}
