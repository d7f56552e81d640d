//! Training any ONNX classifier on the stock ONNX Runtime.

mod metrics;
mod order;
mod random;
mod schedule;

pub use metrics::Measured;
pub use schedule::{BonusWeight, Decay, Growth, LearningRate, Progress};
