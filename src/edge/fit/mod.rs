//! Fits to in-distribution samples: threshold, temperature, and what each score of the feature needs.
//!
//! Samples are kept in a [`Spool`], which goes to the disk where they are many, so a fit may pass over them more than
//! once. Everything is computed in f64 and comes out the same each time.

mod binomial;
mod knn;
mod mahalanobis;
mod moments;
mod percentile;
mod spool;
mod temperature;
mod threshold;
mod vim;
mod whitening;

pub(crate) use knn::fit_knn;
pub(crate) use mahalanobis::{fit_mahalanobis, fit_relative_mahalanobis};
pub(crate) use moments::Moments;
pub(crate) use percentile::percentile;
pub(crate) use spool::Spool;
pub(crate) use temperature::{Likelihood, fit_temperature};
pub(crate) use threshold::Threshold;
pub(crate) use vim::fit_vim;
