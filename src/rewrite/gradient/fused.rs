//! Gradients by operators of the plugin, where they are faster than standard ones. Each function is asked by the rule of
//! its operator first and says whether it has done the work.

use super::backward::{Backward, Refusal, Vjp};
use super::convolution::Geometry;
use crate::model::proto::NodeProto;
use crate::model::{DataType, NodeBuilder, ValueType, node};
use crate::rewrite::DOMAIN;
use crate::rewrite::fused::{
    BATCH_NORMALIZATION_GRAD, BATCH_NORMALIZATION_RELU, BATCH_NORMALIZATION_RELU_GRAD, BATCH_NORMALIZATION_RELU_POOL,
    BATCH_NORMALIZATION_RELU_POOL_GRAD, CONV, CONV_GRAD_INPUT, CONV_GRAD_WEIGHT, Fused, MAX_POOL, MAX_POOL_GRAD,
    pool_attributes,
};

/// Rules of fused operators of the forward pass.
pub(super) const OURS: &[(&str, Vjp)] =
    &[(BATCH_NORMALIZATION_RELU.name, normalization_block), (BATCH_NORMALIZATION_RELU_POOL.name, normalization_block)];

/// `Conv` over two axes.
pub(super) fn conv(c: &mut Backward<'_, '_>, dy: &str, geometry: &Geometry) -> bool {
    let (x, w) = (c.x(0), c.x(1));
    let pads: Vec<i64> = geometry.before.iter().chain(&geometry.after).copied().collect();
    if !c.b.fuses(&x) || geometry.rank() != 2 || pads.iter().any(|&pad| pad < 0) {
        return false;
    }
    let attributes = |node: NodeBuilder| {
        node.ints("strides", &geometry.strides)
            .ints("pads", &pads)
            .ints("dilations", &geometry.dilations)
            .int("group", geometry.group)
    };
    if c.wants(0) {
        let dx = c.b.fused(&CONV_GRAD_INPUT, &[dy, &w, &x], 1, attributes).swap_remove(0);
        c.b.declare_like(&dx, &x);
        c.give(0, dx);
    }
    if c.wants(1) || c.wants(2) {
        let outputs = c.b.fused(&CONV_GRAD_WEIGHT, &[dy, &x, &w], 2, attributes);
        let [dw, db] = [&outputs[0], &outputs[1]];
        c.b.declare_like(dw, &w);
        let channels = c.b.dims(&w).and_then(|dims| dims.first().cloned());
        c.b.declare(db, ValueType { data_type: Some(DataType::Float as i32), dims: channels.map(|first| vec![first]) });
        for (i, gradient) in [(1, dw), (2, db)] {
            if c.wants(i) {
                c.give(i, gradient.clone());
            }
        }
    }
    if c.wants(1) && geometry.strides == [1, 1] && geometry.group == 1 {
        forward_conv(c, &x, &w, attributes);
    }
    true
}

/// Puts our own operator in the place of a Conv whose weights are trained: the runtime cannot lay them out beforehand.
fn forward_conv(c: &mut Backward<'_, '_>, x: &str, w: &str, attributes: impl FnOnce(NodeBuilder) -> NodeBuilder) {
    let bias = match c.has(2) {
        true => c.x(2),
        false => return,
    };
    let output = c.node.output.clone();
    let label = c.node.label().to_owned();
    let y = c.y(0);
    let found = c.b.value_type(&y);
    let new = attributes(node(CONV.name).domain(DOMAIN).name(&label).inputs([x, w, &bias]).outputs(&output)).build();
    c.b.replace_node(c.at, new);
    if let Some(y) = output.first() {
        c.b.declare(y, found);
    }
}

/// `MaxPool` over two axes.
pub(super) fn max_pool(c: &mut Backward<'_, '_>, dy: &str, x: &str) -> bool {
    let Some(pool) = pool_attributes(&c.node, c.b.opset()).filter(|_| c.b.fuses(x)) else { return false };
    let dx = c.b.fused(&MAX_POOL_GRAD, &[dy, x], 1, |node| pool.write(node)).swap_remove(0);
    c.b.declare_like(&dx, x);
    c.give(0, dx);
    let y = c.y(0);
    let found = c.b.value_type(&y);
    let label = c.node.label().to_owned();
    let new: NodeProto = pool.write(node(MAX_POOL.name).domain(DOMAIN).name(&label).inputs([x]).outputs([&y])).build();
    c.b.replace_node(c.at, new);
    c.b.declare(&y, found);
    true
}

/// `BatchNormalization` in training.
pub(super) fn batch_normalization(c: &mut Backward<'_, '_>, dy: &str) -> bool {
    let (x, scale) = (c.x(0), c.x(1));
    if !c.b.fuses(&x) || !c.b.fuses(&scale) || c.b.rank(&x).is_none_or(|rank| rank < 2) {
        return false;
    }
    let epsilon = c.node.attr_float("epsilon").unwrap_or(1e-5);
    give_normalization(c, &BATCH_NORMALIZATION_GRAD, &[dy, &x, &scale], |node| node.float("epsilon", epsilon));
    true
}

/// `BatchNormalizationRelu` and `BatchNormalizationReluMaxPool`: both have the statistics of the batch as outputs.
fn normalization_block(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (mean, var) = (c.y(3), c.y(4));
    let inputs = [dy, c.x(0), c.x(1), c.x(2), mean, var];
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let operator: &Fused = match c.node.op() {
        name if name == BATCH_NORMALIZATION_RELU.name => &BATCH_NORMALIZATION_RELU_GRAD,
        _ => &BATCH_NORMALIZATION_RELU_POOL_GRAD,
    };
    let attributes = c.node.attribute.clone();
    give_normalization(c, operator, &inputs, |node| node.attributes(attributes));
    Ok(())
}

fn give_normalization(
    c: &mut Backward<'_, '_>,
    operator: &Fused,
    inputs: &[&str],
    attributes: impl FnOnce(NodeBuilder) -> NodeBuilder,
) {
    let outputs = c.b.fused(operator, inputs, 3, attributes);
    let [x, scale] = [c.x(0), c.x(1)];
    for (i, (gradient, like)) in outputs.into_iter().zip([&x, &scale, &scale]).enumerate() {
        c.b.declare_like(&gradient, like);
        if c.wants(i) {
            c.give(i, gradient);
        }
    }
}
