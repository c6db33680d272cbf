//! Terms that are to be expected, from text to what they change in a choice.
//!
//! The choice is made from logits that the terms' tokens have gained in; log-probabilities stay those of the
//! model, so that gates judge what they always judge. Where timestamps are due by rule, the model's own logits
//! decide, and nothing is gained.

use std::sync::Arc;

use crate::options::Phrase;
use crate::ranking::{Answer, Bias, Choice, Distribution, Gains, PhraseTokens, Query};
use crate::tokenizer::Tokenizer;

/// Languages that are written without spaces: a term may follow any character.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];

/// The terms as tokens; `None` where there are none. Each is expected as it is written and with its first letter
/// large, behind a space and, where no word goes on, without one.
#[must_use]
pub fn bias(tokenizer: &Tokenizer, phrases: &[Phrase]) -> Option<Arc<Bias>> {
    if phrases.is_empty() {
        return None;
    }
    let spellings: Vec<PhraseTokens> = phrases
        .iter()
        .flat_map(|phrase| spellings(tokenizer, phrase))
        .collect();
    let in_word = (0..tokenizer.eot()).map(|token| ends_in_word(tokenizer, token));
    Some(Arc::new(Bias::new(&spellings, in_word.collect())))
}

fn spellings(tokenizer: &Tokenizer, phrase: &Phrase) -> Vec<PhraseTokens> {
    let text = phrase.text.trim();
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_uppercase().to_string());
    let capitalised = first.unwrap_or_default() + characters.as_str();
    let mut texts = vec![text];
    if capitalised != text {
        texts.push(&capitalised);
    }
    let spelling = |text: &str, is_bare| PhraseTokens {
        tokens: match is_bare {
            true => tokenizer.encode(text),
            false => tokenizer.encode(&format!(" {text}")),
        },
        weight: phrase.weight as f32,
        is_bare,
    };
    let both = |text: &&str| [spelling(text, false), spelling(text, true)];
    texts.iter().flat_map(both).collect()
}

/// Whether a letter behind this token would go on with its word. Parts of a character count as letters.
fn ends_in_word(tokenizer: &Tokenizer, token: u32) -> bool {
    let text = tokenizer.token_bytes(token).map(String::from_utf8_lossy);
    let last = text.as_ref().and_then(|text| text.chars().last());
    last.is_some_and(|c| c.is_alphanumeric() || c == char::REPLACEMENT_CHARACTER)
}

/// What a window expects.
#[derive(Clone, Debug)]
pub struct Expected {
    bias: Arc<Bias>,
    without_spaces: bool,
}

impl Expected {
    /// The terms in a window of this language.
    pub fn new(bias: Arc<Bias>, language: &str) -> Self {
        Self {
            bias,
            without_spaces: WITHOUT_SPACES.contains(&language),
        }
    }

    /// What `choose` makes of a row's logits once they have gained, each token with the model's own
    /// log-probability and with what it adds to its row.
    pub fn answer(
        &self,
        logits: &[f32],
        sampled: &[u32],
        query: &Query<'_>,
        choose: impl Fn(&[f32], &Query<'_>) -> Answer,
    ) -> Answer {
        let own = Distribution::new(logits, &query.constraint);
        let gains = self.bias.gains(sampled, self.without_spaces);
        let mut gained = logits.to_vec();
        gains.apply(&mut gained);
        let settled = Query {
            constraint: own.settled(&query.constraint),
            ..query.clone()
        };
        let told = |choice: Choice| tell(choice, &own, &gains);
        match choose(&gained, &settled) {
            Answer::Choice(choice) => Answer::Choice(choice.map(told)),
            Answer::Choices(choices) => Answer::Choices(choices.into_iter().map(told).collect()),
            other => other,
        }
    }
}

/// A choice as the model sees it. What could not be chosen at all stays so.
fn tell(choice: Choice, own: &Distribution<'_>, gains: &Gains) -> Choice {
    match choice.logprob.is_finite() {
        false => choice,
        true => Choice {
            logprob: own.logprob(choice.token),
            bonus: gains.bonus(choice.token),
            ..choice
        },
    }
}
