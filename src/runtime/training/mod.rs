//! Operators of training beside the losses, for float32 on the CPU: what their nodes say, and [`crate::kernels`] on the
//! host's threads. Each has a body of standard operators in `rewrite::fused`, with the same inputs, outputs and
//! attributes.

mod adamw;
mod batch_normalization;
mod convolution;
mod max_pool;

use super::abi::{Context, Failure, NodeInfo, Tensor};
use super::inputs::require;
use super::kernel::{HostThreads, allocate};
use super::ops::{Slot, SlotType, required};
use crate::kernels::KernelError;

/// All of them.
pub(crate) const ALL: &[&Training] = &[
    &adamw::OPERATOR,
    &convolution::FORWARD,
    &convolution::INPUT_GRADIENT,
    &convolution::WEIGHT_GRADIENT,
    &batch_normalization::RELU,
    &batch_normalization::RELU_POOL,
    &batch_normalization::GRADIENT,
    &batch_normalization::RELU_GRADIENT,
    &batch_normalization::RELU_POOL_GRADIENT,
    &max_pool::FORWARD,
    &max_pool::GRADIENT,
];

/// One operator.
pub(crate) struct Training {
    pub(crate) name: &'static str,
    pub(crate) inputs: &'static [Slot],
    pub(crate) outputs: &'static [Slot],
    /// One per output; every node has all outputs.
    pub(crate) shapes: &'static [OutputShape],
    /// Reads the attributes.
    pub(crate) create: fn(&NodeInfo) -> Result<Box<dyn Run>, Failure>,
}

/// What is known of an output before the model runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutputShape {
    /// It has the shape of this input.
    Like(usize),
    /// It is a vector as long as the first axis of this input.
    First(usize),
    /// Known when the model runs.
    Computed,
}

/// A node with its attributes.
pub(crate) trait Run: Send + Sync {
    fn run(&self, context: &Context) -> Result<(), Failure>;
}

const FLOAT: Slot = required(SlotType::Float);
const INT64: Slot = required(SlotType::Int64);

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Failure {
        Failure::Invalid(error.to_string())
    }
}

/// Runs `work` on the host's threads.
fn on_threads(context: &Context, work: impl FnOnce(&HostThreads) -> Result<(), KernelError>) -> Result<(), Failure> {
    let threads = HostThreads::new(context);
    let done = work(&threads);
    threads.finish()?;
    Ok(done?)
}

/// An input of `N` axes: its sizes.
fn sizes<const N: usize>(tensor: &Tensor, name: &str) -> Result<[usize; N], Failure> {
    <[usize; N]>::try_from(tensor.dims())
        .map_err(|_| Failure::invalid(format!("{name} has shape {:?}, but must have {N} axes", tensor.dims())))
}

/// An input of one number.
fn one_number<T: super::abi::TensorElement>(context: &Context, index: usize, name: &str) -> Result<T, Failure> {
    match require(context, index, name)?.values::<T>()? {
        [value] => Ok(*value),
        values => Err(Failure::invalid(format!("{name} must be one number, not {} of them", values.len()))),
    }
}
