//! A known text aligned with its recording: the recording is transcribed with word times, words that both
//! have are where they were heard, and what lies between is fed to the decoder as it is written and aligned
//! there by itself.

use super::client::Client;
use super::spoken::Ground;
use super::{Control, Engine, Progress};
use crate::audio::Input;
use crate::decoding::Alignment;
use crate::dims::{FRAMES_PER_SECOND, N_FRAMES};
use crate::error::{Error, Result};
use crate::mel::LogMel;
use crate::options::{Task, TranscribeOptions};
use crate::timing::{KnownWord, Punctuation, bare, find_words, known_words, same_words};
use crate::transcript::{Segment, Transcript, Word};

/// A word takes no less time than this, in seconds: there is no room for more words.
const SHORTEST_WORD_S: f64 = 0.06;
/// Words before the first one that was heard, and behind the last one, are looked for so many seconds a word
/// away.
const LONGEST_WORD_S: f64 = 1.0;
/// Sentences that are less sure than this are told of.
const HARDLY_HEARD: f64 = 0.2;
/// Speech of so many seconds that is not in the text is told of.
const UNWRITTEN_S: f64 = 3.0;
/// Characters of a text that errors and warnings show.
const SHOWN: usize = 60;
/// What counts as the probability of a word that has none, so that its logarithm is a number.
const LEAST: f64 = 1e-4;

/// Where a word is, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    start: f64,
    end: f64,
    probability: f64,
}

impl Engine {
    /// Finds each word of a known text in its recording. The result's segments are the text's sentences (a line
    /// ends one, and so does a full stop), with words; a sentence's confidence is `exp(avg_logprob)`. Words that
    /// are not in the recording have probability 0 or near it; warnings name sentences that were hardly heard
    /// and speech that the text does not have. `options` say how the recording is heard: its language, beams,
    /// `batch_size`. What the recording costs in time and memory is what its transcription costs, and a little
    /// for passages that are written otherwise than they were heard.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::Option`] for a text without words, or the task of translating;
    /// [`Error::NotSaid`] where no sentence of the text was heard.
    pub fn align(
        &self,
        input: impl Into<Input>,
        text: &str,
        options: &TranscribeOptions,
        control: &Control,
    ) -> Result<Transcript> {
        let bad = |option, reason: &str| {
            let reason = reason.into();
            Err(Error::Option { option, reason })
        };
        if options.decoding.task == Task::Translate {
            return bad("task", "a text is aligned with speech in its own language");
        }
        if options.split_channels {
            return bad("split_channels", "one text is aligned with one recording");
        }
        if bare(text).is_empty() {
            return bad("text", "has no words");
        }
        let mut options = self.check(options)?;
        options.word_timestamps = true;
        // The text says what is speech.
        (options.vad, options.speech) = (None, None);
        let stream = control.open(input.into(), &options)?;
        let (mel, info, listened) = self.log_mel(stream, &options, control)?;
        let (duration_s, warnings) = (info.duration_s(), info.warnings);
        let ground = Ground::new(mel, info.samples, listened.as_ref(), &mut options)?;
        let mel = ground.mel.clone();
        let total_s = mel.content_frames() as f64 / FRAMES_PER_SECOND as f64;
        let mut report = |done_s| {
            if let Some(progress) = &control.progress {
                progress(Progress { done_s, total_s });
            }
        };
        let mut unheard = |_: &Segment| Ok(());
        let heard = self.over(&ground, options.clone(), &mut unheard, &mut report, control)?;
        let heard = Transcript {
            duration_s,
            warnings,
            ..heard
        };
        options.decoding.language = Some(heard.language.clone());
        let marks = Punctuation {
            prepended: &options.prepend_punctuations,
            appended: &options.append_punctuations,
        };
        let known = known_words(&self.0.tokenizer, &heard.language, text, marks);
        let aligner = Aligner {
            client: Client::new(self, mel.clone(), control, &options)?,
            mel: &mel,
            options: &options,
            known: &known,
        };
        aligner.align(heard)
    }
}

struct Aligner<'a> {
    client: Client<'a>,
    mel: &'a LogMel,
    options: &'a TranscribeOptions,
    known: &'a [KnownWord],
}

