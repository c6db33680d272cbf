//! The options of `transcribe`, `translate` and `detect-language`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args};

use super::vad::VadArgs;
use super::values::{Setting, parse_bool, parse_compute_type, parse_language};
use crate::model::Executor;
use crate::options::AlignmentHeads;

/// Which model, and how the engine computes.
#[derive(Args, Debug, Clone)]
pub struct ModelArgs {
    /// Catalogue name, hub repository (owner/name), folder or file
    #[arg(short, long, default_value = "base", help_heading = "Model")]
    pub model: String,
    /// Folder to keep models in instead of the cache
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub model_dir: Option<PathBuf>,
}

/// How the engine computes.
#[derive(Args, Debug, Clone)]
pub struct RunArgs {
    /// Model options.
    #[command(flatten)]
    pub model: ModelArgs,
    /// LoRA adapter to use with the model: the folder that PEFT saved it in
    #[arg(long, value_name = "DIR", help_heading = "Model")]
    pub lora: Option<PathBuf>,
    /// Smaller model of the same vocabulary that writes ahead (speculative decoding): the same text, and where it
    /// is often right in less time; of use with --beam-size 1
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub draft: Option<String>,
    /// Where to compute: auto (a GPU where there is one, else the CPU), cpu, cuda (NVIDIA's), rocm (AMD's), cuda:N
    /// for that GPU, or cuda:N,M for several
    #[arg(long, default_value = "auto", help_heading = "Speed and memory")]
    pub device: String,
    /// Part of a GPU's memory that may be in use
    #[arg(
        long,
        value_name = "PART",
        default_value_t = 0.9,
        help_heading = "Speed and memory"
    )]
    pub gpu_memory_utilization: f64,
    /// What runs the network: cpu (the kernels of this program), reference (plain and slow, in f32 on
    /// every core, to compare with), or auto (the fastest)
    #[arg(long, default_value = "auto", value_parser = executors(), help_heading = "Speed and memory")]
    pub executor: String,
    /// Precision: f32 (openai/whisper's tokens), int8 (fast, on the CPU), int4 (less memory, on the CPU), f16 (fast, on a GPU), or auto (the fastest within bounds)
    #[arg(long, default_value = "f32", value_parser = parse_compute_type, help_heading = "Speed and memory")]
    pub compute_type: String,
    /// Threads to compute with; 0 is one per core [default: 0]
    #[arg(long, help_heading = "Speed and memory")]
    pub threads: Option<usize>,
    /// Highest vector level to use, for example avx2 [default: the processor's]
    #[arg(long, value_name = "LEVEL", help_heading = "Speed and memory")]
    pub simd_level: Option<String>,
    /// Attention options.
    #[command(flatten)]
    pub attention: AttentionArgs,
}

fn executors() -> PossibleValuesParser {
    PossibleValuesParser::new(Executor::ALL.map(Executor::name))
}

/// Which attention backends to use, and as which machine to choose them.
#[derive(Args, Debug, Clone, Default)]
pub struct AttentionArgs {
    /// Attention backend: of all layers, or on a simulated GPU machine of the decoder; or auto
    #[arg(long, value_name = "NAME", help_heading = "Attention")]
    pub attention_backend: Option<String>,
    /// Backend for one kind of attention; may repeat
    #[arg(long, value_name = "KIND=NAME", help_heading = "Attention")]
    pub attention_backend_for: Vec<String>,
    /// Choose as this platform would: cpu, rocm, cuda or auto
    #[arg(long, help_heading = "Attention")]
    pub platform: Option<String>,
    /// GPU architecture of the simulated machine, for example gfx942:sramecc+:xnack-
    #[arg(long, help_heading = "Attention")]
    pub arch: Option<String>,
    /// The simulated machine has the aiter package (switch it on with --env VLLM_ROCM_USE_AITER=1)
    #[arg(long, help_heading = "Attention")]
    pub aiter: bool,
    /// Packages the simulated machine has, separated by commas
    #[arg(
        long,
        value_name = "PACKAGES",
        value_delimiter = ',',
        help_heading = "Attention"
    )]
    pub installed: Vec<String>,
    /// Environment variable of the simulated machine; may repeat
    #[arg(long = "env", value_name = "K=V", help_heading = "Attention")]
    pub environment: Vec<String>,
    /// Data type the simulated machine loads the model in
    #[arg(long, help_heading = "Attention")]
    pub dtype: Option<String>,
    /// Rule set: 2026-03 or 2026-08
    #[arg(long, help_heading = "Attention")]
    pub rules: Option<String>,
}

