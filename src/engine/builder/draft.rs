//! The model that writes ahead of another, loaded beside it.

use std::sync::Arc;

use super::{EngineBuilder, load_tokenizer};
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::model::Network;
use crate::tokenizer::Tokenizer;
use crate::weights::hub;

impl EngineBuilder {
    /// The model that writes ahead of one with these sizes and this vocabulary, where there is one: on the CPU, in
    /// its fastest precision.
    pub(super) fn load_draft(
        &self,
        dims: &ModelDimensions,
        tokenizer: &Tokenizer,
        progress: &mut dyn FnMut(hub::Progress<'_>),
    ) -> Result<Option<Arc<dyn Network>>> {
        let Some(name) = &self.draft else {
            return Ok(None);
        };
        let drafting = Self {
            model: name.clone(),
            compute: self.executor.fastest(),
            ..self.clone()
        };
        let files = hub::resolve(name, &self.hub, progress)?;
        let source = crate::weights::open(&files.weights)?;
        let same_ids = load_tokenizer(&files, source.as_ref())?.has_ids_of(tokenizer);
        if let Some(reason) = cannot_draft(dims, source.dims(), same_ids) {
            return Err(Error::Option {
                option: "draft",
                reason: format!("{name} cannot write ahead of {}: {reason}", self.model),
            });
        }
        let (networks, ..) = drafting.network(source.as_ref(), Vec::new(), progress)?;
        Ok(networks.into_iter().next())
    }
}

/// Why one model cannot write ahead of another.
fn cannot_draft(
    model: &ModelDimensions,
    draft: &ModelDimensions,
    same_ids: bool,
) -> Option<String> {
    let sizes = [
        ("tokens in its vocabulary", draft.n_vocab, model.n_vocab),
        ("mel channels", draft.n_mels, model.n_mels),
        ("positions of text", draft.n_text_ctx, model.n_text_ctx),
        ("positions of audio", draft.n_audio_ctx, model.n_audio_ctx),
    ];
    let other = sizes.into_iter().find(|(_, draft, model)| draft != model);
    match other {
        Some((what, has, needs)) => Some(format!("it has {has} {what}, where {needs} are needed")),
        None if !same_ids => Some("its vocabulary has other languages or special tokens".into()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_has_the_models_vocabulary_and_windows() {
        let dims = |name: &str| crate::weights::hub::find(name).unwrap().dims();
        let cases = [
            ("base", "tiny", true, None),
            ("large-v3", "turbo", true, None),
            ("base", "tiny.en", false, Some("51864 tokens")),
            ("large-v3", "tiny", false, Some("51865 tokens")),
            ("base", "tiny", false, Some("special tokens")),
        ];
        for (model, draft, same_ids, said) in cases {
            let found = cannot_draft(&dims(model), &dims(draft), same_ids);
            let matches = match (&found, said) {
                (Some(found), Some(said)) => found.contains(said),
                (found, said) => found.is_none() && said.is_none(),
            };
            assert!(matches, "{model} {draft}: {found:?}");
        }
        let mut other = dims("base");
        other.n_mels = 128;
        let said = cannot_draft(&dims("base"), &other, true).unwrap();
        assert!(said.contains("128 mel channels"), "{said}");
    }
}
