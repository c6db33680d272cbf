//! Which language is spoken where: told from several windows of speech, or from every piece of it.

use std::ops::Range;

use super::client::Client;
use super::spoken::Ground;
use crate::dims::N_FRAMES;
use crate::error::Result;
use crate::longform::{LanguageRun, Speech};
use crate::options::TranscribeOptions;
use crate::transcript::{LanguageProbabilities, SegmentSink};

/// A piece whose language is told goes on until it has this much speech, and to its next pause.
const PIECE_FRAMES: usize = 500;
/// Another language is believed only if it is this much more probable than the one before.
const AHEAD: f64 = 0.25;

impl Ground {
    /// Where which language is spoken, and the one that is spoken most. The sink hears the first that was told.
    pub(super) fn languages(
        &self,
        client: &Client<'_>,
        options: &TranscribeOptions,
        sink: &mut dyn SegmentSink,
    ) -> Result<(String, Vec<LanguageRun>)> {
        let all = 0..self.content.frames;
        let start = match self.content.spoken(all.clone()) {
            Some(spoken) if self.speech.is_some() => spoken.start,
            None if self.speech.is_some() => return Ok(("en".into(), Vec::new())),
            _ => 0,
        };
        if options.multilingual
            && let Some(pieces) = &self.pieces
        {
            let mut told = Vec::new();
            for piece in gathered(pieces) {
                told.push((piece.clone(), self.told(client, piece, options)?));
            }
            if let Some((_, first)) = told.first() {
                sink.language(first)?;
                let runs = runs(told, all, options.language_detection_threshold);
                return Ok((most_spoken(&runs), runs));
            }
        }
        let found = self.of_windows(client, start, options)?;
        sink.language(&found)?;
        let run = LanguageRun {
            // Of parts that come later as well.
            frames: 0..usize::MAX,
            probability: found.probability(&found.best),
            language: found.best.clone(),
        };
        let shown = options.multilingual || !options.languages.is_empty();
        Ok((found.best, if shown { vec![run] } else { Vec::new() }))
    }

    /// The language of the first window that is sure enough; of all that are looked at, if none is.
    fn of_windows(
        &self,
        client: &Client<'_>,
        start: usize,
        options: &TranscribeOptions,
    ) -> Result<LanguageProbabilities> {
        let windows = (start..self.content.frames.max(start + 1)).step_by(N_FRAMES);
        let windows = windows.take(options.language_detection_segments.max(1));
        surest(
            windows.map(|from| client.language_of(from..from + N_FRAMES)),
            options,
        )
    }

    /// The languages of a range that are allowed, with what they have of the probability of all that are.
    fn told(
        &self,
        client: &Client<'_>,
        range: Range<usize>,
        options: &TranscribeOptions,
    ) -> Result<LanguageProbabilities> {
        Ok(allowed(client.language_of(range)?, options))
    }
}

/// The first of windows' languages that is sure enough; those of all windows together, if none is.
pub(super) fn surest(
    windows: impl Iterator<Item = Result<LanguageProbabilities>>,
    options: &TranscribeOptions,
) -> Result<LanguageProbabilities> {
    let (mut sum, mut looked_at) = (None, 0);
    for found in windows {
        let found = allowed(found?, options);
        if found.probability(&found.best) > options.language_detection_threshold {
            return Ok(found);
        }
        sum = Some(match sum {
            None => found,
            Some(sum) => added(sum, &found),
        });
        looked_at += 1;
    }
    let mut sum = sum.unwrap_or_else(|| LanguageProbabilities {
        best: "en".into(),
        all: Vec::new(),
    });
    if looked_at > 1 {
        normalize(&mut sum);
    }
    Ok(sum)
}

/// Those languages that may be, with what they have of the probability of all that may.
fn allowed(mut found: LanguageProbabilities, options: &TranscribeOptions) -> LanguageProbabilities {
    if !options.languages.is_empty() {
        found
            .all
            .retain(|(code, _)| options.languages.contains(code));
        normalize(&mut found);
    }
    found
}

/// Pieces of speech that are long enough to tell their language, in order.
fn gathered(pieces: &Speech) -> Vec<Range<usize>> {
    let mut gathered: Vec<Range<usize>> = Vec::new();
    let mut speech = PIECE_FRAMES;
    for piece in pieces.spans() {
        match gathered.last_mut() {
            Some(last) if speech < PIECE_FRAMES && piece.end - last.start <= N_FRAMES => {
                last.end = piece.end;
                speech += piece.len();
            }
            _ => {
                gathered.push(piece.clone());
                speech = piece.len();
            }
        }
    }
    gathered
}

