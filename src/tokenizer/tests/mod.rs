//! Against vectors made with openai/whisper's own tokenizer (`tests/golden/tokenizer.json`), and on small vocabularies.

mod encoder;
mod files;
mod golden;
mod judge;

use super::*;
use serde::Deserialize;
use std::collections::HashMap;

const GOLDEN: &str = include_str!("../../../tests/golden/tokenizer.json");

#[derive(Deserialize)]
struct Golden {
    multilingual: Vectors,
    en: Vectors,
    v3: Vectors,
    sot: Vec<(String, Option<String>, String, Vec<u32>)>,
}

#[derive(Deserialize)]
struct Vectors {
    special: HashMap<String, u32>,
    non_speech_tokens: Vec<u32>,
    languages: Vec<(String, u32)>,
    #[serde(default)]
    encode: Vec<(String, Vec<u32>)>,
    #[serde(default)]
    decode: Vec<(Vec<u32>, String, String)>,
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).expect("the golden file is JSON")
}

fn openai(vectors: &Vectors) -> Tokenizer {
    Tokenizer::openai("openai", vectors.special["n_vocab"] as usize).expect("a stored vocabulary")
}

/// Each vocabulary with its vectors.
fn all() -> Vec<(&'static str, Tokenizer, Vectors)> {
    let golden = golden();
    [
        ("multilingual", golden.multilingual),
        ("en", golden.en),
        ("v3", golden.v3),
    ]
    .into_iter()
    .map(|(name, vectors)| (name, openai(&vectors), vectors))
    .collect()
}
