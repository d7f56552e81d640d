//! `MaxPool` and `MaxPoolGrad` of \[N, C, H, W\]; attributes kernel_shape, strides, pads, dilations, ceil_mode.

use super::Fused;
use super::body::Body;
use crate::model::NodeBuilder;
use crate::model::proto::{AttributeType, FunctionProto};

/// Version of the standard operators from which on `MaxPoolGrad` has a body: a scatter can add.
pub(crate) const MAX_POOL_GRAD_OPSET: i64 = 16;

/// `MaxPool`(x) → y
pub(crate) const MAX_POOL: Fused = Fused { name: "MaxPool", body: forward };

/// `MaxPoolGrad`(dy, x) → dx: dy goes to the first of the largest elements of its window.
pub(crate) const MAX_POOL_GRAD: Fused = Fused { name: "MaxPoolGrad", body: gradient };

pub(super) const ATTRIBUTES: &[&str] = &["kernel_shape", "strides", "pads", "dilations", "ceil_mode"];

/// The attributes of a pool, from those of the operator.
pub(super) fn windows(mut node: NodeBuilder) -> NodeBuilder {
    for name in &ATTRIBUTES[..4] {
        node = node.reference(name, AttributeType::Ints, name);
    }
    node.reference("ceil_mode", AttributeType::Int, "ceil_mode")
}

fn forward(opset: i64) -> FunctionProto {
    let mut b = Body::new(opset, MAX_POOL.name, &["x"], &["y"], ATTRIBUTES);
    b.with("y", "MaxPool", &["x"], windows);
    b.finish()
}

fn gradient(opset: i64) -> FunctionProto {
    let mut b = Body::new(opset, MAX_POOL_GRAD.name, &["dy", "x"], &["dx"], ATTRIBUTES);
    spread(&mut b, "dy", "x", "dx");
    b.finish()
}

/// Nodes for `dx`, the gradient of the pool over `x`.
pub(super) fn spread(b: &mut Body, dy: &str, x: &str, dx: &str) {
    b.with("largest", "MaxPool", &[x], |node| windows(node).outputs(["largest", "places"]));
    b.ints("flat", &[-1]);
    b.op("flat_x", "Reshape", &[x, "flat"]);
    b.op("flat_dy", "Reshape", &[dy, "flat"]);
    b.op("flat_places", "Reshape", &["places", "flat"]);
    b.op("flat_size", "Shape", &["flat_x"]);
    // zeros of float are what it makes by itself
    b.op("zeros", "ConstantOfShape", &["flat_size"]);
    b.with("scattered", "ScatterElements", &["zeros", "flat_places", "flat_dy"], |node| {
        node.int("axis", 0).string("reduction", "add")
    });
    b.op("pooled_shape", "Shape", &[x]);
    b.op(dx, "Reshape", &["scattered", "pooled_shape"]);
}
