//! `BatchNormalizationRelu`, `BatchNormalizationGrad` and `BatchNormalizationReluGrad`

use super::{FLOAT, OutputShape, Run, Training, allocate, on_threads, require};
use crate::kernels::batch_normalization::{BatchNormalization, Gradients, Input, Output, Planes, Upstream};
use crate::runtime::abi::{Context, Failure, NodeInfo};
use crate::runtime::attributes::real;

/// `BatchNormalizationRelu`(x, scale, B, input_mean, input_var) → y, running_mean, running_var
pub(super) const FORWARD: Training = Training {
    name: "BatchNormalizationRelu",
    inputs: &[FLOAT; 5],
    outputs: &[FLOAT; 3],
    shapes: &[OutputShape::Like(0), OutputShape::Like(3), OutputShape::Like(4)],
    create: |node| Ok(Box::new(Forward(read(node, true)?))),
};

/// `BatchNormalizationGrad`(dy, x, scale, B) → dx, dscale, dB
pub(super) const GRADIENT: Training = Training {
    name: "BatchNormalizationGrad",
    inputs: &[FLOAT; 4],
    outputs: &[FLOAT; 3],
    shapes: SHAPES,
    create: |node| Ok(Box::new(Gradient(read(node, false)?))),
};

/// `BatchNormalizationReluGrad`(dy, x, scale, B) → dx, dscale, dB
pub(super) const RELU_GRADIENT: Training = Training {
    name: "BatchNormalizationReluGrad",
    inputs: &[FLOAT; 4],
    outputs: &[FLOAT; 3],
    shapes: SHAPES,
    create: |node| Ok(Box::new(Gradient(read(node, true)?))),
};

const SHAPES: &[OutputShape] = &[OutputShape::Like(1), OutputShape::Like(2), OutputShape::Like(3)];

fn read(node: &NodeInfo, relu: bool) -> Result<BatchNormalization, Failure> {
    Ok(BatchNormalization {
        epsilon: real(node, c"epsilon", 1e-5)?,
        momentum: real(node, c"momentum", 0.9)?,
        relu,
    })
}

struct Forward(BatchNormalization);

impl Run for Forward {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let x = require(context, 0, "x")?;
        let planes = Planes::new(x.dims())?;
        let mean = require(context, 3, "input_mean")?;
        let input = Input {
            x: x.values()?,
            scale: require(context, 1, "scale")?.values()?,
            bias: require(context, 2, "B")?.values()?,
            running_mean: mean.values()?,
            running_var: require(context, 4, "input_var")?.values()?,
        };
        let output = Output {
            y: allocate(context, 0, "y", x.dims())?,
            running_mean: allocate(context, 1, "running_mean", mean.dims())?,
            running_var: allocate(context, 2, "running_var", mean.dims())?,
        };
        on_threads(context, |threads| self.0.forward(threads, planes, &input, output))
    }
}

struct Gradient(BatchNormalization);

impl Run for Gradient {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let x = require(context, 1, "x")?;
        let planes = Planes::new(x.dims())?;
        let scale = require(context, 2, "scale")?;
        let upstream = Upstream {
            dy: require(context, 0, "dy")?.values()?,
            x: x.values()?,
            scale: scale.values()?,
            bias: require(context, 3, "B")?.values()?,
        };
        let gradients = Gradients {
            dx: allocate(context, 0, "dx", x.dims())?,
            dscale: allocate(context, 1, "dscale", scale.dims())?,
            dbias: allocate(context, 2, "dB", scale.dims())?,
        };
        on_threads(context, |threads| self.0.gradient(threads, planes, &upstream, gradients))
    }
}
