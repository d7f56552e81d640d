//! What the user asks of `patch`.

use crate::loss::{Bonus, Reduction};

/// Parameters that win over those of the loss found. `None`: taken over from it, or the operator's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PatchOptions {
    /// Probability where the log bonus becomes linear, (0, 1].
    pub log_end: Option<f32>,
    /// Form of the bonus.
    pub bonus: Option<Bonus>,
    /// Exponent of the power bonus.
    pub power: Option<f32>,
    /// Factor on the bonus.
    pub bonus_weight: Option<f32>,
    /// Label smoothing, PyTorch's convention.
    pub label_smoothing: Option<f32>,
    /// Reduction.
    pub reduction: Option<Reduction>,
    /// Label whose rows do not count.
    pub ignore_index: Option<i64>,
    /// Where there is no loss: the value to take as logits.
    pub logits: Option<String>,
    /// Name of the labels: an existing input to use, or the name of the input to add (default "labels").
    pub labels: Option<String>,
}
