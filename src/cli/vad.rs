//! `vad`: where recordings have speech, without a model of Whisper's.

use std::path::Path;

use anyhow::Result;

use super::args::VadCommandArgs;
use super::terminal::complain;
use super::{FAILED, FINE, inputs, resolve, said};
use crate::audio::{self, AudioOptions};
use crate::dims::SAMPLE_RATE;
use crate::longform::seconds_of;
use crate::output::{format_timestamp, speech_map_json};
use crate::vad::{Detector, VadOptions, speech_spans};

/// Prints each file's spans of speech: 0 if every file could be read, 1 if some could not.
pub fn run(args: &VadCommandArgs) -> Result<u8> {
    let audio = AudioOptions {
        track: args.audio_track.as_deref().map(resolve::audio_track),
        ..AudioOptions::default()
    };
    let rules = resolve::vad_rules(&args.rules)?;
    let mut code = FINE;
    for inputs::Found { path, fault, .. } in inputs::all(&args.audio, false, &audio) {
        let printed = match fault {
            Some(fault) => Err(fault),
            None => print(&path, &audio, &rules, args),
        };
        if let Err(error) = printed {
            if super::broken_pipe(&error) {
                return Err(error);
            }
            complain(&said(&error));
            code = FAILED;
        }
    }
    Ok(code)
}

fn print(
    file: &Path,
    options: &AudioOptions,
    rules: &VadOptions,
    args: &VadCommandArgs,
) -> Result<()> {
    let mut stream = audio::open_with(resolve::input(file), options)?;
    let mut detector = Detector::new(None)?;
    while let Some(block) = stream.next_block()? {
        detector.push(block);
    }
    let heard = detector.finish();
    let spans = seconds_of(&speech_spans(&heard, rules));
    let duration_s = heard.samples as f64 / SAMPLE_RATE as f64;
    if args.json {
        let mut map = speech_map_json(&spans, duration_s);
        map["file"] = file.display().to_string().into();
        if args.probabilities {
            map["probabilities"] = heard.probabilities.into();
        }
        say!("{map}");
        return Ok(());
    }
    let time = |seconds: f64| format_timestamp(seconds, false, '.');
    let speech_s: f64 = spans.iter().map(|span| span.end - span.start).sum();
    say!(
        "{}: {} of {} are speech",
        file.display(),
        time(speech_s),
        time(duration_s)
    );
    for span in spans {
        say!("  [{} --> {}]", time(span.start), time(span.end));
    }
    Ok(())
}
