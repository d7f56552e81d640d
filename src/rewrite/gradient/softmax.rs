//! Softmax and LogSoftmax, from their outputs; NegativeLogLikelihoodLoss.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
