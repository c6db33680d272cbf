//! What was typed becomes what is meant. The only reader of the environment.

#[cfg(test)]
mod tests;
mod windows;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::args::OutputArgs;
use super::args::{AttentionArgs, ExplainArgs, RunArgs, SpeechArgs, parse_bool};
use super::attention::machine::{Described, VARIABLES};
use super::config::Defaults;
use super::usage::usage;
use crate::attention;
use crate::audio::{Gaps, Input, TrackChoice};
use crate::dims::ModelDimensions;
use crate::engine::{Engine, EngineBuilder};
use crate::kernels::{Cpu, SimdLevel};
use crate::model::{ComputeType, Executor};
use crate::options::{Task, TranscribeOptions};
use crate::output::{OutputFormat, WriterOptions};
use crate::tokenizer::language_code;
use crate::weights::hub::{self, HubConfig};

/// What appears on stdout for each segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// The text alone.
    Text,
    /// Times and text.
    Timed,
}

/// A `transcribe` or `translate` command, understood.
pub struct Job {
    pub engine: EngineBuilder,
    pub options: TranscribeOptions,
    pub formats: Vec<OutputFormat>,
    pub output_dir: PathBuf,
    pub writer: WriterOptions,
    pub shown: Shown,
    pub quiet: bool,
    /// Whether each window's decoding is told on stderr.
    pub trace: bool,
    /// Files worked on side by side, at most.
    pub jobs: usize,
    /// Bytes of input worked on side by side, at most; one file may be larger.
    pub most_bytes: u64,
}

/// Files worked on side by side where nothing else is asked for.
pub const DEFAULT_JOBS: usize = 16;
/// And bytes of their input: with speech compressed as far as it goes, half a gigabyte of
/// spectrograms.
const DEFAULT_BYTES: u64 = 50_000_000;

/// Understands a `transcribe` or `translate` command.
pub fn speech(args: &SpeechArgs, task: Task) -> Result<Job> {
    let task = match args.task.as_deref() {
        Some("translate") => Task::Translate,
        Some(_) => Task::Transcribe,
        None => task,
    };
    words_are_timed(args)?;
    if args.jobs == Some(0) {
        return usage("--jobs starts at 1");
    }
    let (formats, output_dir) = outputs(&args.output);
    let jobs = args.jobs.unwrap_or(DEFAULT_JOBS).min(args.audio.len());
    let slots = args.batch_size.unwrap_or(1).max(slots(jobs));
    Ok(Job {
        engine: engine(&args.run)?
            .allow_any_task(args.force_task)
            .slots(slots),
        options: options(args, task)?,
        shown: shown(&args.output, &formats),
        formats,
        output_dir,
        writer: WriterOptions {
            max_line_width: args.output.max_line_width.0,
            max_line_count: args.output.max_line_count.0,
            max_words_per_line: args.output.max_words_per_line.0,
            highlight_words: args.output.highlight_words,
        },
        quiet: args.output.quiet,
        trace: args.output.verbose == Some(true),
        jobs,
        most_bytes: if args.jobs.is_some() {
            u64::MAX
        } else {
            DEFAULT_BYTES
        },
    })
}

/// Windows in memory for so many files: eight that are decoded together and two on their way there; of
/// many more files, half.
pub fn slots(jobs: usize) -> usize {
    jobs.min(8 + 2).max(jobs / 2)
}

/// Options that say something about words need their times.
fn words_are_timed(args: &SpeechArgs) -> Result<()> {
    let needs_words = [
        ("--highlight-words", args.output.highlight_words),
        ("--max-line-width", args.output.max_line_width.0.is_some()),
        ("--max-line-count", args.output.max_line_count.0.is_some()),
        (
            "--max-words-per-line",
            args.output.max_words_per_line.0.is_some(),
        ),
        (
            "--hallucination-silence-threshold",
            args.gates.hallucination_silence_threshold.0.is_some(),
        ),
    ];
    let timed = args.words.word_timestamps;
    match needs_words.iter().find(|(_, asked)| *asked && !timed) {
        Some((option, _)) => usage(format!("{option}: needs --word-timestamps True")),
        None => Ok(()),
    }
}

