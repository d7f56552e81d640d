//! A classifier as one step of training: forward, loss, gradients and optimizer in one graph that any runtime runs.
//!
//! Words: a *parameter* is an initializer that is trained, a *buffer* one that training updates without a gradient (the
//! running statistics of BatchNormalization), *state* what the optimizer remembers of a parameter. All three go in as
//! inputs and come out as outputs; the caller hands the outputs of one step to the next.

// not used before the training step is put together
#[allow(dead_code)]
pub(crate) mod dropout;
mod signature;

pub use signature::{Initial, Port, Signature, Size, StatePort, UpdatedPort};
