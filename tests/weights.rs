//! Weights through the public interface: the small model of the repository, and real ones where they are.

use std::path::{Path, PathBuf};

use undertone::weights::hub::{self, HubConfig};
use undertone::weights::{Conversion, Ct2Extras, Numbers, Target, WeightSource, convert, open};

use crate::support;

/// Tensors of every kind.
const TENSORS: [&str; 8] = [
    "encoder.conv1.weight",
    "encoder.positional_embedding",
    "encoder.blocks.1.attn.key.weight",
    "encoder.ln_post.bias",
    "decoder.token_embedding.weight",
    "decoder.blocks.0.cross_attn.value.bias",
    "decoder.blocks.1.cross_attn.key.weight",
    "decoder.blocks.1.mlp.0.weight",
];

fn pico(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/pico")
        .join(file)
}

/// Root mean square of the difference, relative to that of the numbers, of the worst tensor.
fn apart(a: &dyn WeightSource, b: &dyn WeightSource) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let one = |name: &str| {
        let (a, b) = (a.tensor(name).unwrap(), b.tensor(name).unwrap());
        let (a, b) = (a.to_f32(), b.to_f32());
        let difference: f64 = a
            .iter()
            .zip(b.iter())
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum();
        let size: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
        (difference / size).sqrt()
    };
    support::worst(TENSORS.iter().map(|name| one(name)))
}

#[test]
fn conversion_keeps_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let original = open(&pico("model.bin")).unwrap();
    let cases = [
        (Target::Safetensors, None, 0.0),
        (Target::CTranslate2(Ct2Extras::default()), None, 0.0),
        (
            Target::CTranslate2(Ct2Extras::default()),
            Some(Numbers::F32),
            0.0,
        ),
        (
            Target::CTranslate2(Ct2Extras::default()),
            Some(Numbers::Int8),
            0.02,
        ),
    ];
    for (i, (target, numbers, allowed)) in cases.iter().cloned().enumerate() {
        let folder = dir.path().join(i.to_string());
        let conversion = Conversion { target, numbers };
        convert(&pico("model.bin"), &folder, &conversion).unwrap();
        let difference = apart(original.as_ref(), open(&folder).unwrap().as_ref());
        assert!(difference <= allowed, "{conversion:?}: {difference}");
        assert!(
            folder.join("tokenizer.json").is_file(),
            "the tokenizer goes along"
        );
        let again = convert(&pico("model.bin"), &folder, &conversion);
        assert!(again.unwrap_err().to_string().contains("already there"));
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), cases.len(), "nothing is left over");
}

#[test]
fn a_folder_is_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let config = HubConfig::new(dir.path().join("models"), dir.path().join("hub"));
    let files = hub::locate(&pico("").display().to_string(), &config)
        .unwrap()
        .unwrap();
    assert_eq!(files.weights, pico("model.safetensors"));
    assert_eq!(files.tokenizer, Some(pico("tokenizer.json")));
}

#[test]
fn tokens_that_whisper_cpps_format_cannot_hold_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(pico(file), dir.path().join(file)).unwrap();
    }
    let json = std::fs::read_to_string(pico("tokenizer.json")).unwrap();
    let config = HubConfig::new(dir.path().join("models"), dir.path().join("hub"));
    let extras = |json: &str| {
        std::fs::write(dir.path().join("tokenizer.json"), json).unwrap();
        let files = hub::locate(&dir.path().display().to_string(), &config);
        undertone::ggml_extras(&files.unwrap().unwrap())
    };
    assert_eq!(extras(&json).unwrap().vocabulary.len(), 512);
    let own = json.replace("<|su|>", "added text");
    assert!(own != json);
    let error = extras(&own).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("tokens of its own"), "{error}");
}

#[cfg(feature = "hub")]
#[test]
fn whisper_cpps_own_file_holds_the_weights_of_tiny_en() {
    use undertone::ggml_extras;

    let Some(reference) = support::reference() else {
        return;
    };
    let file = reference.join("models/ggml-tiny.en-q5_0.bin");
    let ggml = open(&file).unwrap();
    assert_eq!(
        Some(ggml.dims()),
        hub::find("tiny.en").map(|entry| entry.dims()).as_ref()
    );
    assert_eq!(ggml.vocabulary().map(<[_]>::len), Some(50_256));
    let Ok(Some(real)) = hub::locate("tiny.en", &support::hub()) else {
        support::skipped("no source has the weights of tiny.en");
        return;
    };
    // Its own quantizer gave the bytes that our conversion gives.
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("q5_0");
    let conversion = Conversion {
        target: Target::Ggml(ggml_extras(&real).unwrap()),
        numbers: Numbers::named().find(|n| n.0 == "q5_0").map(|n| n.1),
    };
    convert(&real.weights, &folder, &conversion).unwrap();
    let ours = open(&folder).unwrap();
    assert_eq!(ours.vocabulary(), ggml.vocabulary());
    assert_eq!(ours.names().len(), 167);
    let stored = |source: &dyn WeightSource, name: &str| {
        let tensor = source.tensor(name).unwrap();
        (tensor.encoding(), tensor.bytes().to_vec())
    };
    for name in ours.names() {
        assert!(
            stored(ours.as_ref(), name) == stored(ggml.as_ref(), name),
            "{name}"
        );
    }
}

/// `base` as faster-whisper's makers converted it says what steers decoding; ours must say the same.
#[cfg(feature = "hub")]
#[test]
fn what_conversion_says_beside_the_weights_is_what_others_say() {
    let files = hub::resolve("base", &support::hub(), &mut |_| {});
    let Some(files) = files
        .ok()
        .filter(|files| files.weights.ends_with("model.bin"))
    else {
        support::skipped("model base in CTranslate2's format");
        return;
    };
    let text = std::fs::read_to_string(files.dir.join("config.json")).unwrap();
    let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours = undertone::ct2_extras(&files).unwrap();
    let sorted = |list: &serde_json::Value| {
        let mut ids: Vec<u64> = serde_json::from_value(list.clone()).unwrap();
        ids.sort_unstable();
        ids
    };
    let ids = |list: &[u32]| list.iter().map(|id| u64::from(*id)).collect::<Vec<_>>();
    assert_eq!(ids(&ours.suppress_ids), sorted(&theirs["suppress_ids"]));
    assert_eq!(
        ids(&ours.suppress_ids_begin),
        sorted(&theirs["suppress_ids_begin"])
    );
    assert_eq!(ids(&ours.lang_ids), sorted(&theirs["lang_ids"]));
    let heads: Vec<(usize, usize)> =
        serde_json::from_value(theirs["alignment_heads"].clone()).unwrap();
    assert_eq!(ours.alignment_heads, heads);
    let beside = undertone::transformers_files(&files).unwrap();
    let generation = beside
        .iter()
        .find(|(name, _)| *name == "generation_config.json");
    let generation: serde_json::Value = serde_json::from_str(&generation.unwrap().1).unwrap();
    assert_eq!(
        sorted(&generation["begin_suppress_tokens"]),
        sorted(&theirs["suppress_ids_begin"])
    );
    assert_eq!(generation["lang_to_id"]["<|de|>"], 50_261);
}
