//! ReAct (Sun et al., NeurIPS 2021, arXiv 2111.12797): rectified activations.
//!
//! score = −T·logsumexp((W·min(h, c) + b)/T), c the 90th percentile of all activations of all in-distribution samples
//! (the paper's, OpenOOD's and pytorch-ood's default; linear interpolation as in NumPy). T is that of the energy; the
//! references have T = 1.

use super::linear::energy_of;
use crate::rewrite::LinearHead;

/// Percentile of the activations that they are clipped at.
pub(crate) const DEFAULT_PERCENTILE: f64 = 90.0;

/// Its fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct React {
    /// c.
    pub clip: f32,
}

impl React {
    /// Higher is further out of distribution. `scratch` holds the clipped feature.
    pub(super) fn score(self, head: &LinearHead, feature: &[f32], temperature: f64, scratch: &mut Vec<f32>) -> f64 {
        scratch.clear();
        scratch.extend(feature.iter().map(|&h| h.min(self.clip)));
        energy_of(head, scratch, 1.0, temperature)
    }
}
