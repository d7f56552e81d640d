//! Scores of the feature before the last layer: one file per method, with formula, source and sign.
//!
//! **Every score is higher the further out of distribution.** Scoring allocates nothing once its scratch has grown.

mod ash;
mod fits;
mod knn;
mod linear;
mod mahalanobis;
mod react;
mod scale;
mod shaping;
mod vim;
mod whitening;

pub(crate) use ash::{AshS, DEFAULT_PERCENTILE as ASH_PERCENTILE};
pub(crate) use fits::Fits;
pub(crate) use knn::{DEFAULT_K as KNN_K, Knn, normalize};
pub(crate) use mahalanobis::{Mahalanobis, RelativeMahalanobis};
pub(crate) use react::{DEFAULT_PERCENTILE as REACT_PERCENTILE, React};
pub(crate) use scale::{DEFAULT_PERCENTILE as SCALE_PERCENTILE, Scale};
pub(crate) use vim::{Vim, default_dimensions};
pub(crate) use whitening::Whitening;
