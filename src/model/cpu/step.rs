//! A decoder step from the seam's side: states unwrapped, rows ranked, queries of word timing scored.

use super::decoder::{Decoder, StepAttention, StepRows};
use super::state::{CpuAudio, CpuText};
use crate::error::Result;
use crate::kernels::{Cpu, attention};
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
    let answers = rank(cpu, decoder, &x, &asked);
    Decoder::close(&mut rows);
    Ok(answers)
}

/// Rows whose logits are in memory at once: they are as many numbers as an encoder's largest activation, so
/// that its memory serves again and the system clears no pages.
const MOST_LOGITS: usize = 48;

/// Answers every query.
fn rank(
    cpu: &Cpu,
    decoder: &Decoder,
    x: &super::Matrix<'_>,
    asked: &[(usize, &Query<'_>)],
) -> Vec<Answer> {
    let mut wanted: Vec<usize> = asked.iter().map(|(row, _)| *row).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut answers = vec![Answer::Choice(None); asked.len()];
    for wanted in wanted.chunks(MOST_LOGITS) {
        rank_rows(cpu, decoder, x, wanted, asked, &mut answers);
    }
    answers
}

/// Answers the queries of some rows. Ranking takes long enough, with many rows, to be shared among the threads.
fn rank_rows(
    cpu: &Cpu,
    decoder: &Decoder,
    x: &super::Matrix<'_>,
    wanted: &[usize],
    asked: &[(usize, &Query<'_>)],
    answers: &mut [Answer],
) {
    let logits = decoder.logits(cpu, x, wanted);
    cpu.pool().run_chunks(answers, 1, |i, answer| {
        let (row, query) = asked[i];
        if let Ok(place) = wanted.binary_search(&row) {
            answer[0] = ranking::answer(logits.row(place), query);
        }
    });
}

/// Scores the queries that were kept against the audio's keys: softmax over its positions.
pub(super) fn cross_weights(
    cpu: &Cpu,
    audio: &CpuAudio,
    text: &CpuText,
    beam: usize,
    mut weights: Vec<f32>,
) -> CrossWeights {
    let watched = &text.watched;
    let positions = audio.layers.first().map_or(0, |layer| layer.len());
    let history = &text.lineage.history(beam)[..text.len];
    let plane = text.len * positions;
    weights.resize(watched.heads.len() * plane, 0.0);
    cpu.pool().run_chunks(&mut weights, plane.max(1), |i, out| {
        let (layer, head) = watched.heads[i];
        let kept = history.iter().enumerate();
        let queries: Vec<&[f32]> = kept
            .map(|(position, row)| watched.query(i, usize::from(*row), position))
            .collect();
        attention::cross_weights(cpu.level(), &audio.layers[layer], head, &queries, out);
    });
    CrossWeights {
        heads: watched.heads.clone(),
        tokens: text.len,
        positions,
        weights,
    }
}
