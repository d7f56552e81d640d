//! KNN (Sun et al., ICML 2022, arXiv 2204.06507): the distance to the k-th nearest neighbour.
//!
//! score = ‖z − z₍ₖ₎‖₂ with z = h/‖h‖₂ and z₍₁₎, z₍₂₎, … the in-distribution features of the bank, treated the same, by
//! distance. k is 50 by default, as in the paper for CIFAR-10, pytorch-ood and OpenOOD (which squares the distance; the
//! order is the same). The bank is a random sample of the in-distribution features; the paper shows that 1 % of ImageNet
//! does with a smaller k.

use super::linear::{dot, squared_distance};

/// The neighbour that counts.
pub(crate) const DEFAULT_K: usize = 50;

/// Length below which a feature is no direction; as pytorch-ood clamps it.
const SHORTEST: f64 = 1e-12;

/// Its fit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Knn {
    /// From 1 to the size of the bank.
    pub k: usize,
    /// Number of features.
    pub features: usize,
    /// [samples, features], each row of length 1.
    pub bank: Vec<f32>,
}

/// h/‖h‖₂, written over `normalized`.
pub(crate) fn normalize(feature: &[f32], normalized: &mut Vec<f32>) {
    let length = dot(feature, feature).sqrt().max(SHORTEST);
    normalized.clear();
    #[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of the bank")]
    normalized.extend(feature.iter().map(|&h| (f64::from(h) / length) as f32));
}

impl Knn {
    /// Higher is further out of distribution. `scratch` holds the normalized feature and all distances.
    pub(super) fn score(&self, feature: &[f32], scratch: &mut Vec<f32>) -> f64 {
        normalize(feature, scratch);
        scratch.resize(self.features + self.bank.len() / self.features, 0.0);
        let (z, distances) = scratch.split_at_mut(self.features);
        #[expect(clippy::cast_possible_truncation, reason = "a distance in f32")]
        for (distance, neighbour) in distances.iter_mut().zip(self.bank.chunks_exact(self.features)) {
            *distance = squared_distance(z, neighbour) as f32;
        }
        let (_, &mut kth, _) = distances.select_nth_unstable_by(self.k - 1, f32::total_cmp);
        f64::from(kth).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kth_neighbour_on_the_circle() {
        let bank = vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
        let score = |k, feature: &[f32]| Knn { k, features: 2, bank: bank.clone() }.score(feature, &mut Vec::new());
        assert_eq!(score(1, &[5.0, 0.0]), 0.0);
        assert!((score(2, &[5.0, 0.0]) - 2f64.sqrt()).abs() < 1e-6);
        assert_eq!(score(3, &[5.0, 0.0]), 2.0);
        // no direction: as far from all
        assert_eq!(score(2, &[0.0, 0.0]), 1.0);
    }
}
