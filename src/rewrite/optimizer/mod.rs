//! How parameters follow their gradients.

mod adamw;
mod clip;
mod sgd;
#[cfg(test)]
mod tests;
mod update;

use serde::Serialize;

pub(crate) use clip::{clip, global_norm};
pub(crate) use update::{Scalars, Trained, Updated, update};

/// An optimizer with its numbers: the rules of PyTorch's `torch.optim`, in its order of operations.
///
/// The learning rate is no part of it: it is an input of every step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "name")]
pub enum Optimizer {
    /// No update: the step gives the gradients, the caller does what it likes with them.
    None,
    /// Stochastic gradient descent, `torch.optim.SGD`:
    /// g ← g + weight_decay·p; b ← momentum·b + g; p ← p − lr·(g + momentum·b with Nesterov, else b).
    Sgd {
        /// Factor on what is remembered of earlier gradients, [0, 1); with 0 nothing is.
        momentum: f64,
        /// Looks ahead by one momentum; needs momentum.
        nesterov: bool,
        /// Factor of the L2 term that is added to the gradient, ≥ 0.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay, `torch.optim.AdamW`:
    /// p ← p·(1 − lr·weight_decay); m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²;
    /// p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
    AdamW {
        /// Decay of the mean of the gradients, [0, 1).
        beta1: f64,
        /// Decay of the mean of their squares, [0, 1).
        beta2: f64,
        /// Added to the denominator, > 0.
        epsilon: f64,
        /// Share of a parameter that goes per step and learning rate, ≥ 0. All parameters decay, biases too, as in
        /// PyTorch.
        weight_decay: f64,
    },
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::adamw()
    }
}

impl Optimizer {
    /// `torch.optim.SGD` with its defaults: no momentum, no weight decay.
    #[must_use]
    pub const fn sgd() -> Self {
        Self::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 }
    }

    /// `torch.optim.AdamW` with its defaults: betas 0.9 and 0.999, epsilon 1e-8, weight decay 0.01.
    #[must_use]
    pub const fn adamw() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }

    /// "none", "sgd" or "adamw".
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sgd { .. } => "sgd",
            Self::AdamW { .. } => "adamw",
        }
    }

    /// Whether its numbers are in their ranges.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), OptimizerError> {
        let share = |name, value: f64| match value {
            _ if (0.0..1.0).contains(&value) => Ok(()),
            _ => Err(OptimizerError::Range { name, range: "at least 0 and below 1", value }),
        };
        let decay = |value: f64| match value {
            _ if value >= 0.0 && value.is_finite() => Ok(()),
            _ => Err(OptimizerError::Range { name: "weight_decay", range: "finite and at least 0", value }),
        };
        match *self {
            Self::None => Ok(()),
            Self::Sgd { momentum, nesterov, weight_decay } => {
                share("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(OptimizerError::NesterovWithoutMomentum);
                }
                decay(weight_decay)
            }
            Self::AdamW { beta1, beta2, epsilon, weight_decay } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                if !(epsilon > 0.0 && epsilon.is_finite()) {
                    let range = "finite and above 0";
                    return Err(OptimizerError::Range { name: "epsilon", range, value: epsilon });
                }
                decay(weight_decay)
            }
        }
    }
}

/// A number of an optimizer is outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptimizerError {
    /// A number.
    #[error("{name} must be {range}, not {value}")]
    Range {
        /// Which.
        name: &'static str,
        /// What it may be.
        range: &'static str,
        /// What it is.
        value: f64,
    },
    /// Nesterov looks ahead by one momentum.
    #[error("nesterov needs a momentum above 0 (0.9 is usual)")]
    NesterovWithoutMomentum,
}
