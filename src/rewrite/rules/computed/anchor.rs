//! Where logits are squashed: a softmax, a log-sum-exp, exponentials that are summed.

use std::collections::HashSet;

use crate::model::NodeId;
use crate::rewrite::rules::Context;

/// A softmax-like node, and the logits it reads.
pub(super) struct Anchor {
    pub node: NodeId,
    pub logits: String,
    pub axis: i64,
}

pub(super) fn anchors(context: &Context) -> Vec<Anchor> {
    let mut seen = HashSet::new();
    let mut anchors = Vec::new();
    for (i, node) in context.graph.nodes().iter().enumerate() {
        let id = NodeId(i);
        if node.op_domain() != "" || context.is_gradient(id) {
            continue;
        }
        let Some(input) = node.input_at(0) else { continue };
        let default_axis = if context.opset < 13 { 1 } else { -1 };
        let (logits, axis) = match node.op() {
            "Softmax" | "LogSoftmax" => (input.to_owned(), node.attr_int("axis").unwrap_or(default_axis)),
            "ReduceLogSumExp" => (input.to_owned(), reduced_axis(context, id).unwrap_or(-1)),
            "Exp" => match exponentials_of(context, id) {
                Some((logits, axis)) => (logits, axis),
                None => continue,
            },
            _ => continue,
        };
        if seen.insert(logits.clone()) {
            anchors.push(Anchor { node: id, logits, axis });
        }
    }
    anchors
}

/// Exp(z) or Exp(z − max z), summed over an axis: the logits and the axis.
fn exponentials_of(context: &Context, id: NodeId) -> Option<(String, i64)> {
    let node = context.graph.node(id);
    let summed = |value: &str| {
        context.index.consumers(value).iter().copied().find(|c| context.graph.node(*c).is("", "ReduceSum"))
    };
    let exponentials = node.output_at(0)?;
    // also with some classes masked out of the sum
    let sum = summed(exponentials).or_else(|| {
        let masks = context.index.consumers(exponentials).iter().map(|c| context.graph.node(*c));
        masks.filter(|n| matches!(n.op(), "Where" | "Mul")).find_map(|n| summed(n.output_at(0)?))
    })?;
    let axis = reduced_axis(context, sum).unwrap_or(-1);
    let shifted = behind_clamps(context, node.input_at(0)?);
    let logits =
        context.index.producer(shifted).map(|p| context.graph.node(p)).filter(|p| p.is("", "Sub")).and_then(|sub| {
            let (logits, shift) = (sub.input_at(0)?, sub.input_at(1)?);
            is_maximum_of(context, shift, logits).then(|| logits.to_owned())
        });
    Some((logits.unwrap_or_else(|| shifted.to_owned()), axis))
}

/// What a value is before it is kept within constant bounds, by Clip, Min, Max or a choice.
fn behind_clamps<'g>(context: &Context<'g>, value: &'g str) -> &'g str {
    let clamped = context.index.producer(value).map(|id| context.graph.node(id)).and_then(|node| match node.op() {
        "Clip" => node.input_at(0),
        "Min" | "Max" => match (node.input_at(0), node.input_at(1)) {
            (Some(a), Some(b)) if is_filled_with_a_constant(context, b) => Some(a),
            (Some(a), Some(b)) if is_filled_with_a_constant(context, a) => Some(b),
            _ => None,
        },
        "Where" => match (node.input_at(1), node.input_at(2)) {
            (Some(a), Some(b)) if is_filled_with_a_constant(context, a) => Some(b),
            (Some(a), Some(b)) if is_filled_with_a_constant(context, b) => Some(a),
            _ => None,
        },
        _ => None,
    });
    clamped.unwrap_or(value)
}

/// Whether `value` is ReduceMax(`of`), also through what keeps it finite or in shape, and with some classes masked.
fn is_maximum_of(context: &Context, value: &str, of: &str) -> bool {
    let mut open = vec![(value, false)];
    let mut seen = HashSet::new();
    while let Some((value, reduced)) = open.pop() {
        if reduced && value == of {
            return true;
        }
        if seen.len() > 64 || !seen.insert((value, reduced)) {
            continue;
        }
        let Some(node) = context.index.producer(value).map(|p| context.graph.node(p)) else { continue };
        match node.op() {
            "ReduceMax" => open.extend(node.input_at(0).map(|v| (v, true))),
            "Identity" | "Cast" | "Clip" | "Max" | "Min" | "Reshape" | "Squeeze" | "Unsqueeze" | "Expand" | "Where"
            | "Mul" | "Add" | "ScatterElements" => open.extend(node.input.iter().map(|v| (v.as_str(), reduced))),
            _ => {}
        }
    }
    false
}

/// The one axis a reduction reduces.
fn reduced_axis(context: &Context, id: NodeId) -> Option<i64> {
    let node = context.graph.node(id);
    if let Some([axis]) = node.attr_ints("axes") {
        return Some(*axis);
    }
    match context.index.constant(node.input_at(1)?)?.ints()?[..] {
        [axis] => Some(axis),
        _ => None,
    }
}

/// What a value is before it was reshaped and transposed (ONNX's own body of SoftmaxCrossEntropyLoss moves the classes
/// to the end); which axis has the classes then, the numbers tell.
pub(super) fn behind_layout(context: &Context, value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut value = value;
    while found.len() < 4 {
        let Some(node) = context.index.producer(value).map(|id| context.graph.node(id)) else { break };
        let layout = matches!(node.op(), "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten");
        let Some(before) = node.input_at(0).filter(|_| layout && node.op_domain().is_empty()) else { break };
        found.push(before.to_owned());
        value = before;
    }
    found
}

/// What a value is before some of its elements are replaced (the label's logit by −∞, padding by a constant).
pub(super) fn behind_masks(context: &Context, value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut value = value;
    while found.len() < 4 {
        let Some(node) = context.index.producer(value).map(|id| context.graph.node(id)) else { break };
        if !node.op_domain().is_empty() {
            break;
        }
        let constant = |position: usize| node.input_at(position).is_none_or(|v| is_filled_with_a_constant(context, v));
        let before = match node.op() {
            "ScatterElements" => node.input_at(0),
            "Where" => match (constant(1), constant(2)) {
                (true, false) => node.input_at(2),
                (false, true) => node.input_at(1),
                _ => None,
            },
            _ => None,
        };
        let Some(before) = before else { break };
        found.push(before.to_owned());
        value = before;
    }
    found
}

/// Whether `value` is a constant, or one brought to a shape.
fn is_filled_with_a_constant(context: &Context, value: &str) -> bool {
    if context.index.constant(value).is_some() {
        return true;
    }
    context.index.producer(value).map(|id| context.graph.node(id)).is_some_and(|node| {
        node.op() == "ConstantOfShape"
            || (matches!(node.op(), "Expand" | "Cast" | "Identity" | "Reshape")
                && node.input_at(0).is_some_and(|v| is_filled_with_a_constant(context, v)))
    })
}
