//! Resize and Upsample.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
