//! Cues of srt and vtt, by segment or, where there are word times, by word.

use std::io::{self, Write};

use super::WriterOptions;
use super::readable;
use super::text::{format_timestamp, is_space, milliseconds, strip};
use crate::transcript::{Segment, Transcript, Word};

/// A longer silence between two words starts a new cue, where cues don't follow the segments.
const LONG_PAUSE_S: f64 = 3.0;
/// openai/whisper's stand-in for no limit, on the width of a line and the words in a cue.
const NO_LIMIT: usize = 1000;

/// What tells srt and vtt apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SubtitleStyle {
    Srt,
    Vtt,
}

impl SubtitleStyle {
    fn time(self, seconds: f64) -> String {
        match self {
            Self::Srt => format_timestamp(seconds, true, ','),
            Self::Vtt => format_timestamp(seconds, false, '.'),
        }
    }

    /// What stands before a speaker's text.
    fn voice(self, speaker: &str) -> String {
        match self {
            Self::Srt => format!("{speaker}: "),
            Self::Vtt => {
                let name = speaker.replace('&', "&amp;").replace('<', "&lt;");
                format!("<v {}>", name.replace('>', "&gt;"))
            }
        }
    }
}

/// A cue as it is printed.
pub(super) struct Cue {
    pub start: f64,
    pub end: f64,
    pub text: String,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
}

/// A cue with its words, as far as they have times.
pub(super) struct TimedCue {
    pub start: f64,
    pub end: f64,
    /// Its text where there are no words.
    whole: String,
    pub words: Vec<CueWord>,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
}

impl TimedCue {
    pub fn text(&self) -> String {
        let words = self.words.iter().map(|word| word.text.as_str());
        [&*self.whole].into_iter().chain(words).collect()
    }

    fn of_words(words: Vec<CueWord>) -> Option<Self> {
        Some(Self {
            start: words.first()?.start,
            end: words.last()?.end,
            whole: String::new(),
            words,
            speaker: None,
        })
    }
}

pub(super) fn write(
    transcript: &Transcript,
    options: &WriterOptions,
    style: SubtitleStyle,
    out: &mut dyn Write,
) -> io::Result<()> {
    if style == SubtitleStyle::Vtt {
        out.write_all(b"WEBVTT\n\n")?;
    }
    for (cue, number) in cues(transcript, options).into_iter().zip(1..) {
        let Cue {
            start,
            end,
            text,
            speaker,
        } = cue;
        let (start, end) = (style.time(start), style.time(end));
        if style == SubtitleStyle::Srt {
            writeln!(out, "{number}")?;
        }
        let by = speaker.map_or_else(String::new, |speaker| style.voice(&speaker));
        write!(out, "{start} --> {end}\n{by}{text}\n\n")?;
    }
    Ok(())
}

/// The cues as they are printed; with `highlight_words` one for each word.
pub(super) fn cues(transcript: &Transcript, options: &WriterOptions) -> Vec<Cue> {
    let timed = timed_cues(transcript, options);
    if options.highlight_words {
        return timed.iter().flat_map(highlighted_cues).collect();
    }
    let plain = |cue: TimedCue| Cue {
        text: cue.text(),
        start: cue.start,
        end: cue.end,
        speaker: cue.speaker,
    };
    timed.into_iter().map(plain).collect()
}

/// The cues, cut as the options say, and where the speaker changes.
pub(super) fn timed_cues(transcript: &Transcript, options: &WriterOptions) -> Vec<TimedCue> {
    if transcript.segments.iter().all(|s| s.speaker.is_none()) {
        return cues_of_one(transcript, options);
    }
    let turns = transcript.segments.chunk_by(|a, b| a.speaker == b.speaker);
    let turn = |segments: &[Segment]| {
        let turn = Transcript {
            segments: segments.to_vec(),
            language: transcript.language.clone(),
            ..Transcript::default()
        };
        let speaker = segments[0].speaker.clone();
        let cues = cues_of_one(&turn, options).into_iter();
        let spoken = move |cue| TimedCue {
            speaker: speaker.clone(),
            ..cue
        };
        cues.map(spoken).collect::<Vec<_>>()
    };
    turns.flat_map(turn).collect()
}

fn cues_of_one(transcript: &Transcript, options: &WriterOptions) -> Vec<TimedCue> {
    let segments = &transcript.segments;
    if options.readable {
        let cues = readable::cues(transcript).into_iter();
        return cues.map(|c| whole_cue(c.start, c.end, &c.text)).collect();
    }
    let untimed = |segment: &Segment| segment.words.is_none();
    if segments.first().is_none_or(untimed) {
        let cue = |s: &Segment| whole_cue(s.start, s.end, strip(&s.text));
        return segments.iter().map(cue).collect();
    }
    let cut = cut_into_cues(segments, options);
    cut.into_iter().filter_map(TimedCue::of_words).collect()
}

/// A cue without words; an arrow in it would end it.
fn whole_cue(start: f64, end: f64, text: &str) -> TimedCue {
    TimedCue {
        start,
        end,
        whole: text.replace("-->", "->"),
        words: Vec::new(),
        speaker: None,
    }
}

