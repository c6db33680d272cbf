//! From named tensors to layers in a card's memory.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::device::{Address, Memory};
use crate::dims::ModelDimensions;
use crate::error::Result;
use crate::weights::{Adapted, EMBEDDING, WeightSource, floats_of_shape};

/// Numbers on the card, by the name of what they are. Clones share them, and so does a network that differs in a
/// few of them.
pub(super) type Kept = HashMap<String, Arc<Memory>>;

/// What numbers are for, which says how they lie where they are not all floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lay {
    /// Norms, biases, positions of text.
    Floats,
    /// The encoder's layers, embeddings.
    Halves,
    /// The encoder's layers behind a LayerNorm, `(n, k)`.
    Normed { n: usize, k: usize },
    /// The decoder's layers, `(n, k)`.
    Tiles { n: usize, k: usize },
    /// A convolution, `(n_out, n_in, 3)`.
    Taps { n_in: usize },
}

/// Puts numbers onto a card.
pub(super) type Put<'a> = &'a dyn Fn(&[f32], Lay) -> Result<Memory>;

/// `(n_out, n_in)`, and a bias of `n_out` where there is one.
pub(super) struct Linear {
    pub weight: Arc<Memory>,
    bias: Option<Arc<Memory>>,
    pub n_out: u32,
    pub n_in: u32,
}

impl Linear {
    pub fn bias(&self) -> Address {
        self.bias.as_ref().map_or(0, |bias| bias.address())
    }

    /// The scales of the rows, where the weights are bytes.
    pub fn scales(&self) -> Address {
        self.weight.address() + Address::from(self.n_out) * Address::from(self.n_in)
    }
}

pub(super) struct LayerNorm {
    pub gamma: Arc<Memory>,
    pub beta: Arc<Memory>,
}

pub(super) struct EncoderBlock {
    pub attn_norm: LayerNorm,
    pub qkv: Linear,
    pub out: Linear,
    pub mlp_norm: LayerNorm,
    pub mlp: [Linear; 2],
}

pub(super) struct DecoderBlock {
    pub attn_norm: LayerNorm,
    pub qkv: Linear,
    pub out: Linear,
    pub cross_norm: LayerNorm,
    pub cross_query: Linear,
    /// Keys and values of the audio in one matrix.
    pub cross_kv: Linear,
    pub cross_out: Linear,
    pub mlp_norm: LayerNorm,
    pub mlp: [Linear; 2],
}

/// All layers of a network.
pub(super) struct Layers {
    pub convs: [Linear; 2],
    pub audio_positions: Arc<Memory>,
    pub encoder: Vec<EncoderBlock>,
    pub encoder_norm: LayerNorm,
    pub tokens: Arc<Memory>,
    pub text_positions: Arc<Memory>,
    pub decoder: Vec<DecoderBlock>,
    pub decoder_norm: LayerNorm,
    pub logits: Linear,
}

/// Copies layers onto a card.
pub(super) struct Loader<'a> {
    source: &'a dyn WeightSource,
    put: Put<'a>,
    /// Whether numbers are floats, whatever they are for.
    floats_alone: bool,
    kept: RefCell<Kept>,
}

impl<'a> Loader<'a> {
    pub fn new(source: &'a dyn WeightSource, put: Put<'a>, floats_alone: bool) -> Self {
        Self {
            source,
            put,
            floats_alone,
            kept: RefCell::default(),
        }
    }

    /// Of a network of which `kept` is what it is without the adapter.
    pub fn adapted(
        weights: &'a Adapted<'_>,
        put: Put<'a>,
        floats_alone: bool,
        kept: &Kept,
    ) -> Self {
        let mut kept = kept.clone();
        kept.retain(|name, _| {
            let (module, parts) = name.rsplit_once('.').unwrap_or(("", name));
            let mut parts = parts.split('+');
            !parts.any(|part| weights.changes(&format!("{module}.{part}.weight")))
        });
        Self {
            kept: kept.into(),
            ..Self::new(weights, put, floats_alone)
        }
    }

    /// All layers, and their numbers by name.
    pub fn layers(self, dims: &ModelDimensions) -> Result<(Layers, Kept)> {
        let (audio, text, vocab) = (dims.n_audio_state, dims.n_text_state, dims.n_vocab);
        let encoder = |i| self.encoder_block(&format!("encoder.blocks.{i}"), audio);
        let decoder = |i| self.decoder_block(&format!("decoder.blocks.{i}"), text, audio);
        let tokens = || self.tensor(EMBEDDING, &[vocab, text]);
        let tokens = self.keep(EMBEDDING, Lay::Halves, tokens)?;
        let logits = self.output(&tokens, vocab, text)?;
        let layers = Layers {
            convs: [
                self.conv("encoder.conv1", audio, dims.n_mels)?,
                self.conv("encoder.conv2", audio, audio)?,
            ],
            audio_positions: self.audio_positions(&[dims.n_audio_ctx, audio])?,
            encoder: (0..dims.n_audio_layer)
                .map(encoder)
                .collect::<Result<_>>()?,
            encoder_norm: self.norm("encoder.ln_post", audio)?,
            tokens,
            text_positions: self
                .floats("decoder.positional_embedding", &[dims.n_text_ctx, text])?,
            decoder: (0..dims.n_text_layer).map(decoder).collect::<Result<_>>()?,
            decoder_norm: self.norm("decoder.ln", text)?,
            logits: Linear {
                weight: logits,
                bias: None,
                n_out: vocab as u32,
                n_in: text as u32,
            },
        };
        Ok((layers, self.kept.into_inner()))
    }

