//! From named tensors, or from a packed file, to layers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use half::f16;

use super::block::{LayerNorm, Mlp};
use super::decoder::{Decoder, DecoderBlock};
use super::embedding::Embedding;
use super::encoder::{Encoder, EncoderBlock};
use super::packed::{PackedFile, Recorder};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::kernels::Cpu;
use crate::kernels::conv::PackedConv;
use crate::kernels::linear::{
    NIBBLE_BLOCK, NIBBLE_GROUP, PackedLinear, WeightDtype, quantise_nibbles,
};
use crate::kernels::storage::Store;
use crate::model::ComputeType;
use crate::weights::{
    Adapted, Block, EMBEDDING, Encoding, WeightSource, WeightTensor, floats_of_shape,
};

/// The layers of a network by their names. Clones share their memory, and so does a network that differs in
/// a few of them.
#[derive(Clone, Default)]
pub(super) struct Layers {
    linear: HashMap<String, PackedLinear>,
    floats: HashMap<String, Store<f32>>,
    embedding: Option<Embedding>,
}

impl Layers {
    /// Those that are the same under an adapter: layers are joined projections, and one that changes
    /// changes the whole.
    fn unchanged(mut self, weights: &Adapted<'_>) -> Self {
        let changes = |name: &String| {
            let (module, parts) = name.rsplit_once('.').unwrap_or(("", name));
            let mut parts = parts.split('+');
            parts.any(|part| weights.changes(&format!("{module}.{part}.weight")))
        };
        self.linear.retain(|name, _| !changes(name));
        self
    }
}

/// Builds layers from a checkpoint, or takes them from a packed file made of it earlier.
pub(super) struct Loader<'a> {
    source: &'a dyn WeightSource,
    compute: ComputeType,
    cpu: &'a Cpu,
    /// Where the packed model is kept, and its key.
    place: Option<(&'a Path, String)>,
    packed: Option<PackedFile>,
    /// What is there already.
    layers: RefCell<Layers>,
    recorder: RefCell<Option<Recorder>>,
}

