//! `models`: what is known, what is here, and how it gets here.

mod suggest;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::DecimalBytes;
use serde_json::json;

use super::args::{ConvertArgs, ListArgs, ModelName, ModelsCommand};
use super::progress::{ModelProgress, Screen};
use super::speed::Rates;
use super::terminal::fitted;
use super::{FAILED, FINE, resolve};
use crate::engine::{ct2_extras, ggml_extras, packed_copies, transformers_files};
use crate::kernels::Cpu;
use crate::weights::hub::{self, HubConfig, LocalModel};
use crate::weights::{self, Conversion, Numbers, Target};

/// Runs one of the `models` commands.
pub fn run(command: &ModelsCommand) -> Result<u8> {
    match command {
        ModelsCommand::List(args) => list(args),
        ModelsCommand::Suggest(args) => suggest::run(args),
        ModelsCommand::Pull(name) => pull(name, &config(name)),
        ModelsCommand::Path(name) => path(name, &config(name)),
        ModelsCommand::Remove(name) => remove(name, &config(name)),
        ModelsCommand::Verify(name) => verify(name, &config(name)),
        ModelsCommand::Convert(args) => convert(args),
    }
}

fn config(name: &ModelName) -> HubConfig {
    resolve::hub_config(name.model_dir.as_deref())
}

fn list(args: &ListArgs) -> Result<u8> {
    let config = &resolve::hub_config(args.model_dir.as_deref());
    let here = hub::list(config);
    if args.json {
        let known = hub::catalog().iter().map(|entry| {
            let local: Vec<_> = here
                .iter()
                .filter(|m| m.name == entry.name)
                .map(as_value)
                .collect();
            json!({
                "name": entry.name,
                "aliases": entry.aliases,
                "translates": entry.translates,
                "parameters": entry.dims().parameters(),
                "bytes_per_weight": entry.bytes_per_weight,
                "published_errors": entry.published.as_ref().map(|p| json!({
                    "clean": p.clean, "other": p.other, "source": p.source,
                })),
                "pinned": entry.is_pinned(),
                "here": local,
            })
        });
        say!("{:#}", serde_json::Value::from_iter(known));
        return Ok(FINE);
    }
    let rates = Rates::both(&Cpu::new(None, None), &resolve::speed_file());
    let text = format!(
        "{}\n`undertone models suggest FILES` chooses one. Files lie in {}",
        table::text(&rates, &here),
        config.models_dir.display()
    );
    say!("{}", fitted(&text));
    Ok(FINE)
}

fn as_value(model: &LocalModel) -> serde_json::Value {
    json!({
        "path": model.path.display().to_string(),
        "bytes": model.bytes,
        "source": model.source,
        "pinned": model.pinned,
    })
}

fn pull(name: &ModelName, config: &HubConfig) -> Result<u8> {
    say!("{}", fetched(&name.model, config)?.weights.display());
    Ok(FINE)
}

/// A model's files, fetched if need be.
fn fetched(model: &str, config: &HubConfig) -> crate::Result<hub::ModelFiles> {
    let screen = Screen::new(false);
    let mut lines = ModelProgress::new(&screen);
    let files = hub::resolve(model, config, &mut |progress| lines.update(&progress));
    lines.finish();
    files
}

/// Writes a model in another format, with what lies beside its weights.
fn convert(args: &ConvertArgs) -> Result<u8> {
    let files = fetched(
        &args.source,
        &resolve::hub_config(args.model_dir.as_deref()),
    )?;
    let target = match args.format.as_str() {
        "ctranslate2" => Target::CTranslate2(ct2_extras(&files)?),
        "ggml" => Target::Ggml(ggml_extras(&files)?),
        "gguf" => Target::Gguf,
        _ => Target::Safetensors,
    };
    let wanted = args.quantize.as_deref();
    let numbers = wanted.and_then(|wanted| Numbers::named().find(|(name, _)| *name == wanted));
    let conversion = Conversion {
        target,
        numbers: numbers.map(|(_, numbers)| numbers),
    };
    let beside = match conversion.target {
        Target::Safetensors => transformers_files(&files)?,
        _ => Vec::new(),
    };
    weights::convert(&files.weights, &args.destination, &conversion)?;
    for (name, text) in beside {
        let file = args.destination.join(name);
        // What the source had of its own was copied.
        if !file.exists() {
            std::fs::write(file, text)?;
        }
    }
    say!("{}", args.destination.display());
    Ok(FINE)
}

fn path(name: &ModelName, config: &HubConfig) -> Result<u8> {
    match hub::locate(&name.model, config)? {
        Some(files) => {
            say!("{}", files.weights.display());
            Ok(FINE)
        }
        None => {
            eprintln!(
                "undertone: {} is not on this machine; `models pull` fetches it",
                name.model
            );
            Ok(FAILED)
        }
    }
}

/// Takes a model away, with what was made of it. Of a folder or file of the user's own, only the packed
/// copies go.
fn remove(name: &ModelName, config: &HubConfig) -> Result<u8> {
    let packed = packed(&name.model, config);
    if Path::new(&name.model).exists() {
        say!("{} is your own and stays", name.model);
    } else {
        for removed in hub::remove(&name.model, config)? {
            say!(
                "removed {} ({})",
                removed.path.display(),
                DecimalBytes(removed.bytes)
            );
        }
    }
    for file in packed {
        let bytes = super::cache::bytes_in(&file);
        std::fs::remove_file(&file)?;
        say!("removed {} ({})", file.display(), DecimalBytes(bytes));
    }
    Ok(FINE)
}

/// Packed copies of a model that is here.
fn packed(model: &str, config: &HubConfig) -> Vec<PathBuf> {
    let copies = || -> Result<Vec<PathBuf>> {
        let files = hub::locate(model, config)?.ok_or_else(|| anyhow::anyhow!("not here"))?;
        let source = weights::open(&files.weights)?;
        Ok(packed_copies(&resolve::packed_dir(), source.as_ref())?)
    };
    copies().unwrap_or_default()
}

fn verify(name: &ModelName, config: &HubConfig) -> Result<u8> {
    let mut code = FINE;
    for file in hub::verify(&name.model, config)? {
        let state = match file.intact {
            Some(true) => "intact",
            Some(false) => "DAMAGED",
            None => "hash not known",
        };
        if file.intact == Some(false) {
            code = FAILED;
        }
        say!(
            "{:<28} {:>10}  {state}",
            file.file,
            DecimalBytes(file.bytes).to_string()
        );
    }
    Ok(code)
}