/// Stretches of one language each, which together are the whole recording. A piece speaks another language than the one
/// before it only where it is sure of that.
fn runs(
    told: Vec<(Range<usize>, LanguageProbabilities)>,
    all: Range<usize>,
    threshold: f64,
) -> Vec<LanguageRun> {
    let mut runs: Vec<LanguageRun> = Vec::new();
    for (piece, found) in told {
        let probability = found.probability(&found.best);
        let Some(last) = runs.last_mut() else {
            runs.push(LanguageRun {
                frames: all.clone(),
                language: found.best,
                probability,
            });
            continue;
        };
        let stays = found.probability(&last.language);
        if found.best == last.language || probability < threshold.max(stays + AHEAD) {
            last.probability = last.probability.max(stays);
            continue;
        }
        last.frames.end = piece.start;
        runs.push(LanguageRun {
            frames: piece.start..all.end,
            language: found.best,
            probability,
        });
    }
    runs
}

fn most_spoken(runs: &[LanguageRun]) -> String {
    let of = |language: &str| -> usize {
        let runs = runs.iter().filter(|run| run.language == language);
        runs.map(|run| run.frames.len()).sum()
    };
    let most = runs.iter().max_by_key(|run| of(&run.language));
    most.map_or_else(|| "en".into(), |run| run.language.clone())
}

fn added(mut sum: LanguageProbabilities, found: &LanguageProbabilities) -> LanguageProbabilities {
    for (code, probability) in &mut sum.all {
        *probability += found.probability(code);
    }
    sum
}

/// Probabilities that sum to 1, and the likeliest of them.
fn normalize(found: &mut LanguageProbabilities) {
    let sum: f64 = found.all.iter().map(|(_, p)| p).sum();
    for (_, probability) in &mut found.all {
        *probability /= if sum > 0.0 { sum } else { 1.0 };
    }
    let best = found
        .all
        .iter()
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    if let Some((code, _)) = best {
        found.best = code.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(probabilities: &[(&str, f64)]) -> LanguageProbabilities {
        let all = probabilities
            .iter()
            .map(|(code, p)| ((*code).to_owned(), *p));
        let mut found = LanguageProbabilities {
            best: String::new(),
            all: all.collect(),
        };
        normalize(&mut found);
        found
    }

    #[test]
    fn a_language_changes_where_that_is_sure() {
        let piece = |n: usize, de: f64| {
            let all = found(&[("de", de), ("en", 1.0 - de)]);
            (n * 500..n * 500 + 400, all)
        };
        let told = vec![
            piece(0, 0.9),
            piece(1, 0.8),
            // Not sure enough.
            piece(2, 0.42),
            piece(3, 0.1),
            piece(4, 0.55),
            piece(5, 0.99),
        ];
        let runs = runs(told, 0..3000, 0.5);
        let places: Vec<_> = runs
            .iter()
            .map(|run| (run.language.as_str(), run.frames.clone()))
            .collect();
        assert_eq!(
            places,
            [("de", 0..1500), ("en", 1500..2500), ("de", 2500..3000)]
        );
        assert_eq!(most_spoken(&runs), "de");
    }

    #[test]
    fn short_pieces_are_told_together() {
        let seconds = [(0, 2), (3, 5), (6, 8), (10, 18), (20, 21)];
        let samples: Vec<_> = seconds
            .iter()
            .map(|(a, b)| a * 16_000..b * 16_000)
            .collect();
        let pieces = gathered(&Speech::of_samples(&samples, 3000));
        assert_eq!(pieces, [0..800, 1000..1800, 2000..2100]);
    }

    #[test]
    fn the_first_window_that_is_sure_decides() {
        let of = |options: &TranscribeOptions, de: &[f64]| {
            let windows = de
                .iter()
                .map(|de| Ok(found(&[("de", *de), ("en", 1.0 - de)])));
            let mut looked = 0;
            let told = surest(windows.inspect(|_| looked += 1), options).unwrap();
            (told.best.clone(), told.probability("de"), looked)
        };
        let mut options = TranscribeOptions {
            language_detection_threshold: 0.7,
            ..TranscribeOptions::default()
        };
        assert_eq!(of(&options, &[0.4, 0.8, 0.1]), ("de".into(), 0.8, 2));
        let (best, de, looked) = of(&options, &[0.6, 0.4, 0.35]);
        assert!(best == "en" && (de - 0.45).abs() < 1e-9 && looked == 3);
        options.languages = vec!["en".into()];
        assert_eq!(of(&options, &[0.9, 0.9]), ("en".into(), 0.0, 1));
    }

    #[test]
    fn probabilities_are_of_what_is_allowed() {
        let mut three = found(&[("en", 0.6), ("de", 0.3), ("fr", 0.1)]);
        three.all.remove(0);
        normalize(&mut three);
        assert_eq!(three.best, "de");
        assert!((three.probability("de") - 0.75).abs() < 1e-9);
        let sum = added(
            found(&[("en", 0.4), ("de", 0.6)]),
            &found(&[("en", 0.9), ("de", 0.1)]),
        );
        assert!((sum.probability("en") - 1.3).abs() < 1e-9);
    }
}
