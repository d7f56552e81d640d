//! `Conv`, `ConvGradInput` and `ConvGradWeight`

use super::{FLOAT, OutputShape, Run, Training, allocate, on_threads, require, sizes};
use crate::kernels::Window;
use crate::kernels::convolution::Convolution;
use crate::runtime::abi::{Context, Failure, NodeInfo};
use crate::runtime::attributes::{integer, integers};

/// `Conv`(x, w, b) → y
pub(super) const FORWARD: Training = Training {
    name: "Conv",
    inputs: &[FLOAT, FLOAT, FLOAT],
    outputs: &[FLOAT],
    shapes: &[OutputShape::Computed],
    create: |node| Ok(Box::new(Forward(read(node)?))),
};

/// `ConvGradInput`(dy, w, x) → dx
pub(super) const INPUT_GRADIENT: Training = Training {
    name: "ConvGradInput",
    inputs: &[FLOAT, FLOAT, FLOAT],
    outputs: &[FLOAT],
    shapes: &[OutputShape::Like(2)],
    create: |node| Ok(Box::new(InputGradient(read(node)?))),
};

/// `ConvGradWeight`(dy, x, w) → dw, db
pub(super) const WEIGHT_GRADIENT: Training = Training {
    name: "ConvGradWeight",
    inputs: &[FLOAT, FLOAT, FLOAT],
    outputs: &[FLOAT, FLOAT],
    shapes: &[OutputShape::Like(2), OutputShape::First(2)],
    create: |node| Ok(Box::new(WeightGradient(read(node)?))),
};

fn read(node: &NodeInfo) -> Result<Convolution, Failure> {
    Ok(Convolution::new(window(node)?, integer(node, c"group", 1)?)?)
}

/// strides, pads and dilations of two spatial axes.
pub(super) fn window(node: &NodeInfo) -> Result<Window, Failure> {
    let strides = integers(node, c"strides", [1, 1])?;
    let pads = integers(node, c"pads", [0; 4])?;
    let dilations = integers(node, c"dilations", [1, 1])?;
    Ok(Window::new(strides, pads, dilations)?)
}

struct Forward(Convolution);

impl Run for Forward {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let (x, w) = (require(context, 0, "x")?, require(context, 1, "w")?);
        let bias = require(context, 2, "b")?;
        let sizes = self.0.sizes(sizes(&x, "x")?, sizes(&w, "w")?)?;
        let (x, w, bias) = (x.values()?, w.values()?, bias.values()?);
        let y = allocate(context, 0, "y", &sizes.output())?;
        on_threads(context, |threads| self.0.forward(threads, &sizes, x, w, Some(bias), y))
    }
}

struct InputGradient(Convolution);

impl Run for InputGradient {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let (dy, w) = (require(context, 0, "dy")?, require(context, 1, "w")?);
        let x = require(context, 2, "x")?;
        let sizes = self.0.sizes_with(sizes(&dy, "dy")?, sizes(&x, "x")?, sizes(&w, "w")?)?;
        let (dy, w) = (dy.values()?, w.values()?);
        let dx = allocate(context, 0, "dx", x.dims())?;
        on_threads(context, |threads| self.0.input_gradient(threads, &sizes, dy, w, dx))
    }
}

struct WeightGradient(Convolution);

impl Run for WeightGradient {
    fn run(&self, context: &Context) -> Result<(), Failure> {
        let (dy, x) = (require(context, 0, "dy")?, require(context, 1, "x")?);
        let w = require(context, 2, "w")?;
        let sizes = self.0.sizes_with(sizes(&dy, "dy")?, sizes(&x, "x")?, sizes(&w, "w")?)?;
        let (dy, x) = (dy.values()?, x.values()?);
        let dw = allocate(context, 0, "dw", w.dims())?;
        let db = allocate(context, 1, "db", &w.dims()[..1])?;
        on_threads(context, |threads| self.0.weight_gradient(threads, &sizes, dy, x, dw, db))
    }
}
