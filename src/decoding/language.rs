//! Which language is spoken, from what follows a lone start-of-transcript token.

use crate::error::{Error, Result};
use crate::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use crate::tokenizer::Tokenizer;
use crate::transcript::LanguageProbabilities;

/// The tokens of a vocabulary's languages: what a step that was fed the start-of-transcript token alone is
/// asked for.
#[derive(Clone, Debug)]
pub struct LanguageTokens {
    codes: Vec<String>,
    tokens: Vec<u32>,
    allowed: AllowedRuns,
}

impl LanguageTokens {
    /// The languages that the model knows.
    ///
    /// # Errors
    /// [`Error::ModelCannot`] for an English-only model.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let languages = tokenizer.languages();
        if languages.is_empty() {
            let reason = "knows only English, so it cannot tell languages apart".into();
            return Err(Error::ModelCannot {
                model: "this model".into(),
                reason,
            });
        }
        Ok(Self::of(languages))
    }

    fn of(languages: &[(&str, u32)]) -> Self {
        let tokens: Vec<u32> = languages.iter().map(|(_, token)| *token).collect();
        Self {
            codes: languages.iter().map(|(code, _)| (*code).into()).collect(),
            allowed: AllowedRuns::only(tokens.iter().copied()),
            tokens,
        }
    }

    /// Softmax over the languages alone, of one row with one token.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        Query {
            row: 0,
            at: 0,
            constraint: Constraint::plain(&self.allowed, usize::MAX),
            want: Wanted::Probabilities(&self.tokens),
        }
    }

    /// Reads the answer. What is no number is no candidate.
    #[must_use]
    pub fn probabilities(&self, answer: &Answer) -> LanguageProbabilities {
        let given = answer.probabilities().iter().copied();
        let given = given.map(|p| if p.is_finite() { f64::from(p) } else { 0.0 });
        let all: Vec<_> = self
            .codes
            .iter()
            .cloned()
            .zip(given.chain(std::iter::repeat(0.0)))
            .collect();
        let best = all
            .iter()
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        LanguageProbabilities {
            best: best.map_or_else(|| "en".into(), |b| b.0.clone()),
            all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranking::answer;

    fn probabilities(logits: &[f32]) -> LanguageProbabilities {
        let languages = LanguageTokens::of(&[("en", 2), ("de", 3), ("fr", 5)]);
        languages.probabilities(&answer(logits, &languages.query()))
    }

    #[test]
    fn only_language_tokens_share_the_probability() {
        let logits = [9.0, 9.0, 1.0, 3.0, 9.0, 2.0, 9.0];
        let found = probabilities(&logits);
        let sum = 1f64.exp() + 3f64.exp() + 2f64.exp();
        assert_eq!(found.best, "de");
        for ((code, probability), logit) in found.all.iter().zip([1f64, 3.0, 2.0]) {
            assert!((probability - logit.exp() / sum).abs() < 1e-7, "{code}");
        }
    }

    #[test]
    fn broken_logits_still_give_an_answer() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let cases: [(&[f32], &str); 4] = [
            (&[], "en"),
            (&[nan; 6], "en"),
            (&[0.0, 0.0, nan, 1.0, 0.0, inf], "de"),
            (&[0.0, 0.0, 4.0, 4.0, 0.0, 4.0], "en"),
        ];
        for (logits, best) in cases {
            assert_eq!(probabilities(logits).best, best, "{logits:?}");
        }
    }
}
