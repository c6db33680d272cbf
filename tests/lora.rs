//! LoRA adapters on the small model: what PEFT saves, merged as by hand; and what is wrong with others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use undertone::{ComputeType, DecodingOptions, Engine, Executor, Task, TranscribeOptions};

use crate::support;

const PICO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
const SPANISH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/audio/es_conteo.wav");
const ALL: [&str; 6] = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"];

/// Shape and numbers by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn write(path: &Path, tensors: &Tensors) {
    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let stored: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, x))| (name, shape, bytes(x)))
        .collect();
    let views = stored.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// The model's own tensors, under Hugging Face's names.
fn pico() -> Tensors {
    let bytes = fs::read(format!("{PICO}/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |view: &TensorView<'_>| match view.dtype() {
        Dtype::F16 => view
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|x| f16::from_le_bytes(*x).to_f32())
            .collect(),
        Dtype::F32 => view
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let tensors = file.tensors().into_iter();
    tensors
        .map(|(name, view)| (name, (view.shape().to_vec(), floats(&view))))
        .collect()
}

/// An adapter: its configuration, its tensors, and a folder to hold them.
struct Adapter {
    config: Value,
    tensors: Tensors,
    folder: tempfile::TempDir,
}

impl Adapter {
    /// Random changes, large enough to change the text, of the modules of this rank that `has` likes.
    fn new(targets: &[&str], config: Value, rank: usize, has: impl Fn(&str) -> bool) -> Self {
        let mut whole = json!({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": targets});
        whole
            .as_object_mut()
            .unwrap()
            .extend(config.as_object().unwrap().clone());
        let mut state = 7u64;
        let mut noise = |count: usize, spread: f32| {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * spread
            };
            (0..count).map(|_| next()).collect::<Vec<f32>>()
        };
        let mut tensors = Tensors::new();
        for (name, (shape, _)) in pico() {
            let module = name.strip_suffix(".weight").unwrap_or_default();
            let end = module.rsplit('.').next().unwrap_or_default();
            if shape.len() == 2 && targets.contains(&end) && has(module) {
                let (a, b) = (noise(rank * shape[1], 0.3), noise(shape[0] * rank, 0.3));
                let named = |part| format!("base_model.model.{module}.lora_{part}.weight");
                tensors.insert(named("A"), (vec![rank, shape[1]], a));
                tensors.insert(named("B"), (vec![shape[0], rank], b));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        Self {
            config: whole,
            tensors,
            folder,
        }
    }

    fn save(&self) -> PathBuf {
        let folder = self.folder.path();
        fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        write(&folder.join("adapter_model.safetensors"), &self.tensors);
        folder.to_owned()
    }

    /// The model with `scale · B · A` added, written the long way in doubles, beside its configuration.
    fn merged(&self, scale: f64) -> tempfile::TempDir {
        let mut model = pico();
        for (name, (shape, weight)) in &mut model {
            let module = name.strip_suffix(".weight").unwrap_or_default();
            let part = |part| {
                self.tensors
                    .get(&format!("base_model.model.{module}.lora_{part}.weight"))
            };
            let (Some((a_shape, a)), Some((_, b))) = (part("A"), part("B")) else {
                continue;
            };
            let (rank, n_in) = (a_shape[0], shape[1]);
            for (i, w) in weight.iter_mut().enumerate() {
                let (row, column) = (i / n_in, i % n_in);
                let product = (0..rank)
                    .map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * n_in + column]));
                *w = (f64::from(*w) + scale * product.sum::<f64>()) as f32;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", "tokenizer.json"] {
            fs::copy(format!("{PICO}/{file}"), folder.path().join(file)).unwrap();
        }
        write(&folder.path().join("model.safetensors"), &model);
        folder
    }
}

fn engine(model: &Path, executor: Executor, compute: ComputeType) -> Engine {
    let builder = Engine::builder()
        .model(model.display().to_string())
        .threads(2)
        .without_packed_copies();
    builder
        .executor(executor)
        .compute_type(compute)
        .build()
        .unwrap()
}

/// The logits behind the start of a transcript of a made-up window.
fn logits(engine: &Engine) -> Vec<f32> {
    let network = &**engine.network();
    let n_mels = network.dims().n_mels;
    let mel: Vec<f32> = (0..n_mels * 3000)
        .map(|i| (i as f32 * 0.37).sin() * 0.6)
        .collect();
    let mut audio = [network.audio_state().unwrap()];
    network.encode(&[&mel], &mut audio).unwrap();
    let mut text = network.text_state(1).unwrap();
    let start = engine
        .tokenizer()
        .sot_sequence(Some("es"), Task::Transcribe, false);
    support::last_logits(network, &audio[0], &mut text, &start)
}

fn tokens(engine: &Engine) -> Vec<u32> {
    let mut options = TranscribeOptions {
        decoding: DecodingOptions {
            language: Some("es".into()),
            ..DecodingOptions::default()
        },
        ..TranscribeOptions::default()
    };
    options.gates = support::no_gates();
    let transcript = engine.transcribe(SPANISH, &options).unwrap();
    transcript
        .segments
        .into_iter()
        .flat_map(|segment| segment.tokens)
        .collect()
}

#[test]
fn an_adapter_computes_what_the_merged_model_does() {
    let decoder = |module: &str| module.contains("decoder");
    let everything = |_: &str| true;
    // Targets, configuration, rank, scale, which modules.
    type Case<'a> = (&'a [&'a str], Value, usize, f64, &'a dyn Fn(&str) -> bool);
    let table: [Case<'_>; 4] = [
        (&ALL, json!({}), 4, 2.0, &everything),
        (
            &["q_proj", "v_proj"],
            json!({"use_rslora": true}),
            4,
            4.0,
            &everything,
        ),
        (
            &ALL,
            json!({"target_modules": ".*decoder.*(_proj|fc[12])"}),
            2,
            2.0,
            &decoder,
        ),
        (
            &["out_proj"],
            json!({"r": 64, "rank_pattern": {"out_proj": 3}, "alpha_pattern": {".*": 6}}),
            3,
            2.0,
            &everything,
        ),
    ];
    let cases = [
        (Executor::Cpu, ComputeType::F32),
        (Executor::Cpu, ComputeType::Int8),
        (Executor::Reference, ComputeType::F32),
    ];
    for (executor, compute) in cases {
        let base = engine(Path::new(PICO), executor, compute);
        let plain = logits(&base);
        for (targets, config, rank, scale, has) in &table {
            let adapter = Adapter::new(targets, config.clone(), *rank, has);
            let adapted = base.with_lora("court", adapter.save()).unwrap();
            let merged = engine(adapter.merged(*scale).path(), executor, compute);
            assert_eq!(adapted.model_name(), "court");
            let (found, want) = (logits(&adapted), logits(&merged));
            let what = format!("{executor:?} {compute} {targets:?}");
            let error = support::largest_error(&found, &want);
            assert!(error < 1e-4, "{what}: {error}");
            assert!(support::largest_error(&found, &plain) > 0.01, "{what}");
            assert_eq!(tokens(&adapted), tokens(&merged), "{what}");
        }
        // The model is as it was.
        assert_eq!(logits(&base), plain);
    }
}

#[test]
fn base_and_adapters_work_side_by_side() {
    let base = engine(Path::new(PICO), Executor::Cpu, ComputeType::F32);
    let adapters = [&ALL[..], &["fc1"], &["q_proj", "k_proj"]];
    let adapters = adapters.map(|targets| Adapter::new(targets, json!({}), 4, |_| true));
    let mut engines = vec![base.clone()];
    engines.extend(
        adapters
            .iter()
            .map(|adapter| base.with_lora("x", adapter.save()).unwrap()),
    );
    let alone: Vec<_> = engines.iter().map(tokens).collect();
    assert!(alone.iter().skip(1).any(|tokens| *tokens != alone[0]));
    std::thread::scope(|scope| {
        let threads = engines.iter().map(|engine| scope.spawn(|| tokens(engine)));
        let threads: Vec<_> = threads.collect();
        for (thread, alone) in threads.into_iter().zip(&alone) {
            assert_eq!(thread.join().unwrap(), *alone);
        }
    });
    let error = engines[1].with_lora("y", adapters[1].save()).unwrap_err();
    assert!(error.to_string().contains("adapter already"), "{error}");
    drop((base, engines.remove(0)));
    assert_eq!(tokens(&engines[0]), alone[1]);
}

#[test]
fn what_is_wrong_with_an_adapter_is_named() {
    let base = engine(Path::new(PICO), Executor::Cpu, ComputeType::F32);
    let q = "base_model.model.model.encoder.layers.0.self_attn.q_proj.lora_A.weight";
    let plain = q.trim_start_matches("base_model.model.model.");
    type Spoil<'a> = &'a dyn Fn(&mut Adapter);
    let table: [(Spoil<'_>, &str); 9] = [
        (&|a| a.config["use_dora"] = json!(true), "use_dora"),
        (&|a| drop(a.tensors.remove(q)), plain),
        (
            &|a| a.tensors.get_mut(q).unwrap().1[5] = f32::NAN,
            "infinite or NaN",
        ),
        (&|a| a.config["r"] = json!(8), "has shape"),
        (
            &|a| a.config["layers_to_transform"] = json!([1]),
            "q_proj.lora_A.weight: changes nothing",
        ),
        (
            &|a| a.config["target_modules"] = json!(["q_proj", "fc1"]),
            "fc1.lora_A.weight: is missing",
        ),
        (
            &|a| {
                let name = "base_model.model.proj_out.lora_A.weight".to_owned();
                a.tensors.insert(name, (vec![2, 2], vec![0.0; 4]));
            },
            "proj_out.lora_A.weight: changes the output matrix",
        ),
        (
            &|a| {
                let all = &mut a.tensors;
                all.values_mut()
                    .for_each(|(_, x)| x.iter_mut().for_each(|x| *x *= 1e30));
            },
            "infinite or NaN",
        ),
        (
            &|a| {
                a.tensors.clear();
                a.config["target_modules"] = json!(["linear"]);
            },
            "changes no layer",
        ),
    ];
    for (spoil, said) in table {
        let mut adapter = Adapter::new(&["q_proj"], json!({}), 4, |_| true);
        spoil(&mut adapter);
        let error = base.with_lora("x", adapter.save()).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = base.with_lora("x", empty.path()).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json"), "{error}");
    let adapter = Adapter::new(&["q_proj"], json!({}), 4, |_| true);
    let folder = adapter.save();
    fs::remove_file(folder.join("adapter_model.safetensors")).unwrap();
    let error = base.with_lora("x", &folder).unwrap_err().to_string();
    assert!(error.contains("adapter_model.bin"), "{error}");
    let alone = Engine::builder()
        .model(folder.display().to_string())
        .build()
        .unwrap_err();
    assert!(alone.to_string().contains("--lora"), "{alone}");
}
