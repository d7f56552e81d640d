//! What can be wrong with the input of the loss.

use super::encouraging_loss::ParameterError;

/// The input of the loss does not fit together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LossError {
    /// Logits need a batch and a class axis.
    #[error("logits have shape {0:?}, but need at least two axes: [N, C] or [N, C, d...]")]
    Rank(Vec<usize>),
    /// With one class there is nothing to choose.
    #[error("logits have {classes} classes on axis 1 of {shape:?}, but the loss needs at least 2")]
    Classes {
        /// Length of axis 1.
        classes: usize,
        /// Shape of the logits.
        shape: Vec<usize>,
    },
    /// Labels do not have one entry per row of the logits.
    #[error("labels have shape {labels:?}, but logits of shape {logits:?} need labels of shape {expected:?}")]
    LabelShape {
        /// Shape of the logits.
        logits: Vec<usize>,
        /// Shape of the labels.
        labels: Vec<usize>,
        /// The shape that labels must have: that of the logits without axis 1.
        expected: Vec<usize>,
    },
    /// The shape has more elements than memory has addresses.
    #[error("logits of shape {0:?} have more elements than fit into memory")]
    TooLarge(Vec<usize>),
    /// A tensor does not have the number of elements that the shape of the logits asks for.
    #[error("{tensor} has {found} elements, but the shape of the logits asks for {expected}")]
    Length {
        /// Name of the tensor.
        tensor: &'static str,
        /// How many elements it must have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A label names no class and is not `ignore_index`.
    #[error(
        "label {label} of row {row} is outside [0, {classes}): give every row one of the {classes} classes, \
         or set ignore_index to {label} if such rows should not count"
    )]
    Label {
        /// The row, counted over the flattened labels.
        row: usize,
        /// Its label.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A parameter given with the input (`bonus_weight`) is outside its range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
}
