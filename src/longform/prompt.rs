//! What a window is told about the text before it.

use crate::decoding::{last_tokens, strip};
use crate::tokenizer::Tokenizer;

/// Above this temperature a window's text is too unsure to go into the next prompt.
const PROMPT_RESET_TEMPERATURE: f64 = 0.5;

/// The tokens of a text that every window's text begins with.
pub(super) fn prefix_tokens(tokenizer: &Tokenizer, prefix: &str) -> Vec<u32> {
    if prefix.is_empty() {
        Vec::new()
    } else {
        tokenizer.encode(&format!(" {}", strip(prefix)))
    }
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

    /// Everything that was said, without the initial prompt.
    #[must_use]
    pub fn spoken(&self) -> &[u32] {
        &self.tokens[self.initial..]
    }
}
