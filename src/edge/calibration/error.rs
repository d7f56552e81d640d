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
}
