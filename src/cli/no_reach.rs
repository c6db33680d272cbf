//! Whether the places that models come from answer, in a build without the feature `hub`.

use crate::weights::hub::HubConfig;

/// None is asked.
pub fn sources(_model: &str, _config: &HubConfig) -> Vec<(&'static str, String)> {
    vec![("Hub", "this build is without the feature `hub`".into())]
}

/// Nothing is fetched.
#[cfg(feature = "server")]
pub fn fetcher() -> Option<crate::server::Fetch> {
    None
}
