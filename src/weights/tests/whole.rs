//! A checkpoint that is not whole, or not of a Whisper, is refused, in every format.

use std::path::{Path, PathBuf};

use half::f16;
use serde_json::json;

use super::*;
use crate::weights::parts::Parts;

/// Pico in 16-bit floats, once in each format; alone in its folder but for what conversion puts there.
fn one_of_each(dir: &Path) -> Vec<PathBuf> {
    let reference = open(&pico("model.safetensors")).unwrap();
    let ggml = Target::Ggml(files::extras());
    let targets = [
        Target::Safetensors,
        Target::CTranslate2(Ct2Extras::default()),
        ggml,
        Target::Gguf,
    ];
    let mut all: Vec<_> = targets
        .into_iter()
        .map(|target| files::converted(dir, target, Numbers::F16))
        .collect();
    std::fs::create_dir(dir.join("pt")).unwrap();
    let pt = dir.join("pt/pico.pt");
    files::pt(&pt, reference.as_ref(), |_| true);
    all.push(pt);
    all
}

fn parts(file: &Path) -> Parts {
    let mut parts = read(file).unwrap();
    parts.declared.extend(declared::config(file).unwrap());
    parts
}

fn assembled(parts: Parts) -> Result<checkpoint::Checkpoint, String> {
    checkpoint::assemble(parts).map_err(|error| error.to_string())
}

fn refused(parts: Parts) -> String {
    assembled(parts).err().unwrap_or_default()
}

fn error(opened: Result<Box<dyn WeightSource>>) -> String {
    opened.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn every_tensor_that_is_called_for_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    for file in one_of_each(dir.path()) {
        let whole = assembled(parts(&file)).unwrap();
        assert_eq!(whole.warnings(), [""; 0], "{}", file.display());
        let names: Vec<String> = parts(&file).found.into_keys().collect();
        // CTranslate2 has the embedding twice, under the output matrix's name too.
        let once =
            |name: &&String| !name.contains("projection") && *name != "decoder/embeddings/weight";
        for name in names.iter().filter(once) {
            let mut without = parts(&file);
            let tensor = without.found.remove(name).unwrap();
            let said = refused(without);
            assert!(said.contains("is missing"), "{name}: {said:?}");
            let mut misspelt = parts(&file);
            misspelt.found.remove(name);
            let stem = name.trim_end_matches("weight");
            misspelt.found.insert(format!("{stem}_weihgt"), tensor);
            let said = refused(misspelt);
            let hint = name.contains("mlp_ln") || name.contains("final_layer_norm");
            assert!(said.contains("is missing"), "{name}: {said:?}");
            assert!(!hint || said.contains("weihgt"), "{name}: {said:?}");
        }
    }
}

#[test]
fn a_block_counts_by_any_of_its_tensors() {
    let dir = tempfile::tempdir().unwrap();
    for file in one_of_each(dir.path()) {
        for stack in ["encoder", "decoder"] {
            let mut parts = parts(&file);
            let last = |name: &&String| {
                let of = [".blocks.1.", ".layers.1.", "layer_1/"]
                    .iter()
                    .any(|part| name.contains(part));
                name.starts_with(stack) && of
            };
            let names: Vec<_> = parts.found.keys().filter(last).cloned().collect();
            assert!(names.len() > 10, "{names:?}");
            for name in &names[1..] {
                parts.found.remove(name);
            }
            assert!(refused(parts).contains("is missing"), "{}", file.display());
        }
    }
}

#[test]
fn sizes_that_the_tensors_have_not_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for file in one_of_each(dir.path()) {
        let dims = assembled(parts(&file)).unwrap().dims().clone();
        let openai = parts(&file).declared[0].clone();
        assert!(openai.check(&file, &dims).is_ok());
        let declared = parts(&file).declared;
        let sizes = declared.iter().flat_map(|said| said.sizes.clone());
        let sizes: Vec<_> = sizes.map(|(name, _)| name).collect();
        // CTranslate2's own configuration says none: the heads are in the weights, tensors tell the rest.
        let least = if file.ends_with("model.bin") { 2 } else { 10 };
        assert!(sizes.len() >= least, "{}: {sizes:?}", file.display());
        for (name, said) in sizes.iter().flat_map(|name| [(name, 3), (name, 1 << 20)]) {
            if *name == "ftype" {
                continue;
            }
            let mut parts = parts(&file);
            let sizes = parts.declared.iter_mut().flat_map(|said| &mut said.sizes);
            sizes
                .filter(|(known, _)| known == name)
                .for_each(|size| size.1 = said);
            let error = refused(parts);
            let heads = name.contains("head");
            assert!(
                heads && error.contains("heads do not divide")
                    || error.contains(name.as_str()) && error.contains(&said.to_string()),
                "{}: {name}: {error:?}",
                file.display()
            );
        }
    }
}

