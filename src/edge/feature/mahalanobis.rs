//! Mahalanobis (Lee et al., NeurIPS 2018, arXiv 1807.03888) and relative Mahalanobis (Ren et al., 2021, arXiv 2106.09022).
//!
//! d_c(h) = (h − μ_c)ᵀ Σ⁺ (h − μ_c), **squared**, as in both papers, with the class means μ_c and the covariance Σ that all
//! classes share (divided by the number of samples). score = min_c d_c(h); the relative score is min_c d_c(h) − d₀(h), d₀
//! with the mean and covariance of all samples together. Of the features alone: without the input perturbation and the
//! ensemble of layers of Lee et al.
//!
//! pytorch-ood does not divide its covariance by the number of samples N and halves the plain score: its scores are
//! d/(2N) and (d_c − d₀)/N. Σ⁺ is a pseudo-inverse, see [`crate::edge::fit::whitening`]. Σ⁺ = PᵀP is kept as P, and the
//! means as P·μ_c, so that one matrix times h does for all classes.

use std::sync::Arc;

use super::linear::{dot, squared_distance};
use super::whitening::Whitening;

/// Fit of the plain score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mahalanobis {
    /// Of the covariance within classes, around the mean of all samples.
    pub within: Whitening,
    /// [classes that had samples, rank], the class means in those coordinates.
    pub means: Vec<f32>,
}

impl Mahalanobis {
    /// min_c d_c(h). Higher is further out of distribution.
    pub(super) fn score(&self, feature: &[f32], scratch: &mut Vec<f32>) -> f64 {
        let coordinates = self.within.apply(feature, scratch);
        let means = self.means.chunks_exact(coordinates.len());
        means.map(|mean| squared_distance(coordinates, mean)).fold(f64::INFINITY, f64::min)
    }
}

/// Fit of the relative score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RelativeMahalanobis {
    /// min_c d_c.
    pub classes: Arc<Mahalanobis>,
    /// Of the covariance of all samples, around their mean.
    pub all: Whitening,
}

impl RelativeMahalanobis {
    /// min_c d_c(h) − d₀(h). Higher is further out of distribution.
    pub(super) fn score(&self, feature: &[f32], scratch: &mut Vec<f32>) -> f64 {
        let least = self.classes.score(feature, scratch);
        let coordinates = self.all.apply(feature, scratch);
        least - dot(coordinates, coordinates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Σ = diag(4, 1), means (1, 0) and (−1, 0), all samples have covariance diag(5, 1)
        let within = Whitening { center: vec![0.0, 0.0], matrix: vec![0.5, 0.0, 0.0, 1.0] };
        let means = vec![0.5, 0.0, -0.5, 0.0];
        let plain = Mahalanobis { within, means };
        let mut scratch = Vec::new();
        assert_eq!(plain.score(&[3.0, 2.0], &mut scratch), 1.0 + 4.0);
        assert_eq!(plain.score(&[-1.0, 0.0], &mut scratch), 0.0);
        let all = Whitening { center: vec![0.0, 0.0], matrix: vec![5f32.sqrt().recip(), 0.0, 0.0, 1.0] };
        let relative = RelativeMahalanobis { classes: plain.into(), all };
        assert!((relative.score(&[3.0, 2.0], &mut scratch) - (5.0 - (9.0 / 5.0 + 4.0))).abs() < 1e-6);
    }
}
