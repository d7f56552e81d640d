//! Operators that pick one operand for each element: Min, Max, Clip, Where.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
