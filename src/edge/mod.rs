//! Scores of a trained classifier: prediction, margin, energy, and whether a sample is like those it was trained on.
//!
//! Pure Rust by way of tract; no ONNX Runtime needed. **Every [`Score`] is higher the further out of distribution.**

mod calibrate;
mod calibration;
mod engine;
mod error;
pub mod evaluate;
mod feature;
mod fit;
mod inputs;
mod logits;
#[cfg(feature = "runtime")]
mod ort;
mod outlet;
#[cfg(feature = "rayon")]
mod pool;
mod row;
mod score;
mod scorer;
#[cfg(test)]
mod testing;
mod top_k;
mod tract;

pub use calibrate::{Calibrated, Calibrator, CalibratorOptions};
pub use calibration::{
    Calibration, CalibrationError, FORMAT_VERSION, METADATA_KEY, ScoreFit, TENSOR_PREFIX, Table, Tables, TemperatureFit,
};
pub use engine::{Engine, EngineKind, Evidence};
pub use error::EdgeError;
#[cfg(feature = "rayon")]
pub use pool::ScorerPool;
pub use score::{Needs, Score, UnknownScore};
pub use scorer::{Scored, Scorer, ScorerOptions};
pub use tract::catches_panics;
