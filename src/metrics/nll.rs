//! Negative log likelihood.

use super::MetricsError;
use super::error::check_numbers;

/// Mean of −ln p, p the probability that was given to each sample's label; `sklearn.metrics.log_loss` without its
/// clipping, so it is infinite where a label had no probability at all.
///
/// # Errors
/// No samples, NaN, or a value outside [0, 1].
pub fn negative_log_likelihood(probability_of_label: &[f64]) -> Result<f64, MetricsError> {
    let what = "probability";
    check_numbers(what, probability_of_label)?;
    if let Some(index) = probability_of_label.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let value = probability_of_label[index];
        return Err(MetricsError::OutOfRange { what, index, value, range: "within 0 and 1" });
    }
    // 0 − ln 1 is 0, −ln 1 is −0
    super::mean(&probability_of_label.iter().map(|p| 0.0 - p.ln()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_of_logarithms() {
        let expected = -(0.5f64.ln() + 0.25f64.ln()) / 2.0;
        assert!((negative_log_likelihood(&[0.5, 0.25]).unwrap() - expected).abs() < 1e-15);
        assert_eq!(negative_log_likelihood(&[1.0]), Ok(0.0));
        assert_eq!(negative_log_likelihood(&[1.0, 0.0]), Ok(f64::INFINITY));
        assert!(negative_log_likelihood(&[1.5]).unwrap_err().to_string().contains("probability 0 is 1.5"));
    }
}
