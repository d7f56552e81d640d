//! Terms that are added to a loss.

use std::collections::HashSet;

use crate::model::{DataType, NodeId};
use crate::rewrite::rules::family::Probe;
use crate::rewrite::rules::linear::Joined;
use crate::rewrite::rules::{ClassAxis, Context, Match, Refusal};

use super::outcome::RULE;
use super::piece::{Piece, is_network};
use super::run::floats;

/// Whether the term joined to `found` is a function of the labels' log-probabilities: a bonus that is not known, which
/// must not be added to ours. Dice and penalties on the logits are other losses, and stay.
pub(in crate::rewrite::rules) fn is_bonus(context: &Context, found: &Match, joined: &Joined) -> bool {
    let term = joined.term.as_str();
    let axis = match found.class_axis {
        ClassAxis::One => 1,
        ClassAxis::Last { .. } => -1,
    };
    let Ok(piece) = Piece::cut(context, &found.logits, axis, &HashSet::new()) else { return false };
    let logarithmic = context
        .index
        .producer(term)
        .is_some_and(|at| piece.slice(context, at).iter().any(|id| context.graph.node(*id).is("", "Log")));
    if !logarithmic || !of_labels(context, term, &found.logits) {
        return false;
    }
    if piece.classes == 2 {
        // every function of the logits is one of the label's probability
        return joined.of_labels;
    }
    piece.inputs.iter().any(|labels_input| {
        piece.label_shapes(context, labels_input).iter().any(|shapes| {
            let dims = &shapes[0];
            let raw = Probe::new(dims.iter().product::<usize>().max(2), piece.classes, &[], 31).labels().to_vec();
            let count = dims.iter().product();
            let Ok((run, _)) =
                piece.run_once(context, labels_input, dims, &found.labels, raw[..count].to_vec(), &[], 37)
            else {
                return false;
            };
            let turned = piece.run_on(context, run.values.clone(), &run.probe.with_others_turned(), &run.logits_dims).0;
            match (run.values.get(term).and_then(floats), turned.get(term).and_then(floats)) {
                (Some(a), Some(b)) => {
                    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + a.abs()))
                }
                _ => false,
            }
        })
    })
}

/// A loss that is added to another of the same logits: a bonus that is not known, the second label of a mixup.
pub(in crate::rewrite::rules) fn joined(context: &Context, found: &Match, at: NodeId) -> Refusal {
    Refusal {
        rule: RULE,
        what: format!("a loss with {} as one of its terms", found.what),
        reason: format!(
            "{} adds another term made of the same logits and of labels, and the sum is not known",
            context.graph.node(at).describe()
        ),
    }
}

/// Whether integer inputs of the graph are needed to make `value` (more than their shape), beside `logits`.
fn of_labels(context: &Context, value: &str, logits: &str) -> bool {
    let mut seen: HashSet<NodeId> = context.index.producer(logits).into_iter().collect();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match context.index.producer(value).map(|id| (id, context.graph.node(id))) {
            // labels come in beside the logits, not through the network
            Some((id, node)) => {
                if !matches!(node.op(), "Shape" | "Size") && !is_network(node.op_domain(), node.op()) && seen.insert(id)
                {
                    open.extend(node.input.iter().map(String::as_str));
                }
            }
            None => {
                let integer = matches!(context.data_type(value), Some(DataType::Int32 | DataType::Int64));
                if integer && context.index.is_input(value) {
                    return true;
                }
            }
        }
    }
    false
}
