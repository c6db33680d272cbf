//! The Hugging Face Hub, through `hf-hub`, and the cache it shares with other programs.
//!
//! `hf-hub` downloads beside the target, goes on where an earlier download stopped, and shows a
//! file only once it is whole. It knows no time limits: each request runs in a thread of its own,
//! which is left behind when it does not answer in time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::failure::Failure;
use super::{FileEntry, HubConfig, ModelFiles, Progress, RepoEntry, Wanted, digest, local};
use crate::weights::folder;

/// What else is fetched, where it is there.
const COMPANIONS: [&str; 3] = ["config.json", "tokenizer.json", "generation_config.json"];

/// A model that is whole in the Hub's cache.
pub(super) fn find(wanted: &Wanted, config: &HubConfig) -> Option<ModelFiles> {
    wanted
        .repos()
        .iter()
        .find_map(|repo| snapshot(repo, wanted, config))
}

/// One repository's files in the Hub's cache, if all are there.
pub(super) fn snapshot(
    repo: &RepoEntry,
    wanted: &Wanted,
    config: &HubConfig,
) -> Option<ModelFiles> {
    let cached = Cache::new(config.hf_cache_dir.clone()).repo(hub_repo(repo));
    let known: Vec<&str> = repo.files.iter().map(|file| file.name.as_str()).collect();
    let weights = match known.split_first() {
        Some((weights, others)) => others
            .iter()
            .all(|file| cached.get(file).is_some())
            .then(|| cached.get(weights))?,
        None => folder::MODEL_FILES.iter().find_map(|file| cached.get(file)),
    }?;
    if folder::is_index(&weights) {
        let shards = folder::shards(&weights).ok()?;
        shards.iter().all(|shard| shard.is_file()).then_some(())?;
    }
    let dir = weights.parent()?.to_owned();
    Some(ModelFiles {
        tokenizer: local::tokenizer(&dir),
        dir,
        weights,
        entry: wanted.entry(),
        source: format!("Hub cache ({})", repo.id),
    })
}

/// Fetches a repository's files into the Hub's cache.
pub(super) fn fetch(
    repo: &RepoEntry,
    wanted: &Wanted,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles, Failure> {
    let api = api(config)?;
    let files = match repo.files.is_empty() {
        true => listed(&api, repo, config)?,
        false => repo.files.clone(),
    };
    for file in &files {
        let path = download(&api, repo, file, config, progress)?;
        check(&path, file, progress)?;
    }
    snapshot(repo, wanted, config).ok_or_else(|| "what arrived is not whole".into())
}

fn api(config: &HubConfig) -> Result<Api, String> {
    let cache = Cache::new(config.hf_cache_dir.clone());
    let mut builder = ApiBuilder::from_cache(cache)
        .with_progress(false)
        .with_retries(1);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    if config.token.is_some() {
        builder = builder.with_token(config.token.clone());
    }
    builder.build().map_err(|e| e.to_string())
}

fn hub_repo(repo: &RepoEntry) -> Repo {
    Repo::with_revision(repo.id.clone(), RepoType::Model, repo.revision.clone())
}

/// What a thread that talks to the Hub says.
enum Event<T> {
    Total(u64),
    Added(u64),
    Done(Result<T, ApiError>),
}

/// Does `request` in a thread of its own, and gives up when nothing is heard of it.
fn in_time<T: Send + 'static>(
    config: &HubConfig,
    request: impl FnOnce(&Sender<Event<T>>) -> Result<T, ApiError> + Send + 'static,
    mut seen: impl FnMut(u64, Option<u64>),
) -> Result<T, Failure> {
    let (sender, events): (_, Receiver<Event<T>>) = channel();
    let thread = std::thread::Builder::new().name("hub".into());
    let body = move || {
        let outcome = request(&sender);
        let _ = sender.send(Event::Done(outcome));
    };
    thread.spawn(body).map_err(|e| e.to_string())?;
    let (mut done, mut total, mut limit) = (0, None, config.connect_timeout);
    loop {
        match events.recv_timeout(limit) {
            Ok(Event::Done(outcome)) => return outcome.map_err(|error| refusal(&error, config)),
            Ok(Event::Total(bytes)) => (done, total) = (0, Some(bytes)),
            Ok(Event::Added(bytes)) => done += bytes,
            Err(RecvTimeoutError::Timeout) => return Err(silence(limit)),
            Err(RecvTimeoutError::Disconnected) => return Err("the download broke off".into()),
        }
        limit = config.stall_timeout;
        seen(done, total);
    }
}

fn silence(limit: Duration) -> Failure {
    Failure::Silent(format!("no answer for {:.1} s", limit.as_secs_f64()))
}

/// What the Hub, or what stands in for it, said. A mirror that sends its askers on to another host
/// leaves out the headers by which a file is told from its next version.
fn refusal(error: &ApiError, config: &HubConfig) -> Failure {
    let from = config.endpoint.as_deref().unwrap_or("the Hub's address");
    Failure::Refused(match error {
        ApiError::MissingHeader(_) => format!(
            "{error}: {from} does not answer as the Hub does; if it redirects to another host, set \
             HF_ENDPOINT to that one"
        ),
        _ => error.to_string(),
    })
}

