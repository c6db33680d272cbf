//! A decoder step from the seam's side: states unwrapped, rows ranked, queries of word timing scored.

use super::decoder::{Decoder, StepAttention, StepRows};
use super::state::{CpuAudio, CpuText};
use crate::error::Result;
use crate::kernels::Cpu;
use crate::model::{CrossWeights, StepWindow};
use crate::ranking::{self, Answer, Query};

/// One step, its rows ranked.
pub(super) fn step(
    cpu: &Cpu,
    decoder: &Decoder,
    attention: StepAttention<'_>,
    windows: &mut [StepWindow<'_>],
) -> Result<Vec<Answer>> {
    let (mut rows, mut asked, mut start) = (Vec::new(), Vec::new(), 0);
    for window in windows {
        let per_row = window.new_tokens()?;
        let StepWindow {
            audio,
            text,
            tokens,
            rows: beams,
            queries,
        } = window;
        let place = |query: &Query<'_>| start + query.row * per_row + query.at;
        asked.extend(queries.iter().map(|query| (place(query), query)));
        start += tokens.len();
        rows.push(StepRows {
            audio: audio.memory()?,
            text: text.memory_mut()?,
            tokens,
            rows: *beams,
        });
    }
    let x = decoder.forward(cpu, attention, &mut rows)?;
    let answers = rank(cpu, decoder, x, &asked);
    Decoder::close(&mut rows);
    Ok(answers)
}

/// Answers every query. Ranking takes long enough, with many rows, to be shared among the threads.
fn rank(
    cpu: &Cpu,
    decoder: &Decoder,
    x: super::Matrix<'_>,
    asked: &[(usize, &Query<'_>)],
) -> Vec<Answer> {
    let mut wanted: Vec<usize> = asked.iter().map(|(row, _)| *row).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Vec::new();
    }
    let logits = decoder.logits(cpu, x, &wanted);
    let mut answers = vec![Answer::Choice(None); asked.len()];
    cpu.pool().run_chunks(&mut answers, 1, |i, answer| {
        let (row, query) = asked[i];
        let place = wanted.partition_point(|other| *other < row);
        answer[0] = ranking::answer(logits.row(place), query);
    });
    answers
}

/// Scores the queries that were kept against the audio's keys: softmax over its positions.
pub(super) fn cross_weights(audio: &CpuAudio, text: &CpuText, beam: usize) -> CrossWeights {
    let watched = &text.watched;
    let positions = audio.layers.first().map_or(0, |layer| layer.len());
    let history = &text.lineage.history(beam)[..text.len];
    let mut weights = Vec::with_capacity(watched.heads.len() * text.len * positions);
    let mut unpacked: Option<(usize, Vec<f32>)> = None;
    for (i, &(layer, head)) in watched.heads.iter().enumerate() {
        let keys = match unpacked.take() {
            Some((of, keys)) if of == layer => keys,
            _ => audio.layers[layer].keys(),
        };
        let head_dim = audio.layers[layer].shape().1;
        let own = &keys[head * positions * head_dim..][..positions * head_dim];
        for (position, &row) in history.iter().enumerate() {
            let query = watched.query(i, usize::from(row), position);
            softmax_of_scores(query, own, &mut weights);
        }
        unpacked = Some((layer, keys));
    }
    CrossWeights {
        heads: watched.heads.clone(),
        tokens: text.len,
        positions,
        weights,
    }
}

/// Appends `softmax(q · kᵀ / √head_dim)` of one query over all keys, `(positions, head_dim)`.
fn softmax_of_scores(query: &[f32], keys: &[f32], out: &mut Vec<f32>) {
    let scale = 1.0 / (query.len() as f32).sqrt();
    let dot = |key: &[f32]| key.iter().zip(query).map(|(k, q)| k * q).sum::<f32>() * scale;
    let start = out.len();
    out.extend(keys.chunks_exact(query.len()).map(dot));
    let scores = &mut out[start..];
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores
        .iter_mut()
        .for_each(|score| *score = (*score - highest).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}
