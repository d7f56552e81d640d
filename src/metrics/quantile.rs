//! Quantiles.

use super::MetricsError;
use super::error::check_numbers;

/// The values in ascending order.
///
/// # Errors
/// No values, or NaN among them.
pub fn sorted(values: &[f64]) -> Result<Vec<f64>, MetricsError> {
    check_numbers("value", values)?;
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    Ok(values)
}

/// The `level`-quantile, level from 0 to 1, with linear interpolation between order statistics: type 7 of Hyndman and
/// Fan, what `numpy.quantile` does by default, to the last bit.
///
/// # Errors
/// No values, or NaN among them.
pub fn quantile(values: &[f64], level: f64) -> Result<f64, MetricsError> {
    Ok(quantile_of_sorted(&sorted(values)?, level))
}

/// As [`quantile`], of values that are ascending already. NaN for no values at all.
///
/// Between −∞ and +∞ lies nothing to interpolate: the nearer one is taken.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the level is clamped")]
pub fn quantile_of_sorted(ascending: &[f64], level: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = level.clamp(0.0, 1.0) * last as f64;
    let below = (position as usize).min(last);
    let (low, high) = (ascending[below], ascending[(below + 1).min(last)]);
    let fraction = position - below as f64;
    #[expect(clippy::float_cmp, reason = "exactly equal values need no interpolation, and infinite ones bear none")]
    if fraction == 0.0 || low == high {
        return low;
    }
    match (low.is_infinite(), high.is_infinite()) {
        (true, true) => {
            if fraction < 0.5 {
                low
            } else {
                high
            }
        }
        (true, false) => low,
        (false, true) => high,
        // from the nearer end, as numpy does, so that the result is monotone in the level
        (false, false) if fraction >= 0.5 => high - (high - low) * (1.0 - fraction),
        (false, false) => low + (high - low) * fraction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_numpy_does() {
        let values = [7.0, 1.0, 3.5, -2.0, 10.0];
        for (level, expected) in [
            (0.0, -2.0),
            (0.1, -0.799_999_999_999_999_8),
            (0.25, 1.0),
            (0.5, 3.5),
            (0.95, 9.399_999_999_999_999),
            (1.0, 10.0),
        ] {
            assert_eq!(quantile(&values, level), Ok(expected), "{level}");
        }
        assert_eq!(quantile(&[4.0], 0.3), Ok(4.0));
        assert!(quantile(&[], 0.5).is_err());
        assert!(quantile(&[f64::NAN], 0.5).is_err());
        assert!(quantile_of_sorted(&[], 0.5).is_nan());
    }

    #[test]
    fn infinite_values_are_values() {
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        assert_eq!(quantile(&[low, 0.0, high], 0.5), Ok(0.0));
        assert_eq!(quantile(&[low, 0.0, high], 0.25), Ok(low));
        assert_eq!(quantile(&[low, 0.0, high], 0.75), Ok(high));
        assert_eq!(quantile(&[low, high], 0.4), Ok(low));
        assert_eq!(quantile(&[high, high], 0.5), Ok(high));
    }

    proptest! {
        #[test]
        fn between_the_extremes_and_monotone(values in prop::collection::vec(-1e6..1e6f64, 1..50), a in 0.0..=1.0f64, b in 0.0..=1.0f64) {
            let ascending = sorted(&values).unwrap();
            let (low, high) = (quantile_of_sorted(&ascending, a.min(b)), quantile_of_sorted(&ascending, a.max(b)));
            prop_assert!(ascending[0] <= low && low <= high && high <= ascending[ascending.len() - 1]);
        }
    }
}
