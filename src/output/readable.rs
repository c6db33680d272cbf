//! Subtitles that people can read: cues cut at clauses and pauses, one or two lines each, long enough on the
//! screen. Which cuts are best is found over a whole pause-free stretch at once (dynamic programming).

use unicode_width::UnicodeWidthStr;

use super::text::{is_space, strip};
use crate::transcript::{Segment, Transcript, Word};

/// What a language's readers are given.
struct Reading {
    languages: &'static [&'static str],
    /// Columns of a line; a full-width character takes two.
    columns: usize,
    /// Columns that are read in a second.
    columns_a_second: f64,
}

/// Netflix, Timed Text Style Guides by language: characters a line and, for adults, a second. 13, 16 and 16
/// full-width characters a line, and 4, 9 and 12 a second, where characters take two columns. Its other
/// languages have 42 a line and 17 a second, English 20.
const READING: [Reading; 5] = [
    Reading {
        languages: &["ja"],
        columns: 26,
        columns_a_second: 8.0,
    },
    Reading {
        languages: &["zh", "yue"],
        columns: 32,
        columns_a_second: 18.0,
    },
    Reading {
        languages: &["ko"],
        columns: 32,
        columns_a_second: 24.0,
    },
    Reading {
        languages: &["en"],
        columns: 42,
        columns_a_second: 20.0,
    },
    Reading {
        languages: &[],
        columns: 42,
        columns_a_second: 17.0,
    },
];
/// Netflix, Timed Text Style Guide, General Requirements: at most two lines.
const MOST_LINES: usize = 2;
/// There: five sixths of a second.
const SHORTEST_S: f64 = 5.0 / 6.0;
/// There: seven seconds.
const LONGEST_S: f64 = 7.0;
/// There: two frames, of film's 24 a second.
const GAP_S: f64 = 2.0 / 24.0;
/// BBC, Subtitle Guidelines, on silence: cues end where nobody speaks for longer.
const PAUSE_S: f64 = 1.5;
/// BBC, Subtitle Guidelines, on line breaks: behind the end of a sentence, then of a clause.
const SENTENCE_ENDS: &str = ".!?…。！？";
const CLAUSE_ENDS: &str = ",;:—–、，；：";
/// Quotes and brackets that stand behind such marks.
const CLOSING: &str = "\"'”’)]}»」』";

/// What cuts cost, in our own judgement: each cue, its end elsewhere than behind a sentence or a clause, each
/// second that is missing to read it.
const A_CUE: f64 = 4.0;
const CLAUSE_CUT: f64 = 2.0;
const PAUSE_CUT: f64 = 3.0;
const ANY_CUT: f64 = 10.0;
const A_MISSING_SECOND: f64 = 8.0;
/// From this silence on a cut is as good as one behind a clause.
const SHORT_PAUSE_S: f64 = 0.3;
/// A cue of this many columns that ends within a sentence hangs in the air.
const AN_ORPHAN: usize = 8;

/// A cue, its lines as they are shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReadableCue {
    pub start: f64,
    pub end: f64,
    pub text: String,
}

/// A transcript's cues. They follow each other without touching, begin and end within the recording where its
/// length is known, and have all of its text.
pub(super) fn cues(transcript: &Transcript) -> Vec<ReadableCue> {
    let known = |reading: &&Reading| {
        let languages = reading.languages;
        languages.is_empty() || languages.contains(&&*transcript.language)
    };
    let reading = READING.iter().find(known).unwrap_or(&READING[4]);
    let words = timed_words(transcript);
    let mut cues: Vec<ReadableCue> = Vec::new();
    let mut cuts = vec![0];
    for stretch in stretches(&words) {
        let first = cuts[cuts.len() - 1];
        let ends = best_cuts(reading, &words[..first + stretch], first);
        cuts.extend(ends);
    }
    for (i, pair) in cuts.windows(2).enumerate() {
        let own = &words[pair[0]..pair[1]];
        let next_s = cuts.get(i + 2).map(|_| words[pair[1]].start);
        if let Some(cue) = cue(reading, own, next_s, transcript.duration_s) {
            cues.push(cue);
        }
    }
    cues
}

/// Every word in order, with times that neither decrease nor leave the recording.
fn timed_words(transcript: &Transcript) -> Vec<Word> {
    let mut words: Vec<Word> = transcript.segments.iter().flat_map(spoken).collect();
    words.retain(|word| !strip(&word.word).is_empty());
    let known = transcript.duration_s > 0.0;
    let last_s = if known {
        transcript.duration_s
    } else {
        f64::MAX
    };
    let mut before_s: f64 = 0.0;
    for word in &mut words {
        word.start = word.start.max(before_s).min(last_s);
        word.end = word.end.max(word.start).min(last_s);
        before_s = word.end;
    }
    words
}

/// A segment's words; where it has none that make its text, its text cut at spaces, over its time by length.
fn spoken(segment: &Segment) -> Vec<Word> {
    let words = segment.words.clone().unwrap_or_default();
    let joined: String = words.iter().map(|word| &*word.word).collect();
    if strip(&joined) == strip(&segment.text) {
        return words;
    }
    let all = width(&segment.text).max(1) as f64;
    let (mut at, duration_s) = (0, (segment.end - segment.start).max(0.0));
    let mut place = |columns: usize| {
        at += columns;
        segment.start + duration_s * (at as f64 / all).min(1.0)
    };
    let word = |part: &str| Word {
        start: place(0),
        end: place(width(part)),
        word: part.to_owned(),
        probability: 1.0,
    };
    pieces(&segment.text).into_iter().map(word).collect()
}

