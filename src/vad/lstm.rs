//! A long short-term memory cell, PyTorch's `LSTMCell`: gates in the order input, forget, cell, output.

use crate::kernels::Cpu;
use crate::kernels::linear::{LinearCall, PackedLinear, linear};

/// The cell's weights. Its input's share of the gates is computed for many steps at once.
pub struct Lstm {
    pub from_input: PackedLinear,
    pub from_hidden: PackedLinear,
}

/// What a cell remembers.
#[derive(Clone)]
pub struct Memory {
    pub hidden: Vec<f32>,
    cell: Vec<f32>,
    gates: Vec<f32>,
}

impl Memory {
    pub fn new(width: usize) -> Self {
        Self {
            hidden: vec![0.0; width],
            cell: vec![0.0; width],
            gates: vec![0.0; 4 * width],
        }
    }
}

impl Lstm {
    /// The input's share of the gates: `x` `(steps, width)` into `gates` `(steps, 4 × width)`.
    pub fn feed(&self, cpu: &Cpu, x: &[f32], steps: usize, gates: &mut [f32]) {
        let call = call(x, self.from_input.n_in(), steps, None);
        linear(cpu, &self.from_input, &call, gates);
    }

    /// One step: `fed` is the input's share of its gates.
    pub fn step(&self, cpu: &Cpu, fed: &[f32], memory: &mut Memory) {
        let Memory {
            hidden,
            cell,
            gates,
        } = memory;
        let width = hidden.len();
        let call = call(hidden, width, 1, Some(fed));
        linear(cpu, &self.from_hidden, &call, gates);
        for (i, (hidden, cell)) in hidden.iter_mut().zip(cell).enumerate() {
            let gate = |n: usize| gates[n * width + i];
            *cell = sigmoid(gate(1)) * *cell + sigmoid(gate(0)) * gate(2).tanh();
            *hidden = sigmoid(gate(3)) * cell.tanh();
        }
    }
}

/// Plain linear layers over rows that lie `x_stride` apart.
pub fn call<'a>(
    x: &'a [f32],
    x_stride: usize,
    rows: usize,
    residual: Option<&'a [f32]>,
) -> LinearCall<'a> {
    LinearCall {
        x,
        x_stride,
        rows,
        norm: None,
        gelu: false,
        residual,
    }
}

pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
