//! Whether a loss stays a loss on its way to the output.
//!
//! What follows a cross entropy may average, scale or add it to other terms: then it can be swapped. Anything that
//! bends it (`Exp`, `Pow`, a product with itself) makes another loss of it, as focal loss does.

use std::collections::HashSet;

use crate::model::NodeId;

use super::Context;

/// How a value is used downstream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Uses {
    /// The first node that is not linear in the value.
    pub nonlinear: Option<NodeId>,
    /// Whether the value, or something linear in it, is an output of the graph.
    pub reaches_output: bool,
    /// The first node that adds something else made of the same logits, and this term.
    pub joined: Option<(NodeId, String)>,
}

/// Follows `value`, which is made of `logits`, downstream.
///
/// A product with something that depends on the same logits (`(1 − p)²·ce`, a mask of the uncertain rows) is not
/// linear.
pub(crate) fn uses(context: &Context, value: &str, logits: &str) -> Uses {
    let related = made_of(context, logits, value);
    let mut linear: HashSet<&str> = HashSet::from([value]);
    let mut bent: HashSet<&str> = HashSet::new();
    let mut uses = Uses { nonlinear: None, reaches_output: context.index.is_output(value), joined: None };
    let start = context.index.producer(value).map_or(0, |id| id.0);
    for (i, node) in context.graph.nodes().iter().enumerate().skip(start) {
        let id = NodeId(i);
        let reads: Vec<usize> = (0..node.input.len()).filter(|k| linear.contains(node.input[*k].as_str())).collect();
        let reads_bent = node.input.iter().any(|v| bent.contains(v.as_str()));
        if (reads.is_empty() && !reads_bent) || context.is_gradient(id) {
            continue;
        }
        let relative = node.input.iter().find(|v| related.contains(v.as_str()) && !linear.contains(v.as_str()));
        match effect(node.op_domain(), node.op(), &reads) {
            Effect::Shape => {}
            Effect::Linear if relative.is_some() && !is_sum(node.op()) => {
                uses.nonlinear.get_or_insert(id);
                bent.extend(node.output.iter().map(String::as_str));
            }
            // a sum with something bent is bent
            Effect::Linear if !reads_bent => {
                uses.reaches_output |= node.output.iter().any(|o| context.index.is_output(o));
                if let Some(term) = relative {
                    uses.joined.get_or_insert((id, term.clone()));
                }
                linear.extend(node.output.iter().map(String::as_str));
            }
            _ => {
                uses.nonlinear.get_or_insert(id);
                bent.extend(node.output.iter().map(String::as_str));
            }
        }
    }
    uses
}

/// The values computed from `logits` by another way than through `value`; what only depends on their shape is none.
fn made_of<'c>(context: &'c Context, logits: &'c str, value: &str) -> HashSet<&'c str> {
    let mut made: HashSet<&str> = HashSet::from([logits]);
    let start = context.index.producer(logits).map_or(0, |id| id.0);
    for (i, node) in context.graph.nodes().iter().enumerate().skip(start) {
        let reads = node.input.iter().any(|v| made.contains(v.as_str()));
        if !reads || matches!(node.op(), "Shape" | "Size") || context.is_gradient(NodeId(i)) {
            continue;
        }
        made.extend(node.output.iter().map(String::as_str).filter(|o| *o != value && !o.is_empty()));
    }
    made
}

fn is_sum(op: &str) -> bool {
    matches!(op, "Add" | "Sub" | "Sum" | "Mean" | "Concat")
}

enum Effect {
    /// The outputs are linear in the value.
    Linear,
    /// Only the shape is read.
    Shape,
    /// Anything else.
    Bent,
}

fn effect(domain: &str, op: &str, reads: &[usize]) -> Effect {
    let data_only = reads == [0];
    match (domain, op) {
        (
            "",
            "Identity" | "Cast" | "CastLike" | "Neg" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Expand"
            | "Transpose" | "ReduceMean" | "ReduceSum" | "Slice" | "Gather" | "Split" | "Tile",
        ) if data_only => Effect::Linear,
        ("", "Add" | "Sub" | "Sum" | "Mean" | "Concat") => Effect::Linear,
        // a product with something else, not with itself
        ("", "Mul") if reads.len() == 1 => Effect::Linear,
        ("", "Div") if data_only => Effect::Linear,
        ("", "Where") if !reads.contains(&0) => Effect::Linear,
        ("", "Shape" | "Size" | "ConstantOfShape") => Effect::Shape,
        ("com.microsoft", "Scale") if data_only => Effect::Linear,
        _ => Effect::Bent,
    }
}
