//! A model's weights with an adapter merged in.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Lora;
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::weights::checkpoint::hex;
use crate::weights::tensor::WeightTensor;
use crate::weights::{WeightSource, not_finite};

/// A source whose weights are those of `base` where the adapter leaves them alone, and merged where it does
/// not.
pub struct Adapted<'a> {
    base: &'a dyn WeightSource,
    lora: &'a Lora,
}

impl<'a> Adapted<'a> {
    /// The adapter must have been read for a model of these sizes.
    pub fn new(base: &'a dyn WeightSource, lora: &'a Lora) -> Self {
        Self { base, lora }
    }

    /// Whether a tensor is another than the model's.
    pub fn changes(&self, name: &str) -> bool {
        self.lora.changes(name)
    }
}

impl WeightSource for Adapted<'_> {
    fn dims(&self) -> &ModelDimensions {
        self.base.dims()
    }

    fn names(&self) -> Vec<&str> {
        self.base.names()
    }

    fn tensor(&self, name: &str) -> Result<WeightTensor<'_>> {
        if !self.changes(name) {
            return self.base.tensor(name);
        }
        let shape = self.base.shape(name)?;
        Ok(WeightTensor::of_floats(shape, &self.floats(name)?))
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>> {
        self.base.shape(name)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let floats = self.base.floats(name)?;
        let Some(change) = self.lora.changes.get(name) else {
            return Ok(floats);
        };
        let merged = change.merged(&floats)?;
        match merged.iter().all(|x| x.is_finite()) {
            true => Ok(merged),
            false => Err(not_finite(&self.lora.file, name, &merged)),
        }
    }

    fn output(&self) -> &str {
        self.base.output()
    }

    fn verify(&self) -> Result<()> {
        self.base.verify()
    }

    fn warnings(&self) -> &[String] {
        self.base.warnings()
    }

    fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.base.fingerprint()?);
        hash.update(&self.lora.fingerprint);
        Ok(hex(&hash.finalize()))
    }

    fn format(&self) -> &'static str {
        self.base.format()
    }

    fn file(&self) -> &Path {
        self.base.file()
    }

    fn vocabulary(&self) -> Option<&[Vec<u8>]> {
        self.base.vocabulary()
    }
}
