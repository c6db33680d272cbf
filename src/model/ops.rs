//! The network's hot operations as coarse tensor operations.
//!
//! In: `(rows, width)` f32 tensors, whose rows may be further apart than their width. Out: new
//! contiguous tensors. Each has a body for the CPU; a device would add its own beside it.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, InplaceOp1, Layout, Shape, Tensor, bail,
};

use crate::kernels::Cpu;
use crate::kernels::linear::{LinearCall, Norm, PackedLinear, linear, mlp};

/// Rows of a matrix that lie in memory at a fixed distance from each other.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub rows: usize,
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// Views a two-dimensional f32 tensor whose last dimension is dense.
    pub fn of(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<Self> {
        let (rows, width) = layout.shape().dims2()?;
        let CpuStorage::F32(data) = storage else {
            bail!("expected f32 rows, got {:?}", storage_dtype(storage));
        };
        let [stride, 1] = *layout.stride() else {
            bail!("expected rows with a dense last dimension, got {layout:?}");
        };
        Ok(Self {
            data: &data[layout.start_offset()..],
            stride,
            rows,
            width,
        })
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..i * self.stride + self.width]
    }
}

fn storage_dtype(storage: &CpuStorage) -> DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// `gelu?(norm?(x) · Wᵀ + b)`, or with a second argument the residual added to it.
pub(crate) struct Linear<'a> {
    pub cpu: &'a Cpu,
    pub weight: &'a PackedLinear,
    pub norm: Option<Norm<'a>>,
    pub gelu: bool,
}

impl Linear<'_> {
    fn run(&self, x: Rows<'_>, residual: Option<&[f32]>) -> (CpuStorage, Shape) {
        let width = self.weight.n_out();
        let mut out = self.cpu.spare().take(x.rows * width);
        let call = LinearCall {
            x: x.data,
            x_stride: x.stride,
            rows: x.rows,
            norm: self.norm,
            gelu: self.gelu,
            residual,
        };
        linear(self.cpu, self.weight, &call, &mut out);
        (CpuStorage::F32(out), Shape::from((x.rows, width)))
    }
}

impl CustomOp1 for Linear<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok(self.run(Rows::of(s, l)?, None))
    }
}

impl CustomOp2 for Linear<'_> {
    fn name(&self) -> &'static str {
        "linear + residual"
    }

    fn cpu_fwd(
        &self,
        s: &CpuStorage,
        l: &Layout,
        residual_s: &CpuStorage,
        residual_l: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let residual = Rows::of(residual_s, residual_l)?;
        if residual.stride != residual.width {
            bail!("the residual must be contiguous, got {residual_l:?}");
        }
        Ok(self.run(
            Rows::of(s, l)?,
            Some(&residual.data[..residual.rows * residual.width]),
        ))
    }
}

/// `x + W₂ · gelu(W₁ · norm(x) + b₁) + b₂`.
pub(crate) struct Mlp<'a> {
    pub cpu: &'a Cpu,
    pub norm: Norm<'a>,
    pub up: &'a PackedLinear,
    pub down: &'a PackedLinear,
}

impl CustomOp1 for Mlp<'_> {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cpu_fwd(&self, s: &CpuStorage, l: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = Rows::of(s, l)?;
        if x.stride != x.width {
            bail!("the input is its own residual and must be contiguous, got {l:?}");
        }
        let size = x.rows * x.width;
        let mut out = self.cpu.spare().take(size);
        let call = LinearCall {
            x: x.data,
            x_stride: x.stride,
            rows: x.rows,
            norm: Some(self.norm),
            gelu: true,
            residual: Some(&x.data[..size]),
        };
        mlp(self.cpu, self.up, self.down, &call, &mut out);
        Ok((CpuStorage::F32(out), Shape::from((x.rows, x.width))))
    }
}

/// Hands the rows of a tensor to `f` without copying them.
pub(crate) fn with_rows<R>(x: &Tensor, f: impl FnOnce(Rows<'_>) -> R) -> candle_core::Result<R> {
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        bail!("expected a tensor on the CPU");
    };
    Ok(f(Rows::of(storage, layout)?))
}

/// Keeps the memory of a tensor that nobody reads any more for the outputs of later operations.
pub(crate) fn reuse(cpu: &Cpu, unneeded: Tensor) -> candle_core::Result<()> {
    unneeded.inplace_op1(&Reuse(cpu))
}

struct Reuse<'a>(&'a Cpu);

impl InplaceOp1 for Reuse<'_> {
    fn name(&self) -> &'static str {
        "reuse"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        if let CpuStorage::F32(numbers) = storage {
            self.0.spare().give(std::mem::take(numbers));
        }
        Ok(())
    }
}
