//! What was measured, epoch by epoch.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::metrics::Measured;
use crate::model::replace_file;

/// What is known of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps done when it ended.
    pub step: u64,
    /// Measured while training: each batch before its update.
    pub train: Measured,
    /// Measured on the validation data after the epoch.
    pub validation: Option<Measured>,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// The weight of the bonus in its last step.
    pub bonus_weight: f64,
    /// Training samples per second, without validation; of the part since the last resumption.
    pub examples_per_second: f64,
    /// Seconds, validation included; of the part since the last resumption.
    pub seconds: f64,
    /// Whether it is the best so far.
    pub best: bool,
}

/// A run as metrics.json tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics<'a> {
    /// Version of elonnx.
    pub elonnx: &'static str,
    /// Epochs of the run, when it is over.
    pub epochs: u64,
    /// The best epoch so far, from 1.
    pub best_epoch: Option<u64>,
    /// Those done.
    pub history: &'a [EpochRecord],
}

/// Writes metrics.json, whole or not at all.
pub fn write_metrics(path: &Path, metrics: &Metrics<'_>) -> Result<(), TrainError> {
    let mut text = serde_json::to_string_pretty(metrics)
        .map_err(|error| TrainError::Write { path: path.to_owned(), source: error.into() })?;
    text.push('\n');
    replace_file(path, |out| out.write_all(text.as_bytes()))?;
    Ok(())
}
