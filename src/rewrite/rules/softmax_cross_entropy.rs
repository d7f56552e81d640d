//! `SoftmaxCrossEntropyLoss` (ONNX, all versions) and ORT Training's `com.microsoft::SoftmaxCrossEntropyLossInternal`.

use crate::loss::{EncouragingLoss, Reduction};
use crate::model::{DataType, NodeId};

use super::{Context, Match, Refusal, exporter_metadata};

pub(super) const RULE: &str = "softmax-cross-entropy";

/// Reads the node.
pub(super) fn find(context: &Context, id: NodeId) -> Result<Match, Refusal> {
    let node = context.graph.node(id);
    let refuse = |reason: String| Refusal { rule: RULE, what: "cross entropy".into(), reason };
    let internal = node.op() == "SoftmaxCrossEntropyLossInternal";
    let (Some(logits), Some(labels), Some(loss)) = (node.input_at(0), node.input_at(1), node.output_at(0)) else {
        return Err(refuse("it lacks logits, labels or a loss; the file is not valid ONNX".into()));
    };
    check_labels(context, labels).map_err(refuse)?;
    let mut notes = Vec::new();
    let mut builder = EncouragingLoss::cross_entropy()
        .to_builder()
        .reduction(reduction(node).map_err(refuse)?)
        .ignore_index(ignore_index(context, id).map_err(refuse)?);
    if let Some(smoothing) = exporter_metadata::dropped_label_smoothing(node) {
        builder = builder.label_smoothing(smoothing);
        notes.push(format!(
            "label smoothing {smoothing} restored: PyTorch's exporter dropped it from the graph and left it in metadata only"
        ));
    }
    let parameters = builder.build().map_err(|e| refuse(e.to_string()))?;
    let loss_type = match node.attr_int("output_type") {
        Some(t) if internal && t != 0 => i32::try_from(t).ok().and_then(|t| DataType::try_from(t).ok()),
        _ => None,
    };
    let log_prob = node.output_at(1).map(str::to_owned);
    let found = Match::cross_entropy(context, RULE, id, [logits, labels, loss], parameters);
    Ok(Match { loss_type, log_prob, notes, ..found })
}

/// The attribute `reduction`, "mean" where absent.
pub(super) fn reduction(node: &crate::model::proto::NodeProto) -> Result<Reduction, String> {
    node.attr_str("reduction").unwrap_or("mean").parse().map_err(|e: crate::loss::ParameterError| e.to_string())
}

/// The label whose rows do not count: an attribute, but an input of ORT's internal ops.
pub(super) fn ignore_index(context: &Context, id: NodeId) -> Result<Option<i64>, String> {
    let node = context.graph.node(id);
    let position = match node.op() {
        "SoftmaxCrossEntropyLossInternal" | "NegativeLogLikelihoodLossInternal" => 3,
        "SoftmaxCrossEntropyLossInternalGrad" => 4,
        _ => return Ok(node.attr_int("ignore_index")),
    };
    let Some(input) = node.input_at(position) else { return Ok(node.attr_int("ignore_index")) };
    match context.index.constant(input).and_then(|c| c.ints()).as_deref() {
        Some([index]) => Ok(Some(*index)),
        _ => Err(format!(
            "its ignore_index '{input}' is computed or an input; the encouraging loss has it as an attribute, so it must be a constant"
        )),
    }
}

/// Labels must be class indices.
pub(super) fn check_labels(context: &Context, labels: &str) -> Result<(), String> {
    match context.data_type(labels) {
        None | Some(DataType::Int32 | DataType::Int64) => Ok(()),
        Some(other) => Err(format!(
            "its labels '{labels}' are {}, but class indices (int32 or int64) are needed; class probabilities have no encouraging loss yet",
            super::data_type_name(other)
        )),
    }
}