/// A text cut before its spaces and around its full-width characters, but before no closing mark.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut before) = (Vec::new(), 0, ' ');
    for (at, c) in text.char_indices() {
        let closing = [SENTENCE_ENDS, CLAUSE_ENDS, CLOSING]
            .iter()
            .any(|marks| marks.contains(c));
        let wide = |c: char| width(c.encode_utf8(&mut [0; 4])) > 1;
        let breaks = is_space(c) || (!closing && (wide(c) || wide(before)));
        if breaks && !is_space(before) {
            pieces.push(&text[start..at]);
            start = at;
        }
        before = c;
    }
    pieces.push(&text[start..]);
    pieces
}

/// Lengths of the runs of words without a long silence.
fn stretches(words: &[Word]) -> Vec<usize> {
    let runs = words.chunk_by(|a, b| b.start - a.end <= PAUSE_S);
    runs.map(<[Word]>::len).collect()
}

/// Where the cues of the words from `first` on end, at the least cost.
fn best_cuts(reading: &Reading, words: &[Word], first: usize) -> Vec<usize> {
    // Of each place: what it costs to cut there, and where the cut before is.
    let mut best: Vec<(f64, usize)> = vec![(0.0, first)];
    for end in first + 1..=words.len() {
        let mut least = (f64::INFINITY, end - 1);
        for start in (first..end).rev() {
            let own = &words[start..end];
            if start + 1 < end && !fits(reading, own) {
                break;
            }
            let cost = best[start - first].0 + cost(reading, own, words.get(end));
            if cost < least.0 {
                least = (cost, start);
            }
        }
        best.push(least);
    }
    let mut ends = Vec::new();
    let mut end = words.len();
    while end > first {
        ends.push(end);
        end = best[end - first].1;
    }
    ends.reverse();
    ends
}

fn fits(reading: &Reading, words: &[Word]) -> bool {
    words[words.len() - 1].end - words[0].start <= LONGEST_S
        && lines(reading, words).is_some_and(|lines| lines.len() <= MOST_LINES)
}

fn cost(reading: &Reading, words: &[Word], next: Option<&Word>) -> f64 {
    let last = &words[words.len() - 1];
    let silence_s = next.map_or(f64::INFINITY, |next| next.start - last.end);
    let own_s = next.map_or(f64::INFINITY, |next| next.start - GAP_S) - words[0].start;
    let missing_s = (reading_s(reading, words) - own_s).max(0.0);
    let ends_sentence = ends_with(last, SENTENCE_ENDS);
    let cut = match next {
        None => 0.0,
        Some(_) if ends_sentence => 0.0,
        Some(_) if ends_with(last, CLAUSE_ENDS) => CLAUSE_CUT,
        Some(_) if silence_s >= SHORT_PAUSE_S => PAUSE_CUT,
        Some(_) => ANY_CUT,
    };
    let orphan = !ends_sentence && width_of(words) <= AN_ORPHAN;
    A_CUE + cut + A_MISSING_SECOND * missing_s + if orphan { ANY_CUT } else { 0.0 }
}

/// How long a cue is to be seen.
fn reading_s(reading: &Reading, words: &[Word]) -> f64 {
    let seconds = width_of(words) as f64 / reading.columns_a_second;
    seconds.clamp(SHORTEST_S, LONGEST_S)
}

/// The cue of some words: until it can be read, but not into the next one or past the recording's end.
fn cue(
    reading: &Reading,
    words: &[Word],
    next_s: Option<f64>,
    duration_s: f64,
) -> Option<ReadableCue> {
    let (first, last) = (words.first()?, words.last()?);
    let start = first.start;
    let mut end = last.end.max(start + reading_s(reading, words));
    if let Some(next_s) = next_s {
        let gap = GAP_S.min((next_s - start) / 2.0);
        end = end.min(next_s - gap);
    }
    if duration_s > 0.0 {
        end = end.min(duration_s);
    }
    let lines = lines(reading, words).unwrap_or_else(|| vec![joined(words)]);
    Some(ReadableCue {
        start,
        end: end.max(start),
        text: lines.join("\n"),
    })
}

/// The words in as few lines as hold them, balanced, broken behind clauses where that is possible. None where
/// they need more than [`MOST_LINES`].
fn lines(reading: &Reading, words: &[Word]) -> Option<Vec<String>> {
    if words.len() == 1 || width_of(words) <= reading.columns {
        return Some(vec![joined(words)]);
    }
    let breaks = (1..words.len()).filter_map(|at| {
        let (top, bottom) = words.split_at(at);
        let (above, below) = (width_of(top), width_of(bottom));
        let clause = ends_with(&top[at - 1], SENTENCE_ENDS) || ends_with(&top[at - 1], CLAUSE_ENDS);
        let holds = above <= reading.columns && below <= reading.columns;
        // Half a line is what a clause is worth; the lower line may be the longer one.
        let bonus = if clause { 0 } else { reading.columns / 2 };
        holds.then(|| {
            (
                above.abs_diff(below) + bonus + usize::from(above > below),
                at,
            )
        })
    });
    let (_, at) = breaks.min()?;
    Some(vec![joined(&words[..at]), joined(&words[at..])])
}

fn joined(words: &[Word]) -> String {
    let text: String = words.iter().map(|word| word.word.as_str()).collect();
    strip(&text).to_owned()
}

fn width_of(words: &[Word]) -> usize {
    let all: usize = words.iter().map(|word| width(&word.word)).sum();
    let space = words.first().is_some_and(|word| word.word.starts_with(' '));
    all - usize::from(space)
}

fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Whether a word ends with one of these marks, quotes and brackets behind it not counted.
fn ends_with(word: &Word, marks: &str) -> bool {
    let closing = |c: char| is_space(c) || CLOSING.contains(c);
    let text = word.word.trim_end_matches(closing);
    text.chars().next_back().is_some_and(|c| marks.contains(c))
}
