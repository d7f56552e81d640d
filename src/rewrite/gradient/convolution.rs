//! Conv and ConvTranspose.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
