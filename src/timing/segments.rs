//! Words handed out to a window's segments: openai/whisper's `add_word_timestamps`.

use super::words::merge_punctuations;
use crate::decoding::WordTiming;
use crate::dims::FRAMES_PER_SECOND;
use crate::transcript::{Segment, Word};

/// A median word is taken to last no longer than this, in seconds.
const LONGEST_MEDIAN_S: f64 = 0.7;
/// Marks behind which a sentence ends.
const SENTENCE_ENDS: &str = ".。!！?？";
/// A segment's own time is preferred where it is further inside than this, in seconds.
const SLACK_S: f64 = 0.5;

/// Which marks are written with the word behind them and with the word before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Punctuation<'a> {
    /// Marks that belong to the next word.
    pub prepended: &'a str,
    /// Marks that belong to the word before.
    pub appended: &'a str,
}

/// Gives each segment of a window its words and draws its times to them. `segments` hold all text that was
/// aligned, `last_speech_s` is where speech before the window ended; every id below `eot` is text.
pub fn add_word_times(
    segments: &mut [Segment],
    mut words: Vec<WordTiming>,
    eot: u32,
    punctuation: Punctuation<'_>,
    mut last_speech_s: f64,
) {
    let Some(seek) = segments.first().map(|segment| segment.seek) else {
        return;
    };
    let median = median_duration(&words);
    let caps = Caps {
        median,
        longest: median * 2.0,
    };
    caps.cut_at_sentence_ends(&mut words);
    merge_punctuations(&mut words, punctuation.prepended, punctuation.appended);
    let offset_s = seek as f64 / FRAMES_PER_SECOND as f64;
    let mut words = words.into_iter();
    for segment in segments {
        let mut own = take_words(&mut words, text_tokens(segment, eot), offset_s);
        if !own.is_empty() {
            caps.fit(segment, &mut own, last_speech_s);
            last_speech_s = segment.end;
        }
        segment.words = Some(own);
    }
}

fn text_tokens(segment: &Segment, eot: u32) -> usize {
    segment.tokens.iter().filter(|token| **token < eot).count()
}

/// The median of all durations that are not 0, at most [`LONGEST_MEDIAN_S`]; 0 where there are none.
fn median_duration(words: &[WordTiming]) -> f64 {
    let durations = words.iter().map(|word| word.end - word.start);
    let mut durations: Vec<f64> = durations.filter(|d| *d != 0.0).collect();
    durations.sort_by(f64::total_cmp);
    let middle = durations.len() / 2;
    let median = match durations.len() {
        0 => 0.0,
        n if n % 2 == 1 => durations[middle],
        _ => (durations[middle - 1] + durations[middle]) / 2.0,
    };
    median.min(LONGEST_MEDIAN_S)
}

/// The next words up to `count` text tokens; what was merged away is left out.
fn take_words(
    words: &mut impl Iterator<Item = WordTiming>,
    count: usize,
    offset_s: f64,
) -> Vec<Word> {
    let (mut taken, mut own) = (0, Vec::new());
    while taken < count
        && let Some(timing) = words.next()
    {
        taken += timing.tokens.len();
        if !timing.word.is_empty() {
            own.push(Word {
                start: hundredths(offset_s + timing.start),
                end: hundredths(offset_s + timing.end),
                word: timing.word,
                probability: timing.probability,
            });
        }
    }
    own
}

/// NumPy's `round(x, 2)`.
fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round_ties_even() / 100.0
}

/// What is implausibly long, in seconds.
struct Caps {
    median: f64,
    /// Twice the median.
    longest: f64,
}

impl Caps {
    /// Words at the ends of sentences take the pause in; they are cut to the longest.
    fn cut_at_sentence_ends(&self, words: &mut [WordTiming]) {
        if words.iter().all(|word| word.end == word.start) {
            return;
        }
        for i in 1..words.len() {
            if words[i].end - words[i].start > self.longest {
                if SENTENCE_ENDS.contains(&words[i].word) {
                    words[i].end = words[i].start + self.longest;
                } else if SENTENCE_ENDS.contains(&words[i - 1].word) {
                    words[i].start = words[i].end - self.longest;
                }
            }
        }
    }

    /// Cuts the first words behind a pause, then lets segment and words agree on start and end.
    fn fit(&self, segment: &mut Segment, words: &mut [Word], last_speech_s: f64) {
        self.cut_behind_pause(words, last_speech_s);
        let first = &mut words[0];
        if segment.start < first.end && segment.start - SLACK_S > first.start {
            first.start = (first.end - self.median).min(segment.start).max(0.0);
        } else {
            segment.start = first.start;
        }
        let last = &mut words[words.len() - 1];
        if segment.end > last.start && segment.end + SLACK_S < last.end {
            last.end = (last.start + self.median).max(segment.end);
        } else {
            segment.end = last.end;
        }
    }

    /// The first and second word behind a pause last no longer than twice the median each.
    fn cut_behind_pause(&self, words: &mut [Word], last_speech_s: f64) {
        let (start, end) = (words[0].start, words[0].end);
        let second = words.get(1).map(|word| (word.start, word.end));
        let long = end - start > self.longest
            || second.is_some_and(|(_, second_end)| second_end - start > self.longest * 2.0);
        if end - last_speech_s <= self.median * 4.0 || !long {
            return;
        }
        if let Some((second_start, second_end)) = second
            && second_end - second_start > self.longest
        {
            let boundary = (second_end / 2.0).max(second_end - self.longest);
            words[0].end = boundary;
            words[1].start = boundary;
        }
        words[0].start = (words[0].end - self.longest).max(0.0);
    }
}
