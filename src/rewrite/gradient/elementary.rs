//! Unary functions of each element: Exp, Log, Sqrt, Erf, Abs, Sin, Cos …

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
