//! The pieces of a transformer block that encoder and decoder share.

use candle_core::{Result, Tensor};

use super::ops;
use crate::kernels::Cpu;
use crate::kernels::linear::{Norm, PackedLinear};

/// Layer normalisation's weight and bias, `(width,)` each.
pub(crate) struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl LayerNorm {
    /// PyTorch's default, which every checkpoint was trained with.
    const EPS: f32 = 1e-5;

    pub fn norm(&self) -> Norm<'_> {
        Norm {
            weight: &self.weight,
            bias: &self.bias,
            eps: Self::EPS,
        }
    }
}

/// `norm(x) · Wᵀ + b`, where the norm is optional: x `(rows, n_in)` → `(rows, n_out)`.
pub(crate) fn project(
    cpu: &Cpu,
    norm: Option<&LayerNorm>,
    weight: &PackedLinear,
    x: &Tensor,
) -> Result<Tensor> {
    x.apply_op1_no_bwd(&ops::Linear {
        cpu,
        weight,
        norm: norm.map(LayerNorm::norm),
        gelu: false,
    })
}

/// `residual + x · Wᵀ + b`: x `(rows, n_in)`, residual `(rows, n_out)`.
pub(crate) fn project_onto(
    cpu: &Cpu,
    weight: &PackedLinear,
    x: &Tensor,
    residual: &Tensor,
) -> Result<Tensor> {
    let op = ops::Linear {
        cpu,
        weight,
        norm: None,
        gelu: false,
    };
    x.apply_op2_no_bwd(residual, &op)
}

/// `x + W₂ · gelu(W₁ · norm(x) + b₁) + b₂`.
pub(crate) struct Mlp {
    pub norm: LayerNorm,
    pub fc1: PackedLinear,
    pub fc2: PackedLinear,
}

impl Mlp {
    /// x `(rows, width)` → the same shape.
    pub fn forward(&self, cpu: &Cpu, x: &Tensor) -> Result<Tensor> {
        x.apply_op1_no_bwd(&ops::Mlp {
            cpu,
            norm: self.norm.norm(),
            up: &self.fc1,
            down: &self.fc2,
        })
    }
}
