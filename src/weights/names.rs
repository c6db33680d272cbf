//! What each tensor of a Whisper is called, and what shape it has, in one table.
//!
//! The canonical name is openai/whisper's. Hugging Face uses other words for the same parts;
//! CTranslate2 also joins projections that read the same input into one matrix. whisper.cpp's GGML
//! files and OpenAI's own `.pt` files use the canonical names.

use super::WeightSource;
use crate::dims::ModelDimensions;

/// A part of a CTranslate2 tensor: `index` of `of` equal runs of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPart {
    /// Which run.
    pub index: usize,
    /// Into how many runs the rows are cut.
    pub of: usize,
}

/// One dimension of a tensor, in terms of the model's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dim {
    Mels,
    Vocab,
    AudioCtx,
    TextCtx,
    Audio,
    Audio4,
    Text,
    Text4,
    Kernel,
}

/// One row of the table. `#` stands for the number of a block.
pub(super) struct NameRow {
    pub openai: &'static str,
    pub hf: &'static str,
    pub ct2: &'static str,
    pub part: RowPart,
    pub shape: &'static [Dim],
}

/// Width of both convolutions.
const KERNEL_WIDTH: usize = 3;

/// All rows.
pub(super) const WHOLE: RowPart = RowPart { index: 0, of: 1 };
const Q: RowPart = RowPart { index: 0, of: 3 };
const K: RowPart = RowPart { index: 1, of: 3 };
const V: RowPart = RowPart { index: 2, of: 3 };
const CROSS_K: RowPart = RowPart { index: 0, of: 2 };
const CROSS_V: RowPart = RowPart { index: 1, of: 2 };

use Dim::{Audio, Audio4, AudioCtx, Kernel, Mels, Text, Text4, TextCtx, Vocab};

const fn row(
    openai: &'static str,
    hf: &'static str,
    ct2: &'static str,
    part: RowPart,
    shape: &'static [Dim],
) -> NameRow {
    NameRow {
        openai,
        hf,
        ct2,
        part,
        shape,
    }
}

