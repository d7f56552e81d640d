//! A distribution in a few numbers.

use serde::Serialize;

use crate::metrics::{MetricsError, mean, quantile_of_sorted, sorted, standard_deviation};

/// Mean, spread and quantiles (interpolated as numpy does by default).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation (divided by n).
    pub standard_deviation: f64,
    /// Least value.
    pub minimum: f64,
    /// 5 % are at most this.
    pub p05: f64,
    /// 25 % are at most this.
    pub p25: f64,
    /// Half are at most this.
    pub median: f64,
    /// 75 % are at most this.
    pub p75: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// Largest value.
    pub maximum: f64,
}

impl Summary {
    /// Of some values.
    ///
    /// # Errors
    /// No values, or NaN among them.
    pub fn new(values: &[f64]) -> Result<Self, MetricsError> {
        let ascending = sorted(values)?;
        let at = |level| quantile_of_sorted(&ascending, level);
        Ok(Summary {
            mean: mean(values)?,
            standard_deviation: standard_deviation(values)?,
            minimum: at(0.0),
            p05: at(0.05),
            p25: at(0.25),
            median: at(0.5),
            p75: at(0.75),
            p95: at(0.95),
            maximum: at(1.0),
        })
    }
}
