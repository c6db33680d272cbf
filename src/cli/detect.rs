//! `detect-language`.

use anyhow::Result;
use serde_json::json;

use super::args::DetectArgs;
use super::loading::load;
use super::progress::Screen;
use super::terminal::complain;
use super::{FAILED, FINE, inputs, resolve, said};
use crate::options::TranscribeOptions;
use crate::tokenizer::language_name;
use crate::transcript::LanguageProbabilities;

/// Prints each file's language: 0 if every file went well, 1 if some did not. What is wrong with files
/// is said before a model is looked for.
pub fn run(args: &DetectArgs) -> Result<u8> {
    let options = TranscribeOptions {
        audio_track: args.audio_track.as_deref().map(resolve::audio_track),
        ..TranscribeOptions::default()
    };
    let found = inputs::all(&args.audio, false, &options.audio());
    let (builder, mut code) = (resolve::engine(&args.run)?, FINE);
    super::print_notes(resolve::notes(&args.run));
    for fault in found.iter().filter_map(|input| input.fault.as_ref()) {
        complain(&said(fault));
        code = FAILED;
    }
    let mut files = found
        .iter()
        .filter(|input| input.fault.is_none())
        .peekable();
    if files.peek().is_none() {
        return Ok(code);
    }
    let engine = load(&builder, &Screen::new(false))?;
    for inputs::Found { path, .. } in files {
        match engine.detect_language_with(resolve::input(path), &options) {
            Ok(found) if args.json => say!("{}", as_json(path, &found)),
            Ok(found) => say!("{}: {}", path.display(), in_words(&found)),
            Err(error) => {
                complain(&error.to_string());
                code = FAILED;
            }
        }
    }
    Ok(code)
}

/// One line of JSON a file: its language, and every language's probability.
fn as_json(file: &std::path::Path, found: &LanguageProbabilities) -> serde_json::Value {
    let all: serde_json::Map<_, _> = found
        .all
        .iter()
        .cloned()
        .map(|(c, p)| (c, p.into()))
        .collect();
    json!({ "file": file.display().to_string(), "language": found.best, "probabilities": all })
}

fn in_words(found: &LanguageProbabilities) -> String {
    let code = &found.best;
    let name = language_name(code).unwrap_or(code);
    format!("{name} ({code}), {:.1} %", found.probability(code) * 100.0)
}
