//! How the network attends: by this crate's kernels on slices, or by any other backend over tensors.

use candle_core::{Device, Tensor};

use crate::attention::{AttentionBackend, AttentionCall, Kv, SliceKv};
use crate::error::{Error, Result};
use crate::kernels::attention::Rows;

/// Attention of one role; `out` is `(q.count, heads × head_dim)`.
///
/// # Errors
/// What the backend reports; an output of another shape.
pub(super) fn attend(
    backend: &dyn AttentionBackend,
    q: Rows<'_>,
    (heads, head_dim): (usize, usize),
    kv: &SliceKv<'_>,
    causal: bool,
    out: &mut [f32],
) -> Result<()> {
    if let Some(kernels) = backend.in_place() {
        kernels.attend_slices(q, (heads, head_dim), kv, causal, out);
        return Ok(());
    }
    let tensor = |rows: &Rows<'_>| tensor(rows, heads * head_dim);
    let dense = match kv {
        SliceKv::Dense { k, v } => Some((tensor(k)?, tensor(v)?)),
        SliceKv::Growing(_) | SliceKv::Cross(_) => None,
    };
    let kv = match (kv, &dense) {
        (SliceKv::Growing(rows), _) => Kv::Growing(rows),
        (SliceKv::Cross(rows), _) => Kv::Cross(rows),
        (SliceKv::Dense { .. }, Some((k, v))) => Kv::Dense { k, v },
        (SliceKv::Dense { .. }, None) => unreachable!("made above"),
    };
    let attended = backend.attend(&AttentionCall {
        queries: &tensor(&q)?,
        heads,
        head_dim,
        kv,
        causal,
        weights: false,
    })?;
    let output = attended.output.to_dtype(candle_core::DType::F32)?;
    let output = output.flatten_all()?.to_vec1::<f32>()?;
    if output.len() != out.len() {
        let (name, got, due) = (backend.name(), output.len(), out.len());
        return Err(Error::Attention(format!(
            "{name} gave {got} numbers where {due} are due"
        )));
    }
    out.copy_from_slice(&output);
    Ok(())
}

/// A copy that the backend may keep as long as it likes.
fn tensor(rows: &Rows<'_>, width: usize) -> Result<Tensor> {
    let mut data = Vec::with_capacity(rows.count * width);
    for row in rows.data.chunks(rows.stride).take(rows.count) {
        data.extend_from_slice(&row[..width]);
    }
    Ok(Tensor::from_vec(data, (rows.count, width), &Device::Cpu)?)
}
