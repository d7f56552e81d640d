//! ViM (Wang et al., CVPR 2022, arXiv 2203.10807): virtual-logit matching.
//!
//! score = α·‖Rᵀ(h − u)‖₂ − logsumexp(z), with the origin u = −W⁺b, R the eigenvectors of the covariance around u but the
//! D with the largest eigenvalues, and α = mean of the largest logits / mean of ‖Rᵀ(h − u)‖₂ in distribution. Of n
//! features D is 1000 where n ≥ 2048, 512 where n ≥ 768 (the paper's code: 512 for all smaller ones), and n/2 below, where
//! the paper has nothing and pytorch-ood halves, too. The logits are the model's own, with T = 1 whatever was fitted: α
//! belongs to them.

use super::linear::{LogSumExp, dot};
use super::whitening::Whitening;

/// Dimensions of the principal subspace for a number of features.
pub(crate) fn default_dimensions(features: usize) -> usize {
    match features {
        2048.. => 1000,
        768.. => 512,
        _ => features / 2,
    }
}

/// Its fit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vim {
    /// h ↦ Rᵀ(h − u).
    pub residual: Whitening,
    /// α.
    pub alpha: f64,
}

impl Vim {
    /// ‖Rᵀ(h − u)‖₂.
    pub(crate) fn norm(&self, feature: &[f32], scratch: &mut Vec<f32>) -> f64 {
        let residual = self.residual.apply(feature, scratch);
        dot(residual, residual).sqrt()
    }

    /// Higher is further out of distribution.
    pub(super) fn score(&self, feature: &[f32], logits: &[f32], scratch: &mut Vec<f32>) -> f64 {
        let mut sum = LogSumExp::new();
        logits.iter().for_each(|&z| sum.add(z.into()));
        self.alpha * self.norm(feature, scratch) - sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let residual = Whitening { center: vec![1.0, 1.0], matrix: vec![0.0, 1.0] };
        let vim = Vim { residual, alpha: 2.0 };
        let score = vim.score(&[7.0, -2.0], &[1.0, 1.0], &mut Vec::new());
        assert!((score - (2.0 * 3.0 - (1.0 + 2f64.ln()))).abs() < 1e-12);
        assert_eq!([2560, 2048, 1280, 768, 512, 9].map(default_dimensions), [1000, 1000, 512, 512, 256, 4]);
    }
}
