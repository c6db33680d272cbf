//! Linear layers: `[GELU](norm(x) · Wᵀ + bias) [+ residual]` in one call.
//!
//! Few rows (decoder): the rows are prepared once, the panels of the weights are shared out, and every
//! weight is read once. Many rows (encoder): blocks of rows are shared out, prepared where they are used.
//! Either way a row's result is the same to the bit, whatever the other rows and the threads.

mod layout;
mod micro_kernel;
mod nibbles;
mod norm;
mod pack;
mod prepare;
#[cfg(test)]
pub(super) mod tests;

use std::cell::Cell;
use std::ops::Range;

use super::Cpu;
use super::pool::SharedSlice;
use super::simd::dispatch;
use super::storage::{Buffer, lend};
use layout::PANEL;
use micro_kernel::{Multiply, Operands, TileRows, Widen};
pub use nibbles::{BLOCK as NIBBLE_BLOCK, GROUP as NIBBLE_GROUP, quantise as quantise_nibbles};
pub use norm::{Norm, layer_norm};
use pack::Weights;
pub use pack::{PackedLinear, WeightDtype};
use prepare::{GroupScale, Prepare, RowScale, Target, check_norm};

/// What to do with a layer's weights.
#[derive(Clone, Copy)]
pub struct LinearCall<'a> {
    /// The input: row `i` is the `n_in` values from `i × x_stride`. Rows may overlap.
    pub x: &'a [f32],
    /// From the start of a row to the start of the next.
    pub x_stride: usize,
    /// How many rows.
    pub rows: usize,
    /// Layer-norm of the input, before anything else.
    pub norm: Option<Norm<'a>>,
    /// Whether GELU (erf form) follows the bias.
    pub gelu: bool,
    /// `(rows, n_out)`, added last.
    pub residual: Option<&'a [f32]>,
}

/// Up to so many rows, panels are shared out; above, rows.
const FEW_ROWS: usize = 48;
/// Tasks of a thread where panels are shared out: few, as memory follows long stretches best; more than one, as
/// a thread may be interrupted.
const TASKS: usize = 2;
/// Rows of a task at most: they stay in the second-level cache while all weights pass by.
const TASK_ROWS: usize = 96;
/// From so many rows on, half-precision weights are widened once per panel and not once per block.
const WIDEN_ROWS: usize = 24;
/// Multiplications that are not worth a second thread.
const ALONE: usize = 1 << 15;

/// Computes `out` `(rows, n_out)`.
///
/// # Panics
/// If a slice's size does not fit the layer and the number of rows.
pub fn linear(cpu: &Cpu, w: &PackedLinear, call: &LinearCall, out: &mut [f32]) {
    check(w, call, out);
    if call.rows == 0 {
        return;
    }
    let gemm = Gemm {
        cpu,
        w,
        call,
        out: SharedSlice::new(out),
    };
    if call.rows <= FEW_ROWS {
        gemm.share_panels()
    } else {
        gemm.share_rows()
    }
}

/// An MLP: `GELU(norm(x) · Wᵀ + bias)` of `up`, then `down`, plus the residual; [`LinearCall::gelu`] is
/// not looked at. The bytes of two calls of [`linear`]; but with many rows and byte weights, a block of
/// them goes through both layers while it is in the cache.
///
/// # Panics
/// If a slice's size does not fit the layers and the number of rows.
pub fn mlp(cpu: &Cpu, up: &PackedLinear, down: &PackedLinear, call: &LinearCall, out: &mut [f32]) {
    assert_eq!(
        up.n_out(),
        down.n_in(),
        "the second layer reads what the first wrote"
    );
    let (rows, width, n_out) = (call.rows, up.n_out(), down.n_out());
    check_output(out, rows, n_out, call.residual);
    // Floats gain nothing: a block's hidden values and the weights together outgrow the cache.
    let fused = rows > FEW_ROWS && up.dtype() == WeightDtype::I8;
    let size = if fused { FEW_ROWS } else { rows.max(1) };
    cpu.pool().run_chunks(out, size * n_out, |task, out| {
        let (first, rows) = (task * size, out.len() / n_out);
        let (x, all) = (
            &call.x[first * call.x_stride..],
            first * n_out..first * n_out + out.len(),
        );
        lend(&HIDDEN, |buffer| {
            let hidden = buffer.numbers(rows * width);
            let before = LinearCall {
                x,
                rows,
                gelu: true,
                residual: None,
                ..*call
            };
            linear(cpu, up, &before, hidden);
            let residual = call.residual.map(|residual| &residual[all]);
            let (x, x_stride, norm, gelu) = (&*hidden, width, None, false);
            linear(
                cpu,
                down,
                &LinearCall {
                    x,
                    x_stride,
                    rows,
                    norm,
                    gelu,
                    residual,
                },
                out,
            );
        });
    });
}

fn check(w: &PackedLinear, call: &LinearCall, out: &[f32]) {
    check_output(out, call.rows, w.n_out(), call.residual);
    let needed = call.rows.saturating_sub(1) * call.x_stride + w.n_in();
    assert!(
        call.rows == 0 || call.x.len() >= needed,
        "the input holds every row"
    );
    if let Some(norm) = &call.norm {
        check_norm(norm, w.n_in());
    }
}

