//! One row with label smoothing: every class j has its own m_j, the loss is Σ_j a_j·f(m_j).
//!
//! With w the class weights and ε the smoothing (PyTorch's convention):
//!
//! ```text
//! a_j = ε/C·w_j + (1 − ε)·w_y·[j = y]
//! ∂/∂z_k = −a_k·f′(m_k) + Σ_{j≠k} a_j·f′(m_j)·exp(z_k − logsumexp_{i≠j} z_i)
//! ```
//!
//! Only one class, the largest logit's, can have p close to 1. With that class t kept out of the sums nothing cancels:
//! the sum without j is exp(z_t)·D_j with D_j = 1 + Σ_{i≠t,j} exp(z_i − z_t) for j ≠ t, and the sum over i ≠ t is kept
//! relative to its own largest term for j = t. All in f64, because f and f′ of all classes meet in every gradient.

use super::super::super::margin::MarginLoss;
use super::super::{Target, weighted};
use super::{Logits, exp_below};

/// The row's sums with the largest logit kept apart.
struct Sums {
    top: usize,
    max: f64,
    /// The largest logit but for `top`.
    second: f64,
    /// Σ_{i≠top} exp(z_i − max)
    below_max: f64,
    /// Σ_{i≠top} exp(z_i − second)
    below_second: f64,
}

impl Sums {
    fn new(logits: Logits<'_>) -> Self {
        let mut top = 0;
        for (class, z) in logits.values().enumerate() {
            if z > logits.get(top) {
                top = class;
            }
        }
        let max = logits.get(top);
        let others = || logits.values_without(top);
        let second = others().fold(f64::NEG_INFINITY, f64::max);
        let below_max = others().map(|z| exp_below(z, max)).sum();
        let below_second = others().map(|z| exp_below(z, second)).sum();
        Sums { top, max, second, below_max, below_second }
    }

    /// D_j − 1 for a class other than the top one.
    fn rest(&self, z: f64) -> f64 {
        let rest = self.below_max - exp_below(z, self.max);
        // what rounding leaves of an empty sum
        if rest < 0.0 { 0.0 } else { rest }
    }

    /// m_j = logsumexp_{i≠j} z_i − z_j
    fn margin_loss(&self, class: usize, z: f64) -> f64 {
        if class == self.top {
            (self.second - self.max) + self.below_second.ln()
        } else {
            (self.max - z) + self.rest(z).ln_1p()
        }
    }

    /// Share of a class other than the top one in the softmax without the top one.
    fn share_below_top(&self, z: f64) -> f64 {
        if self.second == f64::NEG_INFINITY && !self.below_second.is_nan() {
            return 0.0;
        }
        exp_below(z, self.second) / self.below_second
    }
}

/// Weighted loss, and m of the label. `smooth_weight` is a_j.
pub(in super::super) fn forward(
    f: &MarginLoss<f64>,
    logits: Logits<'_>,
    target: Target,
    smooth_weight: &dyn Fn(usize) -> f64,
) -> (f64, f64) {
    let sums = Sums::new(logits);
    let term = |(class, z)| weighted(smooth_weight(class), f.value(sums.margin_loss(class, z)));
    let loss = logits.values().enumerate().map(term).sum();
    (loss, sums.margin_loss(target.class, logits.get(target.class)))
}

/// Writes `scale` times the gradient of the weighted loss, class by class.
pub(in super::super) fn backward(
    f: &MarginLoss<f64>,
    logits: Logits<'_>,
    smooth_weight: &dyn Fn(usize) -> f64,
    scale: f64,
    write: &mut dyn FnMut(usize, f64),
) {
    let sums = Sums::new(logits);
    // a_j·f′(m_j)
    let slope = |class: usize, z: f64| smooth_weight(class) * f.derivative(sums.margin_loss(class, z));
    let top_slope = slope(sums.top, sums.max);
    let pull: f64 = logits
        .values()
        .enumerate()
        .filter(|&(class, _)| class != sums.top)
        .map(|(class, z)| slope(class, z) / (1.0 + sums.rest(z)))
        .sum();
    for (class, z) in logits.values().enumerate() {
        let gradient = if class == sums.top {
            pull - top_slope
        } else {
            let own = slope(class, z);
            let others = pull - own / (1.0 + sums.rest(z));
            exp_below(z, sums.max) * others + top_slope * sums.share_below_top(z) - own
        };
        write(class, scale * gradient);
    }
}
