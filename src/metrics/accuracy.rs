//! Share of right predictions.

use super::MetricsError;

/// Share of `true`; as `sklearn.metrics.accuracy_score` of predictions and labels.
///
/// # Errors
/// No predictions.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn accuracy(correct: &[bool]) -> Result<f64, MetricsError> {
    if correct.is_empty() {
        return Err(MetricsError::Empty { what: "predictions" });
    }
    Ok(correct.iter().filter(|correct| **correct).count() as f64 / correct.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_right_ones() {
        assert_eq!(accuracy(&[true, false, true, true]), Ok(0.75));
        assert!(accuracy(&[]).is_err());
    }
}