/// `align`.
#[derive(Args, Debug)]
pub struct AlignArgs {
    /// The recording
    pub audio: PathBuf,
    /// What is said in it: a file of plain text, in which a line or a full stop ends a sentence; - is
    /// standard input
    pub text: PathBuf,
    /// Language code or name [default: detected]
    #[arg(short, long, value_parser = parse_language)]
    pub language: Option<String>,
    /// Cut the recording at quiet places and decode this many windows side by side, which is fast
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Folder to write files to [default: the current one, if a format is given]; - is standard
    /// output, for one format
    #[arg(short, long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// txt, vtt, srt, tsv, json, lrc, csv, ass, or all (the first five); may repeat, or be several
    /// with commas between them [default: a line a sentence, with its confidence]
    #[arg(short = 'f', long, value_name = "FORMAT", value_delimiter = ',', ignore_case = true, value_parser = FORMATS)]
    pub output_format: Vec<String>,
    /// How srt, vtt and ass are cut: a cue a sentence, or readable
    #[arg(long, value_name = "WAY", default_value = "openai", value_parser = ["openai", "readable"])]
    pub subtitles: String,
    /// Show neither progress nor text
    #[arg(short, long)]
    pub quiet: bool,
    /// What of the file is heard.
    #[command(flatten)]
    pub audio_options: AudioArgs,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What outputs may be written.
const FORMATS: [&str; 9] = [
    "txt", "vtt", "srt", "tsv", "json", "lrc", "csv", "ass", "all",
];

/// `detect-language`.
#[derive(Args, Debug)]
pub struct DetectArgs {
    /// Recordings, or folders of them; - is standard input
    #[arg(required = true, value_name = "FILES")]
    pub audio: Vec<PathBuf>,
    /// Audio track: its number (undertone probe lists them) or its language [default: the marked
    /// one, or the first that can be decoded]
    #[arg(long, value_name = "N|LANGUAGE")]
    pub audio_track: Option<String>,
    /// Print every language's probability as JSON
    #[arg(long)]
    pub json: bool,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `transcribe` and `translate`.
#[derive(Args, Debug)]
pub struct SpeechArgs {
    /// Recordings, or folders of them; - is standard input
    #[arg(required = true, value_name = "FILES")]
    pub audio: Vec<PathBuf>,
    /// What to do with the speech [default: the command's]
    #[arg(long, value_parser = ["transcribe", "translate"], help_heading = "Speech")]
    pub task: Option<String>,
    /// Language code or name [default: detected]
    #[arg(short, long, value_parser = parse_language, help_heading = "Speech")]
    pub language: Option<String>,
    /// Languages that a detected one may be, for example de,en
    #[arg(long, value_name = "LANGUAGES", value_delimiter = ',', value_parser = parse_language, help_heading = "Speech")]
    pub languages: Vec<String>,
    /// Tell the language of every piece of speech; JSON says each segment's
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "false", action = ArgAction::Set, help_heading = "Speech")]
    pub multilingual: bool,
    /// Windows that the language may be told from, where the first is not sure enough
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Speech")]
    pub language_detection_segments: usize,
    /// How probable a language must be for that, and for one to follow another
    #[arg(long, value_name = "P", default_value_t = 0.5, help_heading = "Speech")]
    pub language_detection_threshold: f64,
    /// openai: openai/whisper's results; robust: speech is looked for first, loops are ended, text where nobody
    /// speaks is dropped, and speech without text is decoded once more
    #[arg(long, value_name = "NAME", default_value = "openai", value_parser = ["openai", "robust"], help_heading = "Speech")]
    pub preset: String,
    /// Translate even with a model that was not trained to
    #[arg(long, help_heading = "Speech")]
    pub force_task: bool,
    /// Take the recordings of a folder's folders, too
    #[arg(short, long, help_heading = "Speech")]
    pub recursive: bool,
    /// Engine options.
    #[command(flatten)]
    pub run: RunArgs,
    /// Files worked on side by side, large ones first [default: up to 16, as their sizes allow]
    #[arg(short, long, help_heading = "Speed and memory")]
    pub jobs: Option<usize>,
    /// Cut each file at quiet places and decode this many windows side by side, which is fast;
    /// without it windows follow each other, each knowing the text before it
    #[arg(long, value_name = "N", help_heading = "Speed and memory")]
    pub batch_size: Option<usize>,
    /// What of a file is heard.
    #[command(flatten)]
    pub audio_options: AudioArgs,
    /// All channels as one (mix), or each by itself, as a speaker that every output names (split)
    #[arg(long, help_heading = "Audio", value_name = "WAY", default_value = "mix", value_parser = ["mix", "split"])]
    pub channels: String,
    /// What the channels' speakers are called, with commas between [default: Speaker 1,Speaker 2,...]
    #[arg(
        long,
        help_heading = "Audio",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub channel_names: Vec<String>,
    /// Where output goes.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How windows are decoded.
    #[command(flatten)]
    pub decoding: DecodingArgs,
    /// When a window counts as failed.
    #[command(flatten)]
    pub gates: GateArgs,
    /// Word times.
    #[command(flatten)]
    pub words: WordArgs,
    /// Where there is speech.
    #[command(flatten)]
    pub vad: VadArgs,
}

