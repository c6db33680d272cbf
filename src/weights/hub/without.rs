//! Models by name in a build without the feature `hub`: there are none, and the error says so.

use super::{HubConfig, LocalModel, ModelFiles, Progress, Removed, Verified, unavailable};
use crate::error::{Error, Result};

/// No model has a name here.
pub(super) fn find(_model: &str, _config: &HubConfig) -> Option<ModelFiles> {
    None
}

/// Nothing can be fetched.
pub(super) fn fetch(
    model: &str,
    _config: &HubConfig,
    _progress: &mut dyn FnMut(Progress<'_>),
) -> Result<ModelFiles> {
    Err(no_hub(model))
}

/// No models: there is no cache without the feature `hub`.
#[must_use]
pub fn list(_config: &HubConfig) -> Vec<LocalModel> {
    Vec::new()
}

/// Takes nothing away without the feature `hub`.
///
/// # Errors
/// [`Error::ModelUnavailable`], always.
pub fn remove(model: &str, _config: &HubConfig) -> Result<Vec<Removed>> {
    Err(no_hub(model))
}

/// Checks nothing without the feature `hub`.
///
/// # Errors
/// [`Error::ModelUnavailable`], always.
pub fn verify(model: &str, _config: &HubConfig) -> Result<Vec<Verified>> {
    Err(no_hub(model))
}

fn no_hub(model: &str) -> Error {
    let reason = "no file and no folder; models by name need undertone's feature `hub`, which this \
                  build is without";
    unavailable(model, vec![reason.into()])
}

#[cfg(test)]
mod tests {
    use super::super::{locate, resolve};
    use super::*;

    #[test]
    fn a_name_is_an_error_that_names_the_feature() {
        let config = HubConfig::default();
        assert!(locate("base", &config).unwrap().is_none());
        for model in ["base", "openai/whisper-base", "nowhere/at/all"] {
            let error = resolve(model, &config, &mut |_| {}).unwrap_err();
            assert!(error.to_string().contains("feature `hub`"), "{error}");
        }
    }
}
