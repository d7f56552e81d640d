//! What was fitted to in-distribution data, as it travels inside the model.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Score;

/// Key in `metadata_props`; the value is the [`Calibration`] as JSON.
pub const METADATA_KEY: &str = "elonnx.calibration";

/// Prefix of the initializers that hold what is too large for JSON (class means, precision, bank, …).
pub const TENSOR_PREFIX: &str = "elonnx.calibration.";

/// What was fitted. Everything in it is small; tables are initializers of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Of this format: 1.
    pub version: u32,
    /// Version of elonnx that wrote it.
    pub elonnx: String,
    /// The tensor whose values the fits belong to.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
    /// In-distribution samples the thresholds were taken from.
    pub samples: usize,
    /// Share of in-distribution samples that the thresholds let pass.
    pub true_positive_rate: f64,
    /// The score that decides.
    pub decision: Score,
    /// Temperature of probabilities and energy, where it was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<TemperatureFit>,
    /// By score.
    pub scores: BTreeMap<Score, ScoreFit>,
    /// How raw images become inputs, where the data were images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<serde_json::Value>,
}

/// A temperature fitted by negative log likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemperatureFit {
    /// T: probabilities are softmax(z/T).
    pub temperature: f64,
    /// Mean negative log likelihood at T = 1.
    pub nll_before: f64,
    /// At T.
    pub nll_after: f64,
    /// Expected calibration error, 15 bins of equal width, at T = 1.
    pub ece_before: f64,
    /// At T.
    pub ece_after: f64,
}

/// What was fitted for one score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreFit {
    /// A sample is in distribution if its score is at most this.
    pub threshold: f64,
    /// 95 % bootstrap interval of the threshold.
    pub interval: [f64; 2],
    /// One threshold per predicted class, where asked for; `None` for a class with too few samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_class: Option<Vec<Option<f64>>>,
    /// Numbers the score itself needs, by name: `clip` of ReAct, `percentile` of ASH and SCALE, `k` of KNN, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, f64>,
}
