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
    /// The sums with something else made of the same logits.
    pub joined: Vec<Joined>,
}

/// A sum of a loss and another value made of the same logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub at: NodeId,
    pub term: String,
    /// Whether the term is made of the same labels too.
    pub of_labels: bool,
}

impl Joined {
    /// What the user should know of a term that stays.
    pub fn note(&self, context: &Context) -> String {
        let node = context.graph.node(self.at).describe();
        if self.of_labels {
            format!("{node} adds another term of the same logits and labels to it")
        } else {
            format!("{node} adds other terms made of the same logits; they stay as they are")
        }
    }
}

/// Follows `value`, the loss of `logits` and `labels`, downstream.
///
/// A product with something that depends on the same logits (`(1 − p)²·ce`, a mask of the uncertain rows) is not
/// linear. Nor is a term per row that depends on logits and labels: that is a part of the loss, a bonus for example,
/// and no penalty beside it.
pub(crate) fn uses(context: &Context, value: &str, logits: &str, labels: &str) -> Uses {
    let related = made_of(context, logits, value);
    let from_labels: HashSet<&str> =
        inputs_behind(context, labels).into_iter().flat_map(|input| depending_on(context, input)).collect();
    let mut linear: HashSet<&str> = HashSet::from([value]);
    let mut rows: HashSet<&str> = HashSet::new();
    if context.shapes.rank(value) != Some(0) {
        rows.insert(value);
    }
    let mut bent: HashSet<&str> = HashSet::new();
    let mut uses = Uses { nonlinear: None, reaches_output: context.index.is_output(value), joined: Vec::new() };
    let start = context.index.producer(value).map_or(0, |id| id.0);
    for (i, node) in context.graph.nodes().iter().enumerate().skip(start) {
        let id = NodeId(i);
        let reads: Vec<usize> = (0..node.input.len()).filter(|k| linear.contains(node.input[*k].as_str())).collect();
        let reads_bent = node.input.iter().any(|v| bent.contains(v.as_str()));
        if (reads.is_empty() && !reads_bent) || context.is_gradient(id) {
            continue;
        }
        let mut relatives: Vec<&String> =
            node.input.iter().filter(|v| related.contains(v.as_str()) && !linear.contains(v.as_str())).collect();
        // of several terms the one that may be a bonus
        relatives.sort_by_key(|v| !from_labels.contains(v.as_str()));
        let relative = relatives.first();
        let per_row = node.input.iter().any(|v| rows.contains(v.as_str()));
        let sum = relative.filter(|_| is_sum(node.op()) && !reads_bent).map(|term| Joined {
            at: id,
            term: (*term).clone(),
            of_labels: from_labels.contains(term.as_str()),
        });
        let row_term = per_row && node.op() != "Concat" && sum.as_ref().is_some_and(|s| s.of_labels);
        let couples = (relative.is_some() && !is_sum(node.op())) || row_term;
        let effect = effect(node.op_domain(), node.op(), &reads);
        if matches!(effect, Effect::Linear) {
            uses.joined.extend(sum);
        }
        match effect {
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
