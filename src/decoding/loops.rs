//! Text that repeats itself: the same few tokens over and over.

/// Longest piece whose repetition is noticed, in text tokens.
const LONGEST: usize = 48;
/// A piece counts as repeated when it stands this many times in a row.
const TIMES: usize = 4;
/// And when that is at least this much text: "no, no, no, no" is said.
const LEAST: usize = 32;

/// Whether a row's text ends in a loop; if so, how many of its tokens there are up to the end of the first round.
/// Tokens from `eot` on are no text: timestamps between the rounds do not hide them.
#[must_use]
pub fn loop_in(tokens: &[u32], eot: u32) -> Option<usize> {
    let recent: Vec<usize> = (0..tokens.len())
        .rev()
        .filter(|at| tokens[*at] < eot)
        .take(LONGEST * TIMES)
        .collect();
    let piece = (1..=LONGEST).find(|piece| {
        let length = (piece * TIMES).max(LEAST);
        recent.len() >= length
            && (*piece..length).all(|i| tokens[recent[i]] == tokens[recent[i - piece]])
    })?;
    // The loop may have begun before what was looked at.
    let text: Vec<usize> = (0..tokens.len()).filter(|at| tokens[*at] < eot).collect();
    let mut start = text.len() - piece;
    while start > 0 && tokens[text[start - 1]] == tokens[text[start - 1 + piece]] {
        start -= 1;
    }
    Some(text[start + piece - 1] + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EOT: u32 = 1000;

    #[test]
    fn rounds_are_counted() {
        let repeated = |piece: &[u32], times: usize| piece.repeat(times);
        let cases = [
            (repeated(&[7], 31), None),
            (repeated(&[7], 32), Some(1)),
            (repeated(&[1, 2, 3, 4], 7), None),
            (repeated(&[1, 2, 3, 4], 8), Some(4)),
            ([vec![9, 8], repeated(&[1, 2, 3, 4], 9)].concat(), Some(6)),
            (repeated(&(0..48).collect::<Vec<_>>(), 4), Some(48)),
            (repeated(&(0..49).collect::<Vec<_>>(), 5), None),
            // It goes on after the loop.
            ([repeated(&[1, 2, 3, 4], 9), vec![5]].concat(), None),
            (Vec::new(), None),
        ];
        for (tokens, kept) in cases {
            assert_eq!(loop_in(&tokens, EOT), kept, "{tokens:?}");
        }
    }

    #[test]
    fn timestamps_hide_no_loop() {
        let mut tokens = vec![1001, 5];
        for round in 0..6 {
            tokens.extend([1100 + round, 10, 11, 12, 13, 14, 15, 1101 + round]);
        }
        // The first round, from its timestamp on.
        assert_eq!(loop_in(&tokens, EOT), Some(9));
    }
}
