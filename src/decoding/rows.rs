//! How a window's rows and the batch they run in speak about each other.

/// A row to run next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRow {
    /// Which row of the previous step it continues; 0 after the prefill.
    pub parent: usize,
    /// The token to feed.
    pub token: u32,
}

/// What a window wants after it has seen a step's logits.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Run these rows; the next logits are expected in their order.
    Continue(&'a [NextRow]),
    /// Nothing more: the result is ready.
    Done,
}

/// The logits of one step, `(rows, n_vocab)`.
#[derive(Clone, Copy)]
pub struct RowLogits<'a> {
    values: &'a [f32],
    n_vocab: usize,
    shared: bool,
}

impl<'a> RowLogits<'a> {
    /// One row that the whole group starts from.
    pub fn shared(values: &'a [f32], n_vocab: usize) -> Self {
        Self {
            values,
            n_vocab,
            shared: true,
        }
    }

    /// A row each.
    pub fn each(values: &'a [f32], n_vocab: usize) -> Self {
        Self {
            values,
            n_vocab,
            shared: false,
        }
    }

    /// Whether every row begins from the same logits.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// The logits of a row; empty where they were not delivered.
    pub fn row(&self, index: usize) -> &'a [f32] {
        let index = if self.shared { 0 } else { index };
        let start = index * self.n_vocab;
        self.values.get(start..start + self.n_vocab).unwrap_or(&[])
    }
}
