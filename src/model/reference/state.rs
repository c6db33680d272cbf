//! A window's KV caches as plain tensors. A step makes new ones; nothing is changed in place.

use candle_core::{Device, Tensor};

use crate::error::{Error, Result};
use crate::model::TextMemory;

/// Keys and values, `(rows, tokens, n_state)` each: a head's numbers are neighbours.
#[derive(Clone)]
pub(super) struct KeysValues {
    pub k: Tensor,
    pub v: Tensor,
}

impl KeysValues {
    /// These behind `past`, row by row.
    pub fn behind(self, past: Option<&Self>) -> Result<Self> {
        let Some(past) = past else { return Ok(self) };
        Ok(Self {
            k: Tensor::cat(&[&past.k, &self.k], 1)?,
            v: Tensor::cat(&[&past.v, &self.v], 1)?,
        })
    }

    fn select(&self, rows: &Tensor) -> Result<Self> {
        Ok(Self {
            k: self.k.index_select(rows, 0)?,
            v: self.v.index_select(rows, 0)?,
        })
    }
}

/// Cross-attention's keys and values, of one row, per layer. Written once a window.
#[derive(Default)]
pub(super) struct Audio {
    pub layers: Vec<KeysValues>,
}

impl Audio {
    pub fn layer(&self, i: usize) -> Result<&KeysValues> {
        let missing = || Error::Engine("a window that was not encoded".into());
        self.layers.get(i).ok_or_else(missing)
    }
}

/// Self-attention's keys and values, per layer, of as many rows as the last step had.
#[derive(Clone)]
pub(super) struct Text {
    pub len: usize,
    /// None before the first step.
    pub layers: Vec<KeysValues>,
    /// Layer and head of each.
    pub watched: Vec<(usize, usize)>,
    /// Their weights on the audio, `(rows, heads, len, positions)`.
    pub weights: Option<Tensor>,
    /// The row that each beam continues.
    pub parents: Vec<usize>,
}

impl Text {
    pub fn new(beams: usize) -> Self {
        Self {
            len: 0,
            layers: Vec::new(),
            watched: Vec::new(),
            weights: None,
            parents: vec![0; beams.max(1)],
        }
    }

    /// As [`TextMemory::truncate`] left it: tensors are cut when they are needed again.
    fn cut(&self) -> Result<Self> {
        let layer = |layer: &KeysValues| {
            Ok(KeysValues {
                k: layer.k.narrow(1, 0, self.len)?,
                v: layer.v.narrow(1, 0, self.len)?,
            })
        };
        let weights = self.weights.as_ref().map(|x| x.narrow(2, 0, self.len));
        Ok(Self {
            layers: self.layers.iter().map(layer).collect::<Result<_>>()?,
            weights: weights.transpose()?,
            ..self.clone()
        })
    }

    /// The text as the first `rows` beams see it, one row for each.
    pub fn continued_by(&self, rows: usize, device: &Device) -> Result<Self> {
        if self.layers.is_empty() {
            return Ok(self.clone());
        }
        self.cut()?.selected(rows, device)
    }

    fn selected(&self, rows: usize, device: &Device) -> Result<Self> {
        let Some(parents) = self.parents.get(..rows) else {
            let beams = self.parents.len();
            return Err(Error::Engine(format!(
                "a step of {rows} rows in a text of {beams} beams"
            )));
        };
        let parents = parents.iter().map(|row| *row as u32).collect::<Vec<_>>();
        let parents = Tensor::new(parents, device)?;
        let layers = self.layers.iter().map(|layer| layer.select(&parents));
        let weights = self.weights.as_ref().map(|x| x.index_select(&parents, 0));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            weights: weights.transpose()?,
            ..self.clone()
        })
    }

    /// The text after a step of `new` tokens a row: its layers, and the new tokens' `weights`.
    pub fn extended(
        self,
        layers: Vec<KeysValues>,
        weights: Option<Tensor>,
        new: usize,
    ) -> Result<Self> {
        let rows = layers.first().map_or(Ok(1), |layer| layer.k.dim(0))?;
        let weights = match (&self.weights, weights) {
            (Some(past), Some(new)) => Some(Tensor::cat(&[past, &new], 2)?),
            (_, weights) => weights,
        };
        let beams = self.parents.len().max(rows);
        Ok(Self {
            len: self.len + new,
            layers,
            weights,
            // Beams without a row of their own continue the last one: all fork from a prompt.
            parents: (0..beams).map(|beam| beam.min(rows - 1)).collect(),
            ..self
        })
    }
}

impl TextMemory for Text {
    fn len(&self) -> usize {
        self.len
    }

    fn reset(&mut self, beams: usize) {
        *self = Self::new(beams);
    }

    fn reorder(&mut self, parents: &[usize]) {
        self.parents = parents.iter().map(|beam| self.parents[*beam]).collect();
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn watch(&mut self, heads: &[(usize, usize)]) {
        self.watched = heads.to_vec();
    }
}
