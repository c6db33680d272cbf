//! `detect-language`.

use anyhow::Result;
use serde_json::json;

use super::args::DetectArgs;
use super::{FAILED, FINE, resolve};
use crate::decoding::LanguageProbabilities;
use crate::tokenizer::language_name;

/// Prints each file's language: 0 if every file went well, 1 if some did not.
pub fn run(args: &DetectArgs) -> Result<u8> {
    super::print_notes(resolve::notes(&args.run));
    let engine = resolve::engine(&args.run)?.build()?;
    let mut code = FINE;
    for file in &args.audio {
        match engine.detect_language(resolve::input(file)) {
            Ok(found) if args.json => say!("{}", as_json(file, &found)),
            Ok(found) => say!("{}: {}", file.display(), in_words(&found)),
            Err(error) => {
                eprintln!("undertone: {error}");
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
