//! Options of a whole recording, as they are meant.

use anyhow::Result;

use super::{vad, windows};
use crate::audio::{AudioOptions, Gaps, TrackChoice};
use crate::cli::args::{AudioArgs, SpeechArgs};
use crate::options::{DecodingOptions, Task, TranscribeOptions, read_phrases};
use crate::tokenizer::language_code;

/// What `transcribe` and `translate` hand the engine.
pub(super) fn options(args: &SpeechArgs, task: Task) -> Result<TranscribeOptions> {
    let (d, audio) = (&args.decoding, audio(&args.audio_options));
    let robust = args.preset == "robust";
    let (vad, speech) = vad::vad(&args.vad, robust)?;
    let options = TranscribeOptions {
        decoding: DecodingOptions {
            stop_loops: robust,
            ..windows::decoding(d, task, args.language.as_deref())?
        },
        gates: windows::gates(d, &args.gates)?,
        condition_on_previous_text: d.condition_on_previous_text,
        initial_prompt: d.initial_prompt.clone(),
        carry_initial_prompt: d.carry_initial_prompt,
        hotwords: d.hotwords.clone(),
        phrases: d
            .phrases
            .as_ref()
            .map(read_phrases)
            .transpose()?
            .unwrap_or_default(),
        prefix: d.prefix.clone(),
        word_timestamps: args.words.word_timestamps || args.output.subtitles == "readable",
        alignment_heads: args.words.alignment_heads.clone(),
        prepend_punctuations: args.words.prepend_punctuations.clone(),
        append_punctuations: args.words.append_punctuations.clone(),
        hallucination_silence_threshold: args.gates.hallucination_silence_threshold.0,
        clip_timestamps: windows::numbers("--clip-timestamps", &d.clip_timestamps)?,
        batch_size: args.batch_size,
        audio_track: audio.track,
        gaps: audio.gaps,
        split_channels: args.channels == "split",
        channel: None,
        channel_names: args.channel_names.clone(),
        vad,
        speech,
        guard: robust,
        languages: args.languages.clone(),
        multilingual: args.multilingual,
        language_detection_segments: args.language_detection_segments,
        language_detection_threshold: args.language_detection_threshold,
    };
    options.validate()?;
    Ok(options)
}

/// What of a recording is heard.
pub fn audio(args: &AudioArgs) -> AudioOptions {
    AudioOptions {
        track: args.audio_track.as_deref().map(audio_track),
        gaps: gaps(&args.gaps),
        ..AudioOptions::default()
    }
}

/// A track by its number, or by its language in any spelling.
pub fn audio_track(text: &str) -> TrackChoice {
    match language_code(text) {
        Ok(code) => TrackChoice::Language(code.to_owned()),
        Err(_) => text.into(),
    }
}

fn gaps(text: &str) -> Gaps {
    match text {
        "keep" => Gaps::Keep,
        _ => Gaps::Close,
    }
}
