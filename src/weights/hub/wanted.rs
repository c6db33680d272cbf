//! What a user's word for a model means, once it is no path.

use super::{CatalogEntry, RepoEntry, catalog, find, unavailable};
use crate::error::Result;

/// A model of the catalogue, or a repository that it does not know.
pub enum Wanted {
    Named(&'static CatalogEntry),
    Repo(String),
}

impl Wanted {
    /// # Errors
    /// [`ModelUnavailable`](crate::Error::ModelUnavailable) where the word can be no model's name.
    pub fn of(model: &str) -> Result<Self> {
        if let Some(entry) = find(model) {
            return Ok(Self::Named(entry));
        }
        match is_repository(model) {
            true => Ok(Self::Repo(model.to_owned())),
            false => Err(unavailable(model, vec![no_such_name()])),
        }
    }

    pub fn entry(&self) -> Option<&'static CatalogEntry> {
        match self {
            Self::Named(entry) => Some(entry),
            Self::Repo(_) => None,
        }
    }

    /// The Hub repositories to try, with what is known of their files.
    pub fn repos(&self) -> Vec<RepoEntry> {
        match self {
            Self::Named(entry) => entry.repo.clone(),
            Self::Repo(id) => {
                vec![RepoEntry {
                    id: id.clone(),
                    revision: "main".into(),
                    files: Vec::new(),
                }]
            }
        }
    }

    /// The name of its folder in our cache; no path separators.
    pub fn slug(&self) -> String {
        match self {
            Self::Named(entry) => entry.name.clone(),
            Self::Repo(id) => id.replace('/', "--"),
        }
    }
}

/// Whether it has the form `organisation/name`.
fn is_repository(model: &str) -> bool {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    model
        .split_once('/')
        .is_some_and(|(organisation, name)| plain(organisation) && plain(name))
}

fn no_such_name() -> String {
    let names: Vec<_> = catalog().iter().map(|entry| entry.name.as_str()).collect();
    format!(
        "no file, no folder, no Hub repository (organisation/name), and none of the names known: {}",
        names.join(", ")
    )
}
