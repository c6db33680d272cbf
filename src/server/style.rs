//! The two ways to answer.

/// Whose bodies and events are given where the two differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiStyle {
    /// vLLM's server, which the official client talks to as well.
    #[default]
    Vllm,
    /// OpenAI's own.
    OpenAi,
}

impl ApiStyle {
    pub const ALL: [(&str, Self); 2] = [("vllm", Self::Vllm), ("openai", Self::OpenAi)];
}
