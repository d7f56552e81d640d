//! What is to be fitted.

use crate::edge::feature::{ASH_PERCENTILE, KNN_K, REACT_PERCENTILE, SCALE_PERCENTILE};
use crate::edge::{CalibrationError, Score};

/// What a [`Calibrator`](super::Calibrator) fits.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibratorOptions {
    /// The scores that get a threshold.
    pub scores: Vec<Score>,
    /// The one that decides; by default the first of `scores`. It is fitted, too.
    pub decision: Option<Score>,
    /// Share of in-distribution samples that the thresholds let pass, above 0 and at most 1.
    pub true_positive_rate: f64,
    /// Whether the temperature of energy and probabilities is fitted; it needs labels.
    pub fit_temperature: bool,
    /// Whether each predicted class with enough samples gets a threshold of its own.
    pub per_class: bool,
    /// Percentile of all activations that ReAct clips at, from 0 to 100.
    pub react_percentile: f64,
    /// Percentage of a sample's activations that ASH-S prunes, from 0 to 100.
    pub ash_percentile: f64,
    /// Percentage of a sample's activations that SCALE leaves out of s₂, from 0 to 100.
    pub scale_percentile: f64,
    /// The neighbour that counts for KNN.
    pub knn_k: usize,
    /// Most samples that KNN keeps.
    pub knn_bank: usize,
    /// Dimensions of ViM's principal subspace; by default 1000 of 2048 features or more, 512 of 768 or more, else half.
    pub vim_dimensions: Option<usize>,
    /// How raw images became inputs, to be kept with the calibration.
    pub preprocessing: Option<serde_json::Value>,
}

impl Default for CalibratorOptions {
    fn default() -> Self {
        Self {
            scores: vec![],
            decision: None,
            true_positive_rate: 0.95,
            fit_temperature: false,
            per_class: false,
            react_percentile: REACT_PERCENTILE,
            ash_percentile: ASH_PERCENTILE,
            scale_percentile: SCALE_PERCENTILE,
            knn_k: KNN_K,
            knn_bank: 5000,
            vim_dimensions: None,
            preprocessing: None,
        }
    }
}

impl CalibratorOptions {
    /// Each score once, that which decides among them.
    pub(super) fn all_scores(&self) -> Vec<Score> {
        let mut scores = Vec::new();
        for &score in self.scores.iter().chain(&self.decision) {
            if !scores.contains(&score) {
                scores.push(score);
            }
        }
        scores
    }

    /// Samples that a class needs for a threshold of its own: so many that some are expected beyond it, within reason.
    pub(super) fn least_per_class(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 20 to 200")]
        let least = (1.0 / (1.0 - self.true_positive_rate)).ceil().clamp(20.0, 200.0) as usize;
        least
    }

    pub(super) fn check(&self) -> Result<(), CalibrationError> {
        let parameter = |what, value: f64, expected, holds: bool| match holds {
            true => Ok(()),
            false => Err(CalibrationError::Parameter { what, value: value.to_string(), expected }),
        };
        let rate = self.true_positive_rate;
        parameter("the true-positive rate", rate, "above 0 and at most 1", rate > 0.0 && rate <= 1.0)?;
        for (what, value) in [
            ("the percentile of ReAct", self.react_percentile),
            ("the percentile of ASH-S", self.ash_percentile),
            ("the percentile of SCALE", self.scale_percentile),
        ] {
            parameter(what, value, "from 0 to 100", (0.0..=100.0).contains(&value))?;
        }
        parameter("the k of KNN", self.knn_k as f64, "at least 1", self.knn_k > 0)?;
        parameter("the bank of KNN", self.knn_bank as f64, "at least 1", self.knn_bank > 0)
    }
}
