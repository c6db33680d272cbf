//! A decoder step from the seam's side: states become tables of rows, rows' logits become answers.

use std::ops::Range;
use std::sync::Arc;

use super::GpuNetwork;
use super::stack::{Stack, read};
use super::state::{GpuAudio, GpuText};
use super::tables::{Keep, MOST_ROWS, Row, Tables};
use crate::device::Address;
use crate::error::{Error, Result};
use crate::model::StepWindow;
use crate::ranking::{self, Answer, Query};

/// One step, its rows ranked. Texts change when every window is done.
pub(super) fn step(
    network: &GpuNetwork,
    stack: &dyn Stack,
    windows: &mut [StepWindow<'_>],
) -> Result<Vec<Answer>> {
    let (mut rows, mut asked) = (Vec::new(), Vec::new());
    for (i, window) in windows.iter_mut().enumerate() {
        let new = claim(network, window)?;
        let place = |query: &Query<'_>| rows.len() + query.row * new + query.at;
        asked.extend(window.queries.iter().map(place));
        let start = window.text.len();
        rows.extend(window.tokens.iter().enumerate().map(|(n, token)| Row {
            window: i,
            beam: n / new,
            token: *token,
            position: start + n % new,
        }));
    }
    let queries: Vec<&Query<'_>> = windows.iter().flat_map(|window| &window.queries).collect();
    let mut answers = vec![Answer::Choice(None); queries.len()];
    // A row sees what is before it in its own text, which an earlier pass has stored.
    for first in (0..rows.len()).step_by(MOST_ROWS) {
        let pass = first..rows.len().min(first + MOST_ROWS);
        let (places, rows) = (wanted(&asked, &pass), &rows[pass]);
        let tables = Tables::new(windows, rows, places.clone(), network.dims.n_text_ctx)?;
        stack.forward(&tables, &keeps(network, windows, rows)?)?;
        let floats = places.len() * network.dims.n_vocab;
        let logits = read(&network.card, stack.logits(), floats)?;
        rank(
            network,
            &logits,
            &places,
            (&asked, &queries),
            first,
            &mut answers,
        );
    }
    for window in windows {
        let new = window.new_tokens()?;
        window.text.memory_mut::<GpuText>()?.len += new;
    }
    Ok(answers)
}

/// Checks a window's part of a step and takes places for its rows. From the prompt on, each beam's new tokens are
/// in its own place; the prompt is in the first.
fn claim(network: &GpuNetwork, window: &mut StepWindow<'_>) -> Result<usize> {
    let new = window.new_tokens()?;
    let n_vocab = network.dims.n_vocab;
    if let Some(token) = window.tokens.iter().find(|t| **t as usize >= n_vocab) {
        let reason = format!("token {token} of a vocabulary of {n_vocab}");
        return Err(Error::Engine(reason));
    }
    if window.audio.memory::<GpuAudio>()?.positions == 0 {
        return Err(Error::Engine("a window that was not encoded".into()));
    }
    let text: &mut GpuText = window.text.memory_mut()?;
    text.check(window.rows, new)?;
    text.claim(window.rows)?;
    memory_of_queries(network, text)?;
    if text.len > 0 {
        (text.len..text.len + new).for_each(|position| text.lineage.advance(position));
    }
    Ok(new)
}

/// The rows of a pass that are asked about, each once, counted from the pass's first.
fn wanted(asked: &[usize], pass: &Range<usize>) -> Vec<i32> {
    let inside = asked.iter().filter(|place| pass.contains(place));
    let mut places: Vec<i32> = inside.map(|place| (place - pass.start) as i32).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// What the texts of a pass keep of its queries.
fn keeps(network: &GpuNetwork, windows: &[StepWindow<'_>], rows: &[Row]) -> Result<Vec<Keep>> {
    let (mut keeps, mut first) = (Vec::new(), 0);
    let same = |a: &Row, b: &Row| (a.window, a.beam) == (b.window, b.beam);
    for run in rows.chunk_by(same) {
        let text: &GpuText = windows[run[0].window].text.memory()?;
        let start = text.kept(run[0].beam, run[0].position) * network.dims.n_text_state;
        if let Some(queries) = &text.queries {
            let layers = text.watched_layers();
            let bytes = queries.bytes() / layers.len();
            keeps.extend(layers.iter().enumerate().map(|(i, layer)| Keep {
                layer: *layer,
                row: first,
                rows: run.len(),
                to: queries.address() + (i * bytes + network.number_bytes() * start) as Address,
            }));
        }
        first += run.len();
    }
    Ok(keeps)
}

/// Memory for the queries of the layers that a text watches.
fn memory_of_queries(network: &GpuNetwork, text: &mut GpuText) -> Result<()> {
    let layers = text.watched_layers().len();
    if text.queries.is_none() && layers > 0 {
        let floats = text.lineage.beams() * network.dims.n_text_ctx * network.dims.n_text_state;
        text.queries = Some(Arc::new(
            network
                .card
                .memory(network.number_bytes() * layers * floats)?,
        ));
    }
    Ok(())
}

/// Answers the queries about a pass, which starts at row `first`. Ranking is shared among the threads.
fn rank(
    network: &GpuNetwork,
    logits: &[f32],
    places: &[i32],
    (asked, queries): (&[usize], &[&Query<'_>]),
    first: usize,
    answers: &mut [Answer],
) {
    let n_vocab = network.dims.n_vocab;
    network.cpu.pool().run_chunks(answers, 1, |i, answer| {
        let row = asked[i].checked_sub(first).map(|row| row as i32);
        if let Some(Ok(place)) = row.map(|row| places.binary_search(&row)) {
            let logits = &logits[place * n_vocab..][..n_vocab];
            answer[0] = ranking::answer(logits, queries[i]);
        }
    });
}
