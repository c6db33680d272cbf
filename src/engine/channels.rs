//! A recording whose channels are speakers: each is transcribed by itself, and the texts are merged by time.

use std::sync::Arc;

use super::{Control, Engine, Progress};
use crate::audio::{self, Input};
use crate::error::{Error, Result};
use crate::options::TranscribeOptions;
use crate::transcript::{
    Dropped, LanguageProbabilities, Segment, SegmentSink, SpeechSpan, Transcript, WindowTrace,
};

impl Engine {
    /// Each channel by itself, one after the other. `sink` hears of windows as they close, and of segments once all
    /// channels are done, since they are in order.
    pub(super) fn run_channels(
        &self,
        input: Input,
        options: &TranscribeOptions,
        sink: &mut dyn SegmentSink,
        control: &Control,
    ) -> Result<Transcript> {
        let again = Again::of(input)?;
        let channels = audio::open_with(again.input(), &options.audio())?
            .info()
            .channels;
        let one = TranscribeOptions {
            split_channels: false,
            ..options.clone()
        };
        if channels < 2 {
            let mut transcript = self.run(again.input(), &one, sink, control)?;
            let note = "it has one channel, so there are no speakers to tell apart by channels";
            transcript.warnings.push(note.into());
            return Ok(transcript);
        }
        let mut merged = Transcript::default();
        for channel in 0..channels {
            let options = TranscribeOptions {
                channel: Some(channel),
                ..one.clone()
            };
            let control = part_of(control, channel, channels);
            let mut windows = WindowsAlone {
                sink,
                tells_language: channel == 0,
            };
            let made = self.run(again.input(), &options, &mut windows, &control)?;
            merge(&mut merged, made, &speaker(&options.channel_names, channel));
        }
        in_order(&mut merged);
        sink.heard(merged.duration_s, merged.speech.as_deref())?;
        merged.segments.iter().try_for_each(|s| sink.segment(s))?;
        merged.dropped.iter().try_for_each(|d| sink.dropped(d))?;
        Ok(merged)
    }
}

/// What a channel's speaker is called: as asked, or by the channel's number.
fn speaker(names: &[String], channel: usize) -> String {
    let name = names.get(channel).filter(|name| !name.is_empty());
    name.map_or_else(|| format!("Speaker {}", channel + 1), Clone::clone)
}

/// An input that can be heard once for each channel.
enum Again {
    Path(std::path::PathBuf),
    Bytes(String, Arc<[u8]>),
}

impl Again {
    fn of(input: Input) -> Result<Self> {
        match input {
            Input::Path(path) => Ok(Self::Path(path)),
            Input::Bytes { name, data } => Ok(Self::Bytes(name, data)),
            Input::Reader { name, mut reader } => {
                let mut data = Vec::new();
                let read = reader.read_to_end(&mut data);
                read.map_err(|source| Error::Input {
                    input: name.clone(),
                    source,
                })?;
                Ok(Self::Bytes(name, data.into()))
            }
            Input::Samples { .. } => Err(Error::Option {
                option: "split_channels",
                reason: "samples have one channel".into(),
            }),
        }
    }

    fn input(&self) -> Input {
        match self {
            Self::Path(path) => Input::Path(path.clone()),
            Self::Bytes(name, data) => Input::Bytes {
                name: name.clone(),
                data: data.clone(),
            },
        }
    }
}

/// Control of one channel's work, whose progress is a part of the whole.
fn part_of(control: &Control, channel: usize, channels: usize) -> Control {
    let progress = control.progress.clone().map(|whole| {
        let part = move |p: Progress| {
            let done_s = p.done_s.min(p.total_s) + channel as f64 * p.total_s;
            whole(Progress {
                done_s: done_s / channels as f64,
                total_s: p.total_s,
            });
        };
        Arc::new(part) as Arc<dyn Fn(Progress) + Send + Sync>
    });
    Control {
        progress,
        ..control.clone()
    }
}

