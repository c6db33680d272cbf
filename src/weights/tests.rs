use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::names::{all, numbered};
use super::*;

mod files;

/// The tiny random model of the repository.
fn pico(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("models/pico")
        .join(file)
}

/// Largest difference between two sources over all tensors, relative to each tensor's largest
/// number; every tensor must be in both.
fn difference(a: &dyn WeightSource, b: &dyn WeightSource) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let mut worst = 0.0_f32;
    for (row, block) in all(a.dims()) {
        let name = numbered(row.openai, block);
        let (a, b) = (a.tensor(&name).unwrap(), b.tensor(&name).unwrap());
        assert_eq!(a.shape(), b.shape(), "{name}");
        assert_eq!(a.len(), a.to_f32().len(), "{name}");
        let (a, b) = (a.to_f32(), b.to_f32());
        let largest = a
            .iter()
            .fold(0.0_f32, |most, x| most.max(x.abs()))
            .max(1e-9);
        let apart = a.iter().zip(b.iter()).map(|(a, b)| (a - b).abs() / largest);
        worst = apart.fold(worst, f32::max);
    }
    worst
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
        assert!(apart <= allowed, "{name}: {apart} apart, allowed {allowed}");
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
    let safetensors = safetensors::read(&pico("model.safetensors")).unwrap();
    let ct2 = ct2::read(&pico("model.bin")).unwrap();
    let dims = open(&pico("model.bin")).unwrap().dims().clone();
    let hf: HashSet<_> = all(&dims)
        .map(|(row, block)| numbered(row.hf, block))
        .collect();
    let joined: HashSet<_> = all(&dims)
        .map(|(row, block)| numbered(row.ct2, block))
        .collect();
    assert_eq!(hf, safetensors.found.into_keys().collect());
    assert_eq!(joined, ct2.found.into_keys().collect());
}

#[test]
fn computed_sinusoids_are_the_stored_ones() {
    // Pico holds the sinusoids that its script computed, rounded to 16 bits.
    let dir = tempfile::tempdir().unwrap();
    let source = open(&pico("model.safetensors")).unwrap();
    let file = dir.path().join("without.bin");
    files::ggml(&file, source.as_ref(), None, |name| {
        name != names::SINUSOIDS
    });
    let computed = open(&file).unwrap();
    let apart = difference(source.as_ref(), computed.as_ref());
    assert!(apart > 0.0 && apart < 5e-4, "{apart}");
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
    let file = dir.path().join("ggml.bin");
    files::ggml(&file, folder.as_ref(), None, |_| true);
    assert_eq!(
        open(&file).unwrap().vocabulary(),
        Some(files::VOCABULARY.map(Vec::from).as_slice())
    );
}

#[test]
fn what_is_no_model_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 7] = [
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

/// A small generator (xorshift), so that runs can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

/// Opens bytes that may be anything and reads all there is. Whether they were accepted.
fn read_all(file: &Path, bytes: &[u8]) -> bool {
    std::fs::write(file, bytes).unwrap();
    let Ok(source) = open(file) else { return false };
    for (row, block) in all(source.dims()) {
        let tensor = source.tensor(&numbered(row.openai, block)).unwrap();
        assert_eq!(tensor.to_f32().len(), tensor.len());
    }
    true
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let reference = open(&pico("")).unwrap();
    let mut random = Random(7);
    for (file, _) in files::in_every_format(dir.path(), reference.as_ref()) {
        let Ok(bytes) = std::fs::read(&file) else {
            continue;
        };
        let cut = dir.path().join("cut");
        let lengths = (1..200).chain((0..24).map(|_| random.below(bytes.len() - 1) + 1));
        for length in lengths.chain([bytes.len() - 1]) {
            // The list of aliases at the end of a CTranslate2 file is not needed.
            let needed = bytes.len() - 60;
            let whole = read_all(&cut, &bytes[..length]);
            assert!(
                !whole || length > needed,
                "{} cut at {length}",
                file.display()
            );
        }
    }
}

#[test]
fn files_with_flipped_bits_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let reference = open(&pico("")).unwrap();
    let mut random = Random(11);
    for (file, _) in files::in_every_format(dir.path(), reference.as_ref()) {
        let Ok(mut bytes) = std::fs::read(&file) else {
            continue;
        };
        let flipped = dir.path().join("flipped");
        let (front, back) = (bytes.len().min(12_000), bytes.len().min(16_000));
        for round in 0..72 {
            // Structure lies at the front of most formats, at the back of zip archives.
            let at = match round % 3 {
                0 => random.below(front),
                1 => bytes.len() - 1 - random.below(back),
                _ => random.below(bytes.len()),
            };
            let before = bytes[at];
            bytes[at] = if round % 2 == 0 {
                before ^ (1 << random.below(8))
            } else {
                0xff
            };
            read_all(&flipped, &bytes);
            bytes[at] = before;
        }
    }
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
