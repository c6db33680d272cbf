//! From named tensors to packed layers.

use super::ComputeType;
use super::block::{LayerNorm, Mlp};
use super::decoder::{Decoder, DecoderBlock};
use super::encoder::{Encoder, EncoderBlock};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::kernels::conv::PackedConv;
use crate::kernels::linear::PackedLinear;
use crate::weights::WeightSource;

/// The token embedding, one row a token.
pub(crate) struct Embedding {
    width: usize,
    rows: Vec<half::f16>,
    exact: Option<Vec<f32>>,
}

impl Embedding {
    /// Keeps the rows in 16 bits where that loses nothing, as in every published checkpoint.
    fn new(rows: &[f32], width: usize) -> Self {
        use half::slice::HalfFloatSliceExt;
        let mut halves = vec![half::f16::ZERO; rows.len()];
        halves.convert_from_f32_slice(rows);
        let exact = halves.iter().zip(rows).any(|(h, x)| h.to_f32() != *x);
        Self { width, rows: halves, exact: exact.then(|| rows.to_vec()) }
    }

    /// Writes `row(token) + positional` into `out`.
    pub fn add_row(&self, token: u32, positional: &[f32], out: &mut [f32]) {
        let at = token as usize * self.width;
        let range = at..at + self.width;
        match &self.exact {
            Some(rows) => add(rows[range].iter().copied(), positional, out),
            None => add(self.rows[range].iter().map(|h| h.to_f32()), positional, out),
        }
    }
}

fn add(row: impl Iterator<Item = f32>, positional: &[f32], out: &mut [f32]) {
    for ((o, x), p) in out.iter_mut().zip(row).zip(positional) {
        *o = x + p;
    }
}

/// Reads tensors by openai/whisper's names and packs them.
pub(crate) struct Loader<'a> {
    pub source: &'a dyn WeightSource,
    pub compute: ComputeType,
    pub cpu: &'a Cpu,
}

/// A tensor's values and shape.
struct Loaded {
    data: Vec<f32>,
    shape: Vec<usize>,
}

impl Loader<'_> {
    pub fn encoder(&self, dims: &ModelDimensions) -> Result<Encoder> {
        let width = dims.n_audio_state;
        let block = |i| self.encoder_block(&format!("encoder.blocks.{i}"), width);
        Ok(Encoder {
            conv1: self.conv("encoder.conv1", width, dims.n_mels, 1)?,
            conv2: self.conv("encoder.conv2", width, width, 2)?,
            positions: self.tensor("encoder.positional_embedding", &[dims.n_audio_ctx, width])?,
            blocks: (0..dims.n_audio_layer).map(block).collect::<Result<_>>()?,
            norm: self.norm("encoder.ln_post", width)?,
            heads: dims.n_audio_head,
        })
    }

    pub fn decoder(&self, dims: &ModelDimensions) -> Result<Decoder> {
        let width = dims.n_text_state;
        let block = |i| self.decoder_block(&format!("decoder.blocks.{i}"), width, dims);
        let embedding = self.tensor("decoder.token_embedding.weight", &[dims.n_vocab, width])?;
        Ok(Decoder {
            token_embedding: Embedding::new(&embedding, width),
            positions: self.tensor("decoder.positional_embedding", &[dims.n_text_ctx, width])?,
            blocks: (0..dims.n_text_layer).map(block).collect::<Result<_>>()?,
            norm: self.norm("decoder.ln", width)?,
            logits: self.pack(&embedding, dims.n_vocab, width, None),
            heads: dims.n_text_head,
            width,
        })
    }

    fn encoder_block(&self, name: &str, width: usize) -> Result<EncoderBlock> {
        Ok(EncoderBlock {
            attn_norm: self.norm(&format!("{name}.attn_ln"), width)?,
            qkv: self.fused(&format!("{name}.attn"), &["query", "key", "value"], width, width)?,
            out: self.fused(&format!("{name}.attn"), &["out"], width, width)?,
            mlp: self.mlp(name, width)?,
        })
    }

    fn decoder_block(
        &self,
        name: &str,
        width: usize,
        dims: &ModelDimensions,
    ) -> Result<DecoderBlock> {
        let (text, cross) = (format!("{name}.attn"), format!("{name}.cross_attn"));
        Ok(DecoderBlock {
            attn_norm: self.norm(&format!("{name}.attn_ln"), width)?,
            qkv: self.fused(&text, &["query", "key", "value"], width, width)?,
            out: self.fused(&text, &["out"], width, width)?,
            cross_norm: self.norm(&format!("{name}.cross_attn_ln"), width)?,
            cross_query: self.fused(&cross, &["query"], width, width)?,
            cross_kv: self.fused(&cross, &["key", "value"], width, dims.n_audio_state)?,
            cross_out: self.fused(&cross, &["out"], width, width)?,
            mlp: self.mlp(name, width)?,
        })
    }

    fn mlp(&self, name: &str, width: usize) -> Result<Mlp> {
        Ok(Mlp {
            norm: self.norm(&format!("{name}.mlp_ln"), width)?,
            fc1: self.fused(&format!("{name}.mlp"), &["0"], 4 * width, width)?,
            fc2: self.fused(&format!("{name}.mlp"), &["2"], width, 4 * width)?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<LayerNorm> {
        Ok(LayerNorm {
            weight: self.tensor(&format!("{name}.weight"), &[width])?,
            bias: self.tensor(&format!("{name}.bias"), &[width])?,
        })
    }

    fn conv(&self, name: &str, n_out: usize, n_in: usize, stride: usize) -> Result<PackedConv> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_out, n_in, 3])?;
        let bias = self.tensor(&format!("{name}.bias"), &[n_out])?;
        Ok(PackedConv::pack(&weight, &bias, n_out, n_in, stride))
    }

    /// Stacks the named parts, `(n_out, n_in)` each, into one layer. The key projection has no
    /// bias; it is given zeros.
    fn fused(
        &self,
        name: &str,
        parts: &[&str],
        n_out: usize,
        n_in: usize,
    ) -> Result<PackedLinear> {
        let mut weight = Vec::with_capacity(parts.len() * n_out * n_in);
        let mut bias = Vec::with_capacity(parts.len() * n_out);
        for part in parts {
            weight.extend(self.tensor(&format!("{name}.{part}.weight"), &[n_out, n_in])?);
            match *part {
                "key" => bias.resize(bias.len() + n_out, 0.0),
                _ => bias.extend(self.tensor(&format!("{name}.{part}.bias"), &[n_out])?),
            }
        }
        Ok(self.pack(&weight, parts.len() * n_out, n_in, Some(&bias)))
    }

    fn pack(&self, w: &[f32], n_out: usize, n_in: usize, bias: Option<&[f32]>) -> PackedLinear {
        match self.compute {
            ComputeType::F32 => PackedLinear::pack_f32(w, n_out, n_in, bias),
            ComputeType::Int8 => PackedLinear::pack_i8(self.cpu, w, n_out, n_in, bias),
        }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let loaded = self.read(name)?;
        if loaded.shape != shape {
            return Err(Error::Weights {
                file: self.source.file().to_path_buf(),
                tensor: Some(name.to_owned()),
                reason: format!("has shape {:?} where {shape:?} is due", loaded.shape),
            });
        }
        Ok(loaded.data)
    }

    fn read(&self, name: &str) -> Result<Loaded> {
        let tensor = self.source.tensor(name)?;
        Ok(Loaded { data: tensor.to_f32()?.into_owned(), shape: tensor.shape().to_vec() })
    }
}
