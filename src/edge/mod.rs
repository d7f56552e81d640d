//! Scores of a trained classifier: prediction, margin, energy, and whether a sample is like those it was trained on.
//!
//! Pure Rust by way of tract; no ONNX Runtime needed. **Every [`Score`] is higher the further out of distribution.**

mod calibration;
mod engine;
mod error;
pub mod evaluate;
mod score;
mod scorer;

pub use calibration::{Calibration, METADATA_KEY, ScoreFit, TENSOR_PREFIX, TemperatureFit};
pub use engine::{Engine, EngineKind, Evidence};
pub use error::EdgeError;
pub use score::{Needs, Score, UnknownScore};
pub use scorer::{Scored, Scorer, ScorerOptions};
