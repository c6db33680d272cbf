//! Kernels that are faster for some: for up to 8 rows, and on Hopper. Which of them a layer gets, and how each is
//! launched. `tests/gpu/` runs all of them with the same sizes.

use bytemuck::NoUninit;

use super::kernels::{After, EncFlash, EncGemm, EncNorm, Half, StepGemm, What};
use super::names::{CHUNKS, MIDS};
use crate::device::{Address, Kernel, Launch, Tensor, TensorMap};
use crate::error::Result;

/// Rows up to which reading the weights is all that counts.
const FEW_ROWS: usize = 8;
/// Blocks that an H100 or H200 runs side by side where one fills a multiprocessor.
const PROCESSORS: usize = 132;
/// Shared memory of which a multiprocessor of an H100 has no two: a block of `small` has one for itself. Where two fitted,
/// a step of one row took 6 % longer, and one of eight 9 %.
const ALONE: usize = 116 << 10;
/// Columns of weights that a stage of `small`'s ring holds on Hopper where a layer is a residual's.
const WIDE: usize = 1280;
/// Rows of the encoder from which on the wider tile pays.
const MANY_POSITIONS: usize = 2_000;
/// Positions that the encoder's attention on Hopper takes together, a warpgroup.
const GROUP: usize = 64;

/// Where each kind begins among the [`names`](super::names::names).
const MID: usize = 15;
const TILES: usize = 40;
const ATTENTION: usize = 46;
const NARROW: usize = 48;
const NARROW_NORM: usize = 52;
const NARROW_ROWS: usize = 53;
const SMALL_WIDE: usize = 54;

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct EncTiles {
    bias: Address,
    a_scales: Address,
    w_scales: Address,
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

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
struct Narrow {
    from: Address,
    to: Address,
    scales: Address,
    n: u32,
    k: u32,
}

fn chunk(width: usize) -> Option<usize> {
    CHUNKS
        .iter()
        .position(|chunk| width.is_multiple_of(*chunk) && width <= 1280)
}

/// Bytes of shared memory that `small` takes for a layer: as many stages of the ring as its blocks fill, and where
/// it takes the LayerNorm along, what the norm needs, which lies in a ring that is whole.
fn small_shared(chunk: usize, stages: usize, what: What, gemm: &StepGemm) -> usize {
    let (rows, n, k) = (gemm.b as usize, gemm.n as usize, gemm.k as usize);
    let (streamed, row) = (what == What::Residual, chunk * 2 + 16);
    let used = stages.min(n.div_ceil(16).div_ceil(small_blocks(n)) * (k / chunk));
    let ring = used * (16 + if streamed { rows } else { 0 }) * row;
    let kept = if streamed { 0 } else { rows * (k * 2 + 16) };
    let norm = if streamed || used == stages { 0 } else { k * 8 };
    ring + 8 * rows * 17 * 4 + kept + norm
}

/// Blocks of `small` for so many outputs.
fn small_blocks(n: usize) -> usize {
    n.div_ceil(16).min(PROCESSORS)
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
            let (stages, least) = if self.roomy() { (4, ALONE) } else { (3, 0) };
            let wide = self.hopper() && what == What::Residual && k.is_multiple_of(WIDE);
            let (kernel, chunk, stages) = match wide {
                true => (SMALL_WIDE, WIDE, 3),
                false => (5 * which + what as usize, CHUNKS[which], stages),
            };
            let shared = small_shared(chunk, stages, what, gemm).max(least);
            let grid = [small_blocks(n), 1, 1];
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
            bytes: 2,
            dimensions: 2,
        })?;
        let shared = mid_shared(MIDS[which], what, gemm.share as usize);
        let grid = [split, n.div_ceil(64), 1];
        let kernel = MID + 5 * which + what as usize;
        self.launch_fast(kernel, grid, (160, split), shared, (&[x], &gemm))?;
        Ok(true)
    }

    /// An encoder's layer on Hopper; with the scales of its rows and of its outputs where both are bytes.
    pub(super) fn enc_tiles(
        &self,
        after: After,
        gemm: &EncGemm,
        windows: usize,
        scales: Option<[Address; 2]>,
    ) -> Result<()> {
        let (rows, n, k) = (gemm.rows as usize, gemm.n as usize, gemm.k as usize);
        let many = rows * windows > MANY_POSITIONS || n >= 4 * k;
        let (which, wide, stages) = match many && n.is_multiple_of(256) {
            true => (0, 256, 4),
            false => (1, 128, 5),
        };
        // The copy engine takes no stride of zero, also where nothing is reached by it.
        let window = |step: u64, row: u64| if windows > 1 { step } else { row * rows as u64 };
        let driver = self.card().driver();
        let bytes = if scales.is_some() { 1 } else { 2 };
        let tensor = |address, bytes, columns: usize, row, step, rows_at_once| {
            driver.tensor_map(&Tensor {
                address,
                sizes: [columns as u64, rows as u64, windows as u64],
                strides: [row, window(step, row)],
                rows: rows_at_once,
                bytes,
                dimensions: 3,
            })
        };
        let a = tensor(gemm.a, bytes, k, gemm.a_row, gemm.a_window, 128)?;
        let out = tensor(gemm.out, 2, n, gemm.out_row, gemm.out_window, 16)?;
        let w = driver.tensor_map(&Tensor {
            address: gemm.w,
            sizes: [k as u64, n as u64, 1],
            strides: [k as u64, (k * n) as u64],
            rows: 128,
            bytes,
            dimensions: 2,
        })?;
        let [a_scales, w_scales] = scales.unwrap_or_default();
        let argument = EncTiles {
            bias: gemm.bias,
            a_scales,
            w_scales,
            tiles_m: rows.div_ceil(128) as u32,
            windows: windows as u32,
            tiles_n: (n / wide) as u32,
            blocks: (bytes as usize * k).div_ceil(128) as u32,
        };
        let tiles = rows.div_ceil(128) * windows * (n / wide);
        let shared = 1024 + stages * (16_384 + wide * 128) + 8 * 4096 + 256;
        let kernel = match scales {
            None => TILES + 3 * which + after as usize,
            Some(_) => NARROW + 2 * which + after as usize,
        };
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
                bytes: 2,
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

    /// The encoder's LayerNorm into bytes and scales.
    pub(super) fn enc_norm_narrow(&self, norm: &EncNorm) -> Result<()> {
        let grid = [norm.rows.div_ceil(8) as usize, 1, 1];
        self.launch_fast(NARROW_NORM, grid, (256, 1), 0, (&[], norm))
    }

    /// Floats `(n, k)` to bytes, behind which are the scales of their rows.
    pub(super) fn narrow_rows(&self, from: Address, to: Address, n: usize, k: usize) -> Result<()> {
        let argument = Narrow {
            from,
            to,
            scales: to + (n * k) as Address,
            n: n as u32,
            k: k as u32,
        };
        let grid = [n.div_ceil(8), 1, 1];
        self.launch_fast(NARROW_ROWS, grid, (256, 1), 0, (&[], &argument))
    }

    fn fast(&self, kernel: usize) -> Kernel {
        self.fast_kernels()[kernel]
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

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
        assert_eq!(names[ATTENTION..NARROW], ["enc_attn_3", "enc_attn_2"]);
        assert_eq!(names[NARROW + 3], "enc_tiles_128_e4m3_gelu");
        assert_eq!(
            names[NARROW_NORM..SMALL_WIDE],
            ["enc_ln_e4m3", "narrow_rows"]
        );
        assert_eq!(names[SMALL_WIDE], "small_1280_residual");
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
                let gemm = StepGemm {
                    b: FEW_ROWS as u32,
                    n: 51_866,
                    k: k as u32,
                    ..StepGemm::zeroed()
                };
                for (stages, most) in [(3, 99 << 10), (4, 227 << 10)] {
                    let shared = small_shared(chunk, stages, what, &gemm);
                    assert!(shared <= most, "{width} {what:?}");
                }
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
