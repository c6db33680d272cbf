//! What a window is told about the text before it.

use crate::decoding::{last_tokens, strip};
use crate::options::TranscribeOptions;
use crate::tokenizer::Tokenizer;

/// Above this temperature a window's text is too unsure to go into the next prompt.
const PROMPT_RESET_TEMPERATURE: f64 = 0.5;

/// The tokens of a text that every window begins with: a prefix, or hotwords.
pub(super) fn leading_tokens(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    if text.is_empty() {
        Vec::new()
    } else {
        tokenizer.encode(&format!(" {}", strip(text)))
    }
}

/// What to tell of hotwords that are not used, or not all of them.
#[must_use]
pub fn unused_hotwords(
    tokenizer: &Tokenizer,
    options: &TranscribeOptions,
    n_text_ctx: usize,
) -> Option<String> {
    let tokens = leading_tokens(tokenizer, options.hotwords.as_deref()?).len();
    let most = (n_text_ctx / 2).saturating_sub(1);
    if tokens > 0
        && options
            .prefix
            .as_deref()
            .is_some_and(|prefix| !prefix.is_empty())
    {
        return Some("hotwords: have no effect beside a prefix".into());
    }
    (tokens > most)
        .then(|| format!("hotwords: {tokens} tokens are too many, the first {most} are used"))
}

/// All tokens so far, the initial prompt at their head, and from where on they serve as prompt.
#[derive(Clone, Debug)]
pub struct History {
    tokens: Vec<u32>,
    /// Tokens of the initial prompt.
    initial: usize,
    /// The prompt begins here.
    reset_since: usize,
    /// Whether the initial prompt stands before every window.
    carry: bool,
    /// Tokens that fit behind a carried prompt; may be negative where that is too long itself.
    room: isize,
}

impl History {
    /// A history that holds the initial prompt, for a decoder with `n_text_ctx` positions.
    #[must_use]
    pub fn new(
        tokenizer: &Tokenizer,
        initial_prompt: Option<&str>,
        carry: bool,
        n_text_ctx: usize,
    ) -> Self {
        let encode = |text| tokenizer.encode(&format!(" {}", strip(text)));
        let tokens = initial_prompt.map(encode).unwrap_or_default();
        let initial = tokens.len();
        let room = (n_text_ctx / 2) as isize - 1 - initial as isize;
        Self {
            tokens,
            initial,
            reset_since: 0,
            carry,
            room,
        }
    }

    /// The prompt of the next window; the decoder keeps its end.
    #[must_use]
    pub fn prompt(&self) -> Vec<u32> {
        if !self.carry {
            return self.tokens[self.reset_since..].to_vec();
        }
        let recent = &self.tokens[self.initial.max(self.reset_since)..];
        [&self.tokens[..self.initial], last_tokens(recent, self.room)].concat()
    }

    /// Adds a window's tokens. They are kept from later prompts where windows are not conditioned
    /// on earlier text, or where the temperature was high.
    pub fn close_window<'a>(
        &mut self,
        tokens: impl Iterator<Item = &'a u32>,
        condition_on_previous_text: bool,
        temperature: f64,
    ) {
        self.tokens.extend(tokens);
        if !condition_on_previous_text || temperature > PROMPT_RESET_TEMPERATURE {
            self.reset_since = self.tokens.len();
        }
    }

    /// Nothing so far serves as prompt any more.
    pub fn forget(&mut self) {
        self.reset_since = self.tokens.len();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::Deserialize;

    use super::*;
    use crate::decoding::WindowDecoder;
    use crate::longform::recording::Recording;
    use crate::options::{DecodingOptions, Task};

    const N_TEXT_CTX: usize = 448;

    /// What faster-whisper feeds before a window, up to the prefix.
    #[derive(Deserialize)]
    struct Golden {
        hotwords: String,
        earlier: Vec<u32>,
        prefix: Option<String>,
        language: String,
        task: String,
        timestamps: bool,
        prompt: Vec<u32>,
    }

    fn asked(hotwords: &str, prefix: Option<&str>) -> TranscribeOptions {
        TranscribeOptions {
            hotwords: Some(hotwords.into()),
            prefix: prefix.map(Into::into),
            ..TranscribeOptions::default()
        }
    }

    fn fed(tokenizer: &Arc<Tokenizer>, options: &DecodingOptions) -> Vec<u32> {
        let decoder = WindowDecoder::new(tokenizer.clone(), 51_865, options, N_TEXT_CTX).unwrap();
        decoder.prompt().to_vec()
    }

    #[test]
    fn hotwords_are_fed_as_faster_whisper_feeds_them() {
        let goldens = include_str!("../../tests/golden/decoding/hotwords.json");
        let goldens: Vec<Golden> = serde_json::from_str(goldens).unwrap();
        let tokenizer = Arc::new(Tokenizer::openai("test", 51_865).unwrap());
        for golden in &goldens {
            let asked = asked(&golden.hotwords, golden.prefix.as_deref());
            let mut options = Recording::new(&tokenizer, asked, N_TEXT_CTX).options;
            options.prompt.clone_from(&golden.earlier);
            options.language = Some(golden.language.clone());
            options.task = golden.task.parse::<Task>().unwrap();
            options.without_timestamps = !golden.timestamps;
            let mut prompt = fed(&tokenizer, &options);
            prompt.truncate(prompt.len() - options.prefix.len());
            assert_eq!(prompt, golden.prompt, "{:.40}", golden.hotwords);
        }
        assert_eq!(goldens.len(), 10);
    }

    /// faster-whisper would fill the context, or more than it.
    #[test]
    fn a_quarter_of_the_context_is_the_windows_own() {
        let tokenizer = Arc::new(Tokenizer::openai("test", 51_865).unwrap());
        let mut long = DecodingOptions {
            hotwords: vec![7; 300],
            prompt: (1..400).collect(),
            ..DecodingOptions::default()
        };
        let prompt = fed(&tokenizer, &long);
        assert_eq!(prompt.len(), N_TEXT_CTX - N_TEXT_CTX / 4);
        let start = prompt.len() - 3;
        assert_eq!(prompt[1..224], [7; 223]);
        assert_eq!(
            prompt[224..start],
            (400 - start as u32 + 224..400).collect::<Vec<_>>()
        );
        long.prefix = vec![9];
        assert_eq!(fed(&tokenizer, &long).len(), 1 + 223 + 3 + 1);
    }

    #[test]
    fn hotwords_that_are_not_used_are_told() {
        let tokenizer = Tokenizer::openai("test", 51_865).unwrap();
        let told = |asked| unused_hotwords(&tokenizer, &asked, N_TEXT_CTX);
        let long = "Zacinto ".repeat(200);
        let said = told(asked(&long, None)).unwrap();
        assert!(said.contains("the first 223 are used"), "{said}");
        assert!(told(asked("a", Some("b"))).unwrap().contains("prefix"));
        for fine in [
            asked("Zacinto", None),
            asked("", Some("b")),
            asked("a", Some("")),
        ] {
            assert_eq!(told(fine), None);
        }
        assert_eq!(told(TranscribeOptions::default()), None);
    }
}
