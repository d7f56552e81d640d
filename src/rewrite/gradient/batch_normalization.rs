//! BatchNormalization, with the statistics of the batch or with fixed ones.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
