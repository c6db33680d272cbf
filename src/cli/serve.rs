//! `serve` and `run-batch`: the engine behind HTTP, or behind a file of requests.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::args::{AdapterArg, ApiArgs, BatchArgs, RunArgs, ServeArgs};
use super::loading::load;
use super::progress::Screen;
use super::usage::usage;
use super::{FAILED, FINE};
use super::{environment, resolve};
use crate::engine::EngineBuilder;
use crate::server::{ApiStyle, BatchReader, Config, Load, Models, Served};

/// Runs `serve` until it is told to stop.
pub fn serve(args: &ServeArgs) -> Result<u8> {
    let mut run = args.run.clone();
    if let Some(model) = &args.served {
        run.model.model.clone_from(model);
    }
    let config = Config {
        keys: keys(args)?,
        grace: seconds("--grace", args.grace)?,
        cors: origins(&args.cors)?,
        idle_unload: args
            .idle_unload
            .map(|s| seconds("--idle-unload", s))
            .transpose()?,
        ..config(&args.api)?
    };
    log_to_stderr(args);
    let models = models(&args.api, &run, args.quiet)?;
    if args.warmup {
        models.warm_up()?;
    }
    let address = format!("{}:{}", bracketed(&args.host), args.port);
    crate::server::serve(&address, models, config, &mut |address| {
        eprintln!("undertone is listening on http://{address}");
    })?;
    Ok(FINE)
}

/// Runs `run-batch`: 0 if every line was answered well, 1 if some were not.
pub fn run_batch(args: &BatchArgs) -> Result<u8> {
    let config = config(&args.api)?;
    let lines = reader(&args.input_file)?;
    let mut out = writer(&args.output_file)?;
    let models = models(&args.api, &args.run, false)?;
    let reader = BatchReader {
        files: true,
        fetch: args.allow_http.then(super::reach::fetcher).flatten(),
    };
    let failed = crate::server::run_batch(models, config, &reader, lines, &mut *out)
        .with_context(|| args.output_file.display().to_string())?;
    if failed == 0 {
        return Ok(FINE);
    }
    eprintln!("undertone: {failed} of the requests failed; their answers say why");
    Ok(FAILED)
}

fn reader(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(BufReader::new(file)))
}

fn writer(path: &Path) -> Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdout()));
    }
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(BufWriter::new(file)))
}

/// An address of IPv6 goes into brackets before a port.
fn bracketed(host: &str) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

fn config(args: &ApiArgs) -> Result<Config> {
    let style = ApiStyle::ALL
        .iter()
        .find(|(name, _)| *name == args.api_style);
    let limits = environment::audio_limits()?;
    let default = Config::default();
    let max_upload_mb = args.max_upload_mb.or(limits.upload_mb);
    let max_seconds = args.max_duration_s.or(limits.seconds);
    Ok(Config {
        style: style.map_or_else(ApiStyle::default, |(_, style)| *style),
        max_upload_mb: positive(
            "--max-upload-mb",
            max_upload_mb.unwrap_or(default.max_upload_mb),
        )?,
        max_seconds: positive(
            "--max-duration-s",
            max_seconds.unwrap_or(default.max_seconds),
        )?,
        max_running: match args.max_requests {
            0 => return usage("--max-requests starts at 1"),
            n => n.min(MOST_REQUESTS),
        },
        max_waiting: args.queue,
        request_timeout: seconds("--request-timeout", args.request_timeout)?,
        upload_timeout: seconds("--upload-timeout", args.upload_timeout)?,
        always_usage: args.enable_force_include_usage,
        ..default
    })
}

/// Most requests side by side: each has a thread.
const MOST_REQUESTS: usize = 500;
/// Longest time that an option may give, a year.
const MOST_SECONDS: f64 = 365.0 * 86_400.0;

fn positive(option: &str, value: f64) -> Result<f64> {
    match value > 0.0 && value.is_finite() {
        true => Ok(value),
        false => usage(format!("{option}: {value} is not a number above 0")),
    }
}

fn seconds(option: &str, value: f64) -> Result<Duration> {
    match (0.0..=MOST_SECONDS).contains(&value) {
        true => Ok(Duration::from_secs_f64(value)),
        false => usage(format!(
            "{option}: {value} is not a number of seconds from 0 on"
        )),
    }
}

/// Origins as browsers send them; another spelling would let nobody in.
fn origins(named: &[String]) -> Result<Vec<String>> {
    let is_one = |origin: &str| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ']))
    };
    match named.iter().find(|name| *name != "*" && !is_one(name)) {
        None => Ok(named.to_vec()),
        Some(name) => usage(format!(
            "--cors: {name} is no origin, as https://example.org or http://localhost:3000, nor *"
        )),
    }
}

