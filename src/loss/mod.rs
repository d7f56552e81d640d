//! The maths of the encouraging loss; no ONNX, no ONNX Runtime, no I/O.
//!
//! * [`EncouragingLoss`]: the parameters, and the loss and gradient of whole slices.
//! * [`MarginLoss`]: f(m) and f′(m), the one function per row that makes a loss of the family.
//! * [`Problem`]: the row kernels, for callers with threads ([`Parallel`]) and buffers of their own.
//! * [`mod@reference`]: the plain f64 oracle that everything is held against.

mod element;
mod encouraging_loss;
mod error;
pub mod margin;
pub mod reference;
pub mod rows;
mod shape;
mod slices;
#[cfg(test)]
mod testing;

pub use element::{Arithmetic, Element, Label, Labels, Real};
pub use encouraging_loss::{Bonus, EncouragingLoss, EncouragingLossBuilder, ParameterError, Reduction};
pub use error::LossError;
pub use margin::{MarginLoss, sigmoid, softplus};
#[cfg(feature = "rayon")]
pub use rows::Rayon;
pub use rows::{ForwardOutput, Isa, Parallel, Partial, Problem, Sequential, Upstream};
pub use shape::Shape;
pub use slices::{Forward, ForwardBackward};
