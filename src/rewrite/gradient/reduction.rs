//! Reductions: sums, means, extremes, products, norms.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
