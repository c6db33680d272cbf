//! What was typed becomes what is meant.

mod machine;
mod vad;
mod whole;
mod windows;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::args::{AlignArgs, OutputArgs, RunArgs, SpeechArgs};
pub use super::environment::{
    config_file, defaults, hub_config, odd_variables, packed_dir, speed_file,
};
use super::usage::usage;
use crate::audio::Input;
use crate::device::{Api, Card, CardInfo, DeviceChoice, image};
use crate::engine::{Engine, EngineBuilder};
use crate::kernels::{Cpu, SimdLevel};
use crate::model::{ComputeType, Executor, gpu};
use crate::options::{Task, TranscribeOptions};
use crate::output::{OutputFormat, WriterOptions};
use crate::tokenizer::LANGUAGES;
use crate::weights::hub;
pub use machine::{attention, attention_here, attention_on, described, explain};
pub use vad::rules as vad_rules;
use whole::options;
pub use whole::{audio, audio_track};

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
    /// Whether the one format goes to standard output.
    pub to_stdout: bool,
    /// Whether recordings whose outputs are there are passed over.
    pub skip_existing: bool,
    /// Whether finished windows are kept until the outputs are written.
    pub resume: bool,
    pub writer: WriterOptions,
    /// Where it is written where the one recording has speech.
    pub speech_map: Option<PathBuf>,
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
pub fn speech(args: &SpeechArgs, task: Task, files: usize) -> Result<Job> {
    let asked = args.task.as_deref();
    if task == Task::Translate && asked == Some("transcribe") {
        return usage("translate: --task transcribe asks for the opposite");
    }
    let task = match asked {
        Some("translate") => Task::Translate,
        Some(_) => Task::Transcribe,
        None => task,
    };
    words_are_timed(args)?;
    a_draft_is_greedy(args)?;
    if args.jobs == Some(0) {
        return usage("--jobs starts at 1");
    }
    let (formats, output_dir) = outputs(&args.output);
    let to_stdout = output_dir == Path::new("-");
    if to_stdout && formats.len() != 1 {
        return usage("-o -: standard output takes one format: say which, as in -f srt");
    }
    what_is_written(args, files, formats.is_empty() || to_stdout)?;
    let jobs = args.jobs.unwrap_or(DEFAULT_JOBS).min(files).max(1);
    let slots = args.batch_size.unwrap_or(1).max(slots(jobs));
    let options = options(args, task)?;
    known_of_model(args, task, options.decoding.language.as_deref())?;
    Ok(Job {
        engine: engine(&args.run)?
            .allow_any_task(args.force_task)
            .slots(slots),
        options,
        shown: shown(&args.output, &formats),
        formats,
        output_dir,
        to_stdout,
        skip_existing: args.output.skip_existing,
        resume: args.output.resume,
        writer: WriterOptions {
            max_line_width: args.output.max_line_width.0,
            max_line_count: args.output.max_line_count.0,
            max_words_per_line: args.output.max_words_per_line.0,
            highlight_words: args.output.highlight_words,
            readable: args.output.subtitles == "readable",
        },
        speech_map: args.vad.speech_map.clone(),
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

/// Options that need files of results, several channels or one recording alone.
fn what_is_written(args: &SpeechArgs, files: usize, nothing: bool) -> Result<()> {
    let written = [
        ("--skip-existing", args.output.skip_existing),
        ("--resume", args.output.resume),
    ];
    if let Some((option, _)) = written.iter().find(|(_, given)| *given)
        && nothing
    {
        return usage(format!(
            "{option}: nothing is written; -o FOLDER or -f FORMAT writes files"
        ));
    }
    let named = !args.channel_names.is_empty();
    if named && args.channels != "split" {
        return usage("--channel-names: needs --channels split");
    }
    let maps = [
        ("--speech-map", args.vad.speech_map.is_some()),
        ("--speech-from", args.vad.speech_from.is_some()),
    ];
    if let Some((option, _)) = maps.iter().find(|(_, given)| *given && files > 1) {
        return usage(format!(
            "{option}: is of one recording, and there are {files}"
        ));
    }
    Ok(())
}

fn a_draft_is_greedy(args: &SpeechArgs) -> Result<()> {
    let greedy = args.decoding.beam_size.0.is_none_or(|beams| beams == 1);
    if args.run.draft.is_some() && !greedy {
        return usage("--draft: writes ahead of greedy decoding alone: give --beam-size 1 as well");
    }
    Ok(())
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
    let cuts = needs_words.iter().take(4).find(|(_, asked)| *asked);
    if let (Some((option, _)), "readable") = (cuts, &*args.output.subtitles) {
        return usage(format!(
            "{option}: --subtitles readable cuts cues by rules of its own"
        ));
    }
    let timed = args.words.word_timestamps || args.output.subtitles == "readable";
    match needs_words.iter().find(|(_, asked)| *asked && !timed) {
        Some((option, _)) => usage(format!("{option}: needs --word-timestamps True")),
        None => Ok(()),
    }
}

/// What the catalogue knows of the model: an error here costs no download.
fn known_of_model(args: &SpeechArgs, task: Task, language: Option<&str>) -> Result<()> {
    let Some(entry) = hub::find(&args.run.model.model) else {
        return Ok(());
    };
    let dims = entry.dims();
    if task == Task::Translate && !entry.translates && !args.force_task {
        let able = hub::catalog().iter().filter(|entry| entry.translates);
        let able: Vec<&str> = able.map(|entry| entry.name.as_str()).collect();
        return usage(format!(
            "--model: {} was not trained to translate (--force-task tries it all the same); models \
             that were: {}",
            entry.name,
            able.join(", ")
        ));
    }
    let index = LANGUAGES
        .iter()
        .position(|(code, _)| Some(*code) == language);
    // Cantonese, the hundredth, came with the vocabulary of large-v3.
    if dims.n_vocab == 51_865 && index.is_some_and(|index| index >= 99) {
        return usage(format!(
            "--language: {} does not know {}; large-v3 and turbo do",
            entry.name,
            language.unwrap_or_default()
        ));
    }
    Ok(())
}

/// The formats that `align` writes, and where to.
pub fn align_outputs(args: &AlignArgs) -> (Vec<OutputFormat>, PathBuf) {
    written(&args.output_format, args.output_dir.as_deref())
}

fn outputs(args: &OutputArgs) -> (Vec<OutputFormat>, PathBuf) {
    written(&args.output_format, args.output_dir.as_deref())
}

/// Files are written only where `-o` or `-f` asks for them.
fn written(named: &[String], folder: Option<&Path>) -> (Vec<OutputFormat>, PathBuf) {
    let is_asked = folder.is_some() || !named.is_empty();
    let all = named.is_empty() || named.iter().any(|f| f.eq_ignore_ascii_case("all"));
    let of_all = OutputFormat::ALL.into_iter().filter(|_| is_asked && all);
    let mut formats: Vec<_> = of_all.collect();
    for format in named.iter().filter_map(|f| OutputFormat::parse(f)) {
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    (formats, folder.unwrap_or(Path::new(".")).to_owned())
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
    let device = device(args)?;
    if !(0.0..=1.0).contains(&args.gpu_memory_utilization) {
        return usage("--gpu-memory-utilization: is a part of the memory, 0 to 1");
    }
    let (executor, compute_type) = executor(args)?;
    let mut builder = Engine::builder()
        .model(&args.model.model)
        .hub(hub_config(args.model.model_dir.as_deref()))
        .device(device)
        .gpu_memory_utilization(args.gpu_memory_utilization)
        .executor(executor)
        .compute_type(compute_type)
        .attention(attention_on(args)?)
        .packed_dir(packed_dir());
    if let Some(folder) = &args.lora {
        builder = builder.lora(folder);
    }
    if let Some(draft) = &args.draft {
        builder = builder.draft(draft);
    }
    if let Some(threads) = threads(args)? {
        builder = builder.threads(threads);
    }
    if let Some(level) = simd_level(args)? {
        builder = builder.simd_level(level);
    }
    Ok(builder)
}

/// Where to compute.
pub fn device(args: &RunArgs) -> Result<DeviceChoice> {
    let device = args.device.parse();
    device.or_else(|error: crate::error::Error| usage(format!("--{error}")))
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

/// The cards that there are kernels for, in the order in which `auto` takes them.
pub fn usable_cards() -> impl Iterator<Item = CardInfo> {
    let cards = Api::ALL.into_iter().filter_map(|api| Card::list(api).ok());
    let objects = gpu::objects();
    cards
        .flatten()
        .filter(move |card| image::pick(&objects, card).is_ok())
}

/// Whether a GPU will compute what is left to it.
fn on_a_card(args: &RunArgs, executor: Executor) -> Result<bool> {
    Ok(match device(args)? {
        DeviceChoice::Cpu => false,
        DeviceChoice::Auto => executor == Executor::Auto && usable_cards().next().is_some(),
        _ => true,
    })
}

/// What runs the network, and in which precision.
pub fn executor(args: &RunArgs) -> Result<(Executor, ComputeType)> {
    let executor = Executor::parse(&args.executor)?;
    let compute = match args.compute_type.as_str() {
        "f32" => ComputeType::F32,
        "int8" => ComputeType::Int8,
        "int4" => ComputeType::Int4,
        "f16" => ComputeType::F16,
        "int8_float16" => ComputeType::Int8Float16,
        "fp8" => ComputeType::Fp8,
        "auto" if on_a_card(args, executor)? => ComputeType::F32,
        "auto" => executor.fastest(),
        name => {
            return usage(format!(
                "--compute-type: {name} is none of auto, f32, int8, int4, f16, int8_float16, fp8"
            ));
        }
    };
    // Whether there is a GPU for it is seen when the engine is loaded.
    if !compute.needs_gpu() {
        executor.check(compute)?;
    }
    Ok((executor, compute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_takes_no_format_away() {
        let formats = |named: &[&str], folder: Option<&str>| {
            let named: Vec<_> = named.iter().map(ToString::to_string).collect();
            let names = written(&named, folder.map(Path::new)).0;
            let names: Vec<_> = names.into_iter().map(OutputFormat::extension).collect();
            names.join(" ")
        };
        let all = "txt vtt srt tsv json";
        assert_eq!(formats(&[], None), "");
        assert_eq!(formats(&[], Some("o")), all);
        assert_eq!(formats(&["srt", "srt"], None), "srt");
        assert_eq!(formats(&["all"], None), all);
        assert_eq!(
            formats(&["ass", "ALL", "srt"], Some("o")),
            format!("{all} ass")
        );
    }
}
