//! Some samples at once.

use super::Tensor;

/// Samples for one run of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// One tensor per input of the model, in the order of its inputs; the first axis of each counts the samples.
    pub inputs: Vec<Tensor>,
    /// Class of each sample, where the source knows it.
    pub labels: Option<Vec<i64>>,
    /// What each sample is called: its file, where it has one of its own.
    pub names: Option<Vec<String>>,
}

impl Batch {
    /// Number of samples.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.inputs.first().and_then(|t| t.dims.first()).copied().unwrap_or(0)
    }
}
