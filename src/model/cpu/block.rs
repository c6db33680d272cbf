//! The pieces of a transformer block that encoder and decoder share.

use super::matrix::Matrix;
use crate::kernels::Cpu;
use crate::kernels::linear::{LinearCall, Norm, PackedLinear, linear, mlp};
use crate::kernels::storage::Store;

/// Layer normalisation's weight and bias, `(width,)` each.
pub(super) struct LayerNorm {
    pub weight: Store<f32>,
    pub bias: Store<f32>,
}

impl LayerNorm {
    /// PyTorch's default, which every checkpoint was trained with.
    const EPS: f32 = 1e-5;

    pub fn norm(&self) -> Norm<'_> {
        Norm {
            weight: self.weight.numbers(),
            bias: self.bias.numbers(),
            eps: Self::EPS,
        }
    }
}

/// `norm(x) · Wᵀ + b`, where the norm is optional: x `(rows, n_in)` → `(rows, n_out)`.
pub(super) fn project<'a>(
    cpu: &'a Cpu,
    norm: Option<&LayerNorm>,
    weight: &PackedLinear,
    x: &Matrix<'_>,
) -> Matrix<'a> {
    let mut out = Matrix::new(cpu, x.rows(), weight.n_out());
    let call = LinearCall {
        norm: norm.map(LayerNorm::norm),
        ..plain(x)
    };
    linear(cpu, weight, &call, out.data_mut());
    out
}

/// `residual + x · Wᵀ + b`: x `(rows, n_in)`, residual `(rows, n_out)`.
pub(super) fn project_onto<'a>(
    cpu: &'a Cpu,
    weight: &PackedLinear,
    x: &Matrix<'_>,
    residual: &Matrix<'_>,
) -> Matrix<'a> {
    let mut out = Matrix::new(cpu, x.rows(), weight.n_out());
    let call = LinearCall {
        residual: Some(residual.data()),
        ..plain(x)
    };
    linear(cpu, weight, &call, out.data_mut());
    out
}

fn plain<'a>(x: &'a Matrix<'_>) -> LinearCall<'a> {
    LinearCall {
        x: x.data(),
        x_stride: x.width(),
        rows: x.rows(),
        norm: None,
        gelu: false,
        residual: None,
    }
}

/// `x + W₂ · gelu(W₁ · norm(x) + b₁) + b₂`.
pub(super) struct Mlp {
    pub norm: LayerNorm,
    pub fc1: PackedLinear,
    pub fc2: PackedLinear,
}

impl Mlp {
    /// x `(rows, width)` → the same shape.
    pub fn forward<'a>(&self, cpu: &'a Cpu, x: &Matrix<'_>) -> Matrix<'a> {
        let mut out = Matrix::new(cpu, x.rows(), x.width());
        let call = LinearCall {
            norm: Some(self.norm.norm()),
            gelu: true,
            residual: Some(x.data()),
            ..plain(x)
        };
        mlp(cpu, &self.fc1, &self.fc2, &call, out.data_mut());
        out
    }
}
