//! `doctor`: what this machine has and what undertone makes of it.

use anyhow::Result;

use super::args::RunArgs;
use super::{FINE, resolve};
use crate::attention::{self, Registry, Role};
use crate::engine::Capacity;
use crate::kernels::{Cpu, SimdLevel};
use crate::model::StateBytes;
use crate::weights::hub;

/// Prints one line a fact. Nothing is downloaded.
pub fn run(args: &RunArgs) -> Result<u8> {
    let line = |name: &str, value: &str| println!("{name:<16} {value}");
    line("version", env!("CARGO_PKG_VERSION"));
    let level = args
        .simd_level
        .as_deref()
        .map(str::parse::<SimdLevel>)
        .transpose();
    let level = level.map_err(|reason| anyhow::anyhow!("--simd-level: {reason}"))?;
    let cpu = Cpu::new(args.threads, level);
    let levels: Vec<_> = SimdLevel::available()
        .iter()
        .map(ToString::to_string)
        .collect();
    line(
        "vector levels",
        &format!("{} (in use: {})", levels.join(", "), cpu.level()),
    );
    line("threads", &cpu.threads().to_string());
    line("computes on", "the CPU");

    let config = resolve::hub_config(args.model.model_dir.as_deref());
    line("models kept in", &config.models_dir.display().to_string());
    line(
        "hub's own cache",
        &config.hf_cache_dir.display().to_string(),
    );
    line(
        "hub",
        if config.offline {
            "not asked (offline)"
        } else {
            "asked when a model is not here"
        },
    );
    match hub::locate(&args.model.model, &config)? {
        Some(files) => line(
            "model",
            &format!("{} ({})", files.weights.display(), files.source),
        ),
        None => line("model", &format!("{} is not here yet", args.model.model)),
    }
    for model in hub::list(&config) {
        let mb = model.bytes / 1_000_000;
        line(
            "  here",
            &format!("{} ({mb} MB, {})", model.name, model.source),
        );
    }
    plan(args, &cpu, &line)?;
    Ok(FINE)
}

/// The attention plan for the model that was named, if its sizes are known.
fn plan(args: &RunArgs, cpu: &Cpu, line: &dyn Fn(&str, &str)) -> Result<()> {
    let Some(entry) = hub::find(&args.model.model) else {
        return Ok(());
    };
    let request = resolve::attention(&args.attention)?;
    let registry = Registry::new(attention::backends::built_in(cpu));
    let plan = attention::plan(&request, &registry, &entry.dims())?;
    for role in Role::ALL {
        line(
            "attention",
            &format!("{role}: {}", plan.backend(role).name()),
        );
    }
    let format = resolve::compute_type(&args.compute_type)?.kv_format();
    let bytes = StateBytes::new(&entry.dims(), format);
    let mb = |bytes: usize| bytes.div_ceil(1_000_000);
    let (window, row) = (mb(bytes.window), mb(bytes.row));
    line(
        "memory",
        &format!("{window} MB a window being decoded, and up to {row} MB a beam"),
    );
    let slots = Capacity::of_windows(resolve::DEFAULT_JOBS);
    let most = mb(bytes.of(slots.windows, slots.rows));
    line(
        "",
        &format!(
            "{} windows of {} beams in all: at most {most} MB",
            slots.windows, slots.rows
        ),
    );
    Ok(())
}