/// The keys of the options, of the file, and of the environment.
fn keys(args: &ServeArgs) -> Result<Vec<String>> {
    let mut keys = args.api_key.clone();
    keys.extend(environment::api_key());
    if let Some(path) = &args.api_key_file {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = keys.len();
        keys.extend(lines.map(str::to_owned));
        if keys.len() == before {
            return usage(format!("--api-key-file: {} holds no key", path.display()));
        }
    }
    if keys.iter().any(String::is_empty) {
        return usage("--api-key: a key is not empty");
    }
    Ok(keys)
}

fn log_to_stderr(args: &ServeArgs) {
    let level = match args.quiet {
        true => tracing::Level::WARN,
        false => tracing::Level::INFO,
    };
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_max_level(level);
    // Whoever set a subscriber before this keeps it.
    let _ = match args.log_format.as_str() {
        "json" => lines.json().flatten_event(true).try_init(),
        _ => lines.try_init(),
    };
}

/// What is served: the model under its names, and adapters over it under theirs.
fn models(api: &ApiArgs, run: &RunArgs, quiet: bool) -> Result<Models> {
    let model = &run.model.model;
    let mut names = api.served_model_name.clone();
    if names.is_empty() {
        names.push(model.clone());
    }
    distinct(&names, &api.lora_modules)?;
    if let Some(architecture) = other_architecture(Path::new(model)) {
        eprintln!(
            "undertone: {model} is {architecture}, no speech-to-text model: its name is served, the \
             audio routes are not"
        );
        let served = names.iter().map(|name| Served::other(name, model));
        return with_adapters(served.collect(), &api.lora_modules);
    }
    super::print_notes(resolve::notes(run));
    let builder = resolve::engine(run)?.slots(api.max_num_seqs.max(1));
    let engine = load(&builder, &Screen::new(quiet))?;
    let first = names.remove(0);
    let mut served = vec![Served::speech(&first, model, reload(builder), Some(engine))];
    let aliases: Vec<Served> = names.iter().map(|name| served[0].called(name)).collect();
    served.extend(aliases);
    with_adapters(served, &api.lora_modules)
}

/// Adapters over the first model.
fn with_adapters(mut served: Vec<Served>, adapters: &[AdapterArg]) -> Result<Models> {
    for AdapterArg {
        name,
        path,
        base_model_name: parent,
    } in adapters
    {
        let loaded = served[0].adapter(name, path);
        let mut adapter = loaded.with_context(|| format!("--lora-modules {name}"))?;
        if parent.is_some() {
            adapter.parent.clone_from(parent);
        }
        served.push(adapter);
    }
    Ok(Models::new(served))
}

/// No two models have one name.
fn distinct(names: &[String], adapters: &[AdapterArg]) -> Result<()> {
    let names = names
        .iter()
        .chain(adapters.iter().map(|adapter| &adapter.name));
    let mut seen = HashSet::new();
    match names.into_iter().find(|name| !seen.insert(*name)) {
        None => Ok(()),
        Some(name) => usage(format!("two models would be served as {name}")),
    }
}

fn reload(builder: EngineBuilder) -> Load {
    Box::new(move || builder.clone().build())
}

/// What a folder's `config.json` says that it is, where that is no Whisper.
fn other_architecture(folder: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Described {
        #[serde(default)]
        model_type: Option<String>,
        #[serde(default)]
        architectures: Vec<String>,
    }
    let text = std::fs::read(folder.join("config.json")).ok()?;
    let described: Described = serde_json::from_slice(&text).ok()?;
    let kinds = described.model_type.iter().chain(&described.architectures);
    let is_whisper = |kind: &String| kind.to_ascii_lowercase().contains("whisper");
    let mut kinds = kinds.peekable();
    // A configuration that says nothing of it, as CTranslate2's, is taken for Whisper's.
    kinds.peek()?;
    if kinds.clone().any(is_whisper) {
        return None;
    }
    kinds.next().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_architectures_are_known_by_their_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let said = |config: &str| {
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            other_architecture(folder.path())
        };
        let llama = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#;
        assert_eq!(said(llama).as_deref(), Some("llama"));
        let whisper = r#"{"architectures": ["WhisperForConditionalGeneration"]}"#;
        for config in [whisper, r#"{"model_type": "whisper"}"#, "{}", "{"] {
            assert_eq!(said(config), None, "{config}");
        }
        assert_eq!(other_architecture(Path::new("/nowhere")), None);
    }

    #[test]
    fn hosts_and_bounds() {
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("127.0.0.1"), "127.0.0.1");
        assert!(seconds("--grace", -1.0).is_err() && seconds("--grace", f64::NAN).is_err());
        assert!(positive("--max-upload-mb", 0.0).is_err());
        let is_origin = |name: &str| origins(&[name.to_owned()]).is_ok();
        assert!(is_origin("*") && is_origin("http://localhost:3000"));
        assert!(!is_origin("a.example") && !is_origin("https://a.example/"));
        assert_eq!(seconds("--grace", 0.5).unwrap(), Duration::from_millis(500));
    }
}
