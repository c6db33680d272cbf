//! Weights for networks written with candle.
//!
//! In: a [`WeightSource`] of any of the five formats. Out: candle-nn's `VarBuilder` over it. What
//! stays true: names are openai/whisper's, a tensor is read when it is asked for and not before, and
//! one that is missing or has another shape is an error that names it.

use candle_core::{DType, Device, Error, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::WeightSource;

/// A builder of candle's layers from any checkpoint.
///
/// Names are openai/whisper's, so `vb.pp("encoder.blocks.0.attn").pp("query")` is the prefix of that
/// projection's `weight` and `bias`. Tensors arrive in `dtype` on `device`; they pass through f32,
/// which holds every stored dtype but those of 64 bits exactly.
///
/// ```no_run
/// use candle_core::{DType, Device};
/// use candle_nn::Module;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source = undertone::weights::open("ggml-base.bin".as_ref())?;
/// let width = source.dims().n_audio_state;
/// let vb = undertone::weights::var_builder(source.as_ref(), DType::F32, &Device::Cpu);
/// let query = candle_nn::linear(width, width, vb.pp("encoder.blocks.0.attn.query"))?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn var_builder<'a>(
    source: &'a dyn WeightSource,
    dtype: DType,
    device: &Device,
) -> VarBuilder<'a> {
    VarBuilder::from_backend(Box::new(Weights(source)), dtype, device.clone())
}

struct Weights<'a>(&'a dyn WeightSource);

impl SimpleBackend for Weights<'_> {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        match *tensor.shape() == shape {
            true => Ok(tensor),
            false => Err(Error::UnexpectedShape {
                msg: format!("shape mismatch for {name}"),
                expected: shape,
                got: tensor.shape().clone(),
            }
            .bt()),
        }
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.0.shape(name).map_err(Error::wrap)?;
        let floats = self.0.floats(name).map_err(Error::wrap)?;
        Tensor::from_vec(floats, shape, &Device::Cpu)?
            .to_dtype(dtype)?
            .to_device(device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.tensor(name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::weights::open;
    use crate::weights::tests::{files, pico};

    #[test]
    fn every_format_feeds_candle() {
        let dir = tempfile::tempdir().unwrap();
        let reference = open(&pico("model.safetensors")).unwrap();
        let mut formats = HashSet::new();
        for (file, _) in files::in_every_format(dir.path(), reference.as_ref()) {
            let source = open(&file).unwrap();
            for dtype in [DType::F32, DType::F64, DType::F16] {
                let vb = var_builder(source.as_ref(), dtype, &Device::Cpu);
                for name in source.names() {
                    let ours = source.tensor(name).unwrap();
                    let (prefix, last) = name.rsplit_once('.').unwrap();
                    let theirs = vb.pp(prefix).get(ours.shape(), last).unwrap();
                    assert_eq!(theirs.dtype(), dtype, "{name}");
                    let ours = Tensor::from_slice(&ours.to_f32(), ours.shape(), &Device::Cpu);
                    let numbers = |tensor: Tensor| {
                        let flat = tensor.to_dtype(DType::F64).unwrap().flatten_all();
                        flat.unwrap().to_vec1::<f64>().unwrap()
                    };
                    let ours = numbers(ours.unwrap().to_dtype(dtype).unwrap());
                    assert_eq!(numbers(theirs), ours, "{}: {name}", file.display());
                }
            }
            formats.insert(source.format());
        }
        assert_eq!(formats.len(), 5);
    }

    #[test]
    fn layers_find_their_weights_and_say_which_they_miss() {
        let source = open(&pico("model.bin")).unwrap();
        let vb = var_builder(source.as_ref(), DType::F64, &Device::Cpu);
        let attn = vb.pp("encoder.blocks.0.attn");
        assert!(candle_nn::linear(64, 64, attn.pp("query")).is_ok());
        assert!(candle_nn::linear_no_bias(64, 64, attn.pp("key")).is_ok());
        assert!(!attn.contains_tensor("key.bias") && attn.contains_tensor("key.weight"));
        assert!(candle_nn::layer_norm(64, 1e-5, vb.pp("decoder.ln")).is_ok());
        let said = |layer: Result<candle_nn::Linear>| layer.unwrap_err().to_string();
        let missing = said(candle_nn::linear(64, 64, attn.pp("key")));
        assert!(
            missing.contains("encoder.blocks.0.attn.key.bias"),
            "{missing}"
        );
        let shape = said(candle_nn::linear(64, 32, attn.pp("query")));
        let query = "encoder.blocks.0.attn.query.weight";
        assert!(shape.contains(query) && shape.contains("32"), "{shape}");
    }
}