/// What of a file is heard.
#[derive(Args, Debug)]
#[command(next_help_heading = "Audio")]
pub struct AudioArgs {
    /// Audio track: its number (undertone probe lists them) or its language [default: the marked
    /// one, or the first that can be decoded]
    #[arg(long, value_name = "N|LANGUAGE")]
    pub audio_track: Option<String>,
    /// Silence for stretches that the file has no packets for, and for a late start (keep), or what
    /// follows at once, as ffmpeg and openai/whisper have it (close)
    #[arg(long, value_name = "WAY", default_value = "close", value_parser = ["keep", "close"])]
    pub gaps: String,
}

/// Where output goes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Folder to write files to [default: the current one, if a format is given]; - is standard
    /// output, for one format
    #[arg(short, long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// txt, vtt, srt, tsv, json, lrc, csv, ass, or all (the first five); may repeat, or be several
    /// with commas between them
    /// [default: all, if a folder is given]
    #[arg(short = 'f', long, value_name = "FORMAT", value_delimiter = ',', ignore_case = true, value_parser = FORMATS)]
    pub output_format: Vec<String>,
    /// Show segments with their times as they are found, and on stderr how each window was decoded
    /// [default: segments alone, and none where files are written]
    #[arg(short, long, value_name = "BOOL", value_parser = parse_bool, action = ArgAction::Set)]
    pub verbose: Option<bool>,
    /// Pass over recordings whose outputs are all there
    #[arg(long)]
    pub skip_existing: bool,
    /// Go on where a run was ended, to the same outputs: what is finished is kept in a file beside them
    /// until they are written
    #[arg(long)]
    pub resume: bool,
    /// Show neither progress nor text
    #[arg(short, long)]
    pub quiet: bool,
    /// Underline each word as it is spoken, in srt and vtt
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "false", action = ArgAction::Set)]
    pub highlight_words: bool,
    /// How srt, vtt and ass are cut: as openai/whisper does, or readable: at clauses and pauses, two
    /// lines at most, long enough to be read (finds word times)
    #[arg(long, value_name = "WAY", default_value = "openai", value_parser = ["openai", "readable"])]
    pub subtitles: String,
    /// Longest line in srt and vtt, in characters
    #[arg(long, value_name = "N", default_value = "none")]
    pub max_line_width: Setting<usize>,
    /// Most lines in a cue in srt and vtt
    #[arg(long, value_name = "N", default_value = "none")]
    pub max_line_count: Setting<usize>,
    /// Most words in a line in srt and vtt
    #[arg(long, value_name = "N", default_value = "none")]
    pub max_words_per_line: Setting<usize>,
}

/// How windows are decoded.
#[derive(Args, Debug)]
#[command(next_help_heading = "Decoding")]
pub struct DecodingArgs {
    /// 0 takes the best tokens, above 0 samples
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    /// How much the temperature rises when a window fails, or none
    #[arg(long, value_name = "STEP", default_value = "0.2")]
    pub temperature_increment_on_fallback: Setting<f64>,
    /// Samples to choose from where the temperature is above 0
    #[arg(long, value_name = "N", default_value = "5")]
    pub best_of: Setting<usize>,
    /// Beams where the temperature is 0; 1 or none is greedy
    #[arg(long, value_name = "N", default_value = "5")]
    pub beam_size: Setting<usize>,
    /// Beam search goes on for this many times the beam size of candidates
    #[arg(long, value_name = "X", default_value = "none")]
    pub patience: Setting<f64>,
    /// Google's length penalty, 0 to 1; none divides by the length
    #[arg(long, value_name = "X", default_value = "none")]
    pub length_penalty: Setting<f64>,
    /// Rank candidates by log-probability over length (the prompt's too) to this power, as vLLM does
    #[arg(
        long,
        value_name = "X",
        default_value = "none",
        allow_hyphen_values = true
    )]
    pub length_exponent: Setting<f64>,
    /// Most tokens in a window
    #[arg(long, value_name = "N", default_value = "none")]
    pub sample_len: Setting<usize>,
    /// Most text tokens in a window
    #[arg(long, value_name = "N", default_value = "none")]
    pub max_new_tokens: Setting<usize>,
    /// Token ids that are never chosen; -1 stands for what is not speech
    #[arg(
        long,
        value_name = "IDS",
        default_value = "-1",
        allow_hyphen_values = true
    )]
    pub suppress_tokens: String,
    /// Never start a window with a blank
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "true", action = ArgAction::Set)]
    pub suppress_blank: bool,
    /// Text before the first window, for names and style
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub initial_prompt: Option<String>,
    /// Put the initial prompt before every window
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "false", action = ArgAction::Set)]
    pub carry_initial_prompt: bool,
    /// Words and names to expect, put before every window, as faster-whisper does; no effect beside a prefix
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub hotwords: Option<String>,
    /// Terms to expect, hundreds if need be: one a line, a weight of its own behind a tab (default 2), # for comments
    #[arg(long, value_name = "FILE")]
    pub phrases: Option<PathBuf>,
    /// Text that every window's text begins with
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub prefix: Option<String>,
    /// Give each window the text before it
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "true", action = ArgAction::Set)]
    pub condition_on_previous_text: bool,
    /// Sample text only; a window is then one segment
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "false", action = ArgAction::Set)]
    pub without_timestamps: bool,
    /// Latest first timestamp of a window, in seconds, or none
    #[arg(long, value_name = "S", default_value = "1.0")]
    pub max_initial_timestamp: Setting<f64>,
    /// Stretches to process: start,end,start,end,… in seconds
    #[arg(long, value_name = "TIMES", default_value = "0")]
    pub clip_timestamps: String,
    /// Seed of the sampling
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Accepted for openai/whisper's sake; --compute-type says what is computed in
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "true", action = ArgAction::Set)]
    pub fp16: bool,
    /// What is drawn from, and penalties.
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

