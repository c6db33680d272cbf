//! `doctor`: what this machine has and what undertone makes of it.

use std::path::Path;

use anyhow::Result;
use indicatif::DecimalBytes;

use super::args::RunArgs;
use super::cache::bytes_in;
use super::loading::plain_loops;
use super::terminal::fitted;
use super::{FAILED, FINE, reach, resolve, speed};
use crate::attention::backends::EmulatedBackend;
use crate::attention::vllm::detect::Detected;
use crate::attention::{self, Registry, Role};
use crate::batcher::Capacity;
use crate::device::{Api, Card, CardInfo, DeviceChoice, image};
use crate::kernels::{Cpu, SimdLevel};
use crate::model::ComputeType;
use crate::model::cpu::state_bytes;
use crate::model::gpu;
use crate::weights::hub;

/// Prints one line a fact. Nothing is downloaded.
pub fn run(args: &RunArgs) -> Result<u8> {
    line("version", env!("CARGO_PKG_VERSION"))?;
    line("features", "cli")?;
    let cpu = resolve::cpu(args)?;
    let levels: Vec<_> = SimdLevel::available()
        .iter()
        .map(ToString::to_string)
        .collect();
    line(
        "vector levels",
        &format!("{} (in use: {})", levels.join(", "), cpu.level()),
    )?;
    if let Some(note) = plain_loops(SimdLevel::best()) {
        line("slow", &note)?;
    }
    line("threads", &cpu.threads().to_string())?;
    let placed = cards(args)?;
    if let Some(bytes) = speed::free_memory() {
        line("free memory", &DecimalBytes(bytes).to_string())?;
    }
    line("config file", &resolve::config_file())?;
    let mut faults = models(args)?;
    match placed {
        Ok(card) => plan(args, &cpu, card.as_ref())?,
        Err(fault) => faults.push(fault),
    }
    verdict(&args.model.model, &faults)
}

/// The GPU that the network would be computed on, none: the CPU; or why the device that is asked for cannot serve.
type Placed = std::result::Result<Option<CardInfo>, String>;

/// Prints the GPUs that the system has, which of them can be used, and where the network would be computed.
fn cards(args: &RunArgs) -> Result<Placed> {
    let found = Api::ALL.map(Card::list);
    let [nvidia, amd] = found
        .each_ref()
        .map(|cards| cards.as_ref().map_or(0, Vec::len));
    for gpu in Detected::read(Path::new("/")).lines_beside(nvidia, amd) {
        line("GPU", &gpu)?;
    }
    for card in found.iter().flatten().flatten() {
        let said = without_kernels(card);
        let fine = || format!("{card}; there are kernels for it");
        line("GPU", &said.unwrap_or_else(fine))?;
    }
    for error in found.iter().filter_map(|cards| cards.as_ref().err()) {
        // Where one maker's driver has cards, that the other's is missing tells nothing.
        if nvidia + amd == 0 {
            line("no GPU is used", &error.to_string())?;
        }
    }
    let device = resolve::device(args)?;
    let placed = resolve::engine(args)?
        .cards()
        .map_err(|error| error.to_string());
    let placed = placed.and_then(|cards| {
        let card = cards.first().map(|card| card.info().clone());
        match card.as_ref().and_then(without_kernels) {
            Some(_) if device == DeviceChoice::Auto => Ok(None),
            Some(fault) => Err(fault),
            None => Ok(card),
        }
    });
    let name = match &placed {
        Ok(Some(card)) if device == DeviceChoice::Auto => card.id.clone(),
        Ok(Some(_)) => device.to_string(),
        Ok(None) => "the CPU".to_owned(),
        Err(_) => "nothing".to_owned(),
    };
    line("computes on", &name)?;
    Ok(placed)
}

/// Why a card has no kernels, if so.
fn without_kernels(card: &CardInfo) -> Option<String> {
    let kernels = image::pick(&gpu::objects(), card);
    kernels.err().map(|error| error.to_string())
}

/// Whether the program can do its work here, and what to do where it cannot.
fn verdict(model: &str, faults: &[String]) -> Result<u8> {
    match faults {
        [] => line("verdict", &format!("ready: undertone -m {model} FILES"))?,
        faults => line("verdict", &format!("not ready: {}", faults.join("; ")))?,
    }
    Ok(if faults.is_empty() { FINE } else { FAILED })
}

