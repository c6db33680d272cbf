//! `models`: what is known, what is here, and how it gets here.

use anyhow::Result;
use indicatif::HumanBytes;
use serde_json::json;

use super::args::{ModelName, ModelsCommand};
use super::progress::DownloadProgress;
use super::{FAILED, FINE, resolve};
use crate::weights::hub::{self, HubConfig, LocalModel};

/// Runs one of the `models` commands.
pub fn run(command: &ModelsCommand) -> Result<u8> {
    let config = resolve::hub_config(None);
    match command {
        ModelsCommand::List { json } => list(&config, *json),
        ModelsCommand::Pull(name) => pull(name, &config),
        ModelsCommand::Path(name) => path(name, &config),
        ModelsCommand::Remove(name) => remove(name, &config),
        ModelsCommand::Verify(name) => verify(name, &config),
        ModelsCommand::Convert { .. } => anyhow::bail!("models convert is not built in yet"),
    }
}

fn list(config: &HubConfig, as_json: bool) -> Result<u8> {
    let here = hub::list(config);
    if as_json {
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
        println!("{:#}", serde_json::Value::from_iter(known));
        return Ok(FINE);
    }
    println!(
        "{:<18} {:<10} {:<9} {:<9} here",
        "model", "translates", "pinned", "size"
    );
    for entry in hub::catalog() {
        let local = here.iter().find(|model| model.name == entry.name);
        let size = local.map_or(String::new(), |model| HumanBytes(model.bytes).to_string());
        let place = local.map_or(String::new(), |m| {
            format!("{} ({})", m.path.display(), m.source)
        });
        let yes = |is: bool| if is { "yes" } else { "no" };
        let (translates, pinned) = (yes(entry.translates), yes(entry.is_pinned()));
        println!(
            "{:<18} {translates:<10} {pinned:<9} {size:<9} {place}",
            entry.name
        );
    }
    for model in here.iter().filter(|model| hub::find(&model.name).is_none()) {
        let (size, pinned) = (
            HumanBytes(model.bytes),
            if model.pinned { "yes" } else { "no" },
        );
        println!(
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
    let mut download = DownloadProgress::new(false);
    let files = hub::resolve(&name.model, config, &mut |progress| {
        download.update(&progress)
    });
    download.finish();
    println!("{}", files?.weights.display());
    Ok(FINE)
}

fn path(name: &ModelName, config: &HubConfig) -> Result<u8> {
    match hub::locate(&name.model, config)? {
        Some(files) => {
            println!("{}", files.weights.display());
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

fn remove(name: &ModelName, config: &HubConfig) -> Result<u8> {
    for removed in hub::remove(&name.model, config)? {
        println!(
            "removed {} ({})",
            removed.path.display(),
            HumanBytes(removed.bytes)
        );
    }
    Ok(FINE)
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
        println!(
            "{:<28} {:>10}  {state}",
            file.file,
            HumanBytes(file.bytes).to_string()
        );
    }
    Ok(code)
}