/// One cue per word with the word underlined, and one without between words that don't touch.
fn highlighted_cues(cue: &TimedCue) -> Vec<Cue> {
    let (plain, words) = (cue.text(), &cue.words);
    let mut cues = Vec::new();
    let mut last = cue.start;
    for (i, word) in words.iter().enumerate() {
        if milliseconds(last) != milliseconds(word.start) {
            cues.push(Cue {
                start: last,
                end: word.start,
                text: plain.clone(),
                speaker: cue.speaker.clone(),
            });
        }
        let spoken = |(j, word): (usize, &CueWord)| {
            if i == j {
                underlined(&word.text)
            } else {
                word.text.clone()
            }
        };
        cues.push(Cue {
            start: word.start,
            end: word.end,
            text: words.iter().enumerate().map(spoken).collect(),
            speaker: cue.speaker.clone(),
        });
        last = word.end;
    }
    if words.is_empty() {
        cues.push(Cue {
            start: cue.start,
            end: cue.end,
            text: plain,
            speaker: cue.speaker.clone(),
        });
    }
    cues
}

/// What `re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", word)` makes of a word.
fn underlined(word: &str) -> String {
    let rest = word.trim_start_matches(is_space);
    let space = &word[..word.len() - rest.len()];
    let (rest, newline) = rest
        .strip_suffix('\n')
        .map_or((rest, ""), |rest| (rest, "\n"));
    if rest.contains('\n') {
        word.to_owned()
    } else {
        format!("{space}<u>{rest}</u>{newline}")
    }
}

/// A word in its place in a cue: at the start of a line without its space, but with the line break.
pub(super) struct CueWord {
    pub text: String,
    pub start: f64,
    end: f64,
}

/// The rules that cut words into lines and cues, and where they stand.
struct Cutter {
    preserve_segments: bool,
    max_line_width: usize,
    max_line_count: Option<usize>,
    line_len: usize,
    line_count: usize,
    /// When the word before started.
    last_s: f64,
    cue: Vec<CueWord>,
    done: Vec<Vec<CueWord>>,
}

fn cut_into_cues(segments: &[Segment], options: &WriterOptions) -> Vec<Vec<CueWord>> {
    let limit = |given: Option<usize>| given.filter(|n| *n > 0);
    let (width, count) = (limit(options.max_line_width), limit(options.max_line_count));
    let words_of = |segment: &'_ Segment| segment.words.clone().unwrap_or_default();
    let first_word_s = segments
        .iter()
        .flat_map(words_of)
        .next()
        .map(|word| word.start);
    let mut cutter = Cutter {
        preserve_segments: width.is_none() || count.is_none(),
        max_line_width: width.unwrap_or(NO_LIMIT),
        max_line_count: count,
        line_len: 0,
        line_count: 1,
        last_s: first_word_s
            .or(segments.first().map(|segment| segment.start))
            .unwrap_or(0.0),
        cue: Vec::new(),
        done: Vec::new(),
    };
    let words_per_line = limit(options.max_words_per_line).unwrap_or(NO_LIMIT);
    for words in segments.iter().filter_map(|segment| segment.words.as_ref()) {
        for chunk in words.chunks(words_per_line) {
            chunk
                .iter()
                .enumerate()
                .for_each(|(i, word)| cutter.push(word, i == 0));
        }
    }
    cutter.close();
    cutter.done
}

impl Cutter {
    fn push(&mut self, word: &Word, starts_chunk: bool) {
        let long_pause = !self.preserve_segments && word.start - self.last_s > LONG_PAUSE_S;
        let has_room = self.line_len + characters(&word.word) <= self.max_line_width;
        let segment_break = starts_chunk && !self.cue.is_empty() && self.preserve_segments;
        let mut text = word.word.clone();
        if self.line_len > 0 && has_room && !long_pause && !segment_break {
            self.line_len += characters(&text);
        } else {
            text = self.new_line(strip(&text), long_pause, segment_break);
        }
        self.cue.push(CueWord {
            text,
            start: word.start,
            end: word.end,
        });
        self.last_s = word.start;
    }

    /// Starts a line, and a cue where one is due. Returns the word with the break that leads to it.
    fn new_line(&mut self, word: &str, long_pause: bool, segment_break: bool) -> String {
        let full = self
            .max_line_count
            .is_some_and(|most| long_pause || self.line_count >= most);
        let line_break = self.line_len > 0;
        self.line_len = characters(word);
        if segment_break || (full && !self.cue.is_empty()) {
            self.close();
            self.line_count = 1;
        } else if line_break {
            self.line_count += 1;
            return format!("\n{word}");
        }
        word.to_owned()
    }

    fn close(&mut self) {
        if !self.cue.is_empty() {
            self.done.push(std::mem::take(&mut self.cue));
        }
    }
}

/// Length as Python counts it.
fn characters(text: &str) -> usize {
    text.chars().count()
}
