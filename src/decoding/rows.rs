//! How a window's rows and the batch they run in speak about each other.

/// A row to run next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRow {
    /// Which row of the previous step it continues; 0 after the prefill.
    pub parent: usize,
    /// The token to feed.
    pub token: u32,
}

/// What a window wants after it has seen a step's answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Run these rows; the next answers are expected in their order.
    Continue(&'a [NextRow]),
    /// Nothing more: the result is ready.
    Done,
}

/// Which row of the last step a window's row was run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    /// All rows begin from the prefill's one row.
    Prefill,
    /// Each was a row of its own.
    Own,
}

impl Parents {
    /// The row that the window's row `index` was run as.
    pub fn of(self, index: usize) -> usize {
        match self {
            Self::Prefill => 0,
            Self::Own => index,
        }
    }
}