/// The table. Hugging Face's names are written without their optional `model.` in front.
/// No format has a bias for a key projection, except as zeros inside a joined one.
#[rustfmt::skip]
pub(super) const NAMES: &[NameRow] = &[
    row("encoder.conv1.weight", "encoder.conv1.weight", "encoder/conv1/weight", WHOLE, &[Audio, Mels, Kernel]),
    row("encoder.conv1.bias", "encoder.conv1.bias", "encoder/conv1/bias", WHOLE, &[Audio]),
    row("encoder.conv2.weight", "encoder.conv2.weight", "encoder/conv2/weight", WHOLE, &[Audio, Audio, Kernel]),
    row("encoder.conv2.bias", "encoder.conv2.bias", "encoder/conv2/bias", WHOLE, &[Audio]),
    row("encoder.positional_embedding", "encoder.embed_positions.weight", "encoder/position_encodings/encodings", WHOLE, &[AudioCtx, Audio]),
    row("encoder.blocks.#.attn.query.weight", "encoder.layers.#.self_attn.q_proj.weight", "encoder/layer_#/self_attention/linear_0/weight", Q, &[Audio, Audio]),
    row("encoder.blocks.#.attn.query.bias", "encoder.layers.#.self_attn.q_proj.bias", "encoder/layer_#/self_attention/linear_0/bias", Q, &[Audio]),
    row("encoder.blocks.#.attn.key.weight", "encoder.layers.#.self_attn.k_proj.weight", "encoder/layer_#/self_attention/linear_0/weight", K, &[Audio, Audio]),
    row("encoder.blocks.#.attn.value.weight", "encoder.layers.#.self_attn.v_proj.weight", "encoder/layer_#/self_attention/linear_0/weight", V, &[Audio, Audio]),
    row("encoder.blocks.#.attn.value.bias", "encoder.layers.#.self_attn.v_proj.bias", "encoder/layer_#/self_attention/linear_0/bias", V, &[Audio]),
    row("encoder.blocks.#.attn.out.weight", "encoder.layers.#.self_attn.out_proj.weight", "encoder/layer_#/self_attention/linear_1/weight", WHOLE, &[Audio, Audio]),
    row("encoder.blocks.#.attn.out.bias", "encoder.layers.#.self_attn.out_proj.bias", "encoder/layer_#/self_attention/linear_1/bias", WHOLE, &[Audio]),
    row("encoder.blocks.#.attn_ln.weight", "encoder.layers.#.self_attn_layer_norm.weight", "encoder/layer_#/self_attention/layer_norm/gamma", WHOLE, &[Audio]),
    row("encoder.blocks.#.attn_ln.bias", "encoder.layers.#.self_attn_layer_norm.bias", "encoder/layer_#/self_attention/layer_norm/beta", WHOLE, &[Audio]),
    row("encoder.blocks.#.mlp.0.weight", "encoder.layers.#.fc1.weight", "encoder/layer_#/ffn/linear_0/weight", WHOLE, &[Audio4, Audio]),
    row("encoder.blocks.#.mlp.0.bias", "encoder.layers.#.fc1.bias", "encoder/layer_#/ffn/linear_0/bias", WHOLE, &[Audio4]),
    row("encoder.blocks.#.mlp.2.weight", "encoder.layers.#.fc2.weight", "encoder/layer_#/ffn/linear_1/weight", WHOLE, &[Audio, Audio4]),
    row("encoder.blocks.#.mlp.2.bias", "encoder.layers.#.fc2.bias", "encoder/layer_#/ffn/linear_1/bias", WHOLE, &[Audio]),
    row("encoder.blocks.#.mlp_ln.weight", "encoder.layers.#.final_layer_norm.weight", "encoder/layer_#/ffn/layer_norm/gamma", WHOLE, &[Audio]),
    row("encoder.blocks.#.mlp_ln.bias", "encoder.layers.#.final_layer_norm.bias", "encoder/layer_#/ffn/layer_norm/beta", WHOLE, &[Audio]),
    row("encoder.ln_post.weight", "encoder.layer_norm.weight", "encoder/layer_norm/gamma", WHOLE, &[Audio]),
    row("encoder.ln_post.bias", "encoder.layer_norm.bias", "encoder/layer_norm/beta", WHOLE, &[Audio]),
    row("decoder.token_embedding.weight", "decoder.embed_tokens.weight", "decoder/embeddings/weight", WHOLE, &[Vocab, Text]),
    row("decoder.positional_embedding", "decoder.embed_positions.weight", "decoder/position_encodings/encodings", WHOLE, &[TextCtx, Text]),
    row("decoder.blocks.#.attn.query.weight", "decoder.layers.#.self_attn.q_proj.weight", "decoder/layer_#/self_attention/linear_0/weight", Q, &[Text, Text]),
    row("decoder.blocks.#.attn.query.bias", "decoder.layers.#.self_attn.q_proj.bias", "decoder/layer_#/self_attention/linear_0/bias", Q, &[Text]),
    row("decoder.blocks.#.attn.key.weight", "decoder.layers.#.self_attn.k_proj.weight", "decoder/layer_#/self_attention/linear_0/weight", K, &[Text, Text]),
    row("decoder.blocks.#.attn.value.weight", "decoder.layers.#.self_attn.v_proj.weight", "decoder/layer_#/self_attention/linear_0/weight", V, &[Text, Text]),
    row("decoder.blocks.#.attn.value.bias", "decoder.layers.#.self_attn.v_proj.bias", "decoder/layer_#/self_attention/linear_0/bias", V, &[Text]),
    row("decoder.blocks.#.attn.out.weight", "decoder.layers.#.self_attn.out_proj.weight", "decoder/layer_#/self_attention/linear_1/weight", WHOLE, &[Text, Text]),
    row("decoder.blocks.#.attn.out.bias", "decoder.layers.#.self_attn.out_proj.bias", "decoder/layer_#/self_attention/linear_1/bias", WHOLE, &[Text]),
    row("decoder.blocks.#.attn_ln.weight", "decoder.layers.#.self_attn_layer_norm.weight", "decoder/layer_#/self_attention/layer_norm/gamma", WHOLE, &[Text]),
    row("decoder.blocks.#.attn_ln.bias", "decoder.layers.#.self_attn_layer_norm.bias", "decoder/layer_#/self_attention/layer_norm/beta", WHOLE, &[Text]),
    row("decoder.blocks.#.cross_attn.query.weight", "decoder.layers.#.encoder_attn.q_proj.weight", "decoder/layer_#/attention/linear_0/weight", WHOLE, &[Text, Text]),
    row("decoder.blocks.#.cross_attn.query.bias", "decoder.layers.#.encoder_attn.q_proj.bias", "decoder/layer_#/attention/linear_0/bias", WHOLE, &[Text]),
    row("decoder.blocks.#.cross_attn.key.weight", "decoder.layers.#.encoder_attn.k_proj.weight", "decoder/layer_#/attention/linear_1/weight", CROSS_K, &[Text, Audio]),
    row("decoder.blocks.#.cross_attn.value.weight", "decoder.layers.#.encoder_attn.v_proj.weight", "decoder/layer_#/attention/linear_1/weight", CROSS_V, &[Text, Audio]),
    row("decoder.blocks.#.cross_attn.value.bias", "decoder.layers.#.encoder_attn.v_proj.bias", "decoder/layer_#/attention/linear_1/bias", CROSS_V, &[Text]),
    row("decoder.blocks.#.cross_attn.out.weight", "decoder.layers.#.encoder_attn.out_proj.weight", "decoder/layer_#/attention/linear_2/weight", WHOLE, &[Text, Text]),
    row("decoder.blocks.#.cross_attn.out.bias", "decoder.layers.#.encoder_attn.out_proj.bias", "decoder/layer_#/attention/linear_2/bias", WHOLE, &[Text]),
    row("decoder.blocks.#.cross_attn_ln.weight", "decoder.layers.#.encoder_attn_layer_norm.weight", "decoder/layer_#/attention/layer_norm/gamma", WHOLE, &[Text]),
    row("decoder.blocks.#.cross_attn_ln.bias", "decoder.layers.#.encoder_attn_layer_norm.bias", "decoder/layer_#/attention/layer_norm/beta", WHOLE, &[Text]),
    row("decoder.blocks.#.mlp.0.weight", "decoder.layers.#.fc1.weight", "decoder/layer_#/ffn/linear_0/weight", WHOLE, &[Text4, Text]),
    row("decoder.blocks.#.mlp.0.bias", "decoder.layers.#.fc1.bias", "decoder/layer_#/ffn/linear_0/bias", WHOLE, &[Text4]),
    row("decoder.blocks.#.mlp.2.weight", "decoder.layers.#.fc2.weight", "decoder/layer_#/ffn/linear_1/weight", WHOLE, &[Text, Text4]),
    row("decoder.blocks.#.mlp.2.bias", "decoder.layers.#.fc2.bias", "decoder/layer_#/ffn/linear_1/bias", WHOLE, &[Text]),
    row("decoder.blocks.#.mlp_ln.weight", "decoder.layers.#.final_layer_norm.weight", "decoder/layer_#/ffn/layer_norm/gamma", WHOLE, &[Text]),
    row("decoder.blocks.#.mlp_ln.bias", "decoder.layers.#.final_layer_norm.bias", "decoder/layer_#/ffn/layer_norm/beta", WHOLE, &[Text]),
    row("decoder.ln.weight", "decoder.layer_norm.weight", "decoder/layer_norm/gamma", WHOLE, &[Text]),
    row("decoder.ln.bias", "decoder.layer_norm.bias", "decoder/layer_norm/beta", WHOLE, &[Text]),
];

