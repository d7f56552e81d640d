//! How well scores separate two sets, and how well probabilities keep what they promise; no I/O, no models.
//!
//! Everything is computed in f64 and exactly: ties count as scikit-learn counts them, nothing is binned or sampled
//! (but for the bootstrap, whose seed the caller gives). Infinite scores are scores like others; NaN is an error.
//!
//! The scores here are out-of-distribution scores: **higher is further out of distribution**. What is "positive" is
//! the caller's choice ([`PositiveSet`]) where it makes a difference: in the FPR at a TPR. Area under the ROC curve and
//! detection accuracy are the same either way; precision-recall has one number for each ([`Separation::aupr_in`],
//! [`Separation::aupr_out`]).

mod accuracy;
mod bootstrap;
mod brier;
mod error;
mod moments;
mod nll;
mod quantile;
mod ranking;
mod reliability;
mod roc;
mod separation;

pub use accuracy::accuracy;
pub use bootstrap::{Bootstrap, Interval};
pub use brier::brier_score;
pub use error::MetricsError;
pub use moments::{mean, standard_deviation};
pub use nll::negative_log_likelihood;
pub use quantile::{quantile, quantile_of_sorted, sorted};
pub use ranking::Ranking;
pub use reliability::{CALIBRATION_BINS, ReliabilityBin, ReliabilityDiagram, expected_calibration_error};
pub use roc::{RocCurve, auroc};
pub use separation::{PositiveSet, Separation, SeparationOptions};
