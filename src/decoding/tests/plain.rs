//! The rules and the searches written the long way: copies of the logits, masks, sequences compared
//! as a whole. It judges the quick version.

use crate::decoding::sampling::mix;
use crate::decoding::vocabulary::Vocabulary;
use crate::options::{DecodingOptions, SuppressTokens};

/// A vocabulary small enough to look at: text 0–39, special tokens, timestamps 49–63.
pub fn small_vocabulary() -> Vocabulary {
    Vocabulary {
        n_vocab: 64,
        eot: 40,
        sot_prev: 46,
        no_speech: Some(47),
        no_timestamps: 48,
        timestamp_begin: 49,
        timestamp_end: 64,
        blank: vec![7],
        non_speech: vec![3, 9],
        specials: vec![41, 43, 44, 45, 46, 47],
        unused: Vec::new(),
    }
}

/// The same with what a fine-tune added: text 64–67, two special tokens, two logits without a token.
pub fn fine_tuned_vocabulary() -> Vocabulary {
    Vocabulary {
        n_vocab: 72,
        specials: vec![41, 43, 44, 45, 46, 47, 68, 69],
        unused: vec![70, 71],
        ..small_vocabulary()
    }
}

/// A row of logits between 0 and `spread` that depends on everything sampled.
pub fn random_row(seed: u64, sampled: &[u32], spread: f32) -> Vec<f32> {
    let state = sampled
        .iter()
        .fold(mix(seed), |h, token| mix(h ^ u64::from(*token)));
    let draw = |v: u64| (mix(state.wrapping_add(v)) >> 40) as f32 / (1 << 24) as f32 * spread;
    (0..64).map(draw).collect()
}

/// The logits with everything that may not be sampled at negative infinity.
pub fn masked(
    vocabulary: &Vocabulary,
    options: &DecodingOptions,
    logits: &[f32],
    sampled: &[u32],
) -> Vec<f32> {
    let mut x = logits.to_vec();
    let mut ban =
        |ids: &mut dyn Iterator<Item = u32>| ids.for_each(|t| x[t as usize] = -f32::INFINITY);
    if options.suppress_blank && sampled.is_empty() {
        ban(&mut vocabulary.blank.iter().copied().chain([vocabulary.eot]));
    }
    let banned: Vec<u32> = match &options.suppress_tokens {
        SuppressTokens::Only(none) if none.is_empty() => Vec::new(),
        SuppressTokens::Only(some) => [some.as_slice(), &vocabulary.specials].concat(),
        SuppressTokens::NonSpeechAnd(some) => [
            some.as_slice(),
            &vocabulary.non_speech,
            &vocabulary.specials,
        ]
        .concat(),
    };
    ban(&mut banned.into_iter().chain(vocabulary.unused.iter().copied()));
    if !options.without_timestamps {
        timestamp_rules(vocabulary, options, &mut x, sampled);
    }
    x
}

fn timestamp_rules(
    vocabulary: &Vocabulary,
    options: &DecodingOptions,
    x: &mut [f32],
    sampled: &[u32],
) {
    let (begin, end) = (vocabulary.timestamp_begin, vocabulary.timestamp_end);
    let is_timestamp = |t: &u32| (begin..end).contains(t);
    let n_vocab = vocabulary.n_vocab as u32;
    let mut ban = |ids: std::ops::Range<u32>| ids.for_each(|t| x[t as usize] = -f32::INFINITY);
    ban(vocabulary.no_timestamps..vocabulary.no_timestamps + 1);
    let n = sampled.len();
    let last = n >= 1 && is_timestamp(&sampled[n - 1]);
    let penultimate = n < 2 || is_timestamp(&sampled[n - 2]);
    if last && penultimate {
        ban(begin..end);
    }
    if last && !penultimate {
        ban(0..vocabulary.eot);
        ban(end..n_vocab);
    }
    let timestamps: Vec<u32> = sampled.iter().copied().filter(is_timestamp).collect();
    if let Some(latest) = timestamps.last() {
        ban(begin..if last && !penultimate {
            *latest
        } else {
            latest + 1
        });
    }
    if n == 0 {
        ban(0..begin);
        ban(end..n_vocab);
        if let Some(seconds) = options.max_initial_timestamp.filter(|s| *s != 0.0) {
            ban((begin + (seconds * 50.0).round() as u32 + 1).min(end)..end);
        }
    }
    let logprobs = log_softmax(x);
    let (text, times) = logprobs.split_at(begin as usize);
    let (times, added) = times.split_at((end - begin) as usize);
    let together: f64 = times.iter().map(|p| p.exp()).sum();
    let text = text.iter().chain(added).copied();
    if together.ln() > text.fold(f64::NEG_INFINITY, f64::max) {
        x[..begin as usize].fill(f32::NEG_INFINITY);
        x[end as usize..].fill(f32::NEG_INFINITY);
    }
}

/// Log-softmax in double precision.
pub fn log_softmax(x: &[f32]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| f64::from(*x).exp()).sum();
    x.iter().map(|x| f64::from(*x) - sum.ln()).collect()
}

/// Beam search over whole sequences, as dictionaries in order of insertion.
pub struct PlainBeams<'a> {
    pub vocabulary: &'a Vocabulary,
    pub options: &'a DecodingOptions,
    pub row: &'a dyn Fn(&[u32]) -> Vec<f32>,
    pub steps: usize,
}

type Scored = Vec<(Vec<u32>, f64)>;

impl PlainBeams<'_> {
    /// The candidates at the end: end of text cut off, summed log-probability beside.
    pub fn candidates(&self) -> Scored {
        let size = self.options.beam_size.unwrap_or(1);
        let enough =
            (size as f64 * self.options.patience.unwrap_or(1.0)).round_ties_even() as usize;
        let mut beams: Scored = vec![(Vec::new(), 0.0); size];
        let mut finished: Scored = Vec::new();
        for _ in 0..self.steps {
            let mut kept = Vec::new();
            for (mut sequence, score) in self.continuations(&beams, size + 1) {
                if sequence.last() != Some(&self.vocabulary.eot) {
                    kept.push((sequence, score));
                } else if finished.len() < enough {
                    sequence.pop();
                    finished.push((sequence, score));
                }
                if kept.len() == size {
                    break;
                }
            }
            beams = kept;
            if finished.len() >= enough {
                break;
            }
        }
        beams.sort_by(|a, b| b.1.total_cmp(&a.1));
        let missing = size.saturating_sub(finished.len());
        finished.extend(beams.into_iter().take(missing));
        finished
    }

    fn continuations(&self, beams: &Scored, width: usize) -> Scored {
        let mut scores: Scored = Vec::new();
        for (sequence, sum) in beams {
            let x = masked(
                self.vocabulary,
                self.options,
                &(self.row)(sequence),
                sequence,
            );
            let mut ranked: Vec<(usize, f64)> = log_softmax(&x).into_iter().enumerate().collect();
            ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
            for (token, logprob) in ranked.into_iter().take(width) {
                let longer = [sequence.as_slice(), &[token as u32]].concat();
                match scores.iter_mut().find(|(known, _)| *known == longer) {
                    Some(known) => known.1 = sum + logprob,
                    None => scores.push((longer, sum + logprob)),
                }
            }
        }
        scores.sort_by(|a, b| b.1.total_cmp(&a.1));
        scores
    }
}
