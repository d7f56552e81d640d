//! From a covariance to coordinates in which it is the identity.
//!
//! A feature that never varies (a ReLU that is always 0), or fewer samples than features, makes a covariance singular.
//! As in OpenOOD (scikit-learn's `EmpiricalCovariance` on float features), the pseudo-inverse is taken: directions whose
//! variance is at most n·2⁻²³ times the largest, n the number of features, count for nothing. The bound is that of float
//! features also here, where the covariance is in f64: below it, the rounding of another runtime would decide.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use crate::edge::feature::Whitening;

/// P with PᵀP = Σ⁺; the directions of large variance first. `None` where nothing varies.
pub(super) fn whitening(covariance: DMatrix<f64>, center: &DVector<f64>) -> Option<Whitening> {
    let features = covariance.nrows();
    let directions = directions(covariance);
    let largest = directions.values.first().copied().unwrap_or(0.0);
    let least = largest * features as f64 * f64::from(f32::EPSILON);
    let kept = directions.values.iter().take_while(|&&value| value > least).count();
    let scale = |at: usize| directions.values[at].sqrt().recip();
    let matrix: Vec<f32> = (0..kept)
        .flat_map(|at| directions.vector(at).iter().map(move |x| (x * scale(at)) as f32).collect::<Vec<_>>())
        .collect();
    (kept > 0).then(|| Whitening { center: floats(center), matrix })
}

/// Eigenvalues and vectors, the largest first.
pub(super) struct Directions {
    pub values: Vec<f64>,
    order: Vec<usize>,
    vectors: DMatrix<f64>,
}

impl Directions {
    /// Unit vector of the at-th largest eigenvalue.
    pub(super) fn vector(&self, at: usize) -> &[f64] {
        let rows = self.vectors.nrows();
        &self.vectors.as_slice()[self.order[at] * rows..][..rows]
    }
}

pub(super) fn directions(symmetric: DMatrix<f64>) -> Directions {
    let SymmetricEigen { eigenvectors: vectors, eigenvalues } = SymmetricEigen::new(symmetric);
    let mut order: Vec<usize> = (0..eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigenvalues[b].total_cmp(&eigenvalues[a]));
    Directions { values: order.iter().map(|&at| eigenvalues[at]).collect(), order, vectors }
}

#[expect(clippy::cast_possible_truncation, reason = "tables are f32")]
pub(super) fn floats(values: &DVector<f64>) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}
