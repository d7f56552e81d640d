//! Matrix products: MatMul and Gemm.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
