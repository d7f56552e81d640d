//! What cannot be measured.

/// Why a metric has no value. Every variant says what, where and what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Nothing to measure.
    #[error("there are no {what}; a metric needs at least one")]
    Empty {
        /// What there is none of.
        what: &'static str,
    },
    /// NaN compares with nothing, so it has no rank.
    #[error("{what} {index} is NaN, which has no rank; see which sample gives it and leave that out, or fix the model")]
    NotANumber {
        /// What is NaN.
        what: &'static str,
        /// Which one, from 0.
        index: usize,
    },
    /// Columns that belong together have different lengths.
    #[error("{left} {left_what} but {right} {right_what}; there must be as many of one as of the other")]
    Lengths {
        /// What the first column holds.
        left_what: &'static str,
        /// How many.
        left: usize,
        /// What the second holds.
        right_what: &'static str,
        /// How many.
        right: usize,
    },
    /// A value outside its range.
    #[error("{what} {index} is {value}, which is not {range}")]
    OutOfRange {
        /// What is out of range.
        what: &'static str,
        /// Which one, from 0.
        index: usize,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// More samples than are counted in 32 bits.
    #[error("{count} {what} are more than the {limit} that can be ranked; take a sample of them (--max-samples)", limit = u32::MAX / 2)]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
    },
}

/// That two columns are as long as each other and not empty.
pub(super) fn check_lengths(
    (left_what, left): (&'static str, usize),
    (right_what, right): (&'static str, usize),
) -> Result<(), MetricsError> {
    if left != right {
        return Err(MetricsError::Lengths { left_what, left, right_what, right });
    }
    if left == 0 {
        return Err(MetricsError::Empty { what: left_what });
    }
    Ok(())
}

/// That there is a value and none is NaN.
pub(super) fn check_numbers(what: &'static str, values: &[f64]) -> Result<(), MetricsError> {
    if values.is_empty() {
        return Err(MetricsError::Empty { what });
    }
    match values.iter().position(|value| value.is_nan()) {
        Some(index) => Err(MetricsError::NotANumber { what, index }),
        None => Ok(()),
    }
}