/// Which tokens are drawn from where the temperature is above 0, and penalties at any temperature.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Draw among this many of the likeliest tokens; 0 or -1 is all
    #[arg(
        long,
        value_name = "K",
        default_value_t = 0,
        allow_hyphen_values = true
    )]
    pub top_k: i64,
    /// Draw among the likeliest tokens that together have this probability
    #[arg(
        long,
        value_name = "P",
        default_value_t = 1.0,
        allow_hyphen_values = true
    )]
    pub top_p: f64,
    /// Draw among tokens with at least this share of the likeliest one's probability
    #[arg(
        long,
        value_name = "P",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    pub min_p: f64,
    /// Above 1: make tokens less likely that the prompt or the window's text has
    #[arg(
        long,
        value_name = "X",
        default_value_t = 1.0,
        allow_hyphen_values = true
    )]
    pub repetition_penalty: f64,
    /// Taken off a token's logit each time that the window's text has it, -2 to 2
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    pub frequency_penalty: f64,
    /// Taken off a token's logit once if the window's text has it, -2 to 2
    #[arg(
        long,
        value_name = "X",
        default_value_t = 0.0,
        allow_hyphen_values = true
    )]
    pub presence_penalty: f64,
}

/// When a window counts as failed or silent.
#[derive(Args, Debug)]
#[command(next_help_heading = "Quality gates")]
pub struct GateArgs {
    /// A window that compresses better than this repeats itself, or none
    #[arg(long, value_name = "X", default_value = "2.4")]
    pub compression_ratio_threshold: Setting<f64>,
    /// A window with a lower mean log-probability fails, or none
    #[arg(
        long,
        value_name = "X",
        default_value = "-1.0",
        allow_hyphen_values = true
    )]
    pub logprob_threshold: Setting<f64>,
    /// A window that fails and is silent with this probability is skipped, or none
    #[arg(long, value_name = "P", default_value = "0.6")]
    pub no_speech_threshold: Setting<f64>,
    /// Skip silence longer than this around invented text (needs word times)
    #[arg(long, value_name = "S", default_value = "none")]
    pub hallucination_silence_threshold: Setting<f64>,
}

/// Word times.
#[derive(Args, Debug)]
#[command(next_help_heading = "Words")]
pub struct WordArgs {
    /// Find each word's times
    #[arg(long, value_name = "BOOL", value_parser = parse_bool, default_value = "false", action = ArgAction::Set)]
    pub word_timestamps: bool,
    /// Attention heads that place words: known (the model's own), upper_half (of the layers, as
    /// openai/whisper for weights without a name), or LAYER.HEAD,LAYER.HEAD…
    #[arg(long, value_name = "HEADS", default_value = "known")]
    pub alignment_heads: AlignmentHeads,
    /// Punctuation that belongs to the next word
    #[arg(
        long,
        value_name = "CHARS",
        allow_hyphen_values = true,
        default_value = "\"'“¿([{-"
    )]
    pub prepend_punctuations: String,
    /// Punctuation that belongs to the word before
    #[arg(
        long,
        value_name = "CHARS",
        allow_hyphen_values = true,
        default_value = "\"'.。,，!！?？:：”)]}、"
    )]
    pub append_punctuations: String,
}
