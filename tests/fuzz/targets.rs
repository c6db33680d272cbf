//! What is fuzzed: every reader of files that somebody else made. Bytes in; nothing may panic, or
//! take more than a gigabyte.

use std::path::Path;

use undertone::ComputeType;
use undertone::Gaps;
use undertone::attention::{self, Registry};
use undertone::internals::attention::built_in;
use undertone::internals::audio::{self, AudioOptions, Limits};
use undertone::internals::kernels::Cpu;
use undertone::internals::model::{self, CpuNetwork, Network, StepWindow};
use undertone::internals::ranking::{AllowedRuns, Constraint, Query, Wanted};
use undertone::internals::tokenizer::{Tokenizer, load_tokenizer};
use undertone::weights::hub::{self, HubConfig};
use undertone::weights::{Target as Format, open};

use super::seeds::{self, Sizes, TINY};

/// One reader.
pub struct Target {
    /// Its name, also of the file in `fuzz_targets`.
    pub name: &'static str,
    /// Puts what lies beside the fuzzed file into a folder; good inputs.
    pub seeds: fn(&Path) -> Vec<Vec<u8>>,
    /// Reads bytes as that file in that folder; whether they were accepted.
    pub run: fn(&Path, &[u8]) -> bool,
}

/// All of them.
pub const TARGETS: [Target; 13] = [
    Target {
        name: "safetensors",
        seeds: safetensors_seeds,
        run: safetensors,
    },
    Target {
        name: "shards",
        seeds: shards_seeds,
        run: shards,
    },
    Target {
        name: "config",
        seeds: config_seeds,
        run: config,
    },
    Target {
        name: "ctranslate2",
        seeds: ctranslate2_seeds,
        run: weights,
    },
    Target {
        name: "pt",
        seeds: pt_seeds,
        run: weights,
    },
    Target {
        name: "pickle",
        seeds: pickle_seeds,
        run: pickle,
    },
    Target {
        name: "ggml",
        seeds: ggml_seeds,
        run: weights,
    },
    Target {
        name: "gguf",
        seeds: gguf_seeds,
        run: weights,
    },
    Target {
        name: "tokenizer",
        seeds: tokenizer_seeds,
        run: tokenizer,
    },
    Target {
        name: "vocabulary",
        seeds: vocabulary_seeds,
        run: vocabulary,
    },
    Target {
        name: "manifest",
        seeds: manifest_seeds,
        run: manifest,
    },
    Target {
        name: "packed",
        seeds: packed_seeds,
        run: packed,
    },
    Target {
        name: "audio",
        seeds: audio_seeds,
        run: audio,
    },
];

/// Opens a file and reads all there is.
fn read_all(file: &Path) -> bool {
    let Ok(source) = open(file) else { return false };
    for name in source.names() {
        let tensor = source
            .tensor(name)
            .expect("an open source has every tensor");
        assert_eq!(tensor.to_f32().len(), tensor.len(), "{name}");
    }
    source.fingerprint().expect("files can be hashed");
    true
}

fn weights(dir: &Path, bytes: &[u8]) -> bool {
    let file = dir.join("fuzzed");
    std::fs::write(&file, bytes).expect("the folder can be written");
    read_all(&file)
}

fn with_config(dir: &Path, seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let config = r#"{"encoder_attention_heads": 2, "decoder_attention_heads": 2}"#;
    std::fs::write(dir.join("config.json"), config).expect("the folder can be written");
    seeds
}

fn safetensors_seeds(dir: &Path) -> Vec<Vec<u8>> {
    with_config(dir, seeds::converted(dir, &Format::Safetensors))
}

fn safetensors(dir: &Path, bytes: &[u8]) -> bool {
    weights(dir, bytes)
}

fn shards_seeds(dir: &Path) -> Vec<Vec<u8>> {
    vec![seeds::shards(dir, &TINY).into_bytes()]
}

fn shards(dir: &Path, bytes: &[u8]) -> bool {
    let file = dir.join("model.safetensors.index.json");
    std::fs::write(&file, bytes).expect("the folder can be written");
    read_all(&file)
}

fn config_seeds(dir: &Path) -> Vec<Vec<u8>> {
    seeds::model(dir, &TINY);
    vec![std::fs::read(dir.join("config.json")).expect("just made")]
}

fn config(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::write(dir.join("config.json"), bytes).expect("the folder can be written");
    read_all(&dir.join("model.safetensors"))
}

