//! `BatchNormalizationRelu` and `BatchNormalizationReluMaxPool`, their gradients, and `BatchNormalizationGrad`.

use super::{FLOAT, OutputShape, Run, Training, allocate, max_pool, on_threads, require};
use crate::kernels::batch_normalization::{BatchNormalization, Gradients, Input, Output, Planes, Upstream};
use crate::runtime::abi::{Context, Failure, NodeInfo};
use crate::runtime::attributes::real;
use crate::runtime::ops::Slot;

/// `BatchNormalizationRelu`(x, scale, B, input_mean, input_var) → y, running_mean, running_var, mean, var
pub(super) const RELU: Training = Training {
    name: "BatchNormalizationRelu",
    inputs: FORWARD_INPUTS,
    outputs: FORWARD_OUTPUTS,
    shapes: &[Like(0), Like(3), Like(4), Like(1), Like(1)],
    create: |node| Ok(Box::new(Forward(read(node, true)?))),
};

/// `BatchNormalizationReluMaxPool`(x, scale, B, input_mean, input_var) → y, running_mean, running_var, mean, var
pub(super) const RELU_POOL: Training = Training {
    name: "BatchNormalizationReluMaxPool",
    inputs: FORWARD_INPUTS,
    outputs: FORWARD_OUTPUTS,
    shapes: &[OutputShape::Computed, Like(3), Like(4), Like(1), Like(1)],
    create: |node| Ok(Box::new(Forward(read_pooled(node)?))),
};

/// `BatchNormalizationGrad`(dy, x, scale) → dx, dscale, dB
pub(super) const GRADIENT: Training = Training {
    name: "BatchNormalizationGrad",
    inputs: &[FLOAT; 3],
    outputs: GRADIENT_OUTPUTS,
    shapes: GRADIENT_SHAPES,
    create: |node| Ok(Box::new(Gradient(read(node, false)?))),
};

/// `BatchNormalizationReluGrad`(dy, x, scale, B, mean, var) → dx, dscale, dB
pub(super) const RELU_GRADIENT: Training = Training {
    name: "BatchNormalizationReluGrad",
    inputs: &[FLOAT; 6],
    outputs: GRADIENT_OUTPUTS,
    shapes: GRADIENT_SHAPES,
    create: |node| Ok(Box::new(Gradient(read(node, true)?))),
};

/// `BatchNormalizationReluMaxPoolGrad`(dy, x, scale, B, mean, var) → dx, dscale, dB
pub(super) const RELU_POOL_GRADIENT: Training = Training {
    name: "BatchNormalizationReluMaxPoolGrad",
    inputs: &[FLOAT; 6],
    outputs: GRADIENT_OUTPUTS,
    shapes: GRADIENT_SHAPES,
    create: |node| Ok(Box::new(Gradient(read_pooled(node)?))),
};

use OutputShape::Like;

const FORWARD_INPUTS: &[Slot] = &[FLOAT; 5];
const FORWARD_OUTPUTS: &[Slot] = &[FLOAT; 5];
const GRADIENT_OUTPUTS: &[Slot] = &[FLOAT; 3];
const GRADIENT_SHAPES: &[OutputShape] = &[Like(1), Like(2), Like(2)];

fn read(node: &NodeInfo, relu: bool) -> Result<BatchNormalization, Failure> {
    Ok(BatchNormalization {
        epsilon: real(node, c"epsilon", 1e-5)?,
        momentum: real(node, c"momentum", 0.9)?,
        relu,
        pool: None,
    })
}

fn read_pooled(node: &NodeInfo) -> Result<BatchNormalization, Failure> {
    Ok(BatchNormalization { pool: Some(max_pool::read(node)?), ..read(node, true)? })
}

struct Forward(BatchNormalization);

impl Run for Forward {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let x = require(context, 0, "x")?;
        let planes = Planes::new(x.dims())?;
        let scale = require(context, 1, "scale")?;
        let input = Input {
            x: x.values()?,
            scale: scale.values()?,
            bias: require(context, 2, "B")?.values()?,
            running_mean: require(context, 3, "input_mean")?.values()?,
            running_var: require(context, 4, "input_var")?.values()?,
        };
        let output = Output {
            y: allocate(context, 0, "y", &self.0.output_shape(x.dims())?)?,
            running_mean: allocate(context, 1, "running_mean", scale.dims())?,
            running_var: allocate(context, 2, "running_var", scale.dims())?,
            mean: allocate(context, 3, "mean", scale.dims())?,
            var: allocate(context, 4, "var", scale.dims())?,
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
        let scales = scale.values()?;
        let mut upstream = Upstream {
            dy: require(context, 0, "dy")?.values()?,
            x: x.values()?,
            scale: scales,
            bias: scales,
            statistics: None,
        };
        if self.0.relu {
            upstream.bias = require(context, 3, "B")?.values()?;
            let (mean, var) = (require(context, 4, "mean")?, require(context, 5, "var")?);
            upstream.statistics = Some([mean.values()?, var.values()?]);
        }
        let gradients = Gradients {
            dx: allocate(context, 0, "dx", x.dims())?,
            dscale: allocate(context, 1, "dscale", scale.dims())?,
            dbias: allocate(context, 2, "dB", scale.dims())?,
        };
        on_threads(context, |threads| self.0.gradient(threads, planes, &upstream, gradients))
    }
}
