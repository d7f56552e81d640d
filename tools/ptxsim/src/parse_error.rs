//! Why a PTX text is refused.

/// The PTX could not be read, or has something in it that this crate does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {reason}: {text}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The statement, as it stands in the PTX.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}