impl Aligner<'_> {
    fn align(&self, heard: Transcript) -> Result<Transcript> {
        let words = heard.segments.iter().flat_map(|s| s.words.iter().flatten());
        let words: Vec<&Word> = words.collect();
        let bare_known: Vec<String> = self.known.iter().map(|word| bare(&word.text)).collect();
        let bare_heard: Vec<String> = words.iter().map(|word| bare(&word.word)).collect();
        let same = same_words(&bare_known, &bare_heard);
        let place = |i: usize| Place {
            start: words[i].start,
            end: words[i].end,
            probability: words[i].probability,
        };
        let mut places: Vec<Option<Place>> = same.iter().map(|i| i.map(place)).collect();
        let mut at = 0;
        for run in same.chunk_by(|a, b| a.is_none() == b.is_none()) {
            let own = at..at + run.len();
            at = own.end;
            if run[0].is_none() {
                self.place_between(own, &mut places)?;
            }
        }
        let segments = self.sentences(&places);
        if segments.iter().all(is_hardly_heard) {
            return Err(Error::NotSaid {
                sentences: segments.len(),
                heard: said(&heard.text),
            });
        }
        let mut warnings = heard.warnings;
        warnings.extend(hardly_heard(&segments));
        warnings.extend(unwritten(&words, &segments));
        let spoken: String = segments.iter().map(|s| s.text.as_str()).collect();
        Ok(Transcript {
            text: spoken,
            segments,
            warnings,
            ..heard
        })
    }

    /// Places words that were not heard as they are written, between those that were.
    fn place_between(
        &self,
        own: std::ops::Range<usize>,
        places: &mut [Option<Place>],
    ) -> Result<()> {
        let total_s = self.mel.content_frames() as f64 / FRAMES_PER_SECOND as f64;
        let reach_s = 1.0 + own.len() as f64 * LONGEST_WORD_S;
        let before = own.start.checked_sub(1).and_then(|i| places[i]);
        let behind = places.get(own.end).copied().flatten();
        let (from, to) = match (before, behind) {
            (Some(before), Some(behind)) => (before.end, behind.start.max(before.end)),
            (Some(before), None) => (before.end, total_s.min(before.end + reach_s)),
            (None, Some(behind)) => ((behind.start - reach_s).max(0.0), behind.start),
            (None, None) => (0.0, total_s),
        };
        // A neighbour on either side, which is surely there, is aligned as well.
        let around =
            own.start - usize::from(before.is_some())..own.end + usize::from(behind.is_some());
        let start_s = before.map_or(from, |place| place.start);
        let end_s = behind.map_or(to, |place| place.end);
        let roomy = to - from >= own.len() as f64 * SHORTEST_WORD_S;
        let found = match roomy {
            true => self.fed(around.clone(), start_s, end_s)?,
            false => None,
        };
        let nowhere = Place {
            start: from,
            end: from,
            probability: 0.0,
        };
        for i in own {
            let place = found
                .as_ref()
                .map_or(nowhere, |found| found[i - around.start]);
            places[i] = Some(Place {
                start: place.start.clamp(from, to),
                end: place.end.clamp(from, to),
                ..place
            });
        }
        Ok(())
    }

    /// Feeds words to the decoder as the text of a stretch of the recording; none where it is longer than a
    /// window, or the words more than the decoder takes.
    fn fed(
        &self,
        words: std::ops::Range<usize>,
        start_s: f64,
        end_s: f64,
    ) -> Result<Option<Vec<Place>>> {
        let frame = |s: f64| (s * FRAMES_PER_SECOND as f64).round() as usize;
        let first = frame(start_s);
        let frames = frame(end_s).saturating_sub(first);
        if !(2..=N_FRAMES).contains(&frames) {
            return Ok(None);
        }
        let own = &self.known[words];
        let tokens = own.iter().flat_map(|word| word.tokens.iter().copied());
        let options = &self.options.decoding;
        let found = self
            .client
            .align(first, frames, options, tokens.collect())?;
        Ok(found.map(|found| self.places(own, &found, first)))
    }

    /// Where the words are by an alignment of their tokens.
    fn places(&self, own: &[KnownWord], alignment: &Alignment, first: usize) -> Vec<Place> {
        let language = self.options.decoding.language.as_deref().unwrap_or("en");
        let timings = find_words(self.client.tokenizer(), language, alignment);
        let offset_s = first as f64 / FRAMES_PER_SECOND as f64;
        let mut timings = timings.into_iter().peekable();
        let (mut end_s, mut taken, mut due) = (offset_s, 0, 0);
        let place = |word: &KnownWord| {
            due += word.tokens.len();
            let mut place = Place {
                start: end_s,
                end: end_s,
                probability: 0.0,
            };
            let mut parts = 0;
            while taken < due
                && let Some(timing) = timings.next()
            {
                taken += timing.tokens.len();
                if parts == 0 {
                    place.start = offset_s + timing.start;
                }
                place.end = offset_s + timing.end;
                place.probability += timing.probability;
                parts += 1;
            }
            end_s = place.end;
            place.probability /= f64::from(parts.max(1));
            place
        };
        own.iter().map(place).collect()
    }

    /// The text's sentences, with times that never decrease.
    fn sentences(&self, places: &[Option<Place>]) -> Vec<Segment> {
        let mut before_s = 0.0;
        let mut timed = self.known.iter().zip(places).map(|(word, place)| {
            let place = place.unwrap_or(Place {
                start: before_s,
                end: before_s,
                probability: 0.0,
            });
            let start = place.start.max(before_s);
            before_s = place.end.max(start);
            Word {
                word: word.text.clone(),
                start: hundredths(start),
                end: hundredths(before_s),
                probability: place.probability,
            }
        });
        let sentences = self.known.chunk_by(|a, b| a.sentence == b.sentence);
        let segment = |(id, sentence): (usize, &[KnownWord])| {
            let words: Vec<Word> = timed.by_ref().take(sentence.len()).collect();
            let logs = words.iter().map(|word| word.probability.max(LEAST).ln());
            Segment {
                id,
                start: words.first().map_or(0.0, |word| word.start),
                end: words.last().map_or(0.0, |word| word.end),
                text: words.iter().map(|word| word.word.as_str()).collect(),
                tokens: sentence
                    .iter()
                    .flat_map(|word| word.tokens.clone())
                    .collect(),
                avg_logprob: logs.sum::<f64>() / words.len() as f64,
                words: Some(words),
                ..Segment::default()
            }
        };
        sentences.enumerate().map(segment).collect()
    }
}

fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn is_hardly_heard(sentence: &Segment) -> bool {
    sentence.avg_logprob.exp() < HARDLY_HEARD
}

/// The beginning of a text, to tell it by.
fn said(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What to tell of sentences that the recording hardly has.
fn hardly_heard(segments: &[Segment]) -> Option<String> {
    let unsure = |s: &&Segment| is_hardly_heard(s);
    let first = segments.iter().find(unsure)?;
    let (count, all, at) = (
        segments.iter().filter(unsure).count(),
        segments.len(),
        first.start,
    );
    let text = said(&first.text);
    Some(format!(
        "{count} of {all} sentences were hardly heard: their times are guesses; the first, at {at:.2} s: {text}"
    ))
}

/// What to tell of speech between the text's words, before and behind them.
fn unwritten(heard: &[&Word], segments: &[Segment]) -> Option<String> {
    let words = segments.iter().flat_map(|s| s.words.iter().flatten());
    let sure: Vec<&Word> = words.filter(|word| word.end > word.start).collect();
    let covered = |word: &Word| {
        let middle = f64::midpoint(word.start, word.end);
        let next = sure.partition_point(|other| other.end < middle);
        sure.get(next).is_some_and(|other| other.start <= middle)
    };
    let stray: Vec<&&Word> = heard.iter().filter(|word| !covered(word)).collect();
    let seconds: f64 = stray.iter().map(|word| word.end - word.start).sum();
    let first = stray.first()?;
    (seconds >= UNWRITTEN_S).then(|| {
        let (at, text) = (first.start, first.word.trim());
        format!("{seconds:.1} s of speech are not in the text; the first, at {at:.2} s: {text}")
    })
}
