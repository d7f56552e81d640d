//! Our own ops: what is there already.

use crate::loss::{EncouragingLoss, ParameterError};
use crate::model::proto::NodeProto;
use crate::model::NodeId;

use super::{Context, Findings, Refusal};
use crate::rewrite::report::Action;
use crate::rewrite::{GRAD_OP, LOSS_AND_GRAD_OP, operator};

pub(crate) const RULE: &str = "encouraging-loss";

/// The attributes of version 1 of the operators.
const ATTRIBUTES: [&str; 7] =
    ["log_end", "bonus", "power", "bonus_weight", "label_smoothing", "reduction", "ignore_index"];

/// Reports one of our ops.
pub(super) fn find(context: &Context, id: NodeId, findings: &mut Findings) {
    let node = context.graph.node(id);
    let refuse = |reason: String| Refusal { rule: RULE, what: format!("ai.elonnx::{}", node.op()), reason };
    let Some(op) = operator(node) else {
        findings.others.push(refuse("not an operator of ai.elonnx version 1".into()).report(context, id));
        return;
    };
    if op == GRAD_OP {
        return; // told with its forward op
    }
    let foreign = node.attribute.iter().filter_map(|a| a.name.as_deref()).find(|n| !ATTRIBUTES.contains(n));
    if let Some(foreign) = foreign {
        let reason = format!("attribute '{foreign}' is not one of ai.elonnx version 1; another tool made this node");
        findings.others.push(refuse(reason).report(context, id));
        return;
    }
    match parameters(node) {
        Err(error) => findings.others.push(refuse(error.to_string()).report(context, id)),
        Ok(parameters) => {
            let mut report = refuse(String::new()).report(context, id);
            report.what = what(&parameters, op);
            report.parameters = Some(parameters);
            report.class_weights = node.input_at(2).map(str::to_owned);
            report.gradient = gradient(context, node).map(|g| context.graph.node(g).describe());
            report.action = Action::AlreadyPatched;
            findings.others.push(report);
        }
    }
}

/// Reads the attributes; absent ones have the operator's defaults.
pub(crate) fn parameters(node: &NodeProto) -> Result<EncouragingLoss, ParameterError> {
    let default = EncouragingLoss::default();
    let number = |name: &str, default: f32| node.attr_float(name).unwrap_or(default);
    EncouragingLoss::builder()
        .log_end(number("log_end", default.log_end()))
        .power(number("power", default.power()))
        .bonus_weight(number("bonus_weight", default.bonus_weight()))
        .label_smoothing(number("label_smoothing", default.label_smoothing()))
        .bonus(node.attr_str("bonus").unwrap_or(default.bonus().as_str()).parse()?)
        .reduction(node.attr_str("reduction").unwrap_or(default.reduction().as_str()).parse()?)
        .ignore_index(node.attr_int("ignore_index"))
        .build()
}

/// The gradient op that reads the same logits and labels.
pub(crate) fn gradient(context: &Context, loss: &NodeProto) -> Option<NodeId> {
    if operator(loss) == Some(LOSS_AND_GRAD_OP) {
        return None;
    }
    let (logits, labels) = (loss.input_at(0)?, loss.input_at(1)?);
    context.index.consumers(logits).iter().copied().find(|id| {
        let node = context.graph.node(*id);
        operator(node) == Some(GRAD_OP) && node.input_at(1) == Some(logits) && node.input_at(2) == Some(labels)
    })
}

fn what(parameters: &EncouragingLoss, op: &str) -> String {
    let mut text = super::family::words(parameters);
    if op == LOSS_AND_GRAD_OP {
        text.push_str(", with its gradient");
    }
    text
}