    /// The output matrix: the embedding's own memory, where it is the same numbers that lie alike.
    fn output(&self, tokens: &Arc<Memory>, n: usize, k: usize) -> Result<Arc<Memory>> {
        let name = self.source.output();
        if name == EMBEDDING && self.floats_alone {
            return Ok(tokens.clone());
        }
        let numbers = || self.tensor(name, &[n, k]);
        self.keep(&format!("{name}.output"), Lay::Tiles { n, k }, numbers)
    }

    fn audio_positions(&self, shape: &[usize]) -> Result<Arc<Memory>> {
        let name = "encoder.positional_embedding";
        self.keep(name, Lay::Halves, || self.tensor(name, shape))
    }

    fn encoder_block(&self, name: &str, width: usize) -> Result<EncoderBlock> {
        let attention = format!("{name}.attn");
        Ok(EncoderBlock {
            attn_norm: self.norm(&format!("{name}.attn_ln"), width)?,
            qkv: self.fused(&attention, &["query", "key", "value"], width, width)?,
            out: self.fused(&attention, &["out"], width, width)?,
            mlp_norm: self.norm(&format!("{name}.mlp_ln"), width)?,
            mlp: self.mlp(name, width)?,
        })
    }

    fn decoder_block(&self, name: &str, width: usize, audio: usize) -> Result<DecoderBlock> {
        let (text, cross) = (format!("{name}.attn"), format!("{name}.cross_attn"));
        Ok(DecoderBlock {
            attn_norm: self.norm(&format!("{name}.attn_ln"), width)?,
            qkv: self.fused(&text, &["query", "key", "value"], width, width)?,
            out: self.fused(&text, &["out"], width, width)?,
            cross_norm: self.norm(&format!("{name}.cross_attn_ln"), width)?,
            cross_query: self.fused(&cross, &["query"], width, width)?,
            cross_kv: self.fused(&cross, &["key", "value"], width, audio)?,
            cross_out: self.fused(&cross, &["out"], width, width)?,
            mlp_norm: self.norm(&format!("{name}.mlp_ln"), width)?,
            mlp: self.mlp(name, width)?,
        })
    }

    fn mlp(&self, name: &str, width: usize) -> Result<[Linear; 2]> {
        let mlp = format!("{name}.mlp");
        Ok([
            self.fused(&mlp, &["0"], 4 * width, width)?,
            self.fused(&mlp, &["2"], width, 4 * width)?,
        ])
    }

    fn norm(&self, name: &str, width: usize) -> Result<LayerNorm> {
        Ok(LayerNorm {
            gamma: self.floats(&format!("{name}.weight"), &[width])?,
            beta: self.floats(&format!("{name}.bias"), &[width])?,
        })
    }

    /// `(n_out, n_in, 3)`, as it is stored.
    fn conv(&self, name: &str, n_out: usize, n_in: usize) -> Result<Linear> {
        Ok(Linear {
            weight: self.keep(name, Lay::Taps { n_in }, || {
                self.tensor(&format!("{name}.weight"), &[n_out, n_in, 3])
            })?,
            bias: Some(self.floats(&format!("{name}.bias"), &[n_out])?),
            n_out: n_out as u32,
            n_in: 3 * n_in as u32,
        })
    }

    /// Stacks the named parts, `(n_out, n_in)` each, into one layer. The key projection has no bias; it is given
    /// zeros.
    fn fused(&self, name: &str, parts: &[&str], n_out: usize, n_in: usize) -> Result<Linear> {
        let joined = format!("{name}.{}", parts.join("+"));
        let (n, k) = (parts.len() * n_out, n_in);
        let lay = match (name.starts_with("encoder"), parts) {
            (true, ["query", ..] | ["0"]) => Lay::Normed { n, k },
            // The audio's keys and values are made by the encoder's kernels.
            (true, _) | (false, ["key", ..]) => Lay::Halves,
            _ => Lay::Tiles { n, k },
        };
        let rows = |part: &&str| self.tensor(&format!("{name}.{part}.weight"), &[n_out, n_in]);
        let weight = || Ok(parts.iter().map(rows).collect::<Result<Vec<_>>>()?.concat());
        let biases = |part: &&str| match *part {
            "key" => Ok(vec![0.0; n_out]),
            _ => self.tensor(&format!("{name}.{part}.bias"), &[n_out]),
        };
        let bias = || {
            Ok(parts
                .iter()
                .map(biases)
                .collect::<Result<Vec<_>>>()?
                .concat())
        };
        Ok(Linear {
            weight: self.keep(&joined, lay, weight)?,
            // Under a name that no adapter changes.
            bias: Some(self.keep(&format!("{joined}.bias"), Lay::Floats, bias)?),
            n_out: (parts.len() * n_out) as u32,
            n_in: n_in as u32,
        })
    }

    fn floats(&self, name: &str, shape: &[usize]) -> Result<Arc<Memory>> {
        self.keep(name, Lay::Floats, || self.tensor(name, shape))
    }

    /// What is there already, or what `make` makes.
    fn keep(
        &self,
        name: &str,
        lay: Lay,
        make: impl FnOnce() -> Result<Vec<f32>>,
    ) -> Result<Arc<Memory>> {
        if let Some(memory) = self.kept.borrow().get(name) {
            return Ok(memory.clone());
        }
        let memory = Arc::new((self.put)(&make()?, lay)?);
        self.kept
            .borrow_mut()
            .insert(name.to_owned(), memory.clone());
        Ok(memory)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        floats_of_shape(self.source, name, shape)
    }
}