/// What is needed of a repository that the catalogue does not know.
fn listed(api: &Api, repo: &RepoEntry, config: &HubConfig) -> Result<Vec<FileEntry>, Failure> {
    let handle = api.repo(hub_repo(repo));
    let info = in_time(config, move |_: &Sender<Event<_>>| handle.info(), |_, _| {})?;
    let there: BTreeSet<String> = info
        .siblings
        .into_iter()
        .map(|file| file.rfilename)
        .collect();
    let has = |name: &str| there.contains(name);
    let weights = folder::model_file(has).ok_or_else(|| folder::no_model(&there))?;
    let is_shard = |name: &str| is_shard(weights, name);
    let shards = there
        .iter()
        .map(String::as_str)
        .filter(|name| is_shard(name));
    let companions = COMPANIONS.into_iter().filter(|name| has(name));
    Ok([weights]
        .into_iter()
        .chain(shards)
        .chain(companions)
        .map(unpinned)
        .collect())
}

/// Whether a file of a repository may be a shard of the model that `index` lists: the index itself
/// has not been read yet.
fn is_shard(index: &str, name: &str) -> bool {
    let Some(whole) = index.strip_suffix(".index.json") else {
        return false;
    };
    let Some((stem, ending)) = whole.rsplit_once('.') else {
        return false;
    };
    let middle = name
        .strip_prefix(stem)
        .and_then(|rest| rest.strip_suffix(ending));
    middle.is_some_and(|middle| {
        middle.starts_with('-') && middle.ends_with('.') && !middle.contains(['/', '\\'])
    })
}

fn unpinned(name: &str) -> FileEntry {
    FileEntry {
        name: name.to_owned(),
        bytes: None,
        sha256: None,
        parts: Vec::new(),
    }
}

/// Passes `hf-hub`'s progress on to the thread that waits.
struct Reporter(Sender<Event<PathBuf>>);

impl hf_hub::api::Progress for Reporter {
    fn init(&mut self, size: usize, _filename: &str) {
        let _ = self.0.send(Event::Total(size as u64));
    }

    fn update(&mut self, size: usize) {
        let _ = self.0.send(Event::Added(size as u64));
    }

    fn finish(&mut self) {}
}

fn download(
    api: &Api,
    repo: &RepoEntry,
    file: &FileEntry,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, Failure> {
    let handle: ApiRepo = api.repo(hub_repo(repo));
    let name = file.name.clone();
    let request = move |events: &Sender<Event<PathBuf>>| {
        let reporter = Reporter(events.clone());
        handle.download_with_progress(&name, reporter)
    };
    let seen = |done, total| {
        progress(Progress::Bytes {
            file: &file.name,
            done,
            total,
        })
    };
    in_time(config, request, seen).map_err(|failure| failure.of(&file.name))
}

/// Checks a download against the catalogue's hash, and against the Hub's own where it has one:
/// large files are stored under their SHA-256. A wrong file is deleted.
fn check(
    path: &Path,
    file: &FileEntry,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), String> {
    let blob = std::fs::canonicalize(path).map_err(|e| format!("{}: {e}", file.name))?;
    let expected = file.sha256.clone().or_else(|| stored_hash(&blob));
    let Some(expected) = expected else {
        return Ok(());
    };
    progress(Progress::Checking { file: &file.name });
    let _ = std::fs::File::open(&blob).and_then(|blob| blob.sync_all());
    digest::reject(&blob, file.bytes, &expected).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

/// The hash that a blob of the Hub's cache should have, where its name is one.
pub(super) fn stored_hash(blob: &Path) -> Option<String> {
    let name = blob.file_name()?.to_str()?;
    let is_hash = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| name.to_owned())
}

/// The folder of a repository in the Hub's cache.
pub(super) fn repo_dir(repo: &RepoEntry, config: &HubConfig) -> PathBuf {
    config.hf_cache_dir.join(hub_repo(repo).folder_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_told_by_their_index() {
        let cases = [
            (
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                true,
            ),
            (
                "pytorch_model.bin.index.json",
                "pytorch_model-00001-of-00002.bin",
                true,
            ),
            (
                "pytorch_model.bin.index.json",
                "model-00001-of-00002.safetensors",
                false,
            ),
            (
                "model.safetensors.index.json",
                "model.fp32-00001-of-00002.safetensors",
                false,
            ),
            (
                "model.safetensors.index.json",
                "model-x/00001-of-00002.safetensors",
                false,
            ),
            (
                "model.safetensors",
                "model-00001-of-00002.safetensors",
                false,
            ),
        ];
        for (index, name, want) in cases {
            assert_eq!(is_shard(index, name), want, "{index} {name}");
        }
    }
}
