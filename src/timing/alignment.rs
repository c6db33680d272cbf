//! From attention weights to a time for each token.

use crate::tokenizer::Tokenizer;

/// Positions that the median filter looks at.
const MEDIAN_WIDTH: usize = 7;

/// The text tokens of a window's closed segments: what is aligned. Text behind the last pair of timestamps
/// is left to the next window, as the long form leaves it.
#[must_use]
pub fn closed_text(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<u32> {
    let is_timestamp = |token: &u32| tokenizer.is_timestamp(*token);
    let ends_alone =
        matches!(tokens, [.., before, last] if !is_timestamp(before) && is_timestamp(last));
    let last_pair = (1..tokens.len())
        .rev()
        .find(|&i| is_timestamp(&tokens[i - 1]) && is_timestamp(&tokens[i]));
    let closed = match last_pair {
        Some(cut) if !ends_alone => &tokens[..cut],
        _ => tokens,
    };
    let text = closed.iter().copied().filter(|t| *t < tokenizer.eot());
    text.collect()
}

/// What the heads that follow the audio gave its positions.
#[derive(Clone, Copy, Debug)]
pub struct HeadWeights<'a> {
    /// `(heads, tokens, positions)`; each token's sum to 1.
    pub weights: &'a [f32],
    /// Tokens that were fed.
    pub tokens: usize,
    /// Positions of the audio.
    pub positions: usize,
}

/// The position at which each text token begins, then the end, among the first `positions`: of the weights of a
/// start sequence of `lead` tokens, `<|notimestamps|>`, the text and its end. Empty without positions.
#[must_use]
pub fn start_positions(found: HeadWeights<'_>, lead: usize, positions: usize) -> Vec<usize> {
    let positions = positions.min(found.positions);
    let rows = found.tokens.saturating_sub(lead + 1);
    if positions == 0 || rows == 0 {
        return Vec::new();
    }
    let planes = found.weights.chunks_exact(found.tokens * found.positions);
    let heads = planes.len();
    let mut matrix = vec![0.0; rows * positions];
    let mut scratch = Vec::new();
    for plane in planes {
        add_head(
            plane,
            (lead, found.positions),
            positions,
            &mut scratch,
            &mut matrix,
        );
    }
    let scale = 1.0 / heads as f32;
    matrix.iter_mut().for_each(|x| *x *= scale);
    first_positions(&warp(&matrix, rows, positions), rows)
}

/// Adds one head's weights: softmax over the audio's own positions, normalised over the tokens, smoothed
/// over time; without the rows of the start sequence and of the end. `weights` is memory to work in.
fn add_head(
    plane: &[f32],
    (lead, all): (usize, usize),
    positions: usize,
    weights: &mut Vec<f32>,
    matrix: &mut [f32],
) {
    weights.clear();
    for row in plane.chunks_exact(all) {
        // The softmax was over padding, too.
        let sum: f32 = row[..positions].iter().sum();
        weights.extend(row[..positions].iter().map(|x| x / sum));
    }
    normalise(weights, plane.len() / all, positions);
    let kept = weights.chunks_exact(positions).skip(lead);
    let mut smooth = vec![0.0; positions];
    for (to, row) in matrix.chunks_exact_mut(positions).zip(kept) {
        median_filter(row, &mut smooth);
        to.iter_mut().zip(&smooth).for_each(|(to, x)| *to += x);
    }
}

/// Each position's weights over the tokens get mean 0 and standard deviation 1.
fn normalise(weights: &mut [f32], rows: usize, positions: usize) {
    let count = rows as f32;
    let (mut mean, mut variance) = (vec![0.0f32; positions], vec![0.0f32; positions]);
    for row in weights.chunks_exact(positions) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x);
    }
    mean.iter_mut().for_each(|mean| *mean /= count);
    for row in weights.chunks_exact(positions) {
        for ((variance, mean), x) in variance.iter_mut().zip(&mean).zip(row) {
            *variance += (x - mean) * (x - mean);
        }
    }
    let deviation: Vec<f32> = variance.iter().map(|v| (v / count).sqrt()).collect();
    for row in weights.chunks_exact_mut(positions) {
        for ((x, mean), deviation) in row.iter_mut().zip(&mean).zip(&deviation) {
            *x = (*x - mean) / deviation;
        }
    }
}

