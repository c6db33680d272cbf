//! Options of voice activity, under faster-whisper's names.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::values::parse_bool;

/// Whether speech is looked for, and what becomes of the rest.
#[derive(Args, Debug)]
#[command(next_help_heading = "Voice activity")]
pub struct VadArgs {
    /// Look for speech first (with Silero's model, which is built in) and transcribe that alone
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "false", action = ArgAction::Set)]
    pub vad_filter: bool,
    /// What becomes of the rest: cut (speech is joined, which is fast) or mute (it is silent, and pauses stay as
    /// long as they are). Times are the recording's either way [default: cut]
    #[arg(long, value_name = "MODE", value_parser = ["cut", "mute"])]
    pub vad_mode: Option<String>,
    /// Write where there is speech to a file: .rttm, or JSON
    #[arg(long, value_name = "FILE")]
    pub speech_map: Option<PathBuf>,
    /// Take where there is speech from such a file instead of looking for it
    #[arg(long, value_name = "FILE")]
    pub speech_from: Option<PathBuf>,
    /// How speech is told from what is none.
    #[command(flatten)]
    pub rules: VadRules,
}

/// How speech is told from what is none.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Voice activity")]
pub struct VadRules {
    /// All of these as a JSON object, as in {"threshold": 0.6, "min_silence_duration_ms": 500}; options beside
    /// it win
    #[arg(long, value_name = "JSON")]
    pub vad_parameters: Option<String>,
    /// From this probability on 32 ms are speech [default: 0.5]
    #[arg(long, value_name = "P")]
    pub vad_threshold: Option<f64>,
    /// Below this probability speech ends [default: 0.15 less than the threshold]
    #[arg(long, value_name = "P")]
    pub vad_neg_threshold: Option<f64>,
    /// Drop speech that is no longer than this [default: 0]
    #[arg(long, value_name = "MS")]
    pub vad_min_speech_duration_ms: Option<u32>,
    /// Cut longer speech at a pause [default: inf]
    #[arg(long, value_name = "S")]
    pub vad_max_speech_duration_s: Option<f64>,
    /// A shorter pause belongs to the speech around it [default: 2000]
    #[arg(long, value_name = "MS")]
    pub vad_min_silence_duration_ms: Option<u32>,
    /// Widen speech by this at both ends [default: 400]
    #[arg(long, value_name = "MS")]
    pub vad_speech_pad_ms: Option<u32>,
}

/// `vad`.
#[derive(Args, Debug)]
pub struct VadCommandArgs {
    /// Recordings, or folders of them; - is standard input
    #[arg(required = true, value_name = "FILES")]
    pub audio: Vec<PathBuf>,
    /// Audio track: its number (undertone probe lists them) or its language [default: the marked
    /// one, or the first that can be decoded]
    #[arg(long, value_name = "N|LANGUAGE")]
    pub audio_track: Option<String>,
    /// Print a line of JSON for each file
    #[arg(long)]
    pub json: bool,
    /// And in it how probable speech is, for each 32 ms
    #[arg(long, requires = "json")]
    pub probabilities: bool,
    /// How speech is told from what is none.
    #[command(flatten)]
    pub rules: VadRules,
}
