//! Which attention heads tell where words are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dims::ModelDimensions;
use crate::error::{Error, Result};

/// The decoder's cross-attention heads whose weights are aligned with the words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlignmentHeads {
    /// Those that the files beside the weights name, else the catalogue's for the model's name, else
    /// [`UpperHalf`](Self::UpperHalf).
    #[default]
    Known,
    /// Every head of the upper half of the layers: openai/whisper's for weights that it is not told the name of.
    UpperHalf,
    /// These, layer and head each, both from 0.
    Listed(Vec<(usize, usize)>),
}

impl AlignmentHeads {
    /// The heads of a model of which `known` are known.
    ///
    /// # Errors
    /// [`Error::Option`] naming a head that the model does not have.
    pub(crate) fn of(
        &self,
        known: &Arc<[(usize, usize)]>,
        dims: &ModelDimensions,
    ) -> Result<Arc<[(usize, usize)]>> {
        let listed = match self {
            Self::Known => return Ok(known.clone()),
            Self::UpperHalf => return Ok(upper_half(dims)),
            Self::Listed(heads) => heads,
        };
        let (layers, heads) = (dims.n_text_layer, dims.n_text_head);
        match listed.iter().find(|at| at.0 >= layers || at.1 >= heads) {
            None if listed.is_empty() => Err(bad("lists no head")),
            None => Ok(listed.as_slice().into()),
            Some((layer, head)) => Err(bad(&format!(
                "has {layer}.{head}, and the model's decoder has {layers} layers of {heads} heads, counted from 0"
            ))),
        }
    }
}

/// Every head of the upper half of the layers.
pub(crate) fn upper_half(dims: &ModelDimensions) -> Arc<[(usize, usize)]> {
    let layers = dims.n_text_layer / 2..dims.n_text_layer;
    layers
        .flat_map(|layer| (0..dims.n_text_head).map(move |head| (layer, head)))
        .collect()
}

impl FromStr for AlignmentHeads {
    type Err = Error;

    /// `known`, `upper_half`, or heads as `LAYER.HEAD` with commas between them.
    fn from_str(text: &str) -> Result<Self> {
        let head = |text: &str| {
            let (layer, head) = text.trim().split_once('.')?;
            Some((layer.parse().ok()?, head.parse().ok()?))
        };
        match text.to_ascii_lowercase().replace('-', "_").as_str() {
            "known" => Ok(Self::Known),
            "upper_half" => Ok(Self::UpperHalf),
            listed => listed
                .split(',')
                .map(|part| head(part).ok_or(part))
                .collect::<Result<_, _>>()
                .map(Self::Listed)
                .map_err(|part| {
                    bad(&format!(
                        "is known, upper_half or heads as LAYER.HEAD,LAYER.HEAD, and \"{part}\" is none of these"
                    ))
                }),
        }
    }
}

impl fmt::Display for AlignmentHeads {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = match self {
            Self::Known => return f.write_str("known"),
            Self::UpperHalf => return f.write_str("upper_half"),
            Self::Listed(heads) => heads,
        };
        let heads: Vec<String> = listed.iter().map(|(l, h)| format!("{l}.{h}")).collect();
        f.write_str(&heads.join(","))
    }
}

fn bad(reason: &str) -> Error {
    Error::Option {
        option: "alignment_heads",
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims() -> ModelDimensions {
        ModelDimensions {
            n_mels: 80,
            n_audio_ctx: 1500,
            n_audio_state: 8,
            n_audio_head: 2,
            n_audio_layer: 1,
            n_vocab: 51_865,
            n_text_ctx: 448,
            n_text_state: 8,
            n_text_head: 2,
            n_text_layer: 3,
        }
    }

    #[test]
    fn heads_by_name_and_by_number() {
        let known: Arc<[_]> = [(0, 1)].into();
        let of = |text: &str| {
            let heads = text.parse::<AlignmentHeads>().map_err(|e| e.to_string())?;
            assert_eq!(heads.to_string().parse::<AlignmentHeads>().unwrap(), heads);
            heads.of(&known, &dims()).map_err(|e| e.to_string())
        };
        assert_eq!(*of("known").unwrap(), [(0, 1)]);
        assert_eq!(*of("Upper-Half").unwrap(), [(1, 0), (1, 1), (2, 0), (2, 1)]);
        assert_eq!(*of("2.1, 0.0").unwrap(), [(2, 1), (0, 0)]);
        for (text, told) in [
            ("3.0", "has 3.0"),
            ("0.2", "3 layers of 2 heads"),
            ("1", "\"1\""),
            ("1.0,", "\"\""),
            ("", "\"\""),
            ("1.-1", "\"1._1\""),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
