//! Operators that move elements without changing them: Reshape, Transpose, Concat, Slice, Pad …

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