#[test]
fn a_configuration_of_another_network_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(pico("model.safetensors"), folder.join("model.safetensors")).unwrap();
    let cases = [
        (
            json!({"model_type": "wav2vec2"}),
            "model_type: \"wav2vec2\"",
        ),
        (
            json!({"activation_function": "relu"}),
            "activation_function: \"relu\"",
        ),
        (json!({"scale_embedding": true}), "scale_embedding: true"),
        (
            json!({"encoder_layers": 3}),
            "encoder_layers: config.json says 3, the tensors have 2",
        ),
        (
            json!({"vocab_size": 51865}),
            "vocab_size: config.json says 51865, the tensors have 2120",
        ),
        (
            json!({"num_mel_bins": 128}),
            "num_mel_bins: config.json says 128, the tensors have 80",
        ),
        (
            json!({"quantization_config": {"quant_method": "bitsandbytes"}}),
            "bitsandbytes",
        ),
        (
            json!({"quantization_config": {"quant_method": "gptq"}}),
            "GPTQ",
        ),
        (
            json!({"quantization_config": {"quant_method": "awq"}}),
            "AWQ",
        ),
        (
            json!({"tie_word_embeddings": false}),
            "proj_out.weight: is missing",
        ),
    ];
    for (config, want) in cases {
        std::fs::write(folder.join(declared::CONFIG), config.to_string()).unwrap();
        let said = error(open(&folder));
        assert!(said.contains(want), "{config}: {said:?}");
    }
    for fine in [
        json!({}),
        json!({"activation_function": "gelu", "scale_embedding": false}),
    ] {
        std::fs::write(folder.join(declared::CONFIG), fine.to_string()).unwrap();
        assert_eq!(error(open(&folder)), "", "{fine}");
    }
}

/// Writes `floats` over the start of a tensor's numbers, which are 16-bit ones in the file, or 32-bit.
fn patch(file: &Path, name: &str, at: usize, number: f32) {
    let tensor = parts(file).found[name].clone();
    let mut bytes = std::fs::read(file).unwrap();
    let number = match tensor.encoding {
        Encoding::F16 => f16::from_f32(number).to_le_bytes().to_vec(),
        _ => number.to_le_bytes().to_vec(),
    };
    let start = tensor.bytes.start + at * number.len();
    bytes[start..start + number.len()].copy_from_slice(&number);
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn numbers_that_are_not_finite_name_their_tensor() {
    let dir = tempfile::tempdir().unwrap();
    for file in one_of_each(dir.path()) {
        let source = open(&file).unwrap();
        for name in source.names() {
            assert!(source.floats(name).is_ok(), "{name}");
        }
        let openai = "decoder.blocks.1.mlp_ln.weight";
        let row = names::NAMES
            .iter()
            .find(|row| row.openai == "decoder.blocks.#.mlp_ln.weight");
        let theirs = parts(&file).name(row.unwrap(), 1);
        for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            patch(&file, &theirs, 63, number);
            let source = open(&file).unwrap();
            let said = source.floats(openai).unwrap_err().to_string();
            assert!(
                said.contains(openai) && said.contains("1 of its 64"),
                "{said}"
            );
        }
    }
}

