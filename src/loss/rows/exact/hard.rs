//! One row without label smoothing: statistics of the other classes → m → f, f′ → scaled row.

use super::super::super::margin::MarginLoss;
use super::super::{Target, weighted};
use super::{Logits, exp_below};

/// The softmax over the classes other than the label: exp(z_j − max) / sum.
struct Others {
    max: f64,
    sum: f64,
}

impl Others {
    /// Two passes: the maximum, then the sum.
    fn new(logits: Logits<'_>, label: usize) -> Self {
        let others = logits.values_without(label);
        let max = others.clone().fold(f64::NEG_INFINITY, |max, z| if z > max { z } else { max });
        Others { max, sum: others.map(|z| exp_below(z, max)).sum() }
    }

    /// m = logsumexp − z_y
    fn margin_loss(&self, label_logit: f64) -> f64 {
        (self.max - label_logit) + self.sum.ln()
    }

    /// 1/sum, and 0 where all other classes are masked: then none has a share.
    fn scale(&self) -> f64 {
        if self.max == f64::NEG_INFINITY && !self.sum.is_nan() { 0.0 } else { 1.0 / self.sum }
    }
}

/// Weighted loss and m.
pub(in super::super) fn forward(f: &MarginLoss<f64>, logits: Logits<'_>, target: Target) -> (f64, f64) {
    let m = Others::new(logits, target.class).margin_loss(logits.get(target.class));
    (weighted(target.weight, f.value(m)), m)
}

/// Writes `scale` times the gradient of the weighted loss, class by class.
pub(in super::super) fn backward(
    f: &MarginLoss<f64>,
    logits: Logits<'_>,
    target: Target,
    scale: f64,
    write: &mut dyn FnMut(usize, f64),
) {
    let others = Others::new(logits, target.class);
    let m = others.margin_loss(logits.get(target.class));
    let slope = scale * target.weight * f.derivative(m);
    let factor = slope * others.scale();
    for class in 0..logits.classes {
        write(class, if class == target.class { -slope } else { factor * exp_below(logits.get(class), others.max) });
    }
}
