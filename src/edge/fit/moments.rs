//! Counts, means and scatter of features by class, from one pass.
//!
//! Everything is added up relative to the mean of the first block, which is close to that of all, so nothing cancels:
//! with x = h − m₀, Σxxᵀ, and for each class n_c and Σx.

use nalgebra::{DMatrix, DVector};

/// Sums over samples.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    features: usize,
    /// m₀.
    origin: Option<DVector<f64>>,
    /// n_c.
    counts: Vec<usize>,
    /// Σx of each class, a column each.
    sums: DMatrix<f64>,
    /// Σxxᵀ.
    scatter: DMatrix<f64>,
}

impl Moments {
    pub(crate) fn new(features: usize, classes: usize) -> Self {
        Self {
            features,
            origin: None,
            counts: vec![0; classes],
            sums: DMatrix::zeros(features, classes),
            scatter: DMatrix::zeros(features, features),
        }
    }

    /// Adds samples: their features one after the other, and the class of each.
    pub(crate) fn add(&mut self, features: &[f32], classes: &[u32]) {
        if classes.is_empty() {
            return;
        }
        let mut x = DMatrix::from_iterator(self.features, classes.len(), features.iter().map(|&h| f64::from(h)));
        let origin = self.origin.get_or_insert_with(|| x.column_mean());
        for mut column in x.column_iter_mut() {
            column -= &*origin;
        }
        for (column, &class) in x.column_iter().zip(classes) {
            let class = class as usize;
            self.counts[class] += 1;
            let mut sum = self.sums.column_mut(class);
            sum += column;
        }
        self.scatter.gemm(1.0, &x, &x.transpose(), 1.0);
    }

    /// n.
    pub(crate) fn samples(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Classes without a sample.
    pub(crate) fn empty_classes(&self) -> usize {
        self.counts.iter().filter(|&&count| count == 0).count()
    }

    fn origin(&self) -> DVector<f64> {
        self.origin.clone().unwrap_or_else(|| DVector::zeros(self.features))
    }

    fn sum(&self) -> DVector<f64> {
        self.sums.column_sum()
    }

    fn divisor(&self) -> f64 {
        self.samples().max(1) as f64
    }

    /// Mean of all samples.
    pub(super) fn mean(&self) -> DVector<f64> {
        self.origin() + self.sum() / self.divisor()
    }

    /// Means of the classes that have samples.
    pub(super) fn class_means(&self) -> Vec<DVector<f64>> {
        let origin = self.origin();
        let classes = self.counts.iter().zip(self.sums.column_iter()).filter(|(count, _)| **count > 0);
        classes.map(|(&count, sum)| &origin + sum / count as f64).collect()
    }

    /// Σ_c Σ (h − μ_c)(h − μ_c)ᵀ / n: the covariance that all classes share.
    pub(super) fn covariance_within(&self) -> DMatrix<f64> {
        let mut scatter = self.scatter.clone();
        for (&count, sum) in self.counts.iter().zip(self.sums.column_iter()).filter(|(count, _)| **count > 0) {
            scatter.ger(-1.0 / count as f64, &sum, &sum, 1.0);
        }
        scatter / self.divisor()
    }

    /// Σ (h − μ)(h − μ)ᵀ / n.
    pub(super) fn covariance(&self) -> DMatrix<f64> {
        let sum = self.sum();
        let mut scatter = self.scatter.clone();
        scatter.ger(-1.0 / self.divisor(), &sum, &sum, 1.0);
        scatter / self.divisor()
    }

    /// Σ (h − u)(h − u)ᵀ / n.
    pub(super) fn second_moment_around(&self, u: &DVector<f64>) -> DMatrix<f64> {
        let (sum, delta) = (self.sum(), self.origin() - u);
        let mut scatter = self.scatter.clone();
        scatter.ger(1.0, &delta, &sum, 1.0);
        scatter.ger(1.0, &sum, &delta, 1.0);
        scatter.ger(self.samples() as f64, &delta, &delta, 1.0);
        scatter / self.divisor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three samples of class 0, one of class 2, in blocks.
    fn moments() -> (Moments, [[f64; 2]; 4]) {
        let samples = [[1000.0, 1.0], [1002.0, 1.0], [1004.0, 4.0], [1010.0, -2.0]];
        let mut moments = Moments::new(2, 3);
        moments.add(&[], &[]);
        moments.add(&[1000.0, 1.0, 1002.0, 1.0], &[0, 0]);
        moments.add(&[1004.0, 4.0, 1010.0, -2.0], &[0, 2]);
        (moments, samples)
    }

    fn around(samples: &[[f64; 2]], centers: &[[f64; 2]]) -> DMatrix<f64> {
        let outer = samples.iter().zip(centers).map(|(h, m)| {
            let x = DVector::from_iterator(2, h.iter().zip(m).map(|(h, m)| h - m));
            &x * x.transpose()
        });
        outer.sum::<DMatrix<f64>>() / samples.len() as f64
    }

    #[test]
    fn as_by_definition() {
        let (moments, samples) = moments();
        assert_eq!((moments.samples(), moments.empty_classes()), (4, 1));
        assert_eq!(moments.mean().as_slice(), [1004.0, 1.0]);
        let means = moments.class_means();
        assert_eq!([means[0].as_slice(), means[1].as_slice()], [[1002.0, 2.0], [1010.0, -2.0]]);
        let close = |a: DMatrix<f64>, b: DMatrix<f64>| assert!((&a - &b).norm() < 1e-9 * b.norm(), "{a} {b}");
        close(moments.covariance(), around(&samples, &[[1004.0, 1.0]; 4]));
        let own = [[1002.0, 2.0], [1002.0, 2.0], [1002.0, 2.0], [1010.0, -2.0]];
        close(moments.covariance_within(), around(&samples, &own));
        close(moments.second_moment_around(&DVector::from_vec(vec![3.0, -7.0])), around(&samples, &[[3.0, -7.0]; 4]));
    }
}
