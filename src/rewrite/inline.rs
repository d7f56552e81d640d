//! `inline`: replaces our ops by their bodies in plain ONNX.

use crate::model::proto::{FunctionProto, NodeProto, OperatorSetIdProto};
use crate::model::{DataType, Document, Graph, NodeId, Shapes, metadata_entry};

use super::expand::expand;
use super::function::{Operands, Signature, function_for, operator, parameters, used_elsewhere, with_every_attribute};
use super::fused;
use super::rules::{data_type_name, encouraging_op, family, shape_text};
use super::swap::{NODE_RULE, NODE_VERSION};
use super::{Action, BODY_DOMAIN, DOMAIN, GRAD_OP, LossReport, Patched, Report, RewriteError};

/// Replaces every node of the domains `ai.elonnx` and `ai.elonnx.body` in the main graph by the nodes of its body; the
/// result has the standard domain only (as far as our ops go). For tools that know neither the plugin nor functions,
/// e.g. tract. Values keep their names and value_info; new ones are called "node name/…".
///
/// # Errors
/// As [`Signature::of`], or an opset older than 12 (bfloat16: 13).
pub fn inline(document: &Document) -> Result<Patched, RewriteError> {
    let mut document = document.clone();
    let opset = document.opset_version("").unwrap_or_default();
    let types = Shapes::new(document.graph(), opset);
    let mut report = Report { losses: losses(document.graph(), &types)?, ..Report::default() };
    let mut count = 0;
    // from behind: the positions of the nodes before stay what they are
    for at in (0..document.graph().nodes().len()).rev() {
        let node: NodeProto = NodeProto::clone(document.graph().node(NodeId(at)));
        let expanded = if let Some(fused) = fused::find(node.op()).filter(|_| node.op_domain() == DOMAIN) {
            expanded(&(fused.body)(opset), &node, document.graph())?
        } else if operator(&node).is_some() {
            let signature = Signature::of(&node, &types)?;
            signature.check_opset(opset, &node)?;
            let body = body_of(&document, &node, &signature, opset);
            expanded(&body, &with_every_attribute(node)?, document.graph())?
        } else {
            continue;
        };
        let graph = document.graph_mut();
        graph.remove_nodes(&[NodeId(at)]);
        count += expanded.len();
        for (offset, node) in expanded.into_iter().enumerate() {
            graph.insert_node(at + offset, node);
        }
    }
    if count > 0 {
        report.changes.push(format!("{count} standard operators in their place"));
    }
    if used_elsewhere(&document)? {
        report.warnings.push(format!(
            "nodes of {DOMAIN} inside If, Loop or a function of the model were left as they are, and so were their bodies"
        ));
    } else {
        remove_traces(&mut document, &mut report);
    }
    Ok(Patched { document, report })
}

/// Functions and imports of our domains.
fn remove_traces(document: &mut Document, report: &mut Report) {
    let ours: Vec<_> = document
        .functions()
        .iter()
        .map(|f| (f.proto().domain().to_owned(), f.proto().name().to_owned()))
        .filter(|(domain, _)| domain == DOMAIN || domain == BODY_DOMAIN)
        .collect();
    for (domain, name) in ours {
        if document.remove_function(&domain, &name) {
            report.changes.push(format!("function {domain}::{name} removed"));
        }
    }
    for domain in [DOMAIN, BODY_DOMAIN] {
        if document.opset_version(domain).is_some() {
            document.remove_opset(domain);
            report.changes.push(format!("opset import {domain} removed"));
        }
    }
}

/// The model's own body where it is plain nodes of the model's opset, else the one for the signature.
fn body_of(document: &Document, node: &NodeProto, signature: &Signature, opset: i64) -> FunctionProto {
    let plain = |import: &OperatorSetIdProto| matches!(import.domain(), "" | "ai.onnx") && import.version() == opset;
    document
        .functions()
        .iter()
        .map(|f| f.proto())
        .find(|f| f.domain() == node.op_domain() && f.name() == node.op() && f.overload() == node.overload())
        .filter(|f| f.opset_import.iter().all(plain))
        .filter(|f| f.node.iter().all(|n| n.op_domain().is_empty() && n.subgraphs().next().is_none()))
        .filter(|f| f.input.len() >= node.input.len() && f.output.len() >= node.output.len())
        .cloned()
        .unwrap_or_else(|| function_for(signature, opset))
}

/// The nodes of `body` in the place of `node`, stamped.
fn expanded(body: &FunctionProto, node: &NodeProto, graph: &Graph) -> Result<Vec<NodeProto>, RewriteError> {
    let mut nodes = expand(body, node, &free_prefix(body, node, graph))?;
    for new in &mut nodes {
        new.metadata_props.push(metadata_entry(NODE_VERSION, env!("CARGO_PKG_VERSION")));
        new.metadata_props.push(metadata_entry(NODE_RULE, "inline"));
    }
    Ok(nodes)
}

/// The node's name, or its operator's, with a number where a value of the body would meet one of the graph.
fn free_prefix(body: &FunctionProto, node: &NodeProto, graph: &Graph) -> String {
    let base = if node.label().is_empty() { node.op() } else { node.label() };
    let taken = |prefix: &str| {
        body.node.iter().flat_map(|n| &n.output).any(|value| graph.has_value(&format!("{prefix}/{value}")))
    };
    let mut prefix = base.to_owned();
    let mut number = 0;
    while taken(&prefix) {
        number += 1;
        prefix = format!("{base}_{number}");
    }
    prefix
}

/// What there is to inline: a loss with its gradient, or either alone.
fn losses(graph: &Graph, types: &Shapes) -> Result<Vec<LossReport>, RewriteError> {
    let mut losses: Vec<LossReport> = Vec::new();
    for node in graph.nodes() {
        let Some(op) = operator(node) else { continue };
        let operands = Operands::of(op, node);
        let belongs = |loss: &&mut LossReport| {
            loss.gradient.is_none()
                && loss.logits.as_deref() == operands.logits
                && loss.labels.as_deref() == operands.labels
        };
        if op == GRAD_OP
            && let Some(loss) = losses.iter_mut().find(belongs)
        {
            loss.gradient = Some(node.describe());
            loss.nodes.push(node.describe());
            continue;
        }
        let data_type = operands.logits.and_then(|value| types.data_type(value));
        let parameters = parameters(node)?;
        losses.push(LossReport {
            rule: encouraging_op::RULE,
            place: "graph".to_owned(),
            what: family::words(&parameters),
            nodes: vec![node.describe()],
            logits: operands.logits.map(str::to_owned),
            labels: operands.labels.map(str::to_owned),
            loss: operands.loss.map(str::to_owned),
            data_type: data_type.and_then(|t| DataType::try_from(t).ok()).map(|t| data_type_name(t).to_owned()),
            shape: operands.logits.and_then(|value| shape_text(types, value)),
            parameters: Some(parameters),
            class_weights: operands.class_weights.map(str::to_owned),
            gradient: operands.dlogits.map(|_| node.describe()),
            action: Action::Swapped,
            notes: Vec::new(),
        });
    }
    Ok(losses)
}
