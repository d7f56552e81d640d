//! A number and how sure it is.

use serde::Serialize;

use crate::metrics::Interval;

/// A metric with its bootstrap interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Of the samples as they are.
    pub value: f64,
    /// Lower and upper end of the interval, where there were resamples.
    pub interval: Option<[f64; 2]>,
}

impl Measured {
    pub(super) fn new(value: f64, interval: Option<Interval>) -> Self {
        Measured { value, interval: interval.map(|interval| [interval.low, interval.high]) }
    }
}
