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
    #[expect(
        clippy::cast_possible_truncation,
        reason = "thresholds are f32 scores, and JSON may lose the f64's last bit"
    )]
    pub fn admits(&self, score: f32, class: usize) -> bool {
        score <= self.threshold_of(class) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::testing::{classifier, scoring_model};

    fn calibration() -> Calibration {
        let fit = ScoreFit {
            threshold: f64::from(-13.400_001_f32),
            interval: [-14.25, -12.5],
            samples: 1000,
            per_class: Some(vec![None, Some(-3.0), None]),
            parameters: BTreeMap::from([("clip".to_owned(), 1.5)]),
        };
        Calibration {
            version: FORMAT_VERSION,
            elonnx: env!("CARGO_PKG_VERSION").to_owned(),
            logits: "logits".to_owned(),
            classes: 3,
            samples: 1000,
            true_positive_rate: 0.95,
            decision: Score::React,
            temperature: Some(TemperatureFit {
                temperature: 1.3,
                nll_before: 0.5,
                nll_after: 0.4,
                ece_before: 0.1,
                ece_after: 0.01,
            }),
            scores: BTreeMap::from([(Score::React, fit)]),
            preprocessing: None,
        }
    }

    fn tables() -> Tables {
        let mut tables = Tables::default();
        tables.insert("knn.bank", Table::matrix(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        tables.insert("mahalanobis.center", Table::vector(vec![0.1, -0.2]));
        tables
    }

    #[test]
    fn what_is_written_comes_back_from_the_file() {
        for ir_version in [3, 8] {
            let mut document = classifier(ir_version, 4, 3);
            let before = document.to_bytes();
            assert_eq!(Calibration::read(&document).unwrap(), None);
            calibration().write(&mut document, &tables()).unwrap();
            let read = Document::from_bytes(document.to_bytes()).unwrap();
            assert_eq!(Calibration::read(&read).unwrap(), Some(calibration()));
            assert_eq!(Tables::read(&read).unwrap(), tables());
            // with an old IR every initializer is an input
            let inputs: Vec<&str> = read.graph().inputs().iter().map(|input| input.name()).collect();
            assert_eq!(inputs.len(), if ir_version == 3 { 3 } else { 1 }, "{inputs:?}");
            assert_eq!(read.graph().nodes().last().unwrap().op_type(), "Shape");
            assert!(Calibration::remove(&mut document));
            assert!(!Calibration::remove(&mut document));
            assert_eq!(document.to_bytes(), before);
        }
    }

    #[test]
    fn calibrating_again_replaces() {
        let mut document = classifier(8, 4, 3);
        calibration().write(&mut document, &tables()).unwrap();
        let mut once = document.clone();
        calibration().write(&mut once, &tables()).unwrap();
        assert_eq!(once.to_bytes(), document.to_bytes());
        calibration().write(&mut document, &Tables::default()).unwrap();
        assert_eq!(Tables::read(&document).unwrap(), Tables::default());
        assert_eq!(document.graph().nodes().len(), 2);
    }

    #[test]
    fn tables_in_a_data_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut document = classifier(8, 4, 3);
        let mut tensor = crate::model::proto::TensorProto {
            name: Some("elonnx.calibration.knn.bank".to_owned()),
            data_type: Some(1),
            dims: vec![1, 2],
            data_location: Some(1),
            ..Default::default()
        };
        let entry = crate::model::metadata_entry;
        tensor.external_data = vec![entry("location", "data"), entry("offset", "4"), entry("length", "8")];
        document.graph_mut().add_initializer(tensor);
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, document.to_bytes()).unwrap();
        let document = Document::open(&path).unwrap();
        let error = Tables::read(&document).unwrap_err().to_string();
        assert!(error.starts_with("cannot read ") && error.contains("data: "), "{error}");
        std::fs::write(folder.path().join("data"), [0.0f32, 1.5, -2.5].map(f32::to_le_bytes).concat()).unwrap();
        assert_eq!(Tables::read(&document).unwrap().0["knn.bank"], Table::matrix(1, 2, vec![1.5, -2.5]));
        std::fs::write(folder.path().join("data"), [0; 8]).unwrap();
        let error = Tables::read(&document).unwrap_err().to_string();
        assert!(error.contains("'elonnx.calibration.knn.bank' has 4 bytes where its shape [1, 2] needs 8"), "{error}");
    }

    #[track_caller]
    fn refused(text: &str) -> String {
        let mut document = classifier(8, 4, 3);
        document.set_metadata(METADATA_KEY, text);
        Calibration::read(&document).unwrap_err().to_string()
    }

    #[test]
    fn damage_is_told() {
        assert!(refused("{").contains("it is no JSON"));
        assert!(refused("{}").contains("it has no version"));
        assert!(refused("{\"version\":2}").contains("has format 2, this elonnx"));
        assert!(refused("{\"version\":1}").contains("missing field"));
        let text = serde_json::to_string(&calibration()).unwrap();
        let with = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            refused(&text.replace(from, to))
        };
        assert!(with("\"classes\":3", "\"classes\":1").contains("it is for 1 classes"));
        assert!(with("\"classes\":3", "\"classes\":4").contains("thresholds for 3 of 4 classes"));
        assert!(
            with("\"decision\":\"react\"", "\"decision\":\"energy\"").contains("energy decides but has no threshold")
        );
        assert!(with("\"temperature\":1.3", "\"temperature\":0.0").contains("its temperature is 0"));
        assert!(with("\"react\":{", "\"reactor\":{").contains("unknown variant"));
        for error in [refused("{}"), refused("{\"version\":2}")] {
            assert!(error.contains("elonnx calibrate"), "{error}");
        }
    }

    #[test]
    fn another_tensor_and_other_classes() {
        let document = classifier(8, 4, 3);
        let model = scoring_model(&document, 4, 3);
        calibration().check(&model).unwrap();
        let other = Calibration { logits: "z".to_owned(), ..calibration() };
        let error = other.check(&model).unwrap_err().to_string();
        assert!(error.contains("'z'") && error.contains("'logits'"), "{error}");
        let other = Calibration { classes: 10, ..calibration() };
        assert!(other.check(&model).unwrap_err().to_string().contains("for 10 classes, the model has 3"));
        other.check(&ScoringModel { classes: None, ..model }).unwrap();
        assert!(other.check_classes(3).is_err());
    }

    #[test]
    fn thresholds_by_class() {
        let fit = &calibration().scores[&Score::React];
        assert_eq!(
            [0, 1, 2, 9].map(|class| fit.threshold_of(class)),
            [fit.threshold, -3.0, fit.threshold, fit.threshold]
        );
        assert!(fit.admits(-13.400_001, 0) && !fit.admits(-13.4, 0) && fit.admits(-13.4, 1));
        assert!(!fit.admits(f32::NAN, 1));
    }
}
