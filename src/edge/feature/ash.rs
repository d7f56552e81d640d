//! ASH-S (Djurisic et al., ICLR 2023, arXiv 2209.09858): activations pruned and sharpened.
//!
//! Per sample, the lowest p percent of the activations become 0 and the others are multiplied by exp(s₁/s₂), s₁ and s₂
//! the sums of the activations before and after pruning; score = −T·logsumexp of the logits of that. p is 90 by default,
//! which the paper has on ImageNet and OpenOOD starts from (the paper has 95 for ASH-S on CIFAR-10, pytorch-ood 65).
//! Meant for features after a ReLU; see [`super::shaping`] for features without positive activations.

use super::linear::energy_of;
use super::shaping::Ratio;
use crate::rewrite::LinearHead;

/// Percentage of the activations that is pruned.
pub(crate) const DEFAULT_PERCENTILE: f64 = 90.0;

/// Needs no fit, only its percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AshS {
    /// p.
    pub percentile: f64,
}

impl AshS {
    /// Higher is further out of distribution. `scratch` holds the pruned feature.
    pub(super) fn score(self, head: &LinearHead, feature: &[f32], temperature: f64, scratch: &mut Vec<f32>) -> f64 {
        let ratio = Ratio::new(feature, self.percentile, scratch);
        let mut ties = ratio.ties;
        scratch.clear();
        scratch.extend(feature.iter().map(|&h| {
            let tie = h == ratio.least && ties > 0;
            ties -= usize::from(tie);
            if tie || h > ratio.least { h } else { 0.0 }
        }));
        energy_of(head, scratch, ratio.factor(), temperature)
    }
}
