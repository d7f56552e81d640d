//! What stands in the way of an evaluation.

use crate::edge::Score;
use crate::metrics::MetricsError;

/// Why sets cannot be compared. Every variant says what, where and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// A set without samples.
    #[error("the set '{set}' holds no samples")]
    Empty {
        /// Its name.
        set: String,
    },
    /// A metric that has no value.
    #[error("{quantity} of '{set}': {source}")]
    Metric {
        /// What was measured.
        quantity: String,
        /// In which set.
        set: String,
        /// Why not.
        source: MetricsError,
    },
    /// A label that is none of the classes.
    #[error(
        "the label of sample {sample} of '{set}' is {label}, but the model has the classes 0 to {last}; give the labels \
         the model was trained with",
        last = .classes.saturating_sub(1)
    )]
    Label {
        /// The set.
        set: String,
        /// Which sample, from 0.
        sample: usize,
        /// Its label.
        label: i64,
        /// Number of classes of the model.
        classes: usize,
    },
    /// A set that lacks a score the others have.
    #[error("the set '{set}' has no values of {score}; score every set with the same scores")]
    MissingScore {
        /// The set.
        set: String,
        /// The score.
        score: Score,
    },
    /// Two sets that cannot be told apart in a table.
    #[error("two sets are called '{set}'; give one another name with --ood NAME=PATH")]
    SameName {
        /// The name.
        set: String,
    },
}
