//! The way from the data to the logits and labels, cut out of a model and made fit for gradients.

use crate::model::proto::{NodeProto, ValueInfoProto};
use crate::model::{DataType, Dimension, Document, Graph, GraphIndex, NodeId, Shapes, ValueType, node, value_info};
use crate::rewrite::function::{Operands, attributes, operator};
use crate::rewrite::patch::{MODEL_LOSSES, MODEL_VERSION, default_opset};
use crate::rewrite::raise::raise;
use crate::rewrite::traces::drop_our_functions;
use crate::rewrite::{
    DOMAIN, DOMAIN_VERSION, LOSS_AND_GRAD_OP, LOSS_OP, PatchOptions, RewriteError, cut, free_batch, patch,
};

use super::{TrainStepError, TrainStepOptions, constant_nodes};

/// The first version in which BatchNormalization says by an attribute that it trains.
const TRAINING_MODE_OPSET: i64 = 14;

/// Functions came to ONNX with this IR version.
const FIRST_IR_VERSION_WITH_FUNCTIONS: i64 = 8;

/// A classifier up to its logits, and the labels it is held against.
pub(super) struct Forward {
    /// Outputs: the logits, then the labels where the graph computes them of an input.
    pub document: Document,
    /// The value with the logits, the classes in axis 1.
    pub logits: String,
    /// The value with the labels: an input, or made of one.
    pub labels: String,
    /// The input that the labels come in by.
    pub labels_input: String,
    /// A weight per class that the model has of its own.
    pub class_weights: Option<String>,
    /// What was decided, a sentence each.
    pub notes: Vec<String>,
}

/// Functions written out, opset raised, cut at the logits, any number of samples where the graph allows it.
pub(super) fn forward(document: &Document, options: &TrainStepOptions) -> Result<Forward, TrainStepError> {
    let mut notes = Vec::new();
    let mut flat = crate::rewrite::gradient::prepare(document)?;
    constant_nodes::store(&mut flat, document);
    let flat = raised(flat, default_opset(document)?, &mut notes)?;
    let opset = default_opset(&flat)?;

    let asked =
        PatchOptions { logits: options.logits.clone(), labels: options.labels.clone(), ..PatchOptions::default() };
    let patched = patch(&flat, &asked)?;
    let loss = loss_node(patched.document.graph(), options)?;
    let operands = Operands::of(operator(&loss).unwrap_or_default(), &loss);
    let (Some(logits), Some(labels)) = (operands.logits, operands.labels) else {
        return Err(
            RewriteError::Unsupported { node: loss.describe(), reason: "it lacks logits or labels".into() }.into()
        );
    };
    let of_the_model = flat.graph().has_value(labels);
    notes.extend(about_the_loss(&patched.report));

    let mut document = patched.document.clone();
    drop_our_traces(&mut document);
    let (logits, labels) = (logits.to_owned(), labels.to_owned());
    let class_weights = operands.class_weights.map(str::to_owned);
    cut_at(document.graph_mut(), opset, &logits, of_the_model.then_some(&labels), class_weights.as_deref());
    if !free_batch::free(&mut document, opset) {
        notes.push(
            "the number of samples per step is fixed: something in the graph depends on it, or the inputs differ in it"
                .to_owned(),
        );
    }
    let labels_input = match of_the_model {
        true => input_of(document.graph(), &labels)?,
        false => add_labels(&mut document, opset, &logits, &labels),
    };
    Ok(Forward { document, logits, labels, labels_input, class_weights, notes })
}

/// Gradients need one opset, BatchNormalization that trains a newer one.
fn raised(flat: Document, original: i64, notes: &mut Vec<String>) -> Result<Document, TrainStepError> {
    let normalizes = flat.graph().nodes().iter().any(|node| node.is("", "BatchNormalization"));
    let raised = if normalizes { raise(&flat, TRAINING_MODE_OPSET)? } else { flat };
    let opset = default_opset(&raised)?;
    if opset != original {
        notes.push(format!("opset {original} raised to {opset}"));
    }
    Ok(raised)
}

