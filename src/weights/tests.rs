use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::names::{all, numbered};
use super::*;
use crate::comparison::{relative_error, worst};

pub mod files;
mod whole;

/// The tiny random model of the repository.
pub fn pico(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/pico")
        .join(file)
}

/// Largest difference between two sources over all tensors, relative to each tensor's largest
/// number; every tensor must be in both.
fn difference(a: &dyn WeightSource, b: &dyn WeightSource) -> f64 {
    assert_eq!(a.dims(), b.dims());
    worst(all(a.dims()).map(|(row, block)| {
        let name = numbered(row.openai, block);
        let (a, b) = (a.tensor(&name).unwrap(), b.tensor(&name).unwrap());
        assert_eq!(a.shape(), b.shape(), "{name}");
        assert_eq!(a.len(), a.to_f32().len(), "{name}");
        let (a, b) = (a.to_f32(), b.to_f32());
        relative_error(&b, &a)
    }))
}

#[test]
fn every_format_gives_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let reference = open(&pico("model.safetensors")).unwrap();
    let mut formats = HashSet::new();
    for (file, allowed) in files::in_every_format(dir.path(), reference.as_ref()) {
        let source = open(&file).unwrap_or_else(|e| panic!("{e}"));
        let apart = difference(reference.as_ref(), source.as_ref());
        let name = file.display();
        assert!(
            apart <= f64::from(allowed),
            "{name}: {apart} apart, allowed {allowed}"
        );
        assert!(
            (allowed == 0.0) || apart > 0.0,
            "{name} is as exact as if it were not quantized"
        );
        formats.insert(source.format());
    }
    let known = ["safetensors", "CTranslate2", "PyTorch", "ggml", "GGUF"];
    assert_eq!(formats, HashSet::from(known));
}

#[test]
fn sizes_are_those_of_the_configuration() {
    let dims = open(&pico("model.bin")).unwrap().dims().clone();
    assert_eq!(
        (dims.n_audio_head, dims.n_text_head, dims.n_audio_state),
        (1, 1, 64)
    );
    assert_eq!((dims.n_audio_layer, dims.n_text_layer), (2, 2));
    assert_eq!((dims.n_mels, dims.n_vocab), (80, 2120));
    assert_eq!((dims.n_audio_ctx, dims.n_text_ctx), (1500, 448));
}

#[test]
fn the_table_names_every_tensor_of_a_file() {
    let mapped = |file| Mapped::open(&pico(file)).unwrap();
    let safetensors = safetensors::read(mapped("model.safetensors")).unwrap();
    let ct2 = ct2::read(mapped("model.bin")).unwrap();
    let dims = open(&pico("model.bin")).unwrap().dims().clone();
    let hf: HashSet<_> = all(&dims)
        .map(|(row, block)| numbered(row.hf, block))
        .collect();
    let joined: HashSet<_> = all(&dims)
        .map(|(row, block)| numbered(row.ct2, block))
        .chain([names::OUTPUT_ROW.ct2.to_owned()])
        .collect();
    assert_eq!(hf, safetensors.found.into_keys().collect());
    assert_eq!(open(&pico("model.bin")).unwrap().names().len(), hf.len());
    assert_eq!(joined, ct2.found.into_keys().collect());
}

#[test]
fn a_source_knows_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = open(&pico("")).unwrap();
    assert_eq!(folder.format(), "safetensors");
    assert_eq!(folder.file(), pico("model.safetensors"));
    let ct2 = open(&pico("model.bin")).unwrap();
    let prints = [folder.fingerprint().unwrap(), ct2.fingerprint().unwrap()];
    assert_ne!(prints[0], prints[1]);
    assert_eq!(prints[0], open(&pico("")).unwrap().fingerprint().unwrap());
    let missing = folder
        .tensor("encoder.blocks.0.attn.key.bias")
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("encoder.blocks.0.attn.key.bias"),
        "{missing}"
    );
    let file = files::converted(dir.path(), Target::Ggml(files::extras()), Numbers::F16);
    assert_eq!(
        open(&file).unwrap().vocabulary(),
        Some(files::extras().vocabulary.as_slice())
    );
}

/// What `make.py` beside the files writes as number `i` of tensor `k`.
fn number(k: usize, i: usize) -> f32 {
    (((7 * i + 13 * k) % 64) as f32 - 32.0) / 64.0
}

