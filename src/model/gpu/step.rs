//! A decoder step from the seam's side: states become tables of rows, rows' logits become answers.

use std::ops::Range;
use std::sync::Arc;

use super::GpuNetwork;
use super::stack::{Pass, Stack};
use super::state::{Change, GpuAudio, GpuText};
use super::tables::{Keep, MOST_ROWS, Row, Tables};
use crate::device::Address;
use crate::error::{Error, Result};
use crate::model::StepWindow;
use crate::ranking::{Answer, Query};

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
    let mut changes = changes(windows)?;
    let queries: Vec<&Query<'_>> = windows.iter().flat_map(|window| &window.queries).collect();
    let mut answers = vec![Answer::Choice(None); queries.len()];
    // A row sees what is before it in its own text, which an earlier pass has stored.
    for pass in passes(rows.len(), &asked) {
        let about: Vec<usize> = (0..asked.len())
            .filter(|query| pass.contains(&asked[*query]))
            .collect();
        let of_pass = |query: &usize| (asked[*query] - pass.start, queries[*query]);
        let of_pass: Vec<(usize, &Query<'_>)> = about.iter().map(of_pass).collect();
        let rows = &rows[pass.clone()];
        let answered = stack.answer(Pass {
            tables: Tables::new(windows, rows, std::mem::take(&mut changes))?,
            kept: &keeps(network, windows, rows)?,
            queries: &of_pass,
            cpu: &network.cpu,
        })?;
        for (query, answer) in about.into_iter().zip(answered) {
            answers[query] = answer;
        }
    }
    for window in windows {
        let (rows, new) = (window.rows, window.new_tokens()?);
        window.text.memory_mut::<GpuText>()?.advance(rows, new);
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

/// What the card must be told of where the windows' texts are, before a step.
fn changes(windows: &[StepWindow<'_>]) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for window in windows {
        let text: &GpuText = window.text.memory()?;
        (0..window.rows).for_each(|beam| changes.extend(text.untold(beam)));
    }
    Ok(changes)
}

/// Rows that pass together: at most [`MOST_ROWS`], with at most as many questions about them.
fn passes(rows: usize, asked: &[usize]) -> Vec<Range<usize>> {
    let mut questions_of = vec![0; rows];
    asked.iter().for_each(|place| questions_of[*place] += 1);
    let (mut passes, mut start, mut questions) = (Vec::new(), 0, 0);
    for (row, about) in questions_of.into_iter().enumerate() {
        if row - start == MOST_ROWS || (row > start && questions + about > MOST_ROWS) {
            passes.push(start..row);
            (start, questions) = (row, 0);
        }
        questions += about;
    }
    passes.push(start..rows);
    passes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_so_many_rows_and_questions() {
        assert_eq!(passes(3, &[0, 2]), vec![0..3; 1]);
        assert_eq!(passes(300, &[299]), [0..256, 256..300]);
        let twice: Vec<usize> = (0..200).flat_map(|row| [row, row]).collect();
        assert_eq!(passes(200, &twice), [0..128, 128..200]);
    }
}
