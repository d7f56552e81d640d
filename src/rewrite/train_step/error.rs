//! Why a model cannot be made a training step.

use crate::model::ModelError;
use crate::rewrite::optimizer::OptimizerError;
use crate::rewrite::{GradientError, RewriteError};

/// Why a model cannot be made a training step. Nothing is written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainStepError {
    /// The file.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Logits, labels or the loss.
    #[error(transparent)]
    Rewrite(#[from] RewriteError),
    /// No gradient.
    #[error(transparent)]
    Gradient(#[from] GradientError),
    /// A number of the optimizer.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// An option that does not go with the others, or with any model.
    #[error("{0}")]
    Option(String),
    /// A pattern that names no parameter.
    #[error("{option} '{pattern}' matches no parameter; {known}")]
    Pattern {
        /// The option of `elonnx grad`.
        option: &'static str,
        /// The pattern.
        pattern: String,
        /// What there is, a clause.
        known: String,
    },
    /// Nothing to train.
    #[error("there is nothing to train: {0}")]
    NoParameters(String),
    /// New data does not fit the tensor it is for.
    #[error("{name}: {reason}")]
    Data {
        /// The initializer.
        name: String,
        /// What does not fit, a clause.
        reason: String,
    },
}
