//! Normalizations of each sample: Layer, Group, Instance, RMS, Lp, LRN.

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
