//! ORT Training's pairs: a loss and the gradient node that was built for it.
//!
//! `com.microsoft::SoftmaxCrossEntropyLossGrad`(dloss, log_prob, labels, weight?) and `…InternalGrad`(dloss, log_prob,
//! labels, weight?, ignore_index?, bias?). They read the forward's second output, never the logits. Swapping one
//! without the other runs without complaint and trains wrongly, hence the checks.

use crate::model::NodeId;

use super::softmax_cross_entropy::{ignore_index, reduction};
use super::{Context, Findings, GradientMatch, Match};
use crate::rewrite::RewriteError;

/// Whether the node is the gradient of a cross entropy.
fn is_loss_gradient(context: &Context, id: NodeId) -> bool {
    let node = context.graph.node(id);
    node.is("com.microsoft", "SoftmaxCrossEntropyLossGrad")
        || node.is("com.microsoft", "SoftmaxCrossEntropyLossInternalGrad")
}

/// Finds the gradient of a structural match and adds it.
///
/// # Errors
/// [`RewriteError::HalfPair`]: in a training graph there is none, there are several, or it has other parameters.
pub(super) fn attach_gradient(context: &Context, found: &mut Match) -> Result<(), RewriteError> {
    let forward = context.graph.node(found.at);
    let half = |reason: String| RewriteError::HalfPair { node: forward.describe(), reason };
    let gradients: Vec<NodeId> = match &found.log_prob {
        Some(log_prob) => context
            .index
            .consumers(log_prob)
            .iter()
            .copied()
            .filter(|id| {
                is_loss_gradient(context, *id) && context.graph.node(*id).input_at(1) == Some(log_prob.as_str())
            })
            .collect(),
        None => Vec::new(),
    };
    let [id] = gradients[..] else {
        if gradients.len() > 1 {
            return Err(half(format!("{} gradient nodes read its log-probabilities", gradients.len())));
        }
        return refuse_gradient(context, found);
    };
    let node = context.graph.node(id);
    let (Some(dloss), Some(dlogits)) = (node.input_at(0), node.output_at(0)) else {
        return Err(half(format!("its gradient {} has no incoming or no outgoing gradient", node.describe())));
    };
    let differs = |what: &str| half(format!("its gradient {} has another {what}", node.describe()));
    if node.input_at(2) != Some(found.labels.as_str()) {
        return Err(differs("labels input"));
    }
    if node.input_at(3) != found.class_weights.as_deref() {
        return Err(differs("class weights input"));
    }
    if reduction(node).map_err(&half)? != found.parameters.reduction() {
        return Err(differs("reduction"));
    }
    if ignore_index(context, id).map_err(&half)? != found.parameters.ignore_index() {
        return Err(differs("ignore_index"));
    }
    found.gradient = Some(GradientMatch {
        node: id,
        dloss: dloss.to_owned(),
        dlogits: dlogits.to_owned(),
        bias: (node.op() == "SoftmaxCrossEntropyLossInternalGrad")
            .then(|| node.input_at(5))
            .flatten()
            .map(str::to_owned),
    });
    found.nodes.push(id);
    Ok(())
}

/// A loss without its own gradient node must have no gradient at all.
///
/// # Errors
/// [`RewriteError::HalfPair`] where a gradient node reads what the swap would remove, or where the graph is a training
/// graph and this loss is its root.
pub(super) fn refuse_gradient(context: &Context, found: &Match) -> Result<(), RewriteError> {
    for id in &found.nodes {
        for output in &context.graph.node(*id).output {
            let reader =
                context.index.consumers(output).iter().find(|r| context.is_gradient(**r) && !found.nodes.contains(r));
            if let Some(reader) = reader {
                return Err(RewriteError::HalfPair {
                    node: context.graph.node(found.at).describe(),
                    reason: format!(
                        "its gradient is spelled out in other nodes ({} reads '{output}'); patch the forward model and build the gradient again",
                        context.graph.node(*reader).describe()
                    ),
                });
            }
        }
    }
    if context.is_training_graph() {
        return Err(RewriteError::HalfPair {
            node: context.graph.node(found.at).describe(),
            reason: "the graph is a training graph, but no gradient node belongs to this loss".into(),
        });
    }
    Ok(())
}

/// Every gradient of a cross entropy must belong to a match.
///
/// # Errors
/// [`RewriteError::HalfPair`] naming the orphan.
pub(super) fn check_no_orphans(context: &Context, findings: &Findings) -> Result<(), RewriteError> {
    for i in 0..context.graph.nodes().len() {
        let id = NodeId(i);
        let owned = findings.matches.iter().any(|m| m.gradient.as_ref().is_some_and(|g| g.node == id));
        if is_loss_gradient(context, id) && !owned {
            // a forward loss that was left alone keeps its gradient
            let log_prob = context.graph.node(id).input_at(1).unwrap_or_default();
            let forward = context.index.producer(log_prob).map(|p| context.graph.node(p).op());
            if matches!(forward, Some("SoftmaxCrossEntropyLoss" | "SoftmaxCrossEntropyLossInternal")) {
                continue;
            }
            return Err(RewriteError::HalfPair {
                node: context.graph.node(id).describe(),
                reason: format!("it is the gradient of a cross entropy, but '{log_prob}' does not come from one"),
            });
        }
    }
    Ok(())
}
