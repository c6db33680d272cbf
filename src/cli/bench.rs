//! `bench`: the time of every stage on audio files, beside what this processor can do; on a GPU also windows a second.

mod draft;
mod windows;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use super::args::{BenchArgs, RunArgs};
use super::loading::load;
use super::progress::Screen;
use super::speed::{Rates, decoder_bytes, encoder_operations};
use super::usage::usage;
use super::{FINE, resolve};
use crate::audio::{self, Limits};
use crate::engine::Engine;
use crate::kernels::{Cpu, roofline};
use crate::mel::{self, LogMel};
use crate::model::{self, AudioState, Network, StepWindow, TextState};
use crate::options::TranscribeOptions;
use crate::ranking::{AllowedRuns, Constraint, Query, Wanted};

/// Runs of a stage; the median is reported.
const RUNS: usize = 5;
/// Tokens in one measurement of the decoder.
const TOKENS: usize = 64;

/// Loads the model, times every stage on each file and prints a table or JSON.
pub fn run(args: &BenchArgs) -> Result<u8> {
    let started = Instant::now();
    super::print_notes(resolve::notes(&args.run));
    if args.run.draft.is_some() && args.beam_size > 1 {
        return usage("--draft: writes ahead of greedy decoding alone: leave --beam-size out");
    }
    let plain = RunArgs {
        draft: None,
        ..args.run.clone()
    };
    let builder = resolve::engine(&plain)?.slots(windows::MOST);
    let engine = load(&builder, &Screen::new(false))?;
    let load_s = started.elapsed().as_secs_f64();
    let cpu = resolve::cpu(&args.run)?;
    let language = crate::tokenizer::language_code(&args.language)?;
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some(language.to_owned());
    options.decoding.beam_size = Some(args.beam_size).filter(|n| *n > 1);
    options.gates.temperatures = vec![0.0];
    let mut files = Vec::new();
    for file in &args.audio {
        files.push(one_file(&engine, &options, file)?);
    }
    if args.run.draft.is_some() {
        let drafting = load(&resolve::engine(&args.run)?, &Screen::new(false))?;
        for (file, found) in args.audio.iter().zip(&mut files) {
            found["draft"] = draft::worth(&engine, &drafting, &options, file)?;
        }
    }
    let report = json!({
        "model": engine.model_name(),
        "executor": engine.network().describe().executor,
        "compute_type": engine.network().describe().compute.name(),
        "threads": cpu.threads(),
        "vector_level": cpu.level().to_string(),
        "load_s": load_s,
        "peak_memory_mb": peak_memory_mb(),
        "files": files,
        "roofline": machine(&cpu),
    });
    keep(&engine, &cpu, &report);
    if args.json {
        say!("{report:#}");
    } else {
        print(&report)?;
    }
    Ok(FINE)
}

fn one_file(engine: &Engine, options: &TranscribeOptions, file: &Path) -> Result<Value> {
    let (mel_s, mel) = timed(|| log_mel(engine, file));
    let mel = mel?;
    let network = &**engine.network();
    let window: Vec<f32> = mel.window(0)?;
    let mut audio = [network.audio_state()?];
    let on_card = network.describe().executor == "gpu";
    let mut text = network.text_state(1)?;
    let allowed = AllowedRuns::new(network.dims().n_vocab, &[]);
    let encoder_s = median(RUNS, || {
        drop(network.encode(&[&window], &mut audio));
        if on_card {
            // A card may still be computing; a step waits for it.
            text.reset(1);
            drop(decoder_step(network, &mut text, &audio[0], &allowed, 300));
        }
    });
    let step_s = decoder_steps(network, engine, &audio[0])?;
    // The card's memory may be just enough for the windows that follow.
    drop((audio, text));
    let windows = match on_card {
        true => windows::measured(engine, &window)?,
        false => Vec::new(),
    };
    let (end_to_end_s, transcript) = timed(|| engine.transcribe(file, options));
    let tokens: usize = transcript?.segments.iter().map(|s| s.tokens.len()).sum();
    let audio_s = mel.content_frames() as f64 / crate::dims::FRAMES_PER_SECOND as f64;
    let dims = network.dims();
    let bytes = decoder_bytes(dims, network.describe().compute);
    Ok(json!({
        "file": file.display().to_string(),
        "audio_s": audio_s,
        "decode_and_mel_s": mel_s,
        "encoder_s_per_window": encoder_s,
        "encoder_gflops": encoder_operations(dims) / encoder_s / 1e9,
        "decoder_s_per_token": step_s,
        "decoder_gbps": bytes / step_s / 1e9,
        "end_to_end_s": end_to_end_s,
        "tokens": tokens,
        "rtfx": audio_s / end_to_end_s,
        "windows": windows,
    }))
}

