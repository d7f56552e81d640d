//! Our own ops: what is there already.

use crate::loss::EncouragingLoss;
use crate::model::NodeId;
use crate::model::proto::NodeProto;

use super::{Context, Findings, Refusal, family};
use crate::rewrite::report::Action;
use crate::rewrite::{DOMAIN, GRAD_OP, LOSS_AND_GRAD_OP, operator, parameters};

pub(crate) const RULE: &str = "encouraging-loss";

/// The attributes of version 1 of the operators.
const ATTRIBUTES: [&str; 7] =
    ["log_end", "bonus", "power", "bonus_weight", "label_smoothing", "reduction", "ignore_index"];

/// Reports one of our ops.
pub(super) fn find(context: &Context, id: NodeId, findings: &mut Findings) {
    let node = context.graph.node(id);
    let refuse = |reason: String| Refusal { rule: RULE, what: format!("{DOMAIN}::{}", node.op()), reason };
    match operator(node) {
        None => {
            findings.others.push(refuse(format!("it is no operator of {DOMAIN} version 1")).report(context, id));
            return;
        }
        // told with its forward op
        Some(GRAD_OP) => return,
        Some(_) => {}
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
            report.what = what(&parameters, node);
            report.parameters = Some(parameters);
            report.class_weights = node.input_at(2).map(str::to_owned);
            report.gradient = gradient(context, node).map(|g| context.graph.node(g).describe());
            report.action = Action::AlreadyPatched;
            findings.others.push(report);
        }
    }
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

fn what(parameters: &EncouragingLoss, node: &NodeProto) -> String {
    let mut text = family::words(parameters);
    if operator(node) == Some(LOSS_AND_GRAD_OP) {
        text.push_str(", with its gradient");
    }
    text
}
