//! Operators that read or write elements by index: Gather, Scatter and their relatives.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
