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
    /// The first node that adds another term of the same logits and labels to the finished loss.
    pub beside: Option<NodeId>,
}

impl Uses {
    /// What the user should know of the way to the output.
    pub fn note(&self, context: &Context) -> Option<String> {
        let node = context.graph.node(self.beside?);
        Some(format!("{} adds another term of the same logits and labels to it", node.describe()))
    }
}

/// Follows `value` downstream, the loss of `logits` and `labels`.
///
/// A factor that itself depends on the logits bends it (focal loss weighs each row so). So does a term per row that
/// depends on logits and labels: that is a part of the loss, a bonus for example, and no penalty beside it.
pub(crate) fn uses(context: &Context, value: &str, logits: &str, labels: &str) -> Uses {
    let from_logits = depending_on(context, logits);
    let from_labels: HashSet<&str> =
        inputs_behind(context, labels).into_iter().flat_map(|input| depending_on(context, input)).collect();
    let mut linear: HashSet<&str> = HashSet::from([value]);
    let mut rows: HashSet<&str> = HashSet::new();
    if context.shapes.rank(value) != Some(0) {
        rows.insert(value);
    }
    let mut bent: HashSet<&str> = HashSet::new();
    let mut uses = Uses { nonlinear: None, reaches_output: context.index.is_output(value), beside: None };
    let start = context.index.producer(value).map_or(0, |id| id.0);
    for (i, node) in context.graph.nodes().iter().enumerate().skip(start) {
        let id = NodeId(i);
        let reads: Vec<usize> = (0..node.input.len()).filter(|k| linear.contains(node.input[*k].as_str())).collect();
        let reads_bent = node.input.iter().any(|v| bent.contains(v.as_str()));
        if (reads.is_empty() && !reads_bent) || context.is_gradient(id) {
            continue;
        }
        let others: Vec<&str> =
            node.input.iter().map(String::as_str).filter(|v| !v.is_empty() && !linear.contains(v)).collect();
        let per_row = node.input.iter().any(|v| rows.contains(v.as_str()));
        let couples = match node.op() {
            "Mul" | "Div" | "Where" => others.iter().any(|v| from_logits.contains(v)),
            "Add" | "Sub" | "Sum" => {
                let term = others.iter().any(|v| from_logits.contains(v) && from_labels.contains(v));
                if term && !per_row {
                    uses.beside.get_or_insert(id);
                }
                term && per_row
            }
            _ => false,
        };
        match effect(node.op_domain(), node.op(), &reads) {
            Effect::Shape => {}
            // a sum with something bent is bent
            Effect::Linear if !reads_bent && !couples => {
                uses.reaches_output |= node.output.iter().any(|o| context.index.is_output(o));
                linear.extend(node.output.iter().map(String::as_str));
                if per_row && !matches!(node.op(), "ReduceMean" | "ReduceSum") {
                    rows.extend(node.output.iter().map(String::as_str));
                }
            }
            _ => {
                uses.nonlinear.get_or_insert(id);
                bent.extend(node.output.iter().map(String::as_str));
            }
        }
    }
    uses
}

/// The graph inputs that `value` is made of; itself if it is one.
fn inputs_behind<'g>(context: &Context<'g>, value: &'g str) -> HashSet<&'g str> {
    let mut found = HashSet::new();
    let mut open = vec![value];
    let mut seen = HashSet::new();
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        match context.index.producer(value).map(|id| context.graph.node(id)) {
            Some(node) if !matches!(node.op(), "Shape" | "Size") => open.extend(node.input.iter().map(String::as_str)),
            Some(_) => {}
            None if context.index.is_input(value) => {
                found.insert(value);
            }
            None => {}
        }
    }
    found
}

/// Every value that depends on the numbers in `source`, not only on its shape; `source` too.
fn depending_on<'g>(context: &Context<'g>, source: &'g str) -> HashSet<&'g str> {
    let mut found = HashSet::from([source]);
    let start = context.index.producer(source).map_or(0, |id| id.0);
    for node in &context.graph.nodes()[start..] {
        if !matches!(node.op(), "Shape" | "Size") && node.input.iter().any(|v| found.contains(v.as_str())) {
            found.extend(node.output.iter().filter(|o| !o.is_empty()).map(String::as_str));
        }
    }
    found
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