fn options(args: &SpeechArgs, task: Task) -> Result<TranscribeOptions> {
    let d = &args.decoding;
    let options = TranscribeOptions {
        decoding: windows::decoding(d, task, args.language.as_deref())?,
        gates: windows::gates(d, &args.gates)?,
        condition_on_previous_text: d.condition_on_previous_text,
        initial_prompt: d.initial_prompt.clone(),
        carry_initial_prompt: d.carry_initial_prompt,
        prefix: d.prefix.clone(),
        word_timestamps: args.words.word_timestamps,
        prepend_punctuations: args.words.prepend_punctuations.clone(),
        append_punctuations: args.words.append_punctuations.clone(),
        hallucination_silence_threshold: args.gates.hallucination_silence_threshold.0,
        clip_timestamps: windows::numbers("--clip-timestamps", &d.clip_timestamps)?,
        batch_size: args.batch_size,
        audio_track: args.audio_options.audio_track.as_deref().map(audio_track),
        gaps: gaps(&args.audio_options.gaps),
    };
    options.validate()?;
    Ok(options)
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

/// Files are written only where `-o` or `-f` asks for them.
fn outputs(args: &OutputArgs) -> (Vec<OutputFormat>, PathBuf) {
    let folder = args.output_dir.clone().unwrap_or_else(|| ".".into());
    let all = args.output_format.iter().any(|f| f == "all");
    let formats = match (&args.output_dir, args.output_format.is_empty()) {
        (None, true) => Vec::new(),
        (Some(_), true) => OutputFormat::ALL.to_vec(),
        _ if all => OutputFormat::ALL.to_vec(),
        _ => args
            .output_format
            .iter()
            .filter_map(|f| OutputFormat::parse(f))
            .collect(),
    };
    (formats, folder)
}

fn shown(args: &OutputArgs, formats: &[OutputFormat]) -> Shown {
    let timed = if std::io::stdout().is_terminal() {
        Shown::Timed
    } else {
        Shown::Text
    };
    match args.verbose {
        _ if args.quiet => Shown::Nothing,
        Some(true) => Shown::Timed,
        // Without files the text is all there is.
        _ if formats.is_empty() => timed,
        _ => Shown::Nothing,
    }
}

/// A file, or standard input for `-`.
pub fn input(file: &Path) -> Input {
    if file == Path::new("-") {
        Input::stdin()
    } else {
        Input::from(file)
    }
}

/// What depends on the model: an English-only one takes no other language. A note where that is not
/// what was asked for.
pub fn for_model(job: &mut Job, engine: &Engine) -> Option<String> {
    if engine.tokenizer().is_multilingual() {
        return None;
    }
    let asked = job.options.decoding.language.replace("en".into());
    let other = asked.is_some_and(|language| language != "en");
    let name = engine.model_name();
    other.then(|| format!("{name} is an English-only model; using English"))
}

/// What a command's user should know of how its options are understood.
pub fn notes(args: &RunArgs) -> Vec<String> {
    match executor(args) {
        Ok((_, compute)) if args.compute_type == "auto" => {
            vec![format!("--compute-type auto takes {}", compute.name())]
        }
        _ => Vec::new(),
    }
}

/// How the engine is to be loaded.
pub fn engine(args: &RunArgs) -> Result<EngineBuilder> {
    if !matches!(args.device.as_str(), "cpu" | "auto") {
        return usage(format!("--device: {} is not built in; cpu is", args.device));
    }
    let (executor, compute_type) = executor(args)?;
    let mut builder = Engine::builder()
        .model(&args.model.model)
        .hub(hub_config(args.model.model_dir.as_deref()))
        .executor(executor)
        .compute_type(compute_type)
        .attention(attention(&args.attention)?)
        .packed_dir(packed_dir());
    if let Some(threads) = threads(args)? {
        builder = builder.threads(threads);
    }
    if let Some(level) = simd_level(args)? {
        builder = builder.simd_level(level);
    }
    Ok(builder)
}

/// What kernels run on: `--threads` and `--simd-level`.
pub fn cpu(args: &RunArgs) -> Result<Cpu> {
    Ok(Cpu::new(threads(args)?, simd_level(args)?))
}

fn threads(args: &RunArgs) -> Result<Option<usize>> {
    match args.threads {
        Some(n) if n > Cpu::MAX_THREADS => {
            usage(format!("--threads: {n} is more than {}", Cpu::MAX_THREADS))
        }
        threads => Ok(threads.filter(|n| *n > 0)),
    }
}

fn simd_level(args: &RunArgs) -> Result<Option<SimdLevel>> {
    let level = args.simd_level.as_deref().map(str::parse).transpose();
    level.or_else(|reason: String| usage(format!("--simd-level: {reason}")))
}

/// The machine of the attention options, as typed.
pub fn described(args: &AttentionArgs) -> Described<'_> {
    Described {
        platform: args.platform.as_deref(),
        arch: args.arch.as_deref(),
        aiter: args.aiter,
        installed: &args.installed,
        environment: &args.environment,
    }
}

