//! Small whole models, made here or by the conversion, for the fuzzer to start from.

use std::path::{Path, PathBuf};

use half::f16;
use serde_json::json;
use undertone::weights::{Conversion, GgmlExtras, Numbers, Target, convert, weights_file};

/// The sizes of a synthetic Whisper; the heads are for its configuration.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub mels: usize,
    pub vocab: usize,
    pub audio_ctx: usize,
    pub text_ctx: usize,
    pub audio: usize,
    pub text: usize,
    pub heads: usize,
    pub layers: usize,
}

/// As small as an index allows: rows of one block of 32.
pub const TINY: Sizes = Sizes {
    mels: 2,
    vocab: 5,
    audio_ctx: 3,
    text_ctx: 4,
    audio: 32,
    text: 32,
    heads: 2,
    layers: 1,
};

/// Every tensor's name, as openai/whisper has it, and its shape.
fn tensors(s: &Sizes) -> Vec<(String, Vec<usize>)> {
    let mut all: Vec<(String, Vec<usize>)> = vec![
        ("encoder.conv1.weight".into(), vec![s.audio, s.mels, 3]),
        ("encoder.conv1.bias".into(), vec![s.audio]),
        ("encoder.conv2.weight".into(), vec![s.audio, s.audio, 3]),
        ("encoder.conv2.bias".into(), vec![s.audio]),
        (
            "encoder.positional_embedding".into(),
            vec![s.audio_ctx, s.audio],
        ),
        (
            "decoder.token_embedding.weight".into(),
            vec![s.vocab, s.text],
        ),
        (
            "decoder.positional_embedding".into(),
            vec![s.text_ctx, s.text],
        ),
    ];
    let mut linear = |name: String, outputs: usize, inputs: usize| {
        if !name.ends_with("key") && !name.ends_with("ln") && !name.ends_with("ln_post") {
            all.push((format!("{name}.bias"), vec![outputs]));
        }
        match inputs {
            1 => {
                all.push((format!("{name}.weight"), vec![outputs]));
                all.push((format!("{name}.bias"), vec![outputs]));
            }
            _ => all.push((format!("{name}.weight"), vec![outputs, inputs])),
        }
    };
    let stacks = [("encoder", s.audio, "ln_post"), ("decoder", s.text, "ln")];
    for (stack, width, last) in stacks {
        for layer in 0..s.layers {
            let block = format!("{stack}.blocks.{layer}");
            let parts: &[&str] = if stack == "encoder" {
                &["attn"]
            } else {
                &["attn", "cross_attn"]
            };
            for part in parts {
                let heard = if *part == "cross_attn" {
                    s.audio
                } else {
                    width
                };
                for (projection, inputs) in [
                    ("query", width),
                    ("key", heard),
                    ("value", heard),
                    ("out", width),
                ] {
                    linear(format!("{block}.{part}.{projection}"), width, inputs);
                }
                linear(format!("{block}.{part}_ln"), width, 1);
            }
            linear(format!("{block}.mlp.0"), 4 * width, width);
            linear(format!("{block}.mlp.2"), width, 4 * width);
            linear(format!("{block}.mlp_ln"), width, 1);
        }
        linear(format!("{stack}.{last}"), width, 1);
    }
    all
}

/// A safetensors file of these tensors, in 16-bit floats.
fn safetensors(tensors: &[(String, Vec<usize>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in tensors {
        let start = data.len();
        let count: usize = shape.iter().product();
        let number = |i: usize| f16::from_f32((i * 7 % 64) as f32 / 64.0 - 0.5).to_le_bytes();
        data.extend((0..count).flat_map(number));
        let info = json!({"dtype": "F16", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), info);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    file
}

fn config(s: &Sizes) -> String {
    json!({"encoder_attention_heads": s.heads, "decoder_attention_heads": s.heads}).to_string()
}

/// A folder with a model of these sizes and its configuration; made if it is not there.
pub fn model(dir: &Path, sizes: &Sizes) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("config.json"), config(sizes)).unwrap();
    std::fs::write(dir.join("model.safetensors"), safetensors(&tensors(sizes))).unwrap();
    dir.to_owned()
}

/// The same in two shards with an index.
pub fn shards(dir: &Path, sizes: &Sizes) -> String {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("config.json"), config(sizes)).unwrap();
    let all = tensors(sizes);
    let (a, b) = all.split_at(all.len() / 2);
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("a.safetensors", a), ("b.safetensors", b)] {
        std::fs::write(dir.join(file), safetensors(tensors)).unwrap();
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), json!(file))));
    }
    json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()
}

/// The tiny model in every way that a format can store it.
pub fn converted(dir: &Path, target: &Target) -> Vec<Vec<u8>> {
    let source = model(&dir.join("source"), &TINY);
    let mut files = Vec::new();
    for (name, numbers) in Numbers::named().filter(|(_, numbers)| target.takes(*numbers)) {
        let folder = dir.join(name);
        let conversion = Conversion {
            target: target.clone(),
            numbers: Some(numbers),
        };
        convert(&source, &folder, &conversion).unwrap();
        files.push(std::fs::read(weights_file(&folder).unwrap()).unwrap());
    }
    files
}

/// What a ggml file carries beside the weights.
pub fn extras() -> GgmlExtras {
    GgmlExtras {
        vocabulary: vec![b"a".to_vec(), b" the".to_vec()],
        mel_filters: vec![0.5; 2 * TINY.mels],
    }
}

/// A file of the repository: this may be built in a package of its own below it.
pub fn repository(file: &str) -> Vec<u8> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|folder| folder.join(file));
    let found = found.into_iter().find(|file| file.is_file());
    std::fs::read(found.expect("the repository is whole")).unwrap()
}
