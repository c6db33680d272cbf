//! Cross-attention weights of watched heads, from the queries that a text has kept.

use super::GpuNetwork;
use super::stack::{Stack, Watched, read};
use super::state::{GpuAudio, GpuText};
use crate::device::Address;
use crate::error::{Error, Result};
use crate::model::CrossWeights;

/// Softmax of each kept query over the audio's keys.
pub(super) fn cross_weights(
    network: &GpuNetwork,
    stack: &dyn Stack,
    audio: &GpuAudio,
    text: &GpuText,
    beam: usize,
) -> Result<CrossWeights> {
    let (tokens, positions) = (text.len, audio.positions);
    let plane = tokens * positions;
    let mut weights = Vec::with_capacity(text.watched.len() * plane);
    let layers = text.watched_layers();
    if let (Some(queries), false) = (&text.queries, plane == 0) {
        let history = text.lineage.history(beam)[..tokens].iter().enumerate();
        let rows = history.map(|(position, row)| text.kept((*row).into(), position) as i32);
        let rows: Vec<i32> = rows.collect();
        let scores = network.card.memory(4 * plane)?;
        let bytes = queries.bytes() / layers.len();
        for &(layer, head) in &text.watched {
            let missing = || Error::Engine(format!("no layer {layer} to watch"));
            let kept = layers.binary_search(&layer).map_err(|_| missing())?;
            stack.cross_weights(&Watched {
                layer,
                head,
                slot: audio.slot.index,
                positions,
                queries: queries.address() + (kept * bytes) as Address,
                rows: &rows,
                to: scores.address(),
            })?;
            weights.extend(read(&network.card, scores.address(), plane)?);
        }
    }
    Ok(CrossWeights {
        heads: text.watched.clone(),
        tokens,
        positions,
        weights,
    })
}
