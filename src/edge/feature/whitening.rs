//! Coordinates in which a covariance is the identity.

use super::linear::dot;
use crate::edge::Table;

/// x ↦ P(x − m), P [rank, features] with PᵀP the (pseudo-)inverse of a covariance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Whitening {
    /// m.
    pub center: Vec<f32>,
    /// P, row-major.
    pub matrix: Vec<f32>,
}

impl Whitening {
    /// Number of coordinates.
    pub(crate) fn rank(&self) -> usize {
        self.matrix.len() / self.center.len()
    }

    /// P as it is kept in a model.
    pub(crate) fn table(&self) -> Table {
        Table::matrix(self.rank(), self.center.len(), self.matrix.clone())
    }

    /// The coordinates of x, after x − m in `scratch`, which both are overwritten.
    pub(crate) fn apply<'a>(&self, x: &[f32], scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let features = self.center.len();
        scratch.clear();
        scratch.extend(x.iter().zip(&self.center).map(|(x, m)| x - m));
        scratch.resize(features + self.rank(), 0.0);
        let (centered, coordinates) = scratch.split_at_mut(features);
        #[expect(clippy::cast_possible_truncation, reason = "a coordinate in f32")]
        for (coordinate, row) in coordinates.iter_mut().zip(self.matrix.chunks_exact(features)) {
            *coordinate = dot(row, centered) as f32;
        }
        coordinates
    }
}