#[test]
fn a_bias_of_the_keys_must_be_zeros() {
    let dir = tempfile::tempdir().unwrap();
    for file in one_of_each(dir.path()) {
        for row in &names::KEY_BIASES {
            let mut with = parts(&file);
            let name = with.name(row, 1);
            let joined = with.dialect == parts::Dialect::CTranslate2;
            if joined {
                // The keys' rows are the second of three runs, or the first of two.
                assert!(assembled(with).unwrap().verify().is_ok());
                let before = std::fs::read(&file).unwrap();
                patch(&file, &name, 64 * row.part.index + 5, 0.5);
                let said = open(&file).unwrap().verify().unwrap_err().to_string();
                assert!(said.contains(&name), "{said}");
                std::fs::write(&file, before).unwrap();
                continue;
            }
            let other = names::NAMES
                .iter()
                .find(|row| row.openai == "decoder.ln.weight");
            let weights = with.find(other.unwrap(), 0).unwrap().clone();
            with.found.insert(name.clone(), weights);
            let source = assembled(with).unwrap();
            let said = source.verify().unwrap_err().to_string();
            assert!(said.contains(&name) && said.contains("not zero"), "{said}");
        }
    }
}

#[test]
fn what_is_left_over_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for file in one_of_each(dir.path()) {
        let norm = names::NAMES
            .iter()
            .find(|row| row.openai == "decoder.ln.weight")
            .unwrap();
        let sep = if parts(&file).dialect == parts::Dialect::CTranslate2 {
            "/"
        } else {
            "."
        };
        let inside = parts(&file)
            .name(norm, 0)
            .replace("weight", "weight_g")
            .replace("gamma", "gamma/g");
        for (name, changes) in [(format!("ctc_head{sep}weight"), false), (inside, true)] {
            let mut with = parts(&file);
            let weights = with.find(norm, 0).unwrap().clone();
            with.found.insert(name.clone(), weights);
            let source = assembled(with).unwrap();
            assert!(
                source.warnings().iter().any(|said| said.contains(&name)),
                "{name}"
            );
            assert_eq!(source.verify().is_err(), changes, "{name}");
        }
    }
}

#[test]
fn other_tools_files_are_named() {
    let cases = [
        ("encoder.layers.0.self_attn.q_proj.lora_A.weight", "LoRA"),
        ("encoder.layers.0.self_attn.q_proj.qweight", "GPTQ"),
        (
            "encoder.layers.0.self_attn.q_proj.weight.absmax",
            "bitsandbytes",
        ),
        ("encoder.layers.0.self_attn.q_proj.SCB", "bitsandbytes"),
        ("encoder.blocks.0.mlp1.weight", "MLX"),
        ("encoder.layers.0.fc1.weight_scale", "quantized"),
    ];
    for (name, want) in cases {
        let mut parts = parts(&pico("model.safetensors"));
        parts.add_unusable(name, "I8".into());
        let said = refused(parts);
        assert!(said.contains(want), "{name}: {said:?}");
    }
    let mut bytes = parts(&pico("model.safetensors"));
    bytes.found.remove("encoder.layers.0.fc1.weight");
    bytes.add_unusable("model.encoder.layers.0.fc1.weight", "I8".into());
    let said = refused(bytes);
    assert!(said.contains("fc1.weight: is I8"), "{said}");
}

#[test]
fn the_output_matrix_may_have_another_name_or_be_another() {
    let embedding = "decoder.embed_tokens.weight";
    // Under its other name alone.
    let mut alone = parts(&pico("model.safetensors"));
    let tensor = alone.found.remove(embedding).unwrap();
    alone.found.insert(names::OUTPUT.into(), tensor.clone());
    let source = assembled(alone).unwrap();
    assert_eq!(
        (source.output(), source.warnings().len()),
        (names::EMBEDDING, 0)
    );
    // Twice the same tensor, then another one of the same shape.
    let (dir, mut found) = (tempfile::tempdir().unwrap(), files::floats(&pico("")));
    let output = found
        .iter()
        .find(|(name, ..)| name.ends_with(embedding))
        .unwrap()
        .clone();
    found.push((names::OUTPUT.into(), output.1, output.2));
    let (file, config) = (
        dir.path().join("model.safetensors"),
        dir.path().join(declared::CONFIG),
    );
    files::safetensors(&file, &found);
    let source = open(&file).unwrap();
    assert_eq!(
        (source.output(), source.warnings().len()),
        (names::EMBEDDING, 0)
    );
    found.last_mut().unwrap().2[7] += 0.25;
    files::safetensors(&file, &found);
    let silent = json!({"model_type": "whisper"});
    let says = |tied| json!({"model_type": "whisper", "tie_word_embeddings": tied});
    for (said, warned) in [
        (None, false),
        (Some(says(false)), false),
        (Some(says(true)), true),
        (Some(silent), true),
    ] {
        std::fs::remove_file(&config).ok();
        if let Some(said) = &said {
            std::fs::write(&config, said.to_string()).unwrap();
        }
        let source = open(&file).unwrap();
        assert_eq!(source.output(), names::OUTPUT);
        source.verify().unwrap();
        let warnings = source.warnings().join("\n");
        assert_eq!(
            warnings.contains("proj_out.weight is not"),
            warned,
            "{said:?}"
        );
        assert_eq!(warnings.is_empty(), !warned, "{said:?}");
    }
    std::fs::remove_file(&config).unwrap();
    goes_along_where_it_can(dir.path(), &file, &found.last().unwrap().2);
}

