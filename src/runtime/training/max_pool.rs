//! `MaxPool` and `MaxPoolGrad`

use super::convolution::window;
use super::{FLOAT, OutputShape, Run, Training, allocate, on_threads, require, sizes};
use crate::kernels::max_pool::MaxPool;
use crate::runtime::abi::{Context, Failure, NodeInfo};
use crate::runtime::attributes::{integer, integers};

/// `MaxPool`(x) → y
pub(super) const FORWARD: Training = Training {
    name: "MaxPool",
    inputs: &[FLOAT],
    outputs: &[FLOAT],
    shapes: &[OutputShape::Computed],
    create: |node| Ok(Box::new(Forward(read(node)?))),
};

/// `MaxPoolGrad`(dy, x) → dx
pub(super) const GRADIENT: Training = Training {
    name: "MaxPoolGrad",
    inputs: &[FLOAT, FLOAT],
    outputs: &[FLOAT],
    shapes: &[OutputShape::Like(1)],
    create: |node| Ok(Box::new(Gradient(read(node)?))),
};

/// The pool of a node.
pub(super) fn read(node: &NodeInfo) -> Result<MaxPool, Failure> {
    let ceil = integer(node, c"ceil_mode", 0)? != 0;
    Ok(MaxPool::new(window(node)?, integers(node, c"kernel_shape", [0, 0])?, ceil)?)
}

struct Forward(MaxPool);

impl Run for Forward {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let x = require(context, 0, "x")?;
        let (sizes, y_shape) = self.0.sizes(sizes(&x, "x")?);
        let y = allocate(context, 0, "y", &y_shape)?;
        let x = x.values()?;
        on_threads(context, |threads| self.0.forward(threads, &sizes, x, y))
    }
}

struct Gradient(MaxPool);

impl Run for Gradient {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let (dy, x) = (require(context, 0, "dy")?, require(context, 1, "x")?);
        let (sizes, y_shape) = self.0.sizes(sizes(&x, "x")?);
        if dy.dims() != y_shape {
            return Err(Failure::invalid(format!(
                "dy has shape {:?}, but x of shape {:?} makes an output of shape {y_shape:?}",
                dy.dims(),
                x.dims()
            )));
        }
        let dx = allocate(context, 0, "dx", x.dims())?;
        let (dy, x) = (dy.values()?, x.values()?);
        on_threads(context, |threads| self.0.gradient(threads, &sizes, dy, x, dx))
    }
}