/// The one loss: of ours, after `patch`.
fn loss_node(graph: &Graph, options: &TrainStepOptions) -> Result<NodeProto, TrainStepError> {
    let is_loss = |node: &&crate::model::Node| matches!(operator(node), Some(LOSS_OP | LOSS_AND_GRAD_OP));
    let chosen =
        |node: &&crate::model::Node| options.logits.as_deref().is_none_or(|logits| node.input_at(0) == Some(logits));
    let all: Vec<_> = graph.nodes().iter().filter(is_loss).collect();
    // a transposed copy of the logits asked for has another name; it is the only one then
    let found: Vec<_> = if all.len() > 1 { all.into_iter().filter(chosen).collect() } else { all };
    match found[..] {
        [one] => Ok(NodeProto::clone(one)),
        [] => Err(TrainStepError::Option("no loss of the model is on the logits that --logits names".to_owned())),
        _ => {
            let logits = found.iter().filter_map(|node| node.input_at(0)).map(str::to_owned);
            Err(RewriteError::AmbiguousLogits { candidates: logits.collect() }.into())
        }
    }
}

/// What the user should know of how logits and labels were found.
fn about_the_loss(report: &crate::rewrite::Report) -> Vec<String> {
    let mut notes = Vec::new();
    for loss in &report.losses {
        let Some(logits) = &loss.logits else { continue };
        if loss.rule == crate::rewrite::classifier::RULE {
            notes.extend(loss.notes.iter().map(|note| format!("{logits}: {note}")));
        } else if loss.place == "graph" {
            notes.push(format!("the model's own loss ({}) gives way to the one asked for", loss.what));
        }
    }
    notes.extend(report.warnings.iter().filter(|warning| warning.contains("squashes")).cloned());
    notes
}

/// Functions, imports and stamps of ours: the finished step gets its own.
fn drop_our_traces(document: &mut Document) {
    drop_our_functions(document);
    for key in [MODEL_VERSION, MODEL_LOSSES] {
        document.remove_metadata(key);
    }
}

/// Leaves what the logits (and labels, and class weights) are made of.
fn cut_at(graph: &mut Graph, opset: i64, logits: &str, labels: Option<&String>, class_weights: Option<&str>) {
    let shapes = Shapes::new(graph, opset);
    let outputs: Vec<ValueInfoProto> = [Some(logits), labels.map(String::as_str)]
        .into_iter()
        .flatten()
        .map(|value| info_of(value, &without_batch(shapes.get(value))))
        .collect();
    let wanted: Vec<&str> = [Some(logits), labels.map(String::as_str), class_weights].into_iter().flatten().collect();
    let old: Vec<String> = graph.outputs().iter().map(|value| value.name().to_owned()).collect();
    for name in old {
        graph.remove_output(&name);
    }
    cut::keep_only(graph, &wanted);
    for output in outputs {
        graph.remove_value_info(output.name());
        graph.add_output(output);
    }
    // before IR version 4 every initializer was an input, too; functions need 8
    let stored: Vec<String> = graph.initializers().iter().map(|tensor| tensor.name().to_owned()).collect();
    for name in stored {
        graph.remove_input(&name);
    }
}

/// The number of samples follows from the inputs, which may come to have any.
fn without_batch(mut found: ValueType) -> ValueType {
    if let Some(first) = found.dims.as_mut().and_then(|dims| dims.first_mut())
        && first.known().is_some()
    {
        *first = Dimension::Unknown;
    }
    found
}

fn info_of(value: &str, found: &ValueType) -> ValueInfoProto {
    match found.data_type {
        Some(data_type) => value_info(value, data_type, found.dims.as_deref()),
        None => ValueInfoProto { name: Some(value.to_owned()), ..ValueInfoProto::default() },
    }
}

/// The one input that computed labels come in by.
fn input_of(graph: &Graph, labels: &str) -> Result<String, TrainStepError> {
    let index = GraphIndex::new(graph);
    let mut open = vec![labels];
    let mut seen = std::collections::HashSet::new();
    let mut inputs = Vec::new();
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        if index.is_input(value) {
            inputs.push(value.to_owned());
        } else if let Some(id) = index.producer(value) {
            open.extend(graph.node(id).reads());
        }
    }
    match &inputs[..] {
        [only] => Ok(only.clone()),
        _ => Err(RewriteError::NotLabels {
            name: labels.to_owned(),
            reason: format!("the graph computes it of {} inputs, not of one", inputs.len()),
        }
        .into()),
    }
}

/// A labels input for logits that had none: int64, their shape without the class axis.
fn add_labels(document: &mut Document, opset: i64, logits: &str, name: &str) -> String {
    let dims = Shapes::new(document.graph(), opset).get(logits).dims;
    let mut dims = dims.unwrap_or_else(|| vec![Dimension::Symbol("batch".into()), Dimension::Unknown]);
    if dims.len() > 1 {
        dims.remove(1);
    }
    document.graph_mut().add_input(value_info(name, DataType::Int64 as i32, Some(&dims)));
    name.to_owned()
}