/// An output matrix of its own is converted into the formats that have a place for it.
fn goes_along_where_it_can(folder: &Path, file: &Path, output: &[f32]) {
    for target in [
        Target::Safetensors,
        Target::CTranslate2(Ct2Extras::default()),
        Target::Gguf,
    ] {
        let converted = folder.join(target.name());
        let conversion = Conversion {
            target,
            numbers: Some(Numbers::F32),
        };
        convert(file, &converted, &conversion).unwrap();
        if conversion.target != Target::Gguf {
            let source = open(&converted).unwrap();
            assert_eq!(source.floats(names::OUTPUT).unwrap(), output);
        }
        assert_eq!(open(&converted).unwrap().output(), names::OUTPUT);
    }
    let ggml = Conversion {
        target: Target::Ggml(files::extras()),
        numbers: None,
    };
    assert!(convert(file, &folder.join("ggml"), &ggml).is_err());
}

#[test]
fn a_padded_vocabulary_loads() {
    let (dir, mut found) = (tempfile::tempdir().unwrap(), files::floats(&pico("")));
    for (name, shape, floats) in &mut found {
        if name.ends_with("embed_tokens.weight") {
            shape[0] = 2128;
            floats.resize(2128 * 64, 0.0);
        }
    }
    let file = dir.path().join("model.safetensors");
    files::safetensors(&file, &found);
    assert_eq!(open(&file).unwrap().dims().n_vocab, 2128);
}

#[test]
fn a_folder_is_read_by_one_table() {
    let files = |names: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(dir.path().join(name), b"{}").unwrap();
        }
        let found = weights_file(dir.path()).map_err(|error| error.to_string());
        found.map(|file| file.file_name().unwrap().to_string_lossy().into_owned())
    };
    let fine: [(&[&str], &str); 6] = [
        (
            &["model.safetensors", "pytorch_model.bin", "model.bin"],
            "model.safetensors",
        ),
        (
            &[
                "optimizer.pt",
                "scheduler.pt",
                "training_args.bin",
                "rng_state.pth",
                "pytorch_model.bin",
            ],
            "pytorch_model.bin",
        ),
        (
            &[
                "optimizer.pt",
                "pytorch_model.bin.index.json",
                "pytorch_model-00001-of-00002.bin",
            ],
            "pytorch_model.bin.index.json",
        ),
        (&["model.bin", "config.json", "vocabulary.txt"], "model.bin"),
        (
            &["optimizer.pt", "scaler.pt", "rng_state_0.pth", "whisper.pt"],
            "whisper.pt",
        ),
        (
            &["ggml-base.bin", "ggml-silero-v5.1.2.bin"],
            "ggml-base.bin",
        ),
    ];
    for (names, want) in fine {
        assert_eq!(files(names).as_deref(), Ok(want), "{names:?}");
    }
    let refused: [(&[&str], &str); 6] = [
        (
            &["adapter_config.json", "adapter_model.safetensors"],
            "LoRA",
        ),
        (&["weights.npz", "config.json"], "MLX"),
        (&["flax_model.msgpack"], "Flax"),
        (&["tf_model.h5"], "TensorFlow"),
        (&["optimizer.pt", "training_args.bin"], "no file of weights"),
        (&["a.gguf", "b.gguf"], "a.gguf, b.gguf"),
    ];
    for (names, want) in refused {
        let said = files(names).unwrap_err();
        assert!(said.contains(want), "{names:?}: {said}");
    }
}
