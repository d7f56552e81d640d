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

use super::super::super::element::Element;
use super::super::{Output, Problem, Target, weighted};
use super::Row;
use super::hard::exp_below;

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
    fn new<T: Element>(row: Row<'_, T>) -> Self {
        let mut top = 0;
        for (class, z) in row.values().enumerate() {
            if z.to_f64() > row.get(top).to_f64() {
                top = class;
            }
        }
        let max = row.get(top).to_f64();
        let others = || row.values_without(top).map(T::to_f64);
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

impl<T: Element> Problem<'_, T> {
    /// a_j
    fn smooth_weight(&self, class: usize, target: Target) -> f64 {
        let epsilon = f64::from(self.loss.label_smoothing());
        let everywhere = epsilon / self.shape.classes() as f64 * self.class_weight(class);
        if class == target.class { everywhere + (1.0 - epsilon) * target.weight } else { everywhere }
    }

    /// Weighted loss, and m of the label.
    pub(in super::super) fn smooth_forward(&self, row: usize, target: Target) -> (f64, f64) {
        let row = self.row(row);
        let sums = Sums::new(row);
        let loss = row
            .values()
            .enumerate()
            .map(|(class, z)| {
                let m = sums.margin_loss(class, z.to_f64());
                weighted(self.smooth_weight(class, target), self.f.value(m))
            })
            .sum();
        let z = row.get(target.class).to_f64();
        (loss, sums.margin_loss(target.class, z))
    }

    /// # Safety
    /// No other thread writes the gradient of this row.
    pub(in super::super) unsafe fn smooth_backward(
        &self,
        row: usize,
        target: Target,
        scale: f64,
        dlogits: &Output<'_, T>,
    ) {
        let row = self.row(row);
        let sums = Sums::new(row);
        // a_j·f′(m_j)
        let slope =
            |class: usize, z: f64| self.smooth_weight(class, target) * self.f.derivative(sums.margin_loss(class, z));
        let top_slope = slope(sums.top, sums.max);
        let pull: f64 = row
            .values()
            .enumerate()
            .filter(|&(class, _)| class != sums.top)
            .map(|(class, z)| slope(class, z.to_f64()) / (1.0 + sums.rest(z.to_f64())))
            .sum();
        for (class, z) in row.values().enumerate() {
            let z = z.to_f64();
            let gradient = if class == sums.top {
                pull - top_slope
            } else {
                let own = slope(class, z);
                let others = pull - own / (1.0 + sums.rest(z));
                exp_below(z, sums.max) * others + top_slope * sums.share_below_top(z) - own
            };
            // SAFETY: the caller's.
            unsafe { dlogits.write(row.index(class), T::from_f64(scale * gradient)) };
        }
    }
}
