//! `models`: what is known, what is here, and how it gets here.

use std::path::PathBuf;

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::json;

use super::args::{ConvertArgs, ListArgs, ModelName, ModelsCommand};
use super::progress::DownloadProgress;
use super::{FAILED, FINE, resolve};
use crate::engine::ggml_extras;
use crate::weights::hub::{self, HubConfig, LocalModel};
use crate::weights::{self, Conversion, Numbers, Target};

/// Runs one of the `models` commands.
pub fn run(command: &ModelsCommand) -> Result<u8> {
    match command {
        ModelsCommand::List(args) => list(args),
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
                "pinned": entry.is_pinned(),
                "here": local,
            })
        });
        say!("{:#}", serde_json::Value::from_iter(known));
        return Ok(FINE);
    }
    say!(
        "{:<18} {:<10} {:<9} {:<9} here",
        "model",
        "translates",
        "pinned",
        "size"
    );
    for entry in hub::catalog() {
        let local = here.iter().find(|model| model.name == entry.name);
        let size = local.map_or(String::new(), |model| HumanBytes(model.bytes).to_string());
        let place = local.map_or(String::new(), |m| {
            format!("{} ({})", m.path.display(), m.source)
        });
        let yes = |is: bool| if is { "yes" } else { "no" };
        let (translates, pinned) = (yes(entry.translates), yes(entry.is_pinned()));
        say!(
            "{:<18} {translates:<10} {pinned:<9} {size:<9} {place}",
            entry.name
        );
    }
    for model in here.iter().filter(|model| hub::find(&model.name).is_none()) {
        let (size, pinned) = (
            HumanBytes(model.bytes),
            if model.pinned { "yes" } else { "no" },
        );
        say!(
            "{:<18} {:<10} {pinned:<9} {size:<9} {}",
            model.name,
            "?",
            model.path.display()
        );
    }
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
    let mut download = DownloadProgress::new(false);
    let files = hub::resolve(model, config, &mut |progress| download.update(&progress));
    download.finish();
    files
}

/// Writes a model in another format, with what lies beside its weights.
fn convert(args: &ConvertArgs) -> Result<u8> {
    let files = fetched(
        &args.source,
        &resolve::hub_config(args.model_dir.as_deref()),
    )?;
    let target = match args.format.as_str() {
        "ctranslate2" => Target::CTranslate2,
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
    weights::convert(&files.weights, &args.destination, &conversion)?;
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

/// Takes a model away, with what was made of it.
fn remove(name: &ModelName, config: &HubConfig) -> Result<u8> {
    let packed = packed(&name.model, config);
    for removed in hub::remove(&name.model, config)? {
        say!(
            "removed {} ({})",
            removed.path.display(),
            HumanBytes(removed.bytes)
        );
    }
    for (file, bytes) in packed {
        std::fs::remove_file(&file)?;
        say!("removed {} ({})", file.display(), HumanBytes(bytes));
    }
    Ok(FINE)
}

/// Packed copies of a model and their sizes: they are named by the weights' fingerprint.
fn packed(model: &str, config: &HubConfig) -> Vec<(PathBuf, u64)> {
    let fingerprint = || -> Result<String> {
        let files = hub::locate(model, config)?.ok_or_else(|| anyhow::anyhow!("not here"))?;
        Ok(weights::open(&files.weights)?.fingerprint()?)
    };
    let (Ok(key), Ok(entries)) = (fingerprint(), std::fs::read_dir(resolve::packed_dir())) else {
        return Vec::new();
    };
    let stem = &key[..key.len().min(32)];
    let of_this = |path: &PathBuf| path.file_stem().is_some_and(|name| name == stem);
    let files = entries.flatten().map(|entry| entry.path()).filter(of_this);
    files
        .map(|file| {
            let bytes = std::fs::metadata(&file).map_or(0, |meta| meta.len());
            (file, bytes)
        })
        .collect()
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
            HumanBytes(file.bytes).to_string()
        );
    }
    Ok(code)
}
