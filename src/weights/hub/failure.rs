//! What a source outside this machine answers where it does not deliver.

/// Why a source did not deliver, in words.
pub(super) enum Failure {
    /// It does not answer: neither would it to the next question.
    Silent(String),
    /// It answered, or was not asked.
    Refused(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Self::Refused(reason.to_owned())
    }
}

impl Failure {
    /// The same of one file.
    pub fn of(self, file: &str) -> Self {
        match self {
            Self::Silent(reason) => Self::Silent(format!("{file}: {reason}")),
            Self::Refused(reason) => Self::Refused(format!("{file}: {reason}")),
        }
    }
}
