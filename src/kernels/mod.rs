//! The maths of the fused training operators on slices of `f32`; no ONNX, no ONNX Runtime, no I/O.
//!
//! One file per operator, with its formula. Work is cut into blocks that depend on sizes only, and sums are added up in
//! the order of the blocks: the same inputs give the same bits on any number of threads.

pub(crate) mod adamw;
pub(crate) mod batch_normalization;
pub(crate) mod convolution;
mod copy;
mod error;
mod isa;
pub(crate) mod max_pool;
mod scratch;
mod shared;
#[cfg(test)]
mod testing;
mod window;

pub(crate) use error::KernelError;
pub(crate) use window::Window;
