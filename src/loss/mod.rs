//! The maths of the encouraging loss; no ONNX, no ONNX Runtime, no I/O.

mod encouraging_loss;

pub use encouraging_loss::{Bonus, EncouragingLoss, EncouragingLossBuilder, ParameterError, Reduction};
