//! SCALE (Xu et al., ICLR 2024, arXiv 2310.00227): activations scaled, none pruned.
//!
//! h' = h·exp(s₁/s₂), with s₁ and s₂ as for ASH-S; score = −T·logsumexp((W·h' + b)/T). p is 85 by default, as in the
//! paper and OpenOOD (pytorch-ood: 65).

use super::linear::energy_of;
use super::shaping::Ratio;
use crate::rewrite::LinearHead;

/// Percentage of the activations that s₂ leaves out.
pub(crate) const DEFAULT_PERCENTILE: f64 = 85.0;

/// Needs no fit, only its percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// p.
    pub percentile: f64,
}

impl Scale {
    /// Higher is further out of distribution.
    pub(super) fn score(self, head: &LinearHead, feature: &[f32], temperature: f64, scratch: &mut Vec<f32>) -> f64 {
        let factor = Ratio::new(feature, self.percentile, scratch).factor();
        energy_of(head, feature, factor, temperature)
    }
}
