//! Stands in for `calibration` and `fit` until they are there.

use crate::model::Document;
use crate::rewrite::ScoringModel;

use super::calibration::{Calibration, METADATA_KEY};
use super::score::Needs;
use super::{EdgeError, Score};

pub(super) fn read_calibration(document: &Document) -> Result<Option<Calibration>, EdgeError> {
    let parse = |text: &str| serde_json::from_str(text);
    let damaged = |error: serde_json::Error| EdgeError::DamagedCalibration { reason: error.to_string() };
    document.metadata(METADATA_KEY).map(parse).transpose().map_err(damaged)
}

#[derive(Debug)]
pub(crate) struct Fits;

impl Fits {
    pub(crate) fn read(
        _: &Document,
        _: &ScoringModel,
        _: Option<&Calibration>,
        scores: &[Score],
    ) -> Result<Self, EdgeError> {
        match scores.iter().find(|score| score.needs() == Needs::Feature) {
            Some(&score) => Err(EdgeError::NotFitted { score }),
            None => Ok(Self),
        }
    }

    pub(crate) fn score(&self, _: Score, _: &[f32], _: &[f32], _: f64, _: &mut Vec<f32>) -> f32 {
        f32::NAN
    }
}