/// Names of what the loss gives and takes beside logits and labels.
pub(super) struct LossPorts {
    pub loss: String,
    pub margin: String,
    pub logits: String,
    pub bonus_weight: Option<String>,
    pub class_weights: Option<String>,
}

/// Puts the loss on the logits; outputs of the graph are loss, margin and logits from here on.
pub(super) fn add_loss(forward: &mut Forward, options: &TrainStepOptions) -> Result<LossPorts, TrainStepError> {
    let document = &mut forward.document;
    let opset = default_opset(document)?;
    let logits = rename_logits(document.graph_mut(), &forward.logits);
    let shapes = Shapes::new(document.graph(), opset);
    let (found, labels) = (shapes.get(&logits), shapes.get(&forward.labels));
    let data_type = found.data_type.unwrap_or(DataType::Float as i32);
    let graph = document.graph_mut();
    let bonus_weight = options.bonus_weight_input.then(|| {
        let name = graph.fresh_name("bonus_weight");
        graph.add_input(value_info(&name, DataType::Float as i32, Some(&[])));
        name
    });
    let class_weights = options.class_weights_input.then(|| {
        let name = graph.fresh_name("class_weights");
        let classes = found.dims.as_ref().and_then(|dims| dims.get(1).cloned()).unwrap_or(Dimension::Unknown);
        graph.add_input(value_info(&name, data_type, Some(&[classes])));
        name
    });
    let (loss, margin) = (graph.fresh_name("loss"), graph.fresh_name("margin"));
    let weights = class_weights.as_ref().or(forward.class_weights.as_ref());
    let inputs = [Some(&logits), Some(&forward.labels), weights, bonus_weight.as_ref()];
    let inputs = inputs.map(|value| value.map(String::as_str).unwrap_or_default());
    let new = node(LOSS_OP)
        .domain(DOMAIN)
        .name(&graph.fresh_name(LOSS_OP))
        .attributes(attributes(&options.loss))
        .inputs(inputs)
        .outputs([&loss, &margin])
        .build();
    graph.insert_node(graph.nodes().len(), new);
    let old: Vec<String> = graph.outputs().iter().map(|value| value.name().to_owned()).collect();
    for name in old {
        graph.remove_output(&name);
    }
    graph.add_output(value_info(&loss, data_type, Some(&[])));
    let margin_dims = labels.dims.or_else(|| {
        let dims = found.dims.clone()?;
        Some(dims.into_iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, dim)| dim).collect())
    });
    graph.add_output(value_info(&margin, DataType::Float as i32, margin_dims.as_deref()));
    graph.add_output(info_of(&logits, &found));
    document.set_opset_version(DOMAIN, DOMAIN_VERSION);
    if document.ir_version() < FIRST_IR_VERSION_WITH_FUNCTIONS {
        document.set_ir_version(FIRST_IR_VERSION_WITH_FUNCTIONS);
    }
    forward.logits.clone_from(&logits);
    Ok(LossPorts { loss, margin, logits, bonus_weight, class_weights })
}

/// Gives the logits the name "logits", so that drivers need not know each exporter's names; where something stands in
/// the way they are copied.
fn rename_logits(graph: &mut Graph, old: &str) -> String {
    if old == "logits" && GraphIndex::new(graph).producer(old).is_some() {
        return old.to_owned();
    }
    let name = graph.fresh_name("logits");
    let index = GraphIndex::new(graph);
    let inner = graph.nodes().iter().any(|node| node.subgraphs().next().is_some() && node.reads().contains(old));
    let producer = index.producer(old).filter(|_| !inner);
    let Some(producer) = producer else {
        let copy = node("Identity").name(&name).inputs([old]).outputs([&name]).build();
        graph.insert_node(graph.nodes().len(), copy);
        return name;
    };
    let mut touched: Vec<NodeId> = index.consumers(old).to_vec();
    touched.push(producer);
    for id in touched {
        let mut new = NodeProto::clone(graph.node(id));
        for value in new.input.iter_mut().chain(&mut new.output).filter(|value| *value == old) {
            value.clone_from(&name);
        }
        graph.replace_node(id, new);
    }
    graph.remove_value_info(old);
    name
}