fn check_output(out: &[f32], rows: usize, n_out: usize, residual: Option<&[f32]>) {
    assert_eq!(out.len(), rows * n_out, "the output is (rows, n_out)");
    let fits = residual.is_none_or(|residual| residual.len() == out.len());
    assert!(fits, "the residual is (rows, n_out)");
}

/// Rows of a task, where rows are shared out: whole tiles, about as many tasks for every thread.
fn task_rows(cpu: &Cpu, rows: usize) -> usize {
    let rounds = rows.div_ceil(TASK_ROWS * cpu.threads());
    let tile = dispatch(cpu.level(), TileRows);
    rows.div_ceil(rounds * cpu.threads()).next_multiple_of(tile)
}

struct Gemm<'a> {
    cpu: &'a Cpu,
    w: &'a PackedLinear,
    call: &'a LinearCall<'a>,
    out: SharedSlice<'a, f32>,
}

/// Memory that a thread keeps for its next call.
#[derive(Default)]
struct Scratch {
    floats: Buffer,
    bytes: Buffer,
    scales: Vec<RowScale>,
    groups: Vec<GroupScale>,
    line: Buffer,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
    static HIDDEN: Cell<Buffer> = Cell::default();
    static WIDENED: Cell<Buffer> = Cell::default();
}

impl Gemm<'_> {
    fn share_panels(&self) {
        let panels = self.w.panels();
        let alone = self.call.rows * self.w.n_in() * self.w.n_out() <= ALONE;
        let tasks = if alone {
            1
        } else {
            panels.min(TASKS * self.cpu.threads())
        };
        lend(&SCRATCH, |scratch| {
            let operands = self.prepare(0..self.call.rows, scratch);
            self.cpu.pool().run(tasks, |task| {
                let part = task * panels / tasks..(task + 1) * panels / tasks;
                self.multiply(operands, 0..self.call.rows, part);
            });
        });
    }

    fn share_rows(&self) {
        let (rows, size) = (self.call.rows, task_rows(self.cpu, self.call.rows));
        self.cpu.pool().run(rows.div_ceil(size), |task| {
            let part = task * size..rows.min((task + 1) * size);
            lend(&SCRATCH, |scratch| {
                let operands = self.prepare(part.clone(), scratch);
                self.multiply(operands, part, 0..self.w.panels());
            });
        });
    }

    /// Makes rows ready in `scratch` and pairs them with the weights.
    fn prepare<'s>(&'s self, rows: Range<usize>, scratch: &'s mut Scratch) -> Operands<'s> {
        let (k, n_in, count) = (self.w.k(), self.w.n_in(), rows.len());
        let line = scratch.line.numbers(k);
        let prepare = |target| {
            let task = Prepare {
                call: self.call,
                n_in,
                rows,
                target,
                line,
            };
            dispatch(self.cpu.level(), task);
        };
        match &self.w.weights {
            Weights::F32(w) => {
                let x = scratch.floats.numbers(count * k);
                prepare(Target::Floats(x));
                Operands::F32 { x, w: w.numbers() }
            }
            Weights::F16(w) => {
                let x = scratch.floats.numbers(count * k);
                prepare(Target::Floats(x));
                Operands::F16 { x, w: w.numbers() }
            }
            Weights::I8(w) => {
                let x = scratch.bytes.numbers(count * k);
                scratch.scales.resize(count, RowScale::default());
                prepare(Target::Bytes(x, &mut scratch.scales));
                Operands::I8 {
                    x,
                    scales: &scratch.scales,
                    w,
                }
            }
            Weights::I4(w) => {
                let x = scratch.bytes.numbers(count * k);
                let groups = count * (k / nibbles::GROUP);
                scratch.groups.resize(groups, GroupScale::default());
                prepare(Target::Groups(x, &mut scratch.groups));
                Operands::I4 {
                    x,
                    scales: &scratch.groups,
                    w: w.numbers(),
                }
            }
        }
    }

    fn multiply(&self, operands: Operands, rows: Range<usize>, panels: Range<usize>) {
        match operands {
            Operands::F16 { x, w } if rows.len() >= WIDEN_ROWS => lend(&WIDENED, |buffer| {
                let size = self.w.k() * PANEL;
                for panel in panels {
                    let wide = buffer.numbers(size);
                    let from = &w[panel * size..][..size];
                    dispatch(
                        self.cpu.level(),
                        Widen {
                            from,
                            to: &mut *wide,
                        },
                    );
                    let operands = Operands::F32 { x, w: wide };
                    self.multiply_from(panel, operands, rows.clone(), panel..panel + 1);
                }
            }),
            _ => self.multiply_from(0, operands, rows, panels),
        }
    }

    /// As `multiply`, with weights that start with panel `first_panel`.
    fn multiply_from(
        &self,
        first_panel: usize,
        operands: Operands,
        rows: Range<usize>,
        panels: Range<usize>,
    ) {
        let (layer, call, out) = (self.w, self.call, &self.out);
        let streaming = call.rows <= FEW_ROWS;
        let task = Multiply {
            layer,
            call,
            operands,
            streaming,
            rows,
            panels,
            first_panel,
            out,
        };
        dispatch(self.cpu.level(), task);
    }
}
