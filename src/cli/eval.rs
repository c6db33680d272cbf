//! `eval`: error rates of a manifest's recordings, per language.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;

use super::args::EvalArgs;
use super::loading::load;
use super::progress::Screen;
use super::{FAILED, FINE, resolve};
use crate::engine::Engine;
use crate::eval::{Errors, Scorer};
use crate::options::TranscribeOptions;

/// Samples to choose from above temperature 0: transcribe's default.
const SAMPLES: usize = 5;

/// One recording of a manifest.
struct Row {
    file: String,
    language: String,
    reference: String,
}

/// What a language's recordings add up to.
#[derive(Default)]
struct Score {
    files: usize,
    errors: usize,
    reference_len: usize,
    /// Each recording's own, in the manifest's order.
    recordings: Vec<(String, Errors)>,
}

impl Score {
    fn add(&mut self, file: &str, errors: Errors) {
        self.files += 1;
        self.errors += errors.total();
        self.reference_len += errors.reference_len;
        self.recordings.push((file.to_owned(), errors));
    }

    fn rate(&self) -> f64 {
        self.errors as f64 / self.reference_len.max(1) as f64
    }
}

/// Transcribes every recording, at temperature 0 unless fallback is asked for, and prints the error
/// rates.
pub fn run(args: &EvalArgs) -> Result<u8> {
    let rows = manifest(&args.manifest)?;
    super::print_notes(resolve::notes(&args.run));
    let engine = load(&resolve::engine(&args.run)?, &Screen::new(false))?;
    let folder = args.manifest.parent().unwrap_or(Path::new("."));
    let wanted = |row: &&Row| args.languages.is_empty() || args.languages.contains(&row.language);
    let (scorer, started) = (Scorer::new(), Instant::now());
    let (mut scores, mut code) = (BTreeMap::<String, Score>::new(), FINE);
    for row in rows.iter().filter(wanted) {
        match score(&engine, &scorer, folder, row, args) {
            Ok(errors) => {
                let score = scores.entry(row.language.clone()).or_default();
                score.add(&row.file, errors);
            }
            Err(error) => {
                eprintln!("undertone: {error}");
                code = FAILED;
            }
        }
    }
    let compute = engine.network().describe().compute.name();
    print(&scores, compute, started.elapsed().as_secs_f64(), args.json)?;
    Ok(code)
}

/// Reads the columns `file`, `language` and `reference` of a tab-separated file without quoting.
fn manifest(path: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        let found = header.iter().position(|cell| *cell == name);
        found.with_context(|| format!("{}: has no column {name}", path.display()))
    };
    let (file, language, reference) = (column("file")?, column("language")?, column("reference")?);
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').collect();
        let cell = |i: usize| cells.get(i).copied().unwrap_or_default().to_owned();
        Row {
            file: cell(file),
            language: cell(language),
            reference: cell(reference),
        }
    };
    Ok(lines
        .map(row)
        .filter(|row| !row.reference.trim().is_empty())
        .collect())
}

fn score(
    engine: &Engine,
    scorer: &Scorer,
    folder: &Path,
    row: &Row,
    args: &EvalArgs,
) -> crate::Result<Errors> {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some(row.language.clone());
    options.decoding.beam_size = Some(args.beam_size).filter(|n| *n > 1);
    options.decoding.best_of = Some(SAMPLES);
    if !args.fallback {
        options.gates.temperatures = vec![0.0];
    }
    let transcript = engine.transcribe(folder.join(&row.file).as_path(), &options)?;
    Ok(scorer.errors(&row.language, &row.reference, &transcript.text))
}

fn print(
    scores: &BTreeMap<String, Score>,
    compute: &str,
    seconds: f64,
    as_json: bool,
) -> Result<()> {
    if as_json {
        let language = |(code, score): (&String, &Score)| {
            let unit = if Scorer::by_character(code) {
                "cer"
            } else {
                "wer"
            };
            let recordings = score.recordings.iter().map(|(file, errors)| {
                let (errors, length) = (errors.total(), errors.reference_len);
                json!({ "file": file, "errors": errors, "length": length })
            });
            let recordings: Vec<_> = recordings.collect();
            let value = json!({
                unit: score.rate(),
                "files": score.files,
                "length": score.reference_len,
                "recordings": recordings,
            });
            (code.clone(), value)
        };
        let languages: serde_json::Map<_, _> = scores.iter().map(language).collect();
        say!(
            "{:#}",
            json!({ "compute_type": compute, "seconds": seconds, "languages": languages })
        );
        return Ok(());
    }
    say!("{compute}, {seconds:.1} s");
    say!(
        "{:<10} {:>6} {:>9} {:>8}",
        "language",
        "files",
        "length",
        "errors"
    );
    for (code, score) in scores {
        let unit = if Scorer::by_character(code) {
            "CER"
        } else {
            "WER"
        };
        let rate = score.rate() * 100.0;
        say!(
            "{code:<10} {:>6} {:>9} {rate:>6.2} % {unit}",
            score.files,
            score.reference_len
        );
    }
    Ok(())
}