fn ctranslate2_seeds(dir: &Path) -> Vec<Vec<u8>> {
    with_config(
        dir,
        seeds::converted(dir, &Format::CTranslate2(Default::default())),
    )
}

fn pt_seeds(dir: &Path) -> Vec<Vec<u8>> {
    let made = ["openai", "views", "bfloat16", "legacy"];
    let file = |name| seeds::repository(&format!("tests/golden/weights/{name}.pt"));
    with_config(dir, made.map(file).into())
}

/// The pickles inside: an archive's checksums would keep changed ones from being read.
fn pickle_seeds(dir: &Path) -> Vec<Vec<u8>> {
    let pickle = |file: Vec<u8>| {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(file)).ok()?;
        let mut member = archive.by_name("archive/data.pkl").ok()?;
        let mut bytes = Vec::new();
        std::io::copy(&mut member, &mut bytes).ok()?;
        Some(bytes)
    };
    pt_seeds(dir).into_iter().filter_map(pickle).collect()
}

fn pickle(dir: &Path, bytes: &[u8]) -> bool {
    use std::io::Write as _;
    let file = dir.join("fuzzed.pt");
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::STORE);
    let written = || -> zip::result::ZipResult<()> {
        let mut zip = zip::ZipWriter::new(std::fs::File::create(&file)?);
        zip.start_file("archive/data.pkl", stored)?;
        zip.write_all(bytes)?;
        for key in 0..64 {
            zip.start_file(format!("archive/data/{key}"), stored)?;
            // The one storage of `views.pt` is the largest.
            let size = if key == 0 { 10_144 } else { 512 };
            zip.write_all(&vec![0; size])?;
        }
        zip.finish()?;
        Ok(())
    };
    written().expect("the folder can be written");
    read_all(&file)
}

fn ggml_seeds(dir: &Path) -> Vec<Vec<u8>> {
    seeds::converted(dir, &Format::Ggml(seeds::extras()))
}

fn gguf_seeds(dir: &Path) -> Vec<Vec<u8>> {
    with_config(dir, seeds::converted(dir, &Format::Gguf))
}

fn tokenizer_seeds(_: &Path) -> Vec<Vec<u8>> {
    vec![seeds::repository("models/pico/tokenizer.json")]
}

/// Reads the bytes of a `tokenizer.json` and goes to work with it.
fn tokenizer(_: &Path, bytes: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_bytes("fuzzed", bytes, Some(2120)) else {
        return false;
    };
    use_tokenizer(&tokenizer);
    true
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    let tokens = tokenizer.encode(" The quick brown fox ✓ 東京 \u{1f600}");
    let _ = tokenizer.decode(&tokens);
    let all: Vec<u32> = (0..tokenizer.n_vocab() as u32 + 2).collect();
    let _ = tokenizer.decode_with_timestamps(&all);
    let _ = tokenizer.non_speech_tokens();
}

/// CTranslate2's list of tokens, beside the model.
fn vocabulary_seeds(dir: &Path) -> Vec<Vec<u8>> {
    let folder = seeds::model(
        dir,
        &Sizes {
            vocab: 2120,
            ..TINY
        },
    );
    std::fs::remove_file(folder.join("vocabulary.txt")).ok();
    let tokens = [
        "a",
        "b",
        "Ġthe",
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
    ];
    let more = [
        "translate",
        "transcribe",
        "startoflm",
        "startofprev",
        "nospeech",
        "notimestamps",
    ];
    let more = more.map(|name| format!("<|{name}|>"));
    let tokens: Vec<String> = tokens.into_iter().map(str::to_owned).chain(more).collect();
    vec![serde_json::to_vec(&tokens).expect("text")]
}

fn vocabulary(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::write(dir.join("vocabulary.json"), bytes).expect("the folder can be written");
    let config = HubConfig::new(dir.join("models"), dir.join("hub"));
    let found = hub::locate(&dir.display().to_string(), &config);
    let files = found
        .expect("the model is there")
        .expect("the model is there");
    let source = open(&files.weights).expect("the model is whole");
    let Ok(tokenizer) = load_tokenizer(&files, source.as_ref()) else {
        return false;
    };
    use_tokenizer(&tokenizer);
    true
}

