//! Pooling: maximum, average, over windows or everything.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