/// As which machine attention backends are chosen, and which are asked for.
pub fn attention(args: &AttentionArgs) -> Result<attention::Request> {
    let machine = described(args).machine()?;
    let rules = args
        .rules
        .as_deref()
        .map(attention::RuleSet::parse)
        .transpose()?;
    Ok(attention::Request {
        rules: rules.unwrap_or_default(),
        machine,
        backend: args.attention_backend.clone(),
        backend_for: args.attention_backend_for.clone(),
        dtype: args
            .dtype
            .as_deref()
            .map(attention::Dtype::parse)
            .transpose()?,
        ..attention::Request::default()
    })
}

/// As [`attention`], but `--platform auto` means the machine that the program runs on.
pub fn attention_here(args: &AttentionArgs) -> Result<attention::Request> {
    attention(&as_detected(args, Path::new("/"))?)
}

/// `--platform auto` without an arch is the machine below `root`, with its environment; what `--env`
/// sets goes before that.
fn as_detected(args: &AttentionArgs, root: &Path) -> Result<AttentionArgs> {
    let mut args = args.clone();
    let auto = |platform: &str| platform.eq_ignore_ascii_case("auto");
    if args.arch.is_some() || !args.platform.as_deref().is_some_and(auto) {
        return Ok(args);
    }
    let machine = attention::vllm::detect::Detected::read(root).machine()?;
    args.platform = Some(machine.platform.name().to_owned());
    args.arch = machine.arch;
    if machine.platform != attention::Platform::Cpu {
        let set = VARIABLES
            .iter()
            .filter_map(|name| Some(format!("{name}={}", variable(name)?)));
        args.environment = set.chain(args.environment).collect();
    }
    Ok(args)
}

/// What `attention explain` is asked: the model's sizes come from the catalogue, or from the files
/// of a model that is here.
pub fn explain(args: &ExplainArgs) -> Result<(attention::Request, ModelDimensions)> {
    let mut request = attention_here(&args.attention)?;
    request.head_size = args.head_size.map(usize::from);
    request.block_size = args.block_size.map(usize::from);
    let model = &args.model.model;
    if let Some(entry) = hub::find(model) {
        return Ok((request, entry.dims()));
    }
    match hub::locate(model, &hub_config(args.model.model_dir.as_deref()))? {
        Some(files) => Ok((
            request,
            crate::weights::open(&files.weights)?.dims().clone(),
        )),
        None => usage(format!(
            "--model: {model} is neither in the catalogue nor on this machine"
        )),
    }
}

/// What runs the network, and in which precision.
pub fn executor(args: &RunArgs) -> Result<(Executor, ComputeType)> {
    let executor = Executor::parse(&args.executor)?;
    let compute = match args.compute_type.as_str() {
        "f32" => ComputeType::F32,
        "int8" => ComputeType::Int8,
        "auto" => executor.fastest(),
        name => return usage(format!("--compute-type: {name} is none of auto, f32, int8")),
    };
    executor.check(compute)?;
    Ok((executor, compute))
}

/// The user's own defaults: `UNDERTONE_*`, and the file that `UNDERTONE_CONFIG` names, or else
/// `$XDG_CONFIG_HOME/undertone/config.toml`.
pub fn defaults() -> Result<Defaults> {
    let named = path_variable("UNDERTONE_CONFIG");
    let required = named.is_some();
    let folder = || path_variable("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config"));
    let file = named.unwrap_or_else(|| folder().join("undertone/config.toml"));
    Defaults::read(&variable, file, required)
}

/// Where models are kept and may come from, by the usual variables: `XDG_CACHE_HOME`, `HF_HOME`,
/// `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
pub fn hub_config(model_dir: Option<&Path>) -> HubConfig {
    let hf_home = path_variable("HF_HOME").unwrap_or_else(|| user_cache().join("huggingface"));
    let hf_cache = path_variable("HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub"));
    let models = model_dir.map_or_else(|| cache_dir().join("models"), Path::to_owned);
    let mut config = HubConfig::new(models, hf_cache);
    config.endpoint = variable("HF_ENDPOINT");
    config.token = variable("HF_TOKEN").or_else(|| saved_token(&hf_home));
    config.offline = variable("HF_HUB_OFFLINE").is_some_and(|v| parse_bool(&v).unwrap_or(false));
    config
}

/// Where packed models are kept, ready to be mapped.
pub fn packed_dir() -> PathBuf {
    cache_dir().join("packed")
}

/// The folder that everything of ours is kept in.
fn cache_dir() -> PathBuf {
    user_cache().join("undertone")
}

fn user_cache() -> PathBuf {
    path_variable("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache"))
}

/// The key that the Hub's own program keeps after a login.
fn saved_token(hf_home: &Path) -> Option<String> {
    let token = std::fs::read_to_string(hf_home.join("token")).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn home() -> PathBuf {
    std::env::home_dir().unwrap_or_else(|| ".".into())
}