/// What a bias of the key projections would be called. No Whisper has one: where a file does, it
/// must be zeros, as the rows of CTranslate2's joined biases are.
#[rustfmt::skip]
pub(super) static KEY_BIASES: [NameRow; 3] = [
    row("encoder.blocks.#.attn.key.bias", "encoder.layers.#.self_attn.k_proj.bias", "encoder/layer_#/self_attention/linear_0/bias", K, &[Audio]),
    row("decoder.blocks.#.attn.key.bias", "decoder.layers.#.self_attn.k_proj.bias", "decoder/layer_#/self_attention/linear_0/bias", K, &[Text]),
    row("decoder.blocks.#.cross_attn.key.bias", "decoder.layers.#.encoder_attn.k_proj.bias", "decoder/layer_#/attention/linear_1/bias", CROSS_K, &[Text]),
];

/// The token embedding, which is the output matrix too in most models.
pub const EMBEDDING: &str = "decoder.token_embedding.weight";
/// The output matrix `(n_vocab, n_text_state)` of a model that has one of its own. openai/whisper
/// has no such model, so the name is Hugging Face's.
pub(super) const OUTPUT: &str = "proj_out.weight";
/// Its row. No format has it where it is the embedding.
#[rustfmt::skip]
pub(super) static OUTPUT_ROW: NameRow = row(OUTPUT, "proj_out.weight", "decoder/projection/weight", WHOLE, &[Vocab, Text]);

