//! Sizes that packed weights and prepared inputs agree on.

/// Outputs in a panel: two vectors.
pub(super) const PANEL: usize = 32;
/// Inputs are padded to a multiple of this.
pub(super) const CHUNK: usize = 16;
