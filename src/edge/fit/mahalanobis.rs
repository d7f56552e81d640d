//! Class means and covariances.

use std::sync::Arc;

use super::Moments;
use super::whitening::whitening;
use crate::edge::feature::{Mahalanobis, RelativeMahalanobis};

/// Of the distances to the class means; `None` where no feature varies within a class.
pub(crate) fn fit_mahalanobis(moments: &Moments) -> Option<Mahalanobis> {
    let within = whitening(moments.covariance_within(), &moments.mean())?;
    let mut scratch = Vec::new();
    // the means are rounded as the features of samples are before they are put into these coordinates
    let means = moments.class_means();
    let means =
        means.iter().flat_map(|mean| within.apply(&super::whitening::floats(mean), &mut scratch).to_vec()).collect();
    Some(Mahalanobis { within, means })
}

/// Of those less the distance to the mean of all; `None` where no feature varies.
pub(crate) fn fit_relative_mahalanobis(moments: &Moments, classes: Arc<Mahalanobis>) -> Option<RelativeMahalanobis> {
    let all = whitening(moments.covariance(), &moments.mean())?;
    Some(RelativeMahalanobis { classes, all })
}