/// Every tensor of a model of these sizes: its row of the table and its block.
pub(super) fn all(dims: &ModelDimensions) -> impl Iterator<Item = (&'static NameRow, usize)> {
    in_every_block(NAMES, dims)
}

/// Every tensor that a model's file has: as [`all`], and its output matrix where it has its own.
pub(super) fn stored(
    weights: &dyn WeightSource,
) -> impl Iterator<Item = (&'static NameRow, usize)> {
    let own = (weights.output() == OUTPUT).then_some((&OUTPUT_ROW, 0));
    all(weights.dims()).chain(own)
}

/// The rows, each with the blocks that have it.
pub(super) fn in_every_block(
    rows: &'static [NameRow],
    dims: &ModelDimensions,
) -> impl Iterator<Item = (&'static NameRow, usize)> {
    let (audio, text) = (dims.n_audio_layer, dims.n_text_layer);
    rows.iter().flat_map(move |row| {
        let blocks = match row.openai.contains('#') {
            false => 1,
            true if row.openai.starts_with("encoder") => audio,
            true => text,
        };
        (0..blocks).map(move |block| (row, block))
    })
}

/// A name of the table with its block's number put in.
pub(super) fn numbered(pattern: &str, block: usize) -> String {
    pattern.replace('#', &block.to_string())
}

impl NameRow {
    /// The name as Hugging Face's own programs write it, wrapped in `model.`.
    pub fn hf_wrapped(&self, block: usize) -> String {
        let name = numbered(self.hf, block);
        match self.openai == OUTPUT {
            true => name,
            false => format!("model.{name}"),
        }
    }

    /// The shape this tensor has in a model of these sizes, outermost dimension first.
    pub fn shape_in(&self, dims: &ModelDimensions) -> Vec<usize> {
        self.shape.iter().map(|dim| dim.size(dims)).collect()
    }
}

impl Dim {
    fn size(self, dims: &ModelDimensions) -> usize {
        match self {
            Mels => dims.n_mels,
            Vocab => dims.n_vocab,
            AudioCtx => dims.n_audio_ctx,
            TextCtx => dims.n_text_ctx,
            Audio => dims.n_audio_state,
            Audio4 => dims.n_audio_state.saturating_mul(4),
            Text => dims.n_text_state,
            Text4 => dims.n_text_state.saturating_mul(4),
            Kernel => KERNEL_WIDTH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_in_every_format() {
        let mut seen = HashSet::new();
        for row in NAMES {
            let ct2 = format!("{} {}/{}", row.ct2, row.part.index, row.part.of);
            for name in [format!("o {}", row.openai), format!("h {}", row.hf), ct2] {
                assert!(seen.insert(name.clone()), "{name} twice");
            }
            let blocks = row.openai.contains('#');
            assert_eq!(
                (blocks, blocks),
                (row.hf.contains('#'), row.ct2.contains('#'))
            );
        }
    }

    #[test]
    fn a_block_has_the_tensors_of_the_paper() {
        let of = |prefix: &str| {
            NAMES
                .iter()
                .filter(|r| r.openai.starts_with(prefix))
                .count()
        };
        // Attention has four projections, of which the key's has no bias; each of the block's
        // parts has a layer norm; the perceptron has two layers.
        assert_eq!(of("encoder.blocks."), 7 + 2 + 4 + 2);
        assert_eq!(of("decoder.blocks."), 2 * (7 + 2) + 4 + 2);
        assert_eq!(NAMES.len(), 15 + 24 + 5 + 2 + 2 + 2);
    }
}