/// Adds what a channel says.
fn merge(merged: &mut Transcript, channel: Transcript, speaker: &str) {
    for mut segment in channel.segments {
        segment.speaker = Some(speaker.to_owned());
        merged.segments.push(segment);
    }
    for mut dropped in channel.dropped {
        dropped.speaker = Some(speaker.to_owned());
        merged.dropped.push(dropped);
    }
    merged.windows.extend(channel.windows);
    if merged.language.is_empty() {
        merged.language = channel.language;
    }
    merged.duration_s = merged.duration_s.max(channel.duration_s);
    for warning in channel.warnings {
        if !merged.warnings.contains(&warning) {
            merged.warnings.push(warning);
        }
    }
    if let Some(speech) = channel.speech {
        merged.speech.get_or_insert_default().extend(speech);
    }
}

/// Puts what all channels say in the order of time; of what begins at once, the first channel's is first.
fn in_order(merged: &mut Transcript) {
    merged.segments.sort_by(|a, b| a.start.total_cmp(&b.start));
    for (id, segment) in merged.segments.iter_mut().enumerate() {
        segment.id = id;
    }
    merged.dropped.sort_by(|a, b| a.start.total_cmp(&b.start));
    let texts = merged.segments.iter().map(|s| s.text.as_str());
    merged.text = texts.collect();
    if let Some(speech) = &mut merged.speech {
        speech.sort_by(|a, b| a.start.total_cmp(&b.start));
        let mut joined: Vec<SpeechSpan> = Vec::new();
        for span in speech.drain(..) {
            match joined.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => joined.push(span),
            }
        }
        *speech = joined;
    }
}

/// Hands on how windows are decoded, and one channel's language; the rest comes once it is merged.
struct WindowsAlone<'a> {
    sink: &'a mut dyn SegmentSink,
    tells_language: bool,
}

impl SegmentSink for WindowsAlone<'_> {
    fn segment(&mut self, _: &Segment) -> Result<()> {
        Ok(())
    }

    fn language(&mut self, found: &LanguageProbabilities) -> Result<()> {
        match self.tells_language {
            true => self.sink.language(found),
            false => Ok(()),
        }
    }

    fn dropped(&mut self, _: &Dropped) -> Result<()> {
        Ok(())
    }

    fn window(&mut self, trace: &WindowTrace) -> Result<()> {
        self.sink.window(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_merged_by_time() {
        let channel = |times: &[(f64, f64)], speech: (f64, f64)| Transcript {
            segments: times
                .iter()
                .map(|(start, end)| Segment {
                    start: *start,
                    end: *end,
                    text: format!(" {start}"),
                    ..Segment::default()
                })
                .collect(),
            language: "de".into(),
            warnings: vec!["damaged".into()],
            speech: Some(vec![SpeechSpan {
                start: speech.0,
                end: speech.1,
            }]),
            ..Transcript::default()
        };
        let mut merged = Transcript::default();
        let names = ["Anna".into(), String::new()];
        let first = channel(&[(0.0, 2.0), (5.0, 6.0)], (0.0, 6.0));
        merge(&mut merged, first, &speaker(&names, 0));
        let second = channel(&[(1.0, 3.0), (5.0, 9.0)], (1.0, 9.0));
        merge(&mut merged, second, &speaker(&names, 1));
        in_order(&mut merged);
        let said: Vec<_> = merged
            .segments
            .iter()
            .map(|s| (s.id, s.start, s.speaker.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            said,
            [
                (0, 0.0, "Anna"),
                (1, 1.0, "Speaker 2"),
                (2, 5.0, "Anna"),
                (3, 5.0, "Speaker 2")
            ]
        );
        assert_eq!(merged.text, " 0 1 5 5");
        assert_eq!((merged.warnings.len(), &*merged.language), (1, "de"));
        let whole = SpeechSpan {
            start: 0.0,
            end: 9.0,
        };
        assert_eq!(merged.speech, Some(vec![whole]));
    }
}
