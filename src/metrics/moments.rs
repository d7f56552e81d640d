//! Mean and standard deviation.

use super::MetricsError;
use super::error::check_numbers;

/// Arithmetic mean; infinite where a value is.
///
/// # Errors
/// No values, or NaN among them.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn mean(values: &[f64]) -> Result<f64, MetricsError> {
    check_numbers("value", values)?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// Root of the mean squared distance to the mean (divided by n, as `numpy.std` does by default). NaN where a value is
/// infinite: there is no distance then.
///
/// # Errors
/// No values, or NaN among them.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn standard_deviation(values: &[f64]) -> Result<f64, MetricsError> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Ok((squares / values.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numpy_does() {
        // numpy.mean([1, 2, 4]), numpy.std([1, 2, 4])
        assert!((mean(&[1.0, 2.0, 4.0]).unwrap() - 7.0 / 3.0).abs() < 1e-15);
        assert!((standard_deviation(&[1.0, 2.0, 4.0]).unwrap() - 1.247_219_128_924_647).abs() < 1e-15);
        assert_eq!(standard_deviation(&[3.0]), Ok(0.0));
        assert_eq!(mean(&[1.0, f64::INFINITY]), Ok(f64::INFINITY));
        assert!(mean(&[]).is_err() && mean(&[f64::NAN]).is_err());
    }
}
