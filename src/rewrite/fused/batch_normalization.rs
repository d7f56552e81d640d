//! Batch normalization in training, with Relu and MaxPool on top, and gradients.
//!
//! Attributes: epsilon, momentum, and those of the pool. mean and var are those of the batch, for the gradient.

use super::Fused;
use super::body::Body;
use super::max_pool;
use crate::model::proto::{AttributeType, FunctionProto};

/// Version of the standard operators from which on the forward forms have a body: a node says that it trains.
pub(crate) const BATCH_NORMALIZATION_OPSET: i64 = 14;

/// `BatchNormalizationRelu`(x, scale, B, input_mean, input_var) → y, running_mean, running_var, mean, var
pub(crate) const BATCH_NORMALIZATION_RELU: Fused = Fused { name: "BatchNormalizationRelu", body: relu };

/// `BatchNormalizationReluMaxPool`(x, scale, B, input_mean, input_var) → y, running_mean, running_var, mean, var
pub(crate) const BATCH_NORMALIZATION_RELU_POOL: Fused =
    Fused { name: "BatchNormalizationReluMaxPool", body: relu_pool };

/// `BatchNormalizationGrad`(dy, x, scale) → dx, dscale, dB
pub(crate) const BATCH_NORMALIZATION_GRAD: Fused = Fused { name: "BatchNormalizationGrad", body: gradient };

/// `BatchNormalizationReluGrad`(dy, x, scale, B, mean, var) → dx, dscale, dB
pub(crate) const BATCH_NORMALIZATION_RELU_GRAD: Fused =
    Fused { name: "BatchNormalizationReluGrad", body: relu_gradient };

/// `BatchNormalizationReluMaxPoolGrad`(dy, x, scale, B, mean, var) → dx, dscale, dB
pub(crate) const BATCH_NORMALIZATION_RELU_POOL_GRAD: Fused =
    Fused { name: "BatchNormalizationReluMaxPoolGrad", body: relu_pool_gradient };

const FORWARD_INPUTS: &[&str] = &["x", "scale", "B", "input_mean", "input_var"];
const FORWARD_OUTPUTS: &[&str] = &["y", "running_mean", "running_var", "mean", "var"];
const GRADIENT_INPUTS: &[&str] = &["dy", "x", "scale", "B", "mean", "var"];
const GRADIENT_OUTPUTS: &[&str] = &["dx", "dscale", "dB"];
const NUMBERS: &[&str] = &["epsilon", "momentum"];

fn relu(opset: i64) -> FunctionProto {
    let mut b = Body::new(opset, BATCH_NORMALIZATION_RELU.name, FORWARD_INPUTS, FORWARD_OUTPUTS, NUMBERS);
    normalize(&mut b);
    b.op("y", "Relu", &["normalized"]);
    b.finish()
}

fn relu_pool(opset: i64) -> FunctionProto {
    let attributes = [NUMBERS, max_pool::ATTRIBUTES].concat();
    let name = BATCH_NORMALIZATION_RELU_POOL.name;
    let mut b = Body::new(opset, name, FORWARD_INPUTS, FORWARD_OUTPUTS, &attributes);
    normalize(&mut b);
    b.op("positive", "Relu", &["normalized"]);
    b.with("y", "MaxPool", &["positive"], max_pool::windows);
    b.finish()
}

fn normalize(b: &mut Body) {
    b.with("normalized", "BatchNormalization", FORWARD_INPUTS, |node| {
        node.outputs(["normalized", "running_mean", "running_var"])
            .int("training_mode", 1)
            .reference("epsilon", AttributeType::Float, "epsilon")
            .reference("momentum", AttributeType::Float, "momentum")
    });
    planes(b, "x", "planes");
    b.reduce("middle", "ReduceMean", "planes", &[0, 2], true);
    spread(b, "planes", "middle");
    b.ints("flat", &[-1]);
    b.op("mean", "Reshape", &["middle", "flat"]);
    b.op("var", "Reshape", &["variance", "flat"]);
}

/// \[N, C, …\] as \[N, C, rest\].
fn planes(b: &mut Body, value: &str, to: &str) {
    let shape = format!("{to}_shape");
    b.ints(&shape, &[0, 0, -1]);
    b.op(to, "Reshape", &[value, &shape]);
}

