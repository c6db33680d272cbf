//! The kernels at hand: a plain value, a list in order of preference.

use std::sync::Arc;

use super::AttentionBackend;

/// Names of vLLM that another kernel of the list serves.
pub const SERVED_BY: &[(&str, &str)] = &[("TORCH_SDPA", "CPU_ATTN")];

/// Backends with a kernel, best first. Put your own in front and ask for it by name, or leave the
/// choice to auto, which on the CPU takes the first without objections.
#[derive(Clone)]
pub struct Registry {
    backends: Vec<Arc<dyn AttentionBackend>>,
}

impl Registry {
    /// A registry of these alone, best first.
    #[must_use]
    pub fn new(backends: Vec<Arc<dyn AttentionBackend>>) -> Self {
        Self { backends }
    }

    /// Puts these in front of all others, the first foremost; one of the same name is hidden.
    #[must_use]
    pub fn with_front(self, front: Vec<Arc<dyn AttentionBackend>>) -> Self {
        Self {
            backends: front.into_iter().chain(self.backends).collect(),
        }
    }

    /// All backends, best first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AttentionBackend>> {
        self.backends.iter()
    }

    /// Their names, best first.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.backends.iter().map(|b| b.name()).collect()
    }

    /// The kernel that answers to a name in any case, by its own name or because it serves
    /// another of vLLM's names.
    #[must_use]
    pub fn kernel_for(&self, name: &str) -> Option<&Arc<dyn AttentionBackend>> {
        let named = |name: &str| {
            self.backends
                .iter()
                .find(|b| b.name().eq_ignore_ascii_case(name))
        };
        let alias = || {
            SERVED_BY
                .iter()
                .find(|(alias, _)| alias.eq_ignore_ascii_case(name))
        };
        named(name).or_else(|| named(alias()?.1))
    }

    /// The names that have a kernel, for an error: `CPU_ATTN, NAIVE, TORCH_SDPA (by CPU_ATTN)`.
    #[must_use]
    pub fn names_text(&self) -> String {
        let mut names: Vec<String> = self.names().into_iter().map(str::to_owned).collect();
        for (alias, by) in SERVED_BY {
            if !names.iter().any(|n| n == alias) && self.kernel_for(by).is_some() {
                names.push(format!("{alias} (by {by})"));
            }
        }
        names.dedup();
        names.join(", ")
    }
}
