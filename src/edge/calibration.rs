//! What was fitted to in-distribution data, as it travels inside the model.

mod error;
mod tables;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EdgeError, Score};
use crate::model::Document;
use crate::rewrite::ScoringModel;

pub use error::CalibrationError;
pub use tables::{TENSOR_PREFIX, Table, Tables};

/// Key in `metadata_props`; the value is the [`Calibration`] as JSON.
pub const METADATA_KEY: &str = "elonnx.calibration";

/// The format that is written and read.
pub const FORMAT_VERSION: u32 = 1;

/// Longest message that protobuf implementations read: 2 GiB − 1.
const LONGEST: usize = i32::MAX as usize;

/// What was fitted. Everything in it is small; [`Tables`] are initializers of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Of this format: [`FORMAT_VERSION`].
    pub version: u32,
    /// Version of elonnx that wrote it.
    pub elonnx: String,
    /// The tensor whose values the fits belong to.
    pub logits: String,
    /// Number of classes.
    pub classes: usize,
    /// In-distribution samples in all.
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

/// A temperature fitted by negative log likelihood (Guo et al., ICML 2017, arXiv 1706.04599).
///
/// T divides the tensor [`Calibration::logits`], the values before anything the model itself does to them: in a model
/// that ends in softmax(z/2), T = 2 changes nothing. "Before" is what the model itself says, 2 in that case, else 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemperatureFit {
    /// T: probabilities are softmax(z/T).
    pub temperature: f64,
    /// Mean negative log likelihood at the model's own temperature.
    pub nll_before: f64,
    /// At T.
    pub nll_after: f64,
    /// Expected calibration error, 15 bins of equal width, at the model's own temperature.
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
    /// In-distribution samples that the threshold was taken from.
    pub samples: usize,
    /// One threshold per predicted class, where asked for; `None` for a class with too few samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_class: Option<Vec<Option<f64>>>,
    /// Numbers the score itself needs, by name: `clip` of ReAct, `percentile` of ASH and SCALE, `k` of KNN, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, f64>,
}

impl Calibration {
    /// The calibration of a model, where it has one.
    ///
    /// # Errors
    /// [`CalibrationError::Damaged`] and [`CalibrationError::Version`].
    pub fn read(document: &Document) -> Result<Option<Self>, EdgeError> {
        let Some(text) = document.metadata(METADATA_KEY) else { return Ok(None) };
        let damaged = |reason: String| CalibrationError::Damaged { reason };
        let json: serde_json::Value =
            serde_json::from_str(text).map_err(|error| damaged(format!("it is no JSON ({error})")))?;
        // the version first: a later format may have other fields
        match json.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(FORMAT_VERSION) => {}
            Some(found) => return Err(CalibrationError::Version { found, known: FORMAT_VERSION }.into()),
            None => return Err(damaged("it has no version".to_owned()).into()),
        }
        let calibration: Self = serde_json::from_value(json).map_err(|error| damaged(error.to_string()))?;
        calibration.sound().map_err(damaged)?;
        Ok(Some(calibration))
    }

    /// Puts it and its tables into a model, in the place of those there are.
    ///
    /// # Errors
    /// [`CalibrationError::TooLarge`] where no parser could read the model back; it has no calibration then.
    pub fn write(&self, document: &mut Document, tables: &Tables) -> Result<(), EdgeError> {
        let damaged = |error: serde_json::Error| CalibrationError::Damaged { reason: error.to_string() };
        let text = serde_json::to_string(self).map_err(damaged)?;
        Self::remove(document);
        tables.write(document);
        document.set_metadata(METADATA_KEY, &text);
        let length = document.encoded_len();
        if length > LONGEST {
            Self::remove(document);
            return Err(CalibrationError::TooLarge { length }.into());
        }
        Ok(())
    }

    /// Takes the calibration and its tables out of a model; whether there was one.
    pub fn remove(document: &mut Document) -> bool {
        Tables::remove(document);
        document.remove_metadata(METADATA_KEY)
    }

    /// Whether it is for the tensor that scores come from, and for as many classes.
    ///
    /// # Errors
    /// [`CalibrationError::Tensor`] and [`CalibrationError::Classes`].
    pub fn check(&self, model: &ScoringModel) -> Result<(), EdgeError> {
        if self.logits != model.value {
            let (fitted, model) = (self.logits.clone(), model.value.clone());
            return Err(CalibrationError::Tensor { fitted, model }.into());
        }
        model.classes.map_or(Ok(()), |classes| self.check_classes(classes))
    }

    /// As [`Self::check`], where the file does not tell the number of classes and the first run does.
    ///
    /// # Errors
    /// [`CalibrationError::Classes`].
    pub fn check_classes(&self, model: usize) -> Result<(), EdgeError> {
        if self.classes == model {
            return Ok(());
        }
        Err(CalibrationError::Classes { fitted: self.classes, model }.into())
    }

    /// What was fitted for the score that decides.
    #[must_use]
    pub fn decisive(&self) -> Option<&ScoreFit> {
        self.scores.get(&self.decision)
    }

    /// Temperature of energy and probabilities, where it was fitted.
    #[must_use]
    pub fn temperature(&self) -> Option<f64> {
        self.temperature.map(|fit| fit.temperature)
    }

    /// What JSON cannot rule out.
    fn sound(&self) -> Result<(), String> {
        if self.classes < 2 {
            return Err(format!("it is for {} classes", self.classes));
        }
        if !self.scores.contains_key(&self.decision) {
            return Err(format!("the score {} decides but has no threshold", self.decision));
        }
        if let Some(t) = self.temperature().filter(|t| !(t.is_finite() && *t > 0.0)) {
            return Err(format!("its temperature is {t}"));
        }
        for (score, fit) in &self.scores {
            if let Some(per_class) = &fit.per_class
                && per_class.len() != self.classes
            {
                return Err(format!(
                    "the score {score} has thresholds for {} of {} classes",
                    per_class.len(),
                    self.classes
                ));
            }
        }
        Ok(())
    }
}

impl ScoreFit {
    /// The threshold for samples of a predicted class.
    #[must_use]
    pub fn threshold_of(&self, class: usize) -> f64 {
        let own = self.per_class.as_ref().and_then(|thresholds| thresholds.get(class).copied().flatten());
        own.unwrap_or(self.threshold)
    }

    /// Whether a sample with this score and predicted class is in distribution. NaN is not.
    #[must_use]
    pub fn admits(&self, score: f32, class: usize) -> bool {
        f64::from(score) <= self.threshold_of(class)
    }
}
