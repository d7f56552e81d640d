//! `Conv`, `ConvGradInput` and `ConvGradWeight`: convolutions of \[N, C, H, W\] whose weights are no constants.
//!
//! ONNX Runtime lays out constant weights once and then convolves at the speed of the machine; weights that change with
//! every step go through a matrix of patches, and gradients through detours. Attributes of all three: strides, pads,
//! dilations, group.

use super::Fused;
use super::body::Body;
use crate::model::NodeBuilder;
use crate::model::proto::{AttributeType, FunctionProto};

/// `Conv`(x, w, b) → y
pub(crate) const CONV: Fused = Fused { name: "Conv", body: forward };

/// `ConvGradInput`(dy, w, x) → dx
pub(crate) const CONV_GRAD_INPUT: Fused = Fused { name: "ConvGradInput", body: input_gradient };

/// `ConvGradWeight`(dy, x, w) → dw, db
pub(crate) const CONV_GRAD_WEIGHT: Fused = Fused { name: "ConvGradWeight", body: weight_gradient };

const ATTRIBUTES: &[&str] = &["strides", "pads", "dilations", "group"];

fn forward(opset: i64) -> FunctionProto {
    let mut b = Body::new(opset, CONV.name, &["x", "w", "b"], &["y"], ATTRIBUTES);
    b.with("y", "Conv", &["x", "w", "b"], |node| {
        windows(node, "strides", "dilations").reference("group", AttributeType::Int, "group")
    });
    b.finish()
}

fn windows(node: NodeBuilder, strides: &str, dilations: &str) -> NodeBuilder {
    node.reference("strides", AttributeType::Ints, strides).reference("pads", AttributeType::Ints, "pads").reference(
        "dilations",
        AttributeType::Ints,
        dilations,
    )
}

/// The transposed convolution makes the gradient of all that the windows reach, padding included; x is cut out of it,
/// with zeros where no window reaches.
fn input_gradient(opset: i64) -> FunctionProto {
    let mut b = Body::new(opset, CONV_GRAD_INPUT.name, &["dy", "w", "x"], &["dx"], ATTRIBUTES);
    b.with("reached", "ConvTranspose", &["dy", "w"], |node| {
        node.reference("strides", AttributeType::Ints, "strides")
            .reference("dilations", AttributeType::Ints, "dilations")
            .reference("group", AttributeType::Int, "group")
    });
    b.ints_attribute("all_pads", "pads");
    b.ints("zero", &[0]);
    b.ints("two", &[2]);
    b.ints("four", &[4]);
    b.op("before", "Slice", &["all_pads", "zero", "two"]);
    for (value, size) in [("x", "size"), ("reached", "reached_size")] {
        let shape = b.op(&format!("{value}_shape"), "Shape", &[value]).to_owned();
        b.op(size, "Slice", &[&shape, "two", "four"]);
    }
    b.op("end", "Add", &["size", "before"]);
    b.op("behind", "Sub", &["end", "reached_size"]);
    b.op("in_front", "Neg", &["before"]);
    b.ints("none", &[0, 0]);
    b.with("cut", "Concat", &["none", "in_front", "none", "behind"], |node| node.int("axis", 0));
    b.op("dx", "Pad", &["reached", "cut"]);
    b.finish()
}

/// dw is the convolution of x with dy as weights, batch and channels changed over, strides and dilations too.
fn weight_gradient(opset: i64) -> FunctionProto {
    let mut b = Body::new(opset, CONV_GRAD_WEIGHT.name, &["dy", "x", "w"], &["dw", "db"], ATTRIBUTES);
    b.int_attribute("groups", "group");
    // x: [N, G·C, H, W] → [C, G·N, H, W]
    b.op("x_shape", "Shape", &["x"]);
    for (name, at) in [("zero", 0), ("two", 2), ("four", 4), ("one", 1), ("any", -1)] {
        b.ints(name, &[at]);
    }
    b.op("batch", "Slice", &["x_shape", "zero", "one"]);
    b.op("plane", "Slice", &["x_shape", "two", "four"]);
    b.with("grouped_shape", "Concat", &["batch", "groups", "any", "plane"], |node| node.int("axis", 0));
    b.op("grouped", "Reshape", &["x", "grouped_shape"]);
    b.with("turned", "Transpose", &["grouped"], |node| node.ints("perm", &[2, 1, 0, 3, 4]));
    b.op("w_shape", "Shape", &["w"]);
    b.op("per_group", "Slice", &["w_shape", "one", "two"]);
    b.with("turned_shape", "Concat", &["per_group", "any", "plane"], |node| node.int("axis", 0));
    b.op("images", "Reshape", &["turned", "turned_shape"]);
    b.with("windows", "Transpose", &["dy"], |node| node.ints("perm", &[1, 0, 2, 3]));
    b.with("products", "Conv", &["images", "windows"], |node| {
        windows(node, "dilations", "strides").reference("group", AttributeType::Int, "group")
    });
    // a rest that no stride reached makes more than the kernel
    b.op("kernel", "Slice", &["w_shape", "two", "four"]);
    b.ints("origin", &[0, 0]);
    b.ints("spatial", &[2, 3]);
    b.op("kernels", "Slice", &["products", "origin", "kernel", "spatial"]);
    b.with("dw", "Transpose", &["kernels"], |node| node.ints("perm", &[1, 0, 2, 3]));
    b.reduce("db", "ReduceSum", "dy", &[0, 2, 3], false);
    b.finish()
}
