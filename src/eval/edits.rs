//! Word and character errors: the fewest edits that make the reference of the hypothesis.

use std::ops::AddAssign;

/// How a hypothesis differs from its reference, in words or characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Taken for another.
    pub substitutions: usize,
    /// Said and not recognised.
    pub deletions: usize,
    /// Recognised and not said.
    pub insertions: usize,
    /// Length of the reference.
    pub reference_len: usize,
}

impl Errors {
    /// All edits.
    #[must_use]
    pub fn total(&self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }

    /// Edits per reference word or character; 0 where both texts are empty, infinite where only the reference is.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.total() == 0 {
            0.0
        } else {
            self.total() as f64 / self.reference_len as f64
        }
    }
}

impl AddAssign for Errors {
    fn add_assign(&mut self, other: Self) {
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
        self.reference_len += other.reference_len;
    }
}

/// Word errors; words are what white space separates.
#[must_use]
pub fn wer(reference: &str, hypothesis: &str) -> Errors {
    errors(
        &reference.split_whitespace().collect::<Vec<_>>(),
        &hypothesis.split_whitespace().collect::<Vec<_>>(),
    )
}

/// Character errors, spaces inside the text included.
#[must_use]
pub fn cer(reference: &str, hypothesis: &str) -> Errors {
    errors(
        &reference.trim().chars().collect::<Vec<_>>(),
        &hypothesis.trim().chars().collect::<Vec<_>>(),
    )
}

/// One row of the edit distance at a time, each cell with the edits of a shortest way to it. Where ways are equally short,
/// a substitution is taken before a deletion before an insertion.
fn errors<T: PartialEq>(reference: &[T], hypothesis: &[T]) -> Errors {
    let inserted = |n| Errors {
        insertions: n,
        ..Errors::default()
    };
    let mut row: Vec<Errors> = (0..=hypothesis.len()).map(inserted).collect();
    for (i, said) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = Errors {
            deletions: i + 1,
            ..Errors::default()
        };
        for (j, heard) in hypothesis.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if said == heard {
                diagonal
            } else {
                best(diagonal, above, row[j])
            };
            diagonal = above;
        }
    }
    Errors {
        reference_len: reference.len(),
        ..row[hypothesis.len()]
    }
}

fn best(diagonal: Errors, above: Errors, left: Errors) -> Errors {
    let substitution = Errors {
        substitutions: diagonal.substitutions + 1,
        ..diagonal
    };
    let deletion = Errors {
        deletions: above.deletions + 1,
        ..above
    };
    let insertion = Errors {
        insertions: left.insertions + 1,
        ..left
    };
    let shorter = |a: Errors, b: Errors| if b.total() < a.total() { b } else { a };
    shorter(shorter(substitution, deletion), insertion)
}