fn line(name: &str, value: &str) -> Result<()> {
    say!("{}", fitted(&format!("{name:<16} {value}")));
    Ok(())
}

/// Caches with their sizes, where models come from, and which are here. Returns what stands in the way
/// of the one that is asked for, with what to do about it.
fn models(args: &RunArgs) -> Result<Vec<String>> {
    let (mut faults, model) = (Vec::new(), &args.model.model);
    let config = resolve::hub_config(args.model.model_dir.as_deref());
    let caches = [
        ("our models", config.models_dir.clone()),
        ("our packed copies", resolve::packed_dir()),
        ("the Hub's cache", config.hf_cache_dir.clone()),
    ];
    for (name, folder) in caches {
        let size = match folder.is_dir() {
            true => DecimalBytes(bytes_in(&folder)).to_string(),
            false => "not there".into(),
        };
        line(name, &format!("{} ({size})", folder.display()))?;
    }
    let mut is_reachable = false;
    for (name, found) in reach::sources(model, &config) {
        // Another model's package says nothing of this one.
        let has_mirror = hub::find(model).is_some_and(|entry| entry.mirror.is_some());
        let from_pip = has_mirror && found.contains("its index has ") && !found.contains("has no ");
        is_reachable |=
            from_pip || found.contains(" reachable (") && !found.contains("not reachable");
        line(name, &found)?;
    }
    let needed = needed_bytes(model);
    if let Some(free) = free_disk(&config.models_dir) {
        line("free disk", &DecimalBytes(free).to_string())?;
        if free < needed {
            faults.push(format!(
                "{model} and its packed copy take {} of disk: free some, or keep models elsewhere with \
                 --model-dir",
                DecimalBytes(needed)
            ));
        }
    }
    match hub::locate(model, &config)? {
        Some(files) => line(
            "model",
            &format!("{} ({})", files.weights.display(), files.source),
        )?,
        None if is_reachable => line(
            "model",
            &format!(
                "{model} is not here yet; the first run fetches it, or `undertone models pull {model}`"
            ),
        )?,
        None => {
            line("model", &format!("{model} is not here"))?;
            faults.push(format!(
                "{model} is not here and nothing can be fetched: run `undertone models pull {model}` where \
                 there is a connection, and give its folder to --model"
            ));
        }
    }
    for model in hub::list(&config) {
        let size = DecimalBytes(model.bytes);
        line(
            "  here",
            &format!("{} ({size}, {})", model.name, model.source),
        )?;
    }
    Ok(faults)
}

/// What a model of the catalogue takes on disk where it is not here yet, with a packed copy.
fn needed_bytes(model: &str) -> u64 {
    let entry = hub::find(model);
    entry.map_or(0, |entry| {
        let download = entry.dims().parameters() as u64 * u64::from(entry.bytes_per_weight);
        download + speed::bytes_per_parameter(&entry.dims(), ComputeType::F32)
    })
}

/// Bytes that are free where a folder is or would be, as `df` tells.
fn free_disk(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    let output = std::process::Command::new("df")
        .arg("-Pk")
        .arg(there)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kib: u64 = text
        .lines()
        .nth(1)?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()?;
    Some(kib * 1024)
}

/// The attention plan for the model that was named, if its sizes are known.
fn plan(args: &RunArgs, cpu: &Cpu, card: Option<&CardInfo>) -> Result<()> {
    let Some(entry) = hub::find(&args.model.model) else {
        return Ok(());
    };
    let request = resolve::attention_here(args)?;
    let (executor, compute) = resolve::executor(args)?;
    let plan = match card {
        Some(card) => gpu::plan(&request, card, compute, &entry.dims())?,
        None => {
            let registry = Registry::new(executor.backends(cpu, compute));
            attention::plan(&request, &registry, &entry.dims())?
        }
    };
    for role in Role::ALL {
        line("attention", &format!("{role}: {}", plan.served_by(role)))?;
    }
    if let Some(note) = plan.note() {
        line("", note)?;
    }
    let mut bytes = match card {
        Some(_) => gpu::state_bytes(&entry.dims(), compute),
        None => state_bytes(&entry.dims(), compute),
    };
    let cross = plan.backend(Role::DecoderCross).kernels();
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