/// For `models list` and `models suggest`.
fn keep(engine: &Engine, cpu: &Cpu, report: &Value) {
    if engine.network().describe().executor == "gpu" {
        return;
    }
    let last = report["files"].as_array().and_then(|files| files.last());
    let number = |name: &str| last.and_then(|file| file[name].as_f64());
    if let (Some(encoder_gops), Some(decoder_gbps)) =
        (number("encoder_gflops"), number("decoder_gbps"))
    {
        let rates = Rates {
            encoder_gops,
            decoder_gbps,
            measured: true,
            compute: engine.network().describe().compute,
        };
        rates.keep(cpu, &resolve::speed_file());
    }
}

fn log_mel(engine: &Engine, file: &Path) -> crate::Result<LogMel> {
    let mut stream = audio::open(resolve::input(file), &Limits::default())?;
    mel::from_blocks(
        engine.network().dims().n_mels,
        |block| stream.read_block(block),
        |_| {},
    )
}

/// Seconds of one step of one row, in the middle of a text, its best token chosen.
fn decoder_steps(network: &dyn Network, engine: &Engine, audio: &AudioState) -> crate::Result<f64> {
    let mut text = network.text_state(1)?;
    let allowed = AllowedRuns::new(network.dims().n_vocab, &[]);
    decoder_step(
        network,
        &mut text,
        audio,
        &allowed,
        engine.tokenizer().sot(),
    )?;
    let started = Instant::now();
    let mut tokens = (0..TOKENS).map(|i| u32::try_from(i).unwrap_or(0) + 300);
    tokens.try_for_each(|token| decoder_step(network, &mut text, audio, &allowed, token))?;
    Ok(started.elapsed().as_secs_f64() / TOKENS as f64)
}

fn decoder_step(
    network: &dyn Network,
    text: &mut TextState,
    audio: &AudioState,
    allowed: &AllowedRuns,
    token: u32,
) -> crate::Result<()> {
    let n_vocab = network.dims().n_vocab;
    let query = Query {
        row: 0,
        at: 0,
        constraint: Constraint::plain(allowed, n_vocab),
        want: Wanted::Best,
    };
    let window = StepWindow {
        audio,
        text,
        tokens: &[token],
        rows: 1,
        queries: vec![query],
    };
    model::step(network, &mut [window]).map(drop)
}

/// What this processor does in plain loops, in the same run.
fn machine(cpu: &Cpu) -> Value {
    json!({
        "f32_gflops": roofline::peak_f32_gflops(cpu),
        "int8_gops": roofline::peak_i8_gops(cpu),
        "memory_gbps": roofline::memory_gbps(cpu),
    })
}

fn timed<R>(work: impl FnOnce() -> R) -> (f64, R) {
    let started = Instant::now();
    let result = work();
    (started.elapsed().as_secs_f64(), result)
}

fn median(runs: usize, mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs).map(|_| timed(&mut work).0).collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

/// The most memory this process has had, where the system tells.
fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<f64>()
            .ok()?
            / 1024.0,
    )
}

fn print(report: &Value) -> Result<()> {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
    say!(
        "{} by {} in {}, {} threads, {}: loaded in {:.3} s, at most {:.0} MB of memory",
        text("model"),
        text("executor"),
        text("compute_type"),
        report["threads"],
        text("vector_level"),
        number(&report["load_s"]),
        number(&report["peak_memory_mb"]),
    );
    let roof = &report["roofline"];
    for file in report["files"].as_array().into_iter().flatten() {
        say!(
            "{} ({:.1} s)",
            file["file"].as_str().unwrap_or_default(),
            number(&file["audio_s"])
        );
        say!(
            "  decode + mel   {:8.1} ms",
            number(&file["decode_and_mel_s"]) * 1e3
        );
        say!(
            "  encoder        {:8.1} ms a window   {:6.0} GFLOP/s (plain loop: {:.0} f32, {:.0} int8)",
            number(&file["encoder_s_per_window"]) * 1e3,
            number(&file["encoder_gflops"]),
            number(&roof["f32_gflops"]),
            number(&roof["int8_gops"]),
        );
        say!(
            "  decoder        {:8.2} ms a token    {:6.1} GB/s (plain loop: {:.1})",
            number(&file["decoder_s_per_token"]) * 1e3,
            number(&file["decoder_gbps"]),
            number(&roof["memory_gbps"]),
        );
        say!(
            "  end to end     {:8.3} s, {} tokens, {:.1}× real time",
            number(&file["end_to_end_s"]),
            file["tokens"],
            number(&file["rtfx"]),
        );
        for row in file["windows"].as_array().into_iter().flatten() {
            say!("{}", windows::line(row));
        }
        if file["draft"].is_object() {
            say!("{}", draft::line(&file["draft"]));
        }
    }
    Ok(())
}