#[test]
fn what_torch_saved_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/weights");
    // Of these, only openai's says how many heads there are: a width of 8 is not even one.
    let wide = tempfile::tempdir().unwrap();
    let config = r#"{"encoder_attention_heads": 2, "decoder_attention_heads": 2}"#;
    std::fs::write(wide.path().join(declared::CONFIG), config).unwrap();
    for name in ["openai.pt", "views.pt", "bfloat16.pt", "scattered.pt"] {
        let mut file = folder.join(name);
        if name != "openai.pt" {
            std::fs::copy(&file, wide.path().join(name)).unwrap();
            file = wide.path().join(name);
        }
        let source = open(&file).unwrap_or_else(|e| panic!("{e}"));
        let dims = source.dims();
        let heads = (dims.n_audio_head, dims.n_text_head);
        assert_eq!((dims.n_mels, dims.n_audio_state, heads), (4, 8, (2, 2)));
        for (k, tensor) in source.names().into_iter().enumerate() {
            let found = source.tensor(tensor).unwrap();
            let floats = found.to_f32();
            let wrong = floats
                .iter()
                .enumerate()
                .find(|(i, x)| **x != number(k, *i));
            assert_eq!(wrong, None, "{name}: {tensor}");
        }
    }
    let legacy = open(&folder.join("legacy.pt")).err().map(|e| e.to_string());
    let legacy = legacy.unwrap_or_default();
    assert!(legacy.contains("before torch 1.6"), "{legacy}");
}

#[test]
fn candle_reads_the_gguf_that_is_written() {
    use candle_core::quantized::gguf_file::Content;
    let dir = tempfile::tempdir().unwrap();
    for numbers in [Numbers::F16, Numbers::Blocks(Block::Q5_1)] {
        let file = files::converted(dir.path(), Target::Gguf, numbers);
        let source = open(&file).unwrap();
        let mut reader = std::fs::File::open(&file).unwrap();
        let content = Content::read(&mut reader).unwrap();
        for (row, block) in all(source.dims()) {
            let theirs = format!("model.{}", numbered(row.hf, block));
            let cpu = candle_core::Device::Cpu;
            let theirs = content.tensor(&mut reader, &theirs, &cpu).unwrap();
            let theirs = theirs.dequantize(&cpu).unwrap();
            let ours = source.tensor(&numbered(row.openai, block)).unwrap();
            assert_eq!(theirs.dims(), ours.shape(), "{}", row.hf);
            let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(theirs, *ours.to_f32(), "{}", row.hf);
        }
    }
}

#[test]
fn numbers_that_a_format_has_not_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (Target::Safetensors, "int8"),
        (Target::CTranslate2(Ct2Extras::default()), "q5_0"),
        (Target::Ggml(files::extras()), "q4_k"),
        (Target::Gguf, "bfloat16"),
    ];
    for (target, name) in cases {
        let numbers = Numbers::named().find(|(known, _)| *known == name);
        let numbers = numbers.map(|(_, numbers)| numbers);
        let conversion = Conversion { target, numbers };
        let folder = dir.path().join("out");
        let error = convert(&pico(""), &folder, &conversion).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(name) && error.contains("float16"), "{error}");
        assert!(!folder.exists());
    }
}

#[test]
fn what_is_no_model_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty", b"", "is empty"),
        (
            "text",
            b"What is this? No model, for sure.",
            "no format that can be read",
        ),
        (
            "old.bin",
            b"\x05\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0",
            "version 5 is not supported",
        ),
        (
            "short.bin",
            b"\x06\0\0\0\x0c\0WhisperSpec\0\x03\0\0\0",
            "number of variables",
        ),
        (
            "pointer.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "git lfs pull",
        ),
        ("zip.pt", b"PK\x03\x04 and no more", "zip archive"),
        ("new.gguf", b"GGUF\x09\0\0\0", "version 9 is not supported"),
        (
            "huge.safetensors",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
            "safetensors",
        ),
    ];
    for (name, bytes, expected) in cases {
        let file = dir.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let error = open(&file).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            error.contains(expected) && error.contains(name),
            "{name}: {error}"
        );
    }
    let none = open(&dir.path().join("none"))
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    assert!(none.contains("none: cannot be read"), "{none}");
}

#[test]
fn shards_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    std::fs::copy(
        pico("model.safetensors"),
        dir.path().join("model-1.safetensors"),
    )
    .unwrap();
    let write = |map: &str| std::fs::write(&index, map).unwrap();
    write(r#"{"metadata": {}, "weight_map": {"a": "model-1.safetensors"}}"#);
    let (whole, sharded) = (open(&pico("")).unwrap(), open(dir.path()).unwrap());
    assert!(difference(whole.as_ref(), sharded.as_ref()) == 0.0);
    write(r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#);
    assert!(open(dir.path()).is_err(), "a shard is missing");
    write(r#"{"weight_map": {"a": "../model-1.safetensors"}}"#);
    let error = open(dir.path())
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    assert!(error.contains("plain name"), "{error}");
}
