//! What can go wrong between a model file and its scores.

use crate::model::ModelError;
use crate::rewrite::RewriteError;

use super::CalibrationError;

/// Why a model cannot be scored with. Every variant says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeError {
    /// The file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Where the logits are, or what stands in the way of finding them.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// What was fitted, or has to be.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
}
