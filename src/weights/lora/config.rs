//! `adapter_config.json`: which modules an adapter changes and by how much, and what it asks for that is
//! not carried.

use std::fmt;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::weights::bytes::bad;
use crate::weights::json;

/// Beside an adapter's weights.
pub(in crate::weights) const CONFIG: &str = "adapter_config.json";

/// What the names of fields stand for that change what an adapter computes, beyond plain LoRA.
const NOT_CARRIED: [(&str, &str); 10] = [
    ("use_dora", "DoRA"),
    ("lora_bias", "biases of the adapter's own"),
    ("fan_in_fan_out", "weights stored the other way round"),
    (
        "modules_to_save",
        "whole modules trained beside the adapter",
    ),
    ("trainable_token_indices", "trained token embeddings"),
    ("target_parameters", "parameters outside of linear layers"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("layer_replication", "layers that are there several times"),
    ("use_qalora", "QALoRA"),
    ("loftq_config", "LoftQ's quantized model"),
];
/// Fields that may hold anything: they say nothing of what is computed.
const FREE: [&str; 6] = [
    "auto_mapping",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "inference_mode",
    "megatron_config",
];
/// How training may start without changing the model's own weights.
const STARTS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The fields of the file that are read as what they are; the others must say nothing.
#[derive(Deserialize)]
struct Fields {
    peft_type: Option<String>,
    r: Option<usize>,
    lora_alpha: Option<f64>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(default)]
    rank_pattern: Option<Patterns<usize>>,
    #[serde(default)]
    alpha_pattern: Option<Patterns<f64>>,
    target_modules: Option<Names>,
    #[serde(default)]
    exclude_modules: Option<Names>,
    #[serde(default)]
    layers_to_transform: Option<Layers>,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Module names, each the end of a full one, or a pattern of full names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Pattern(String),
    Ends(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Layers {
    One(usize),
    Some(Vec<usize>),
}

/// Values by patterns of module names; the first that matches counts, so the file's order is kept.
struct Patterns<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ordered<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Ordered<T> {
            type Value = Patterns<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers by patterns of module names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Patterns(entries))
            }
        }
        deserializer.deserialize_map(Ordered(std::marker::PhantomData))
    }
}

/// What an adapter's configuration means.
pub(super) struct Config {
    path: PathBuf,
    r: usize,
    alpha: f64,
    rslora: bool,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
    targets: Matcher,
    excluded: Matcher,
    layers: Option<Vec<usize>>,
}

/// Module names as the file gives them.
enum Matcher {
    Pattern(Regex),
    Ends(Vec<String>),
}

impl Matcher {
    fn matches(&self, module: &str) -> bool {
        match self {
            Self::Pattern(pattern) => names_of(module).iter().any(|name| pattern.is_match(name)),
            Self::Ends(ends) => ends.iter().any(|end| {
                names_of(module).iter().any(|name| {
                    let rest = name.strip_suffix(end.as_str());
                    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                })
            }),
        }
    }
}

/// A module's names in the models that people adapt: with a head for text, and without one.
fn names_of(module: &str) -> [String; 2] {
    [format!("model.{module}"), module.to_owned()]
}

impl Config {
    /// Reads the file of a folder.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File), [`Error::Json`](crate::Error::Json), and
    /// [`Error::Weights`](crate::Error::Weights) naming the field that asks for what is not carried.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let fields: Fields = json::read(&path)?;
        let refused = |field: &str, why: String| bad(&path, field.to_owned(), why);
        if let Some((field, why)) = unusable(&fields) {
            return Err(refused(field, why));
        }
        let missing = |field: &str| refused(field, "is missing".into());
        let r = fields.r.ok_or_else(|| missing("r"))?;
        let alpha = fields.lora_alpha.ok_or_else(|| missing("lora_alpha"))?;
        let targets = fields
            .target_modules
            .ok_or_else(|| missing("target_modules"))?;
        let layers = fields.layers_to_transform.map(|layers| match layers {
            Layers::One(layer) => vec![layer],
            Layers::Some(layers) => layers,
        });
        let nothing = Names::Ends(Vec::new());
        Ok(Self {
            r,
            alpha,
            rslora: fields.use_rslora == Some(true),
            ranks: patterns(&path, "rank_pattern", fields.rank_pattern)?,
            alphas: patterns(&path, "alpha_pattern", fields.alpha_pattern)?,
            targets: matcher(&path, "target_modules", targets)?,
            excluded: matcher(
                &path,
                "exclude_modules",
                fields.exclude_modules.unwrap_or(nothing),
            )?,
            layers: layers.filter(|layers| !layers.is_empty()),
            path,
        })
    }

    /// The rank and the scale of a module's change: `W + scale · B · A`.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) for a rank of 0 and a scale that is no number.
    pub fn rank_and_scale(&self, module: &str) -> Result<(usize, f64)> {
        let rank = first(&self.ranks, module).unwrap_or(self.r);
        let alpha = first(&self.alphas, module).unwrap_or(self.alpha);
        let per = match self.rslora {
            true => (rank as f64).sqrt(),
            false => rank as f64,
        };
        let scale = alpha / per;
        if !scale.is_finite() {
            let reason = format!("{alpha} over rank {rank} is no scale for {module}");
            return Err(bad(&self.path, "lora_alpha".to_owned(), reason));
        }
        Ok((rank, scale))
    }

    /// Whether a module, in a layer of this number, is one that the adapter changes.
    pub fn targets(&self, module: &str, layer: usize) -> bool {
        let in_layers = self
            .layers
            .as_ref()
            .is_none_or(|layers| layers.contains(&layer));
        in_layers && self.targets.matches(module) && !self.excluded.matches(module)
    }
}

