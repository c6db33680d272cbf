//! The vocabularies that come with real weights, against those that are stored here.

use serde_json::Value;
use undertone::ComputeType;
use undertone::internals::tokenizer::Tokenizer;

use crate::support::engine;

const GOLDEN: &str = include_str!("golden/tokenizer.json");

#[test]
fn vocabularies_of_real_models_equal_the_stored_ones() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for (model, name, n_vocab) in [("base", "multilingual", 51_865), ("tiny.en", "en", 51_864)] {
        let Some(engine) = engine(model, ComputeType::F32) else {
            continue;
        };
        let (read, stored) = (
            engine.tokenizer(),
            Tokenizer::openai(model, n_vocab).unwrap(),
        );
        assert_eq!(read.n_vocab(), n_vocab, "{model}");
        // Conversions may say nocaptions for nospeech, and the English-only one iw for he.
        let renamed =
            |id: u32| Some(id) == stored.no_speech() || (model == "tiny.en" && id == 50_278);
        let differs = |id: &u32| !renamed(*id) && read.token_bytes(*id) != stored.token_bytes(*id);
        let differing: Vec<u32> = (0..n_vocab as u32).filter(differs).collect();
        assert!(differing.is_empty(), "{model}: {differing:?}");
        assert_eq!(read.languages(), stored.languages(), "{model}");
        assert_eq!(read.no_speech(), stored.no_speech(), "{model}");
        assert_eq!(
            read.non_speech_tokens(),
            stored.non_speech_tokens(),
            "{model}"
        );
        for row in golden[name]["encode"].as_array().unwrap() {
            let ids: Vec<u32> = serde_json::from_value(row[1].clone()).unwrap();
            let text = row[0].as_str().unwrap();
            assert_eq!(read.encode(text), ids, "{model}: {text:?}");
        }
    }
}
