//! Measures the README's tables of error rates and speed, greedy with openai/whisper's fallback:
//! `cargo run --release --example tables -- MANIFEST [MODEL [LANGUAGE…]]`. The manifest is
//! tab-separated, with the columns file, language and reference.

use std::path::Path;
use std::time::Instant;

use undertone::eval::{Errors, Scorer};
use undertone::weights::hub::{self, HubConfig};
use undertone::weights::{Conversion, Ct2Extras, Numbers, Target, convert, weights_file};
use undertone::{ComputeType, Engine, TranscribeOptions, ggml_extras};

type Failure = Box<dyn std::error::Error>;

/// One language's error rate, and seconds of sound for each second of work, as a cell.
fn cell(manifest: &Path, engine: &Engine, language: &str) -> Result<String, Failure> {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some(language.into());
    options.decoding.best_of = Some(5);
    let (scorer, started) = (Scorer::new(), Instant::now());
    let (mut errors, mut frames) = (Errors::default(), 0);
    let text = std::fs::read_to_string(manifest)?;
    let head: Vec<&str> = text.lines().next().unwrap_or("").split('\t').collect();
    let column = |name| head.iter().position(|cell| *cell == name);
    let columns = ["file", "language", "reference"].map(|name| column(name).expect(name));
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [file, spoken, reference] = columns.map(|i| cells[i]);
        if spoken == language && !reference.trim().is_empty() {
            let transcript = engine.transcribe(manifest.with_file_name(file), &options)?;
            frames += transcript.windows.last().map_or(0, |w| w.seek + w.frames);
            errors += scorer.errors(language, reference, &transcript.text);
        }
    }
    let speed = frames as f64 / 100.0 / started.elapsed().as_secs_f64();
    Ok(format!("{:.2} %, {speed:.0}×", 100.0 * errors.rate()))
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let manifest = Path::new(arguments.first().ok_or("which manifest?")?);
    let model = arguments.get(1).map_or("base", String::as_str);
    let named: Vec<&str> = arguments.iter().skip(2).map(String::as_str).collect();
    let languages = if named.is_empty() {
        vec!["en", "de", "es", "fr", "ja"]
    } else {
        named
    };
    println!("| compute type | {} |", languages.join(" | "));
    for compute in [ComputeType::F32, ComputeType::Int8] {
        let engine = Engine::builder()
            .model(model)
            .compute_type(compute)
            .build()?;
        let cells = languages
            .iter()
            .map(|language| cell(manifest, &engine, language));
        let cells = cells.collect::<Result<Vec<_>, _>>()?;
        println!("| {} | {} |", compute.name(), cells.join(" | "));
    }
    println!("\n| format | numbers | size | {} |", languages[0]);
    let files = hub::resolve(model, &HubConfig::default(), &mut |_| {})?;
    for target in [
        Target::Ggml(ggml_extras(&files)?),
        Target::Gguf,
        Target::CTranslate2(Ct2Extras::default()),
    ] {
        for (name, numbers) in Numbers::named().filter(|(_, numbers)| target.takes(*numbers)) {
            let dir = tempfile::tempdir()?;
            let folder = dir.path().join("model");
            let conversion = Conversion {
                target: target.clone(),
                numbers: Some(numbers),
            };
            convert(&files.weights, &folder, &conversion)?;
            let size = std::fs::metadata(weights_file(&folder)?)?.len() / 1_000_000;
            let engine = Engine::builder()
                .model(folder.display().to_string())
                .without_packed_copies()
                .build()?;
            let cell = cell(manifest, &engine, languages[0])?;
            println!("| {} | {name} | {size} MB | {cell} |", target.name());
        }
    }
    Ok(())
}