/// The first field that asks for what is not carried, and why it cannot be.
fn unusable(fields: &Fields) -> Option<(&str, String)> {
    if fields.peft_type.as_deref() != Some("LORA") {
        let kind = fields.peft_type.as_deref().unwrap_or("nothing");
        return Some(("peft_type", format!("says {kind}; only LORA is carried")));
    }
    if let Some(bias) = fields.bias.as_deref().filter(|bias| *bias != "none") {
        return Some(("bias", format!("{bias:?}: trained biases are not carried")));
    }
    let start = &fields.init_lora_weights;
    let plain = start.is_null() || start.is_boolean();
    if !plain && !start.as_str().is_some_and(|start| STARTS.contains(&start)) {
        let why = "the adapter starts from weights that are not the model's; save it as plain LoRA \
                   (path_initial_model_for_weight_conversion in peft)";
        return Some(("init_lora_weights", format!("{start}: {why}")));
    }
    let asks =
        |(name, value): &(&String, &Value)| !FREE.contains(&name.as_str()) && !says_nothing(value);
    let (field, _) = fields.rest.iter().find(asks)?;
    let known = NOT_CARRIED.iter().find(|(name, _)| name == field);
    let what = known.map_or("what this field asks for", |(_, what)| what);
    Some((field, format!("{what}: not carried")))
}

/// Numbers and words are details of training; switches, lists and tables are not.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Number(_) | Value::String(_) => true,
        Value::Bool(on) => !on,
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
    }
}

fn matcher(path: &Path, field: &'static str, names: Names) -> Result<Matcher> {
    Ok(match names {
        Names::Ends(ends) => Matcher::Ends(ends),
        Names::Pattern(pattern) => {
            Matcher::Pattern(regex(path, field, &format!("^(?:{pattern})$"), &pattern)?)
        }
    })
}

/// As peft matches them: the pattern may begin after any point in the name.
fn patterns<T>(
    path: &Path,
    field: &'static str,
    patterns: Option<Patterns<T>>,
) -> Result<Vec<(Regex, T)>> {
    let entries = patterns.map_or(Vec::new(), |patterns| patterns.0);
    let compiled = entries.into_iter().map(|(pattern, value)| {
        let whole = format!(r"^(?:.*\.)?(?:{pattern})$");
        Ok((regex(path, field, &whole, &pattern)?, value))
    });
    compiled.collect()
}

fn regex(path: &Path, field: &str, whole: &str, pattern: &str) -> Result<Regex> {
    Regex::new(whole).map_err(|_| {
        let reason = format!("{pattern:?} is no pattern that can be read");
        bad(path, field.to_owned(), reason)
    })
}

fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    let names = names_of(module);
    let matches = |pattern: &Regex| names.iter().any(|name| pattern.is_match(name));
    let found = patterns.iter().find(|(pattern, _)| matches(pattern));
    found.map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A plain configuration with these fields set, read back.
    fn read(changes: Value) -> Result<Config> {
        let mut config = json!({
            "peft_type": "LORA", "task_type": "SEQ_2_SEQ_LM", "base_model_name_or_path": "openai/whisper-base",
            "r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "bias": "none", "target_modules": ["q_proj", "v_proj"],
            "inference_mode": true, "init_lora_weights": true, "use_dora": false, "loftq_config": {},
            "auto_mapping": {"base_model_class": "WhisperForConditionalGeneration"}, "modules_to_save": null,
            "qalora_group_size": 16, "megatron_core": "megatron.core", "peft_version": "0.18.0",
        });
        let changes = changes.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(changes);
        read_text(&config.to_string())
    }

    fn read_text(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), text).unwrap();
        Config::read(folder.path())
    }

    #[test]
    fn the_order_of_patterns_is_the_files() {
        // `json!` would sort them.
        let text = r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"],
            "rank_pattern": {"q_proj": 2, "encoder_attn.q_proj": 4}}"#;
        let found = read_text(text)
            .unwrap()
            .rank_and_scale("decoder.layers.1.encoder_attn.q_proj");
        assert_eq!(found.unwrap(), (2, 8.0));
    }

    #[test]
    fn what_is_not_carried_is_named() {
        let table = [
            (json!({"peft_type": "ADALORA"}), "peft_type: says ADALORA"),
            (json!({"peft_type": null}), "peft_type: says nothing"),
            (json!({"use_dora": true}), "use_dora: DoRA"),
            (json!({"bias": "lora_only"}), "bias: \"lora_only\""),
            (json!({"lora_bias": true}), "lora_bias"),
            (json!({"fan_in_fan_out": true}), "fan_in_fan_out"),
            (json!({"modules_to_save": ["proj_out"]}), "modules_to_save"),
            (
                json!({"trainable_token_indices": [1]}),
                "trainable_token_indices",
            ),
            (
                json!({"init_lora_weights": "pissa_niter_16"}),
                "init_lora_weights",
            ),
            (json!({"loftq_config": {"loftq_bits": 4}}), "loftq_config"),
            (
                json!({"a_switch_of_tomorrow": true}),
                "a_switch_of_tomorrow",
            ),
            (json!({"r": null}), "r: is missing"),
            (json!({"lora_alpha": null}), "lora_alpha: is missing"),
            (
                json!({"target_modules": null}),
                "target_modules: is missing",
            ),
            (
                json!({"target_modules": "(q_proj"}),
                "\"(q_proj\" is no pattern",
            ),
            (
                json!({"rank_pattern": {"*": 4}}),
                "rank_pattern: \"*\" is no pattern",
            ),
            (json!({"r": "eight"}), "is not the JSON expected"),
            (
                json!({"rank_pattern": {"q_proj": -1}}),
                "is not the JSON expected",
            ),
        ];
        for (changes, said) in table {
            let error = read(changes.clone()).err().map(|error| error.to_string());
            let named = error.as_ref().is_some_and(|error| error.contains(said));
            assert!(named, "{changes}: {error:?}");
        }
        assert!(read(json!({})).is_ok());
    }

    #[test]
    fn ranks_and_scales_go_by_the_first_pattern() {
        let q = "decoder.layers.1.encoder_attn.q_proj";
        let table = [
            (json!({}), (8, 2.0)),
            (json!({"use_rslora": true}), (8, 16.0 / 8f64.sqrt())),
            (json!({"rank_pattern": {"q_proj": 4}}), (4, 4.0)),
            (json!({"rank_pattern": {"k_proj": 4, "proj": 2}}), (8, 2.0)),
            (
                json!({"rank_pattern": {"z_proj": 1, "encoder_attn.q_proj": 4, "q_proj": 2}}),
                (4, 4.0),
            ),
            (json!({"rank_pattern": {r".*decoder.*": 4}}), (4, 4.0)),
            (
                json!({"rank_pattern": {"model.decoder.layers.1.encoder_attn.q_proj": 4}}),
                (4, 4.0),
            ),
            (
                json!({"rank_pattern": {r"layers\.[01]\..*_proj": 4}}),
                (4, 4.0),
            ),
            (json!({"alpha_pattern": {"q_proj": 4}}), (8, 0.5)),
            (
                json!({"alpha_pattern": {"q_proj": 4}, "rank_pattern": {"q_proj": 16}, "use_rslora": true}),
                (16, 1.0),
            ),
        ];
        for (changes, expected) in table {
            let config = read(changes.clone()).unwrap();
            assert_eq!(config.rank_and_scale(q).unwrap(), expected, "{changes}");
        }
        let error = read(json!({"r": 0}))
            .unwrap()
            .rank_and_scale(q)
            .unwrap_err();
        assert!(error.to_string().contains("lora_alpha"), "{error}");
    }

    #[test]
    fn targets_are_ends_of_names_or_patterns() {
        let q = "decoder.layers.1.encoder_attn.q_proj";
        let table = [
            (json!({}), true),
            (json!({"target_modules": ["k_proj"]}), false),
            (json!({"target_modules": ["proj"]}), false),
            (json!({"target_modules": ["encoder_attn.q_proj"]}), true),
            (json!({"target_modules": "model.decoder.*(k|q)_proj"}), true),
            (json!({"target_modules": ".*decoder.*k_proj"}), false),
            (json!({"target_modules": "q_proj"}), false),
            (json!({"exclude_modules": ["encoder_attn.q_proj"]}), false),
            (json!({"exclude_modules": ".*encoder.layers.*"}), true),
            (json!({"layers_to_transform": 1}), true),
            (json!({"layers_to_transform": [0, 2]}), false),
            (json!({"layers_to_transform": []}), true),
        ];
        for (changes, expected) in table {
            let config = read(changes.clone()).unwrap();
            assert_eq!(config.targets(q, 1), expected, "{changes}");
        }
    }
}
