//! Tensors by name, which networks that differ in a few of them share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

type Named = HashMap<String, Tensor>;

/// Every tensor that was loaded; clones are the same.
#[derive(Clone, Default)]
pub(super) struct Tensors(Arc<Mutex<Named>>);

impl Tensors {
    fn lock(&self) -> MutexGuard<'_, Named> {
        // Nothing in here is ever half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are not left out, in a table of their own.
    pub fn without(&self, left_out: impl Fn(&str) -> bool) -> Self {
        let mut named = self.lock().clone();
        named.retain(|name, _| !left_out(name));
        Self(Arc::new(Mutex::new(named)))
    }

    /// A builder that takes these, and keeps what it has to take from `source`.
    pub fn over<'a>(&self, source: VarBuilder<'a>) -> VarBuilder<'a> {
        let (dtype, device) = (source.dtype(), source.device().clone());
        let tensors = self.clone();
        VarBuilder::from_backend(Box::new(Kept { tensors, source }), dtype, device)
    }
}

struct Kept<'a> {
    tensors: Tensors,
    source: VarBuilder<'a>,
}

impl Kept<'_> {
    fn keep(&self, name: &str, load: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        if let Some(tensor) = self.tensors.lock().get(name) {
            return Ok(tensor.clone());
        }
        let tensor = load()?;
        self.tensors.lock().insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }
}

impl SimpleBackend for Kept<'_> {
    fn get(&self, shape: Shape, name: &str, _: Init, _: DType, _: &Device) -> Result<Tensor> {
        self.keep(name, || self.source.get(shape, name))
    }

    fn get_unchecked(&self, name: &str, dtype: DType, _: &Device) -> Result<Tensor> {
        self.keep(name, || self.source.get_unchecked_dtype(name, dtype))
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.source.contains_tensor(name)
    }
}
