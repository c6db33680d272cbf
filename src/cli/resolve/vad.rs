//! Options of voice activity, as they are meant.

use std::path::Path;

use anyhow::Result;

use crate::cli::args::{VadArgs, VadRules};
use crate::cli::usage::usage;
use crate::output::read_speech_map;
use crate::transcript::SpeechSpan;
use crate::vad::{VadMode, VadOptions};

/// Whether speech is looked for (the robust preset does) and how, and where it is if that is given.
pub fn vad(args: &VadArgs, robust: bool) -> Result<(Option<VadOptions>, Option<Vec<SpeechSpan>>)> {
    let looked_for = args.vad_filter || robust;
    let given = args.speech_from.as_deref().map(spans).transpose()?;
    let rules = rules(&args.rules)?;
    let rules_are_given = rules != VadOptions::default();
    if !looked_for && rules_are_given && given.is_none() {
        return usage("--vad-threshold and the like: need --vad-filter True or --preset robust");
    }
    if rules_are_given && given.is_some() {
        return usage(
            "--speech-from: where speech is, is given; leave --vad-threshold and the like out",
        );
    }
    if !looked_for && given.is_none() {
        if args.vad_mode.is_some() {
            return usage("--vad-mode: needs --vad-filter True or --preset robust");
        }
        if args.speech_map.is_some() {
            return usage("--speech-map: needs --vad-filter True or --preset robust");
        }
        return Ok((None, None));
    }
    let mode = match args.vad_mode.as_deref() {
        Some("mute") => VadMode::Mute,
        Some(_) => VadMode::Cut,
        None => rules.mode,
    };
    Ok((Some(VadOptions { mode, ..rules }), given))
}

/// How speech is told from what is none.
pub fn rules(args: &VadRules) -> Result<VadOptions> {
    let given = args.vad_parameters.as_deref().map(VadOptions::from_json);
    let default = match given.transpose() {
        Ok(given) => given.unwrap_or_default(),
        Err(reason) => return usage(format!("--vad-parameters: {reason}")),
    };
    let rules = VadOptions {
        threshold: args.vad_threshold.unwrap_or(default.threshold),
        neg_threshold: args.vad_neg_threshold.or(default.neg_threshold),
        min_speech_duration_ms: args
            .vad_min_speech_duration_ms
            .unwrap_or(default.min_speech_duration_ms),
        max_speech_duration_s: match args.vad_max_speech_duration_s {
            None => default.max_speech_duration_s,
            longest => longest.filter(|s| *s != f64::INFINITY),
        },
        min_silence_duration_ms: args
            .vad_min_silence_duration_ms
            .unwrap_or(default.min_silence_duration_ms),
        speech_pad_ms: args.vad_speech_pad_ms.unwrap_or(default.speech_pad_ms),
        mode: default.mode,
    };
    rules.validate()?;
    Ok(rules)
}

fn spans(file: &Path) -> Result<Vec<SpeechSpan>> {
    Ok(read_speech_map(file)?)
}
