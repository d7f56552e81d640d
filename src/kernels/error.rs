//! What does not fit.

/// Sizes that do not fit each other: a sentence that names them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KernelError(pub(crate) String);

impl KernelError {
    pub(crate) fn new(sentence: impl Into<String>) -> KernelError {
        KernelError(sentence.into())
    }
}