/// The median of each number and its three neighbours on either side; beyond the ends the row is mirrored. A
/// row that is too short for that stays.
pub(super) fn median_filter(row: &[f32], out: &mut [f32]) {
    let side = MEDIAN_WIDTH / 2;
    if row.len() <= side {
        out.copy_from_slice(row);
        return;
    }
    let mirrored = |i: isize| {
        let last = row.len() as isize - 1;
        row[(if i < 0 {
            -i
        } else if i > last {
            2 * last - i
        } else {
            i
        }) as usize]
    };
    let edge = |i: usize| {
        median(std::array::from_fn(|k| {
            mirrored(i as isize + k as isize - side as isize)
        }))
    };
    let inner = row.len().saturating_sub(side).max(side);
    (0..side)
        .chain(inner..row.len())
        .for_each(|i| out[i] = edge(i));
    let windows = row.windows(MEDIAN_WIDTH);
    for (out, window) in out[side..].iter_mut().zip(windows) {
        *out = median(std::array::from_fn(|k| window[k]));
    }
}

/// Comparisons that bring the median of seven numbers to the fourth place.
const MEDIAN_NETWORK: [(usize, usize); 13] = [
    (0, 5),
    (0, 3),
    (1, 6),
    (2, 4),
    (0, 1),
    (3, 5),
    (2, 6),
    (2, 3),
    (3, 6),
    (4, 5),
    (1, 4),
    (1, 3),
    (3, 4),
];

#[inline(always)]
pub(super) fn median(mut x: [f32; MEDIAN_WIDTH]) -> f32 {
    for (low, high) in MEDIAN_NETWORK {
        let (a, b) = (x[low], x[high]);
        (x[low], x[high]) = if b < a { (b, a) } else { (a, b) };
    }
    x[3]
}

/// Where a step of the path came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Both,
    Row,
    Position,
}

/// Dynamic time warping through the negated weights `(rows, positions)`: the row and position of each step,
/// from the first to the last. Costs are kept in single precision, as the reference keeps them.
pub(super) fn warp(weights: &[f32], rows: usize, positions: usize) -> Vec<(usize, usize)> {
    if rows == 0 || positions == 0 {
        return Vec::new();
    }
    let width = positions + 1;
    let mut trace = vec![From::Position; (rows + 1) * width];
    let mut above = vec![f32::INFINITY; width];
    above[0] = 0.0;
    let mut own = vec![f32::INFINITY; width];
    for i in 1..=rows {
        own[0] = f32::INFINITY;
        trace[i * width] = From::Row;
        for j in 1..=positions {
            let (both, row, position) = (above[j - 1], above[j], own[j - 1]);
            let (cost, from) = if both < row && both < position {
                (both, From::Both)
            } else if row < both && row < position {
                (row, From::Row)
            } else {
                (position, From::Position)
            };
            let weight = f64::from(weights[(i - 1) * positions + j - 1]);
            own[j] = (f64::from(cost) - weight) as f32;
            trace[i * width + j] = from;
        }
        std::mem::swap(&mut above, &mut own);
    }
    trace_back(&trace, rows, positions)
}

fn trace_back(trace: &[From], rows: usize, positions: usize) -> Vec<(usize, usize)> {
    let (mut i, mut j) = (rows, positions);
    let mut path = Vec::with_capacity(rows + positions);
    while i > 0 && j > 0 {
        path.push((i - 1, j - 1));
        let from = trace[i * (positions + 1) + j];
        i -= usize::from(from != From::Position);
        j -= usize::from(from != From::Row);
    }
    path.reverse();
    path
}

/// The position at which the path enters each row; the last known one for rows that it misses, which takes
/// numbers that are none.
fn first_positions(path: &[(usize, usize)], rows: usize) -> Vec<usize> {
    let mut first = Vec::with_capacity(rows);
    for &(row, position) in path {
        while first.len() <= row {
            first.push(position);
        }
    }
    let last = first.last().copied().unwrap_or(0);
    first.resize(rows, last);
    first
}
