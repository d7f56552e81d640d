//! What `calibrate` left in the model, as far as a graph needs it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::Document;
use crate::rewrite::RewriteError;

use super::{GraphScore, GraphScoreOptions, Logits};

/// Key in `metadata_props`.
const KEY: &str = "elonnx.calibration";
/// The format that is understood.
const VERSION: u32 = 1;

/// The fields that are read.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Calibration {
    logits: String,
    classes: usize,
    decision: String,
    #[serde(default)]
    temperature: Option<Temperature>,
    scores: BTreeMap<String, Fit>,
}

#[derive(Clone, Debug, Deserialize)]
struct Temperature {
    temperature: f64,
}

/// What was fitted for one score.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fit {
    /// A sample is in distribution if its score is at most this.
    pub threshold: f64,
    #[serde(default)]
    pub per_class: Option<Vec<Option<f64>>>,
    #[serde(default)]
    pub parameters: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl Calibration {
    /// Reads it, where a score asked for needs it or may follow its temperature.
    pub(super) fn read(
        document: &Document,
        logits: &Logits,
        options: &GraphScoreOptions,
    ) -> Result<Option<Self>, RewriteError> {
        let needs = options.scores.iter().copied().find(|score| needs_fit(*score));
        let score = needs.unwrap_or(GraphScore::Energy).as_str();
        let refuse = |reason: String| Err(RewriteError::NotCalibrated { score, reason });
        let Some(text) = document.metadata(KEY) else {
            return match needs {
                None => Ok(None),
                Some(_) => refuse("it holds no calibration; run elonnx calibrate on it first".to_owned()),
            };
        };
        match serde_json::from_str::<Version>(text) {
            Ok(Version { version: VERSION }) => {}
            Ok(Version { version }) => {
                return refuse(format!(
                    "its calibration has format {version}, this elonnx knows {VERSION}; update elonnx"
                ));
            }
            Err(error) => return refuse(format!("its calibration is damaged ({error}); calibrate it again")),
        }
        let read: Self = match serde_json::from_str(text) {
            Ok(read) => read,
            Err(error) => return refuse(format!("its calibration is damaged ({error}); calibrate it again")),
        };
        if needs.is_some() || options.temperature.is_none() && read.temperature.is_some() {
            read.check(logits, score)?;
        }
        read.check_temperature(options, needs)?;
        Ok(Some(read))
    }

    fn check(&self, logits: &Logits, score: &'static str) -> Result<(), RewriteError> {
        let refuse = |reason: String| Err(RewriteError::NotCalibrated { score, reason });
        if self.logits != logits.chosen.value {
            return refuse(format!(
                "it was calibrated on the logits '{}', but those found are '{}'; calibrate it again, or name the logits \
                 with --logits",
                self.logits, logits.chosen.value
            ));
        }
        match logits.chosen.classes {
            Some(classes) if classes != self.classes => refuse(format!(
                "it was calibrated with {} classes, but its logits have {classes}; calibrate it again",
                self.classes
            )),
            _ => Ok(()),
        }
    }

    /// A threshold holds at the temperature it was fitted at.
    fn check_temperature(&self, options: &GraphScoreOptions, needs: Option<GraphScore>) -> Result<(), RewriteError> {
        let fitted = self.temperature().unwrap_or(1.0);
        match (needs, options.temperature) {
            (Some(GraphScore::InDistribution), Some(asked)) if (asked - fitted).abs() > f64::EPSILON * fitted => {
                Err(RewriteError::NotCalibrated {
                    score: GraphScore::InDistribution.as_str(),
                    reason: format!(
                        "its threshold holds at the temperature {fitted}, not at {asked}; leave --temperature out, or \
                         calibrate it again"
                    ),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn temperature(&self) -> Option<f64> {
        self.temperature.as_ref().map(|fit| fit.temperature)
    }

    /// The score that decides.
    pub(super) fn decision(&self) -> &str {
        &self.decision
    }

    /// What was fitted for a score.
    pub(super) fn fit(&self, score: &str) -> Option<&Fit> {
        self.scores.get(score)
    }

    /// Number of classes.
    pub(super) fn classes(&self) -> usize {
        self.classes
    }
}

fn needs_fit(score: GraphScore) -> bool {
    matches!(score, GraphScore::InDistribution | GraphScore::React)
}
