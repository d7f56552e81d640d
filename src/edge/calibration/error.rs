//! What can be wrong with what was fitted, or with the data it is fitted to.

use std::path::PathBuf;

use crate::edge::Score;

/// Why a calibration cannot be read, used or made. Every variant says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// JSON that does not say what a calibration says.
    #[error("the model's calibration is damaged: {reason}; make it anew with elonnx calibrate")]
    Damaged {
        /// What is wrong, a clause.
        reason: String,
    },
    /// Of a later elonnx.
    #[error(
        "the model's calibration has format {found}, this elonnx {} reads format {known}; use the elonnx that made it or a \
         newer one, or make it anew with elonnx calibrate",
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The number in the file.
        found: u64,
        /// The number that this version writes.
        known: u32,
    },
    /// Thresholds for other classes.
    #[error("the calibration is for {fitted} classes, the model has {model}; make it anew with elonnx calibrate")]
    Classes {
        /// Of the calibration.
        fitted: usize,
        /// Of the model.
        model: usize,
    },
    /// Thresholds for another tensor.
    #[error(
        "the calibration was made for the tensor '{fitted}', the scores come from '{model}'; name it with --logits {fitted}, \
         or make the calibration anew with elonnx calibrate"
    )]
    Tensor {
        /// Of the calibration.
        fitted: String,
        /// Where the scores come from.
        model: String,
    },
    /// A table that is not there or of another shape: a tool dropped it, or the model was changed after.
    #[error("the fit of the score {score} is damaged: {reason}; make it anew with elonnx calibrate")]
    Table {
        /// The score.
        score: Score,
        /// What is wrong, a clause.
        reason: String,
    },
    /// A score that must be fitted before it says anything.
    #[error(
        "the score {score} has to be fitted to in-distribution data first: elonnx calibrate MODEL --data DATA --scores \
         {score}"
    )]
    NotFitted {
        /// The score.
        score: Score,
    },
    /// A score of the feature, for a model whose feature cannot be had.
    #[error("the score {score} needs the feature before the last layer: {reason}")]
    NoFeature {
        /// The score.
        score: Score,
        /// Why there is none, a clause.
        reason: String,
    },
    /// Tables so large that no protobuf parser could read the model.
    #[error(
        "with its tables the model would have {length} bytes, and protobuf ends at 2 GiB; take fewer scores or a smaller bank \
         (--knn-bank), or store the weights as external data first (onnx.save_model(..., save_as_external_data=True))"
    )]
    TooLarge {
        /// Encoded length in bytes.
        length: usize,
    },
    /// A table in a data file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The data file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The temporary file that the samples go through.
    #[error("cannot keep the samples in a temporary file: {0}; name a folder with room in TMPDIR")]
    Spool(#[source] std::io::Error),
    /// No scores to calibrate.
    #[error("no score is named; name at least one: {}", Score::ALL.map(Score::as_str).join(", "))]
    NoScores,
    /// A number out of range.
    #[error("{what} is {value}, it should be {expected}")]
    Parameter {
        /// What it is for.
        what: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// Nothing to fit to.
    #[error("there are no samples; a calibration needs in-distribution data, some hundred samples at least")]
    NoSamples,
    /// A temperature without labels.
    #[error(
        "a temperature is fitted to labels, and the data have none; give them (--labels) or leave out --fit-temperature"
    )]
    NoLabels,
    /// A temperature for probabilities.
    #[error("a temperature divides logits, and only probabilities are there; leave out --fit-temperature")]
    NoLogits,
    /// Labels for some of the samples.
    #[error("{sample} has {}, and those before have {}; give labels for all samples or for none", of(*.has), of(!*.has))]
    SomeLabels {
        /// The first one that is unlike those before.
        sample: String,
        /// Whether it has one.
        has: bool,
    },
    /// A label that is no class.
    #[error("{sample} has label {label}, and the model has classes 0 to {}", classes - 1)]
    Label {
        /// The sample, with its name where it has one.
        sample: String,
        /// Its label.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// NaN in what the model gives.
    #[error("{sample}: {what} NaN or infinity; a broken sample, or a model that overflows")]
    NotFinite {
        /// The sample, with its name where it has one.
        sample: String,
        /// What holds it, with the verb.
        what: &'static str,
    },
    /// Another number of classes or features than in the samples before.
    #[error("the model gave {found} {what} where it gave {expected} for the samples before")]
    Width {
        /// "classes" or "features".
        what: &'static str,
        /// Before.
        expected: usize,
        /// Now.
        found: usize,
    },
    /// A score that cannot be fitted to these samples.
    #[error("the score {score} cannot be fitted: {reason}")]
    Unfit {
        /// The score.
        score: Score,
        /// Why, a clause.
        reason: &'static str,
    },
}

fn of(labels: bool) -> &'static str {
    if labels { "a label" } else { "no label" }
}
