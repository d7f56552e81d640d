//! Brier score.

use super::MetricsError;
use super::error::{check_lengths, check_numbers};

/// Mean over samples of Σ_j (p_j − [j = label])², from 0 to 2 (Brier 1950; `sklearn.metrics.brier_score_loss` with
/// `scale_by_half=False`). `probabilities` is [samples, classes] by rows.
///
/// # Errors
/// No samples, NaN, another number of rows than of labels, a label that is no class.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn brier_score(probabilities: &[f64], classes: usize, labels: &[usize]) -> Result<f64, MetricsError> {
    check_lengths(("probabilities", probabilities.len()), ("expected for the labels", classes * labels.len()))?;
    check_numbers("probability", probabilities)?;
    let mut total = 0.0;
    for (index, (row, &label)) in probabilities.chunks_exact(classes).zip(labels).enumerate() {
        let Some(probability) = row.get(label) else {
            let value = label as f64;
            return Err(MetricsError::OutOfRange { what: "label", index, value, range: "one of the classes" });
        };
        let squares: f64 = row.iter().map(|p| p * p).sum();
        // (p − 1)² in place of p²
        total += squares + 1.0 - 2.0 * probability;
    }
    Ok(total / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_certainty_to_error() {
        assert_eq!(brier_score(&[1.0, 0.0], 2, &[0]), Ok(0.0));
        assert_eq!(brier_score(&[1.0, 0.0], 2, &[1]), Ok(2.0));
        let score = brier_score(&[0.5, 0.5, 0.2, 0.8], 2, &[0, 1]).unwrap();
        assert!((score - (0.5 + 0.08) / 2.0).abs() < 1e-15);
        assert!(brier_score(&[1.0, 0.0], 2, &[2]).is_err());
        assert!(brier_score(&[1.0], 2, &[0]).is_err());
    }
}
