//! `unpatch`: the encouraging loss back to cross entropy, a loss that `patch` added taken out again.

use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, NodeId, node};

use super::patch::{MODEL_LOSSES, MODEL_VERSION, default_opset};
use super::plan::Plan;
use super::report::{Action, LossReport};
use super::rules::{self, Context, encouraging_op, family};
use super::swap::{NODE_RULE, NODE_VERSION};
use super::{LOSS_AND_GRAD_OP, LOSS_OP, Patched, Report, RewriteError, attach, classifier, operator, parameters};

/// Replaces each of our ops by ONNX's `SoftmaxCrossEntropyLoss`, and its gradient by ORT Training's
/// `SoftmaxCrossEntropyLossGrad`; takes out the loss (and the labels input) that `patch` put on a bare classifier;
/// removes our functions, opset import and metadata.
///
/// # Errors
/// [`RewriteError::NothingMatched`] where the model holds none of our ops, [`RewriteError::Unsupported`] below opset 12
/// (there is no `SoftmaxCrossEntropyLoss` then) and for the fused op.
pub fn unpatch(document: &Document) -> Result<Patched, RewriteError> {
    let opset = default_opset(document)?;
    let context = Context::new(document.graph(), opset, "graph".into());
    let mut report = Report::default();
    let mut plan = Plan::default();
    let mut patched = document.clone();
    for (i, op) in context.graph.nodes().iter().enumerate() {
        if !matches!(operator(op), Some(LOSS_OP | LOSS_AND_GRAD_OP)) {
            continue;
        }
        if op.metadata(NODE_RULE) == Some(classifier::RULE) {
            take_out(&context, NodeId(i), &mut plan, &mut patched, &mut report);
        } else {
            restore(&context, NodeId(i), &mut plan, &mut report)?;
        }
    }
    if report.losses.is_empty() {
        return Err(RewriteError::NothingMatched(Box::new(report)));
    }
    plan.apply(patched.graph_mut());
    // no node of ours is left, so this removes the bodies and the imports
    report.changes.extend(attach(&mut patched)?.changes);
    for key in [MODEL_VERSION, MODEL_LOSSES] {
        patched.remove_metadata(key);
    }
    Ok(Patched { document: patched, report })
}

/// The op → cross entropy, its gradient too.
fn restore(context: &Context, id: NodeId, plan: &mut Plan, report: &mut Report) -> Result<(), RewriteError> {
    let op = context.graph.node(id);
    let unsupported = |reason: &str| RewriteError::Unsupported { node: op.describe(), reason: reason.into() };
    if operator(op) == Some(LOSS_AND_GRAD_OP) {
        return Err(unsupported(
            "the fused op has no counterpart in cross entropy; unpatch the model it was made from",
        ));
    }
    if context.opset < 12 {
        return Err(unsupported(
            "the model's opset has no SoftmaxCrossEntropyLoss (it came with opset 12); go back to the original file",
        ));
    }
    let parameters = parameters(op)?;
    let gradient = encouraging_op::gradient(context, op);
    let mut told = describe(context, id)?;
    let log_prob =
        gradient.map(|_| plan.fresh_name(context.graph, &format!("{}_log_prob", op.output_at(0).unwrap_or_default())));
    let inputs = [op.input_at(0), op.input_at(1), op.input_at(2)].map(Option::unwrap_or_default);
    let forward = cross_entropy_node("SoftmaxCrossEntropyLoss", &parameters)
        .name(&format!("{}/SoftmaxCrossEntropyLoss", op.output_at(0).unwrap_or_default()))
        .inputs(inputs)
        .outputs(op.output_at(0).into_iter().chain(log_prob.as_deref()))
        .build();
    plan.insert(id, forward);
    plan.remove(id);
    if let (Some(gradient), Some(log_prob)) = (gradient, log_prob) {
        plan.insert(gradient, gradient_node(context.graph.node(gradient), &parameters, &log_prob));
        plan.remove(gradient);
    }
    if parameters.label_smoothing() > 0.0 {
        report.warnings.push(format!(
            "label smoothing {} of '{}' is lost: SoftmaxCrossEntropyLoss has none",
            parameters.label_smoothing(),
            op.output_at(0).unwrap_or_default()
        ));
        told.parameters = Some(parameters.to_builder().label_smoothing(0.0).build()?);
    }
    report.losses.push(told);
    Ok(())
}

fn gradient_node(old: &NodeProto, parameters: &crate::loss::EncouragingLoss, log_prob: &str) -> NodeProto {
    let inputs = [old.input_at(0), Some(log_prob), old.input_at(2), old.input_at(3)].map(Option::unwrap_or_default);
    let mut builder = cross_entropy_node("SoftmaxCrossEntropyLossGrad", parameters)
        .domain("com.microsoft")
        .name(&format!("{}/SoftmaxCrossEntropyLossGrad", old.output_at(0).unwrap_or_default()))
        .inputs(inputs)
        .outputs(old.output_at(0));
    if let Some(doc) = &old.doc_string {
        builder = builder.doc_string(doc);
    }
    builder.build()
}

fn cross_entropy_node(op: &str, parameters: &crate::loss::EncouragingLoss) -> crate::model::NodeBuilder {
    let mut builder = node(op).string("reduction", parameters.reduction().as_str());
    if let Some(index) = parameters.ignore_index() {
        builder = builder.int("ignore_index", index);
    }
    builder
}

/// Removes a loss that `patch` had added to a classifier.
fn take_out(context: &Context, id: NodeId, plan: &mut Plan, patched: &mut Document, report: &mut Report) {
    let op = context.graph.node(id);
    plan.remove(id);
    if let Some(producer) = op.input_at(0).and_then(|v| context.index.producer(v))
        && context.graph.node(producer).metadata(NODE_VERSION).is_some()
    {
        plan.remove_unread(&context.index, &[producer]);
    }
    for output in op.output.iter().filter(|o| !o.is_empty()) {
        if patched.graph_mut().remove_output(output) {
            report.changes.push(format!("output '{output}' removed"));
        }
    }
    if let Some(labels) = op.input_at(1)
        && context.index.consumers(labels) == [id]
        && context.index.is_input(labels)
        && patched.graph_mut().remove_input(labels)
    {
        report.changes.push(format!("input '{labels}' removed"));
    }
    if let Ok(mut told) = describe(context, id) {
        told.notes.push("the loss that patch had added is taken out; the classifier is as it was".into());
        report.losses.push(told);
    }
}

fn describe(context: &Context, id: NodeId) -> Result<LossReport, RewriteError> {
    let op = context.graph.node(id);
    let parameters = parameters(op)?;
    let logits = op.input_at(0).unwrap_or_default();
    Ok(LossReport {
        rule: encouraging_op::RULE,
        place: context.place.clone(),
        what: family::words(&parameters),
        nodes: vec![op.describe()],
        logits: Some(logits.to_owned()),
        labels: op.input_at(1).map(str::to_owned),
        loss: op.output_at(0).map(str::to_owned),
        data_type: context.data_type(logits).map(|t: DataType| rules::data_type_name(t).to_owned()),
        shape: rules::shape_text(&context.shapes, logits),
        parameters: Some(parameters),
        class_weights: op.input_at(2).map(str::to_owned),
        gradient: encouraging_op::gradient(context, op).map(|g| context.graph.node(g).describe()),
        action: Action::Swapped,
        notes: Vec::new(),
    })
}
