//! Residual space and α of ViM.

use nalgebra::{DMatrix, DVector};

use super::whitening::{directions, floats};
use super::{Moments, Spool};
use crate::edge::CalibrationError;
use crate::edge::feature::{Vim, Whitening};
use crate::rewrite::LinearHead;

/// `dimensions` is that of the principal subspace, `wanted` tells the samples that α is taken from. `None` where nothing is
/// left outside the subspace: no dimension, or no sample with a residual.
pub(crate) fn fit_vim(
    moments: &Moments,
    head: &LinearHead,
    dimensions: usize,
    features: &mut Spool,
    largest_logits: &[f32],
    wanted: impl Fn(usize) -> bool,
) -> Result<Option<Vim>, CalibrationError> {
    let origin = origin(head);
    let directions = directions(moments.second_moment_around(&origin));
    let residual = dimensions..head.features;
    #[expect(clippy::cast_possible_truncation, reason = "tables are f32")]
    let matrix: Vec<f32> =
        residual.flat_map(|at| directions.vector(at).iter().map(|&x| x as f32).collect::<Vec<_>>()).collect();
    if matrix.is_empty() {
        return Ok(None);
    }
    let mut vim = Vim { residual: Whitening { center: floats(&origin), matrix }, alpha: 1.0 };
    let (mut logits, mut norms, mut scratch) = (0.0, 0.0, Vec::new());
    features.each(|index, feature| {
        if wanted(index) {
            logits += f64::from(largest_logits[index]);
            norms += vim.norm(feature, &mut scratch);
        }
    })?;
    vim.alpha = logits / norms;
    Ok((norms > 0.0 && vim.alpha.is_finite()).then_some(vim))
}

/// u = −W⁺b, the feature of all logits 0, or as near as it gets. By the smaller of WWᵀ and WᵀW in f64; singular values of
/// at most max(C, n)·2⁻²³ times the largest count as 0, as in `torch.linalg.pinv` of floats.
fn origin(head: &LinearHead) -> DVector<f64> {
    let (classes, features) = (head.bias.len(), head.features);
    let weight = DMatrix::from_row_iterator(classes, features, head.weight.iter().map(|&w| f64::from(w)));
    let bias = DVector::from_iterator(classes, head.bias.iter().map(|&b| f64::from(b)));
    let relative = classes.max(features) as f64 * f64::from(f32::EPSILON);
    if classes <= features {
        let gram = &weight * weight.transpose();
        -(weight.transpose() * solve(gram, &bias, relative))
    } else {
        let gram = weight.transpose() * &weight;
        -solve(gram, &(weight.transpose() * bias), relative)
    }
}

/// G⁺y for a symmetric G, whose eigenvalues are squares of singular values.
fn solve(gram: DMatrix<f64>, y: &DVector<f64>, relative: f64) -> DVector<f64> {
    let directions = directions(gram);
    let least = directions.values.first().copied().unwrap_or(0.0) * relative * relative;
    let mut solution = DVector::zeros(y.len());
    for at in (0..y.len()).take_while(|&at| directions.values[at] > least) {
        let vector = DVector::from_column_slice(directions.vector(at));
        solution.axpy(vector.dot(y) / directions.values[at], &vector, 1.0);
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_has_no_logits() {
        for (classes, features) in [(2, 5), (5, 2), (3, 3)] {
            let mut random = fastrand::Rng::with_seed(9);
            let weight: Vec<f32> = (0..classes * features).map(|_| random.f32() - 0.5).collect();
            let h: Vec<f32> = (0..features).map(|_| random.f32()).collect();
            // a bias that some feature makes 0 exactly, whatever the shape
            let bias: Vec<f32> =
                weight.chunks(features).map(|row| -row.iter().zip(&h).map(|(w, h)| w * h).sum::<f32>()).collect();
            let head = LinearHead { feature: "h".into(), features, weight: weight.clone(), bias: bias.clone() };
            let u = origin(&head);
            for (row, bias) in weight.chunks(features).zip(&bias) {
                let z: f64 = row.iter().zip(u.iter()).map(|(&w, u)| f64::from(w) * u).sum::<f64>() + f64::from(*bias);
                assert!(z.abs() < 1e-6, "{classes} {features}: {z}");
            }
        }
    }

    #[test]
    fn a_layer_of_less_than_full_rank() {
        let head =
            LinearHead { feature: "h".into(), features: 2, weight: vec![1.0, 0.0, 2.0, 0.0], bias: vec![1.0, 2.0] };
        let u = origin(&head);
        assert!((u[0] + 1.0).abs() < 1e-9 && u[1].abs() < 1e-9, "{u}");
    }
}