/// `centred` and `variance`, of planes around their middle.
fn spread(b: &mut Body, planes: &str, middle: &str) {
    b.op("centred", "Sub", &[planes, middle]);
    b.op("squares", "Mul", &["centred", "centred"]);
    b.reduce("variance", "ReduceMean", "squares", &[0, 2], true);
}

fn gradient(opset: i64) -> FunctionProto {
    let inputs = &GRADIENT_INPUTS[..3];
    let mut b = Body::new(opset, BATCH_NORMALIZATION_GRAD.name, inputs, GRADIENT_OUTPUTS, &NUMBERS[..1]);
    planes(&mut b, "x", "planes");
    b.reduce("middle", "ReduceMean", "planes", &[0, 2], true);
    spread(&mut b, "planes", "middle");
    hat(&mut b);
    planes(&mut b, "dy", "g");
    back(&mut b);
    b.finish()
}

fn relu_gradient(opset: i64) -> FunctionProto {
    let name = BATCH_NORMALIZATION_RELU_GRAD.name;
    let mut b = Body::new(opset, name, GRADIENT_INPUTS, GRADIENT_OUTPUTS, NUMBERS);
    from_statistics(&mut b);
    planes(&mut b, "dy", "upstream");
    mask(&mut b);
    back(&mut b);
    b.finish()
}

fn relu_pool_gradient(opset: i64) -> FunctionProto {
    let attributes = [NUMBERS, max_pool::ATTRIBUTES].concat();
    let name = BATCH_NORMALIZATION_RELU_POOL_GRAD.name;
    let mut b = Body::new(opset, name, GRADIENT_INPUTS, GRADIENT_OUTPUTS, &attributes);
    from_statistics(&mut b);
    b.op("positive", "Relu", &["normalized"]);
    b.op("full_shape", "Shape", &["x"]);
    b.op("pooled", "Reshape", &["positive", "full_shape"]);
    max_pool::spread(&mut b, "dy", "pooled", "unpooled");
    planes(&mut b, "unpooled", "upstream");
    mask(&mut b);
    back(&mut b);
    b.finish()
}

/// `normalized`, `hat` and what they need, from mean and variance.
fn from_statistics(b: &mut Body) {
    planes(b, "x", "planes");
    b.ints("column", &[-1, 1]);
    b.op("middle", "Reshape", &["mean", "column"]);
    b.op("variance", "Reshape", &["var", "column"]);
    b.op("centred", "Sub", &["planes", "middle"]);
    hat(b);
    b.op("bias_column", "Reshape", &["B", "column"]);
    b.op("scaled", "Mul", &["hat", "scale_column"]);
    b.op("normalized", "Add", &["scaled", "bias_column"]);
}

/// `hat`, `inverse` and `scale_column`, from centred planes and their variance.
fn hat(b: &mut Body) {
    b.float_attribute("small", "epsilon");
    b.op("larger", "Add", &["variance", "small"]);
    b.op("deviation", "Sqrt", &["larger"]);
    b.op("inverse", "Reciprocal", &["deviation"]);
    b.op("hat", "Mul", &["centred", "inverse"]);
    b.ints("column_shape", &[-1, 1]);
    b.op("scale_column", "Reshape", &["scale", "column_shape"]);
}

/// `g`: what comes through Relu.
fn mask(b: &mut Body) {
    b.number("nothing", 0.0);
    b.op("passes", "Greater", &["normalized", "nothing"]);
    b.with("mask", "Cast", &["passes"], |node| node.int("to", 1));
    b.op("g", "Mul", &["upstream", "mask"]);
}

/// dx, dscale and dB from g, hat, inverse and scale.
fn back(b: &mut Body) {
    b.reduce("dB", "ReduceSum", "g", &[0, 2], false);
    b.op("product", "Mul", &["g", "hat"]);
    b.reduce("dscale", "ReduceSum", "product", &[0, 2], false);
    b.reduce("mean_g", "ReduceMean", "g", &[0, 2], true);
    b.reduce("mean_product", "ReduceMean", "product", &[0, 2], true);
    b.op("along_hat", "Mul", &["hat", "mean_product"]);
    b.op("off_mean", "Sub", &["g", "mean_g"]);
    b.op("direction", "Sub", &["off_mean", "along_hat"]);
    b.op("factor", "Mul", &["scale_column", "inverse"]);
    b.op("dx_planes", "Mul", &["direction", "factor"]);
    b.op("dx_shape", "Shape", &["x"]);
    b.op("dx", "Reshape", &["dx_planes", "dx_shape"]);
}