/// The manifest of a folder in our cache of models.
fn manifest_seeds(dir: &Path) -> Vec<Vec<u8>> {
    let folder = seeds::model(&dir.join("models/base"), &TINY);
    let file = folder.join("model.safetensors");
    let bytes = std::fs::metadata(file).expect("just made").len();
    let files = [serde_json::json!({"name": "model.safetensors", "bytes": bytes, "sha256": "00"})];
    let manifest = serde_json::json!({"source": "a test", "pinned": true, "files": files});
    vec![serde_json::to_vec(&manifest).expect("plain")]
}

fn manifest(dir: &Path, bytes: &[u8]) -> bool {
    let file = dir.join("models/base/undertone.json");
    std::fs::write(file, bytes).expect("the folder can be written");
    let config = HubConfig::new(dir.join("models"), dir.join("hub"));
    let _ = hub::list(&config);
    hub::verify("base", &config).ok();
    matches!(hub::locate("base", &config), Ok(Some(_)))
}

/// Narrow, but with windows of 30 s: what is accepted computes.
const NARROW: Sizes = Sizes {
    mels: 80,
    audio_ctx: 1500,
    text_ctx: 16,
    ..TINY
};
const KEY: &str = "a key";

fn load(dir: &Path) -> CpuNetwork {
    let source = open(&dir.join("model.safetensors")).expect("the model is whole");
    let cpu = Cpu::new(Some(1), None);
    let registry = Registry::new(built_in(&cpu));
    let request = attention::Request::default();
    let plan = attention::plan(&request, &registry, source.dims()).expect("auto has a plan");
    let packed = dir.join("packed.int8");
    let place = Some((packed.as_path(), KEY));
    CpuNetwork::load(source.as_ref(), ComputeType::Int8, cpu, plan, place)
        .expect("a damaged copy is made again")
}

fn packed_seeds(dir: &Path) -> Vec<Vec<u8>> {
    seeds::model(dir, &NARROW);
    load(dir);
    vec![std::fs::read(dir.join("packed.int8")).expect("just made")]
}

/// Reads a packed model and computes a step with it; accepted where it was not made again.
fn packed(dir: &Path, bytes: &[u8]) -> bool {
    let file = dir.join("packed.int8");
    std::fs::write(&file, bytes).expect("the folder can be written");
    let network = load(dir);
    let accepted = std::fs::read(&file).is_ok_and(|now| now == bytes);
    let (mel, mut audio) = (
        vec![0.25; NARROW.mels * 3000],
        [network.audio_state().expect("memory")],
    );
    network.encode(&[&mel], &mut audio).expect("it computes");
    let allowed = AllowedRuns::new(network.dims().n_vocab, &[]);
    let query = Query {
        row: 0,
        at: 1,
        constraint: Constraint::plain(&allowed, network.dims().n_vocab),
        want: Wanted::Best,
    };
    let mut windows = [StepWindow {
        audio: &audio[0],
        text: &mut network.text_state(1).expect("memory"),
        tokens: &[1, 2],
        rows: 1,
        queries: vec![query],
    }];
    model::step(&network, &mut windows).expect("it computes");
    accepted
}

/// Small recordings in every container.
fn audio_seeds(_: &Path) -> Vec<Vec<u8>> {
    let names = [
        "aac.aac",
        "aac.m4a",
        "aac.mkv",
        "alac.caf",
        "ima.wav",
        "layer2.mp2",
        "mulaw.wav",
        "opus.mp4",
        "opus.webm",
        "pcm.aifc",
        "plain.mp3",
        "speech.opus",
        "stereo.flac",
        "stereo.mp3",
        "video.mp4",
        "vorbis.ogg",
        "vorbis.webm",
    ];
    let file = |name| seeds::repository(&format!("tests/golden/audio/{name}"));
    names.map(file).into()
}

/// Lists what is there and hears up to a minute of it, with gaps kept.
fn audio(_: &Path, bytes: &[u8]) -> bool {
    let options = AudioOptions {
        limits: Limits {
            max_seconds: Some(60.0),
            ..Limits::default()
        },
        gaps: Gaps::Keep,
        ..AudioOptions::default()
    };
    let _ = audio::probe(bytes.to_vec(), &options);
    let Ok(mut stream) = audio::open_with(bytes.to_vec(), &options) else {
        return false;
    };
    while let Ok(Some(block)) = stream.next_block() {
        assert!(block.iter().all(|x| x.is_finite() && x.abs() <= 1.0));
    }
    true
}
