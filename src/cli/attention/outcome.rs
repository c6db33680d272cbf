//! What the `attention` commands hand back.

/// What a command prints and the code it ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output, with its last line break.
    pub text: String,
    /// 0 where all is well; 1 where a role is refused or rows differ.
    pub code: u8,
}