impl<'a> Loader<'a> {
    /// With `packed`, a path and a key, the packed model is kept there and used the next time.
    pub fn new(
        source: &'a dyn WeightSource,
        compute: ComputeType,
        cpu: &'a Cpu,
        packed: Option<(&'a Path, &str)>,
    ) -> Self {
        let place = packed.map(|(path, key)| (path, format!("{key} {}", compute.name())));
        let found = place
            .as_ref()
            .and_then(|(path, key)| PackedFile::open(path, key));
        Self {
            source,
            compute,
            cpu,
            place,
            packed: found,
            layers: RefCell::default(),
            recorder: RefCell::new(None),
        }
    }

    /// Both stacks of a network of which `layers` are those without the adapter.
    pub fn adapted(
        weights: &Adapted<'_>,
        compute: ComputeType,
        cpu: &Cpu,
        layers: &Layers,
    ) -> Result<(Encoder, Decoder, Layers)> {
        let loader = Loader {
            layers: layers.clone().unchanged(weights).into(),
            ..Loader::new(weights, compute, cpu, None)
        };
        loader.stacks(weights.dims())
    }

    /// Both stacks, and all their layers. A packed file that turns out to be damaged is made again.
    pub fn network(mut self, dims: &ModelDimensions) -> Result<(Encoder, Decoder, Layers)> {
        if self.packed.is_some() {
            if let Ok(both) = self.stacks(dims) {
                return Ok(both);
            }
            self.packed = None;
            self.layers = RefCell::default();
        }
        self.source.verify()?;
        // A cache that cannot be written costs the next start some time, nothing more.
        let recorder = self.place.as_ref();
        self.recorder = recorder
            .and_then(|(path, key)| Recorder::create(path, key).ok())
            .into();
        let both = self.stacks(dims)?;
        if let Some(recorder) = self.recorder.into_inner() {
            // As above.
            let _ = recorder.finish();
        }
        Ok(both)
    }

    fn stacks(&self, dims: &ModelDimensions) -> Result<(Encoder, Decoder, Layers)> {
        let (encoder, decoder) = (self.encoder(dims)?, self.decoder(dims)?);
        Ok((encoder, decoder, self.layers.take()))
    }

    fn encoder(&self, dims: &ModelDimensions) -> Result<Encoder> {
        let width = dims.n_audio_state;
        let block = |i| self.encoder_block(&format!("encoder.blocks.{i}"), width);
        Ok(Encoder {
            conv1: self.conv("encoder.conv1", width, dims.n_mels, 1)?,
            conv2: self.conv("encoder.conv2", width, width, 2)?,
            positions: self.floats("encoder.positional_embedding", &[dims.n_audio_ctx, width])?,
            blocks: (0..dims.n_audio_layer).map(block).collect::<Result<_>>()?,
            norm: self.norm("encoder.ln_post", width)?,
            heads: dims.n_audio_head,
        })
    }

    fn decoder(&self, dims: &ModelDimensions) -> Result<Decoder> {
        let width = dims.n_text_state;
        let block = |i| self.decoder_block(&format!("decoder.blocks.{i}"), width, dims);
        Ok(Decoder {
            token_embedding: self.embedding(dims.n_vocab, width)?,
            positions: self.floats("decoder.positional_embedding", &[dims.n_text_ctx, width])?,
            blocks: (0..dims.n_text_layer).map(block).collect::<Result<_>>()?,
            norm: self.norm("decoder.ln", width)?,
            logits: self.linear(LOGITS, dims.n_vocab, width, || {
                let shape = [dims.n_vocab, width];
                self.pack(LOGITS, &[self.source.output().to_owned()], &shape, None)
            })?,
            heads: dims.n_text_head,
            width,
        })
    }

    fn encoder_block(&self, name: &str, width: usize) -> Result<EncoderBlock> {
        let attention = format!("{name}.attn");
        Ok(EncoderBlock {
            attn_norm: self.norm(&format!("{name}.attn_ln"), width)?,
            qkv: self.fused(&attention, &["query", "key", "value"], width, width)?,
            out: self.fused(&attention, &["out"], width, width)?,
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
            weight: self.floats(&format!("{name}.weight"), &[width])?,
            bias: self.floats(&format!("{name}.bias"), &[width])?,
        })
    }

    fn conv(&self, name: &str, n_out: usize, n_in: usize, stride: usize) -> Result<PackedConv> {
        let layer = self.linear(name, n_out, 3 * n_in, || {
            let weight = self.tensor(&format!("{name}.weight"), &[n_out, n_in, 3])?;
            let bias = self.tensor(&format!("{name}.bias"), &[n_out])?;
            let rows = PackedConv::rows_of(&weight, n_out, n_in);
            let pack = packer(self.dtype(name));
            Ok(pack(self.cpu, &rows, n_out, 3 * n_in, Some(&bias)))
        })?;
        Ok(PackedConv::new(layer, n_in, stride))
    }

    /// Stacks the named parts, `(n_out, n_in)` each, into one layer. The key projection has no
    /// bias; it is given zeros.
    fn fused(&self, name: &str, parts: &[&str], n_out: usize, n_in: usize) -> Result<PackedLinear> {
        let name_of_all = format!("{name}.{}", parts.join("+"));
        self.linear(&name_of_all, parts.len() * n_out, n_in, || {
            let mut bias = Vec::with_capacity(parts.len() * n_out);
            for part in parts {
                match *part {
                    "key" => bias.resize(bias.len() + n_out, 0.0),
                    _ => bias.extend(self.tensor(&format!("{name}.{part}.bias"), &[n_out])?),
                }
            }
            let weights: Vec<_> = parts
                .iter()
                .map(|part| format!("{name}.{part}.weight"))
                .collect();
            self.pack(&name_of_all, &weights, &[n_out, n_in], Some(&bias))
        })
    }

    /// Packs a layer of stacked matrices of one shape, as its name asks for.
    fn pack(
        &self,
        layer: &str,
        weights: &[String],
        shape: &[usize; 2],
        bias: Option<&[f32]>,
    ) -> Result<PackedLinear> {
        let ([n_out, n_in], cpu) = (shape, self.cpu);
        let n_out = weights.len() * n_out;
        let dtype = self.dtype(layer);
        if dtype == WeightDtype::I4 {
            let mut blocks = Vec::with_capacity(n_out * n_in.div_ceil(NIBBLE_GROUP) * NIBBLE_BLOCK);
            for name in weights {
                blocks.append(&mut self.nibbles(name, shape)?);
            }
            return Ok(PackedLinear::pack_blocks(cpu, &blocks, n_out, *n_in, bias));
        }
        let mut all = Vec::with_capacity(n_out * n_in);
        for name in weights {
            all.append(&mut self.tensor(name, shape)?);
        }
        Ok(packer(dtype)(cpu, &all, n_out, *n_in, bias))
    }

    /// How a layer's weights are kept. What the audio goes through is read once for many positions: fewer bits
    /// would cost words and save no time there.
    fn dtype(&self, layer: &str) -> WeightDtype {
        let hears = layer.starts_with("encoder.") || layer.ends_with(".cross_attn.key+value");
        match self.compute {
            ComputeType::Int4 if !hears => WeightDtype::I4,
            compute if compute.is_integer() => WeightDtype::I8,
            _ => WeightDtype::F32,
        }
    }

    /// A matrix in groups of 4 bits: those of the file, where it has them.
    fn nibbles(&self, name: &str, shape: &[usize; 2]) -> Result<Vec<u8>> {
        let stored = self.source.tensor(name)?;
        if stored.shape() == shape && shape[1].is_multiple_of(NIBBLE_GROUP) && are_blocks(&stored) {
            return Ok(stored.bytes().to_vec());
        }
        Ok(quantise_nibbles(
            self.cpu,
            &self.tensor(name, shape)?,
            shape[1],
        ))
    }

    /// A layer that is there already, or from the packed file, or built and recorded.
    fn linear(
        &self,
        name: &str,
        n_out: usize,
        n_in: usize,
        build: impl FnOnce() -> Result<PackedLinear>,
    ) -> Result<PackedLinear> {
        if let Some(layer) = self.layers.borrow().linear.get(name) {
            return Ok(layer.clone());
        }
        let layer = match &self.packed {
            Some(file) => file.linear(name, n_out, n_in)?,
            None => {
                let layer = build()?;
                self.record(|recorder| recorder.linear(name, &layer));
                layer
            }
        };
        let linear = &mut self.layers.borrow_mut().linear;
        linear.insert(name.to_owned(), layer.clone());
        Ok(layer)
    }

    /// A vector or matrix that is used as it is.
    fn floats(&self, name: &str, shape: &[usize]) -> Result<Store<f32>> {
        if let Some(floats) = self.layers.borrow().floats.get(name) {
            return Ok(floats.clone());
        }
        let floats = match &self.packed {
            Some(file) => file.numbers(name, shape.iter().product())?,
            None => {
                let floats = self.tensor(name, shape)?;
                self.record(|recorder| recorder.numbers(name, &floats));
                Store::build(floats.len(), |to| to.copy_from_slice(&floats))
            }
        };
        let all = &mut self.layers.borrow_mut().floats;
        all.insert(name.to_owned(), floats.clone());
        Ok(floats)
    }

    fn embedding(&self, n_vocab: usize, width: usize) -> Result<Embedding> {
        if let Some(embedding) = &self.layers.borrow().embedding {
            return Ok(embedding.clone());
        }
        let embedding = self.load_embedding(n_vocab, width)?;
        self.layers.borrow_mut().embedding = Some(embedding.clone());
        Ok(embedding)
    }

    fn load_embedding(&self, n_vocab: usize, width: usize) -> Result<Embedding> {
        if let Some(file) = &self.packed {
            return match file.numbers("embedding.f16", n_vocab * width) {
                Ok(halves) => Ok(Embedding::from_halves(halves, width)),
                Err(_) => Ok(Embedding::from_floats(
                    file.numbers("embedding.f32", n_vocab * width)?,
                    width,
                )),
            };
        }
        let embedding = Embedding::new(&self.tensor(EMBEDDING, &[n_vocab, width])?, width);
        self.record(|recorder| embedding.record(recorder));
        Ok(embedding)
    }

    /// Records something; if the disk fails, the recording is given up.
    fn record(&self, write: impl FnOnce(&mut Recorder) -> std::io::Result<()>) {
        let mut recorder = self.recorder.borrow_mut();
        if recorder
            .as_mut()
            .is_some_and(|recorder| write(recorder).is_err())
        {
            *recorder = None;
        }
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        floats_of_shape(self.source, name, shape)
    }
}

/// The layer of the output matrix.
const LOGITS: &str = "logits";

type Packer = fn(&Cpu, &[f32], usize, usize, Option<&[f32]>) -> PackedLinear;

/// What packs rows of floats as whole numbers or as they are.
fn packer(dtype: WeightDtype) -> Packer {
    match dtype {
        WeightDtype::I8 => PackedLinear::pack_i8,
        _ => PackedLinear::pack_f32,
    }
}

/// Whether a tensor has the groups that the kernels compute with, all finite.
fn are_blocks(tensor: &WeightTensor<'_>) -> bool {
    let finite = |block: &[u8; NIBBLE_BLOCK]| f16::from_le_bytes([block[0], block[1]]).is_finite();
    tensor.encoding() == Encoding::Block(Block::Q4_0)
        && tensor.bytes().as_chunks().0.iter().all(finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::backends::built_in;
    use crate::attention::{Registry, Request, plan};
    use crate::model::cpu::CpuNetwork;
    use crate::weights::{Conversion, Lora, Numbers, Target, convert, open};

    fn network(file: &Path, compute: ComputeType) -> (Box<dyn WeightSource>, CpuNetwork) {
        let source = open(file).unwrap();
        let cpu = Cpu::new(Some(1), None);
        let registry = Registry::new(built_in(&cpu));
        let plan = plan(&Request::default(), &registry, source.dims()).unwrap();
        let network = CpuNetwork::load(source.as_ref(), compute, cpu, plan, None).unwrap();
        (source, network)
    }

    /// A layer's weights, stacked, as the file has them.
    fn stored(source: &dyn WeightSource, layer: &str) -> Vec<f32> {
        if layer == LOGITS {
            return source.floats(source.output()).unwrap();
        }
        let (module, parts) = layer.rsplit_once('.').unwrap();
        let parts = parts.split('+');
        let floats = |part| source.floats(&format!("{module}.{part}.weight")).unwrap();
        parts.flat_map(floats).collect()
    }

    #[test]
    fn blocks_of_4_bits_are_computed_with_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("q4_0.gguf");
        let conversion = Conversion {
            target: Target::Gguf,
            numbers: Some(Numbers::Blocks(Block::Q4_0)),
        };
        convert("models/pico".as_ref(), &file, &conversion).unwrap();
        let (source, network) = network(&file, ComputeType::Int4);
        let mut fours = 0;
        for (name, layer) in &network.layers.linear {
            let is_four = name == LOGITS
                || name.starts_with("decoder.") && !name.ends_with(".cross_attn.key+value");
            assert_eq!(layer.dtype() == WeightDtype::I4, is_four, "{name}");
            if is_four {
                assert_eq!(layer.unpacked(), stored(source.as_ref(), name), "{name}");
                fours += 1;
            }
        }
        // Six layers in each block, and the logits.
        assert_eq!(fours, 6 * source.dims().n_text_layer + 1);
    }

    #[test]
    fn what_an_adapter_leaves_alone_is_the_same_memory() {
        let (source, network) = network("models/pico".as_ref(), ComputeType::F32);
        let lora = Lora::of(
            &[
                "decoder.blocks.1.cross_attn.value",
                "encoder.blocks.0.mlp.0",
            ],
            source.dims(),
        );
        let weights = Adapted::new(source.as_ref(), &lora);
        let loaded = Loader::adapted(&weights, network.compute, &network.cpu, &network.layers);
        let (_, _, adapted) = loaded.unwrap();
        let changed = [
            "decoder.blocks.1.cross_attn.key+value",
            "encoder.blocks.0.mlp.0",
        ];
        assert_eq!(adapted.linear.len(), network.layers.linear.len());
        for (name, layer) in &network.layers.linear {
            let shared = adapted.linear[name].shares(layer);
            assert_eq!(shared, !changed.contains(&name.as_str()), "{name}");
        }
        for (name, floats) in &network.layers.floats {
            let place = |of: &Store<f32>| of.numbers().as_ptr();
            assert_eq!(place(floats), place(&adapted.floats[name]), "{name}");
        }
    }
}
