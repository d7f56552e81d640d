//! Activations: Relu and its relatives, Sigmoid, Tanh, Softplus, Gelu …

use super::backward::Vjp;

pub(super) const RULES: &[(&str, Vjp)] = &[];
