//! `LogSoftmax` + `NegativeLogLikelihoodLoss`, and ORT Training's `com.microsoft::NegativeLogLikelihoodLossInternal`.

use crate::loss::EncouragingLoss;
use crate::model::NodeId;

use super::softmax_cross_entropy::{check_labels, ignore_index, reduction};
use super::{Context, Match, Refusal};

pub(super) const RULE: &str = "negative-log-likelihood";

/// Reads the pair; `None` where the input is not plainly a log-softmax over the classes (the `computed` rule looks on).
pub(super) fn find(context: &Context, id: NodeId) -> Option<Result<Match, Refusal>> {
    let node = context.graph.node(id);
    let (log_prob, labels, loss) = (node.input_at(0)?, node.input_at(1)?, node.output_at(0)?);
    let softmax = log_softmax_over_classes(context, log_prob)?;
    let logits = context.graph.node(softmax).input_at(0)?;
    let refuse = |reason: String| Refusal { rule: RULE, what: "cross entropy".into(), reason };
    let read = || -> Result<Match, Refusal> {
        check_labels(context, labels).map_err(refuse)?;
        let parameters = EncouragingLoss::cross_entropy()
            .to_builder()
            .reduction(reduction(node).map_err(refuse)?)
            .ignore_index(ignore_index(context, id).map_err(refuse)?)
            .build()
            .map_err(|e| refuse(e.to_string()))?;
        let nodes = vec![softmax, id];
        Ok(Match { nodes, ..Match::cross_entropy(context, RULE, id, [logits, labels, loss], parameters) })
    };
    Some(read())
}

/// The LogSoftmax over axis 1 that makes `value`.
fn log_softmax_over_classes(context: &Context, value: &str) -> Option<NodeId> {
    let id = context.index.producer(value)?;
    let node = context.graph.node(id);
    if !node.is("", "LogSoftmax") {
        return None;
    }
    let rank = context.shapes.rank(node.input_at(0)?);
    // before opset 13 the input is seen as a matrix cut at `axis`: over the classes alone only where that is all there is
    let default = if context.opset < 13 { 1 } else { -1 };
    let axis = node.attr_int("axis").unwrap_or(default);
    let over_classes = match (rank, axis) {
        (Some(2), 1 | -1) => true,
        (Some(rank), axis) => context.opset >= 13 && (axis == 1 || axis.checked_add(rank as i64) == Some(1)),
        (None, 1) => context.opset >= 13,
        (None, _) => false,
    };
    over_classes.then_some(id)
}
