//! Which language is spoken, from the logits after a lone start-of-transcript token.

use crate::decoding::rank::{Constraint, runs, summarize};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;

/// A probability for every language the model knows.
#[derive(Clone, Debug, PartialEq)]
pub struct LanguageProbabilities {
    /// Code of the likeliest language; the first of them where several are equally likely.
    pub best: String,
    /// Code and probability of each language, in the order of the vocabulary.
    pub all: Vec<(String, f64)>,
}

impl LanguageProbabilities {
    /// A language's probability; 0 for one that the model does not know.
    #[must_use]
    pub fn probability(&self, code: &str) -> f64 {
        self.all
            .iter()
            .find(|(known, _)| known == code)
            .map_or(0.0, |(_, p)| *p)
    }
}

/// Reads the languages' probabilities from the logits, `(n_vocab)`, of a step that was fed the
/// start-of-transcript token alone.
///
/// # Errors
/// [`Error::ModelCannot`] for an English-only model.
pub fn detect_language(tokenizer: &Tokenizer, logits: &[f32]) -> Result<LanguageProbabilities> {
    let languages = tokenizer.languages();
    if languages.is_empty() {
        let reason = "knows only English, so it cannot tell languages apart".into();
        return Err(Error::ModelCannot {
            model: "this model".into(),
            reason,
        });
    }
    Ok(probabilities(languages, logits))
}

fn probabilities(languages: &[(&str, u32)], logits: &[f32]) -> LanguageProbabilities {
    let mut allowed: Vec<_> = languages
        .iter()
        .map(|(_, t)| *t as usize..*t as usize + 1)
        .collect();
    allowed.sort_unstable_by_key(|run| run.start);
    let text = 0..logits.len();
    let constraint = Constraint {
        allowed: &allowed,
        text,
        timestamps: 0..0,
    };
    let part = summarize(logits, &constraint).text;
    let log_sum = part.log_sum_exp();
    let probability = |token: u32| {
        let span = token as usize..token as usize + 1;
        let logit = runs(logits, &allowed, &span).find_map(|(_, run)| run.first().copied());
        let logit = logit.filter(|x| x.is_finite());
        logit.map_or(0.0, |x| f64::from((f64::from(x) - log_sum).exp() as f32))
    };
    let all: Vec<_> = languages
        .iter()
        .map(|(c, t)| ((*c).to_owned(), probability(*t)))
        .collect();
    let best = all
        .iter()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    LanguageProbabilities {
        best: best.map_or_else(|| "en".into(), |b| b.0.clone()),
        all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANGUAGES: [(&str, u32); 3] = [("en", 2), ("de", 3), ("fr", 5)];

    #[test]
    fn only_language_tokens_share_the_probability() {
        let logits = [9.0, 9.0, 1.0, 3.0, 9.0, 2.0, 9.0];
        let found = probabilities(&LANGUAGES, &logits);
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
            assert_eq!(probabilities(&LANGUAGES, logits).best, best, "{logits:?}");
        }
    }
}
