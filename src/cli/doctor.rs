//! `doctor`: what this machine has and what undertone makes of it.

use std::path::Path;

use anyhow::Result;
use indicatif::HumanBytes;

use super::args::RunArgs;
use super::{FINE, reach, resolve};
use crate::attention::backends::EmulatedBackend;
use crate::attention::vllm::detect::Detected;
use crate::attention::{self, Registry, Role};
use crate::batcher::Capacity;
use crate::kernels::{Cpu, SimdLevel};
use crate::model::ComputeType;
use crate::model::cpu::state_bytes;
use crate::weights::hub;

/// Prints one line a fact. Nothing is downloaded.
pub fn run(args: &RunArgs) -> Result<u8> {
    line("version", env!("CARGO_PKG_VERSION"))?;
    line(
        "features",
        "cli; the server and GPU kernels are not built in",
    )?;
    let cpu = resolve::cpu(args)?;
    let levels: Vec<_> = SimdLevel::available()
        .iter()
        .map(ToString::to_string)
        .collect();
    line(
        "vector levels",
        &format!("{} (in use: {})", levels.join(", "), cpu.level()),
    )?;
    line("threads", &cpu.threads().to_string())?;
    line("computes on", "the CPU")?;
    for gpu in Detected::read(Path::new("/")).lines() {
        line("GPU", &format!("{gpu}; there are no kernels for it"))?;
    }
    models(args)?;
    plan(args, &cpu)?;
    Ok(FINE)
}

fn line(name: &str, value: &str) -> Result<()> {
    say!("{name:<16} {value}");
    Ok(())
}

/// Caches with their sizes, where models come from, and which are here.
fn models(args: &RunArgs) -> Result<()> {
    let config = resolve::hub_config(args.model.model_dir.as_deref());
    let caches = [
        ("our models", config.models_dir.clone()),
        ("our packed copies", resolve::packed_dir()),
        ("the Hub's cache", config.hf_cache_dir.clone()),
    ];
    for (name, folder) in caches {
        let size = match folder.is_dir() {
            true => HumanBytes(bytes_in(&folder)).to_string(),
            false => "not there".into(),
        };
        line(name, &format!("{} ({size})", folder.display()))?;
    }
    for (name, found) in reach::sources(&args.model.model, &config) {
        line(name, &found)?;
    }
    match hub::locate(&args.model.model, &config)? {
        Some(files) => line(
            "model",
            &format!("{} ({})", files.weights.display(), files.source),
        )?,
        None => line("model", &format!("{} is not here yet", args.model.model))?,
    }
    for model in hub::list(&config) {
        let size = HumanBytes(model.bytes);
        line(
            "  here",
            &format!("{} ({size}, {})", model.name, model.source),
        )?;
    }
    Ok(())
}

/// Bytes of all files below a folder; links are not followed.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_in(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

/// The attention plan for the model that was named, if its sizes are known.
fn plan(args: &RunArgs, cpu: &Cpu) -> Result<()> {
    let Some(entry) = hub::find(&args.model.model) else {
        return Ok(());
    };
    let request = resolve::attention_here(&args.attention)?;
    let (executor, compute) = resolve::executor(args)?;
    let registry = Registry::new(executor.backends(cpu, compute));
    let plan = attention::plan(&request, &registry, &entry.dims())?;
    for role in Role::ALL {
        line(
            "attention",
            &format!("{role}: {}", plan.backend(role).name()),
        )?;
    }
    if let Some(note) = plan.note() {
        line("", note)?;
    }
    let mut bytes = state_bytes(&entry.dims(), compute);
    let cross = plan.backend(Role::DecoderCross).name();
    if EmulatedBackend::all(cpu).iter().any(|b| b.name() == cross) {
        // It keeps a window's keys and values once more, as it rounds them, in 32-bit floats.
        bytes.window += state_bytes(&entry.dims(), ComputeType::F32).window;
    }
    let mb = |bytes: usize| bytes.div_ceil(1_000_000);
    let (window, row) = (mb(bytes.window), mb(bytes.row));
    line(
        "memory",
        &format!("{window} MB a window being decoded, and up to {row} MB a beam"),
    )?;
    let slots = Capacity::of_windows(resolve::slots(resolve::DEFAULT_JOBS));
    let most = mb(bytes.of(slots.windows, slots.rows));
    line(
        "",
        &format!(
            "{} windows of {} beams in all: at most {most} MB",
            slots.windows, slots.rows
        ),
    )
}
