//! A classifier cut down to what scoring needs: input → logits, and the feature before the last layer.

mod evidence;
mod head;
#[cfg(test)]
mod tests;
mod two_classes;
mod weights;

use crate::model::proto::{NodeProto, ValueInfoProto};
use crate::model::{DataType, Dimension, Document, Graph, GraphIndex, ValueType, node, value_info};

use super::patch::default_opset;
use super::rules::Context;
use super::traces::drop_our_functions;
use super::write_out::Library;
use super::{RewriteError, cut, free_batch, inference, inline, is_our_domain};

pub(super) use evidence::{Chosen, choose};
pub(super) use head::linear_head;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScoringOptions {
    /// Value to take as logits instead of looking for them.
    pub logits: Option<String>,
    /// Take probabilities as they come out instead of logits: for sigmoid heads, tree ensembles and the like.
    pub probabilities: bool,
    /// Whether the feature before the last layer is wanted, too.
    pub feature: bool,
}

/// What the first output of [`ScoringModel::document`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Logits.
    Logits,
    /// Probabilities, each in [0, 1].
    Probabilities,
}

/// The last layer, and what it reads: logits = weight · feature + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearHead {
    /// Name of the feature, float [N, features] (or [N, features, 1, 1]).
    pub feature: String,
    /// Number of features.
    pub features: usize,
    /// [classes, features], row-major.
    pub weight: Vec<f32>,
    /// \[classes\]; zeros where the layer has none.
    pub bias: Vec<f32>,
}

/// A model that gives nothing but what scores are computed from.
#[derive(Clone, Debug)]
pub struct ScoringModel {
    /// Standard operators, in inference mode; outputs: the evidence, then the feature if it was wanted and there is one.
    pub document: Document,
    /// What the first output is.
    pub evidence: Evidence,
    /// Its name in the original model.
    pub value: String,
    /// How it was found, a clause: "goes through a softmax to the output 'prob'".
    pub how: String,
    /// Its class axis.
    pub class_axis: usize,
    /// Number of classes, where the file tells.
    pub classes: Option<usize>,
    /// What the model itself divides the logits by before its softmax.
    pub temperature: Option<f64>,
    /// The last layer, or why its feature cannot be had, a clause.
    pub head: Result<LinearHead, String>,
    /// What was changed to bring the model into inference mode, a sentence each.
    pub changes: Vec<String>,
    /// Whether the first axis of every input may have any size: it is no fixed number, and where the file fixed it, it
    /// was made free because nothing in the graph depends on it. Else samples go through in batches of the size that the
    /// inputs say.
    pub free_batch: bool,
}

/// Finds the logits, cuts the graph there, inlines functions and turns training mode off.
///
/// # Errors
/// [`RewriteError::NoLogits`] where the model has none, with the reason and what still works;
/// [`RewriteError::AmbiguousLogits`], [`RewriteError::NotLogits`] as for `patch`; [`RewriteError::Unsupported`] for a
/// graph whose weights are inputs, and for one that needs what exists in training only.
pub fn scoring_model(document: &Document, options: &ScoringOptions) -> Result<ScoringModel, RewriteError> {
    let opset = default_opset(document)?;
    let library = Library::of(document);
    let mut document = document.clone();
    library.write_out(&mut document)?;

    let context = Context::new(document.graph(), opset, "graph".into());
    let chosen = choose(&document, &context, options)?;
    let mut head = match (options.feature, chosen.kind) {
        (false, _) => Err("the feature was not asked for".to_owned()),
        (true, Evidence::Probabilities) => Err("probabilities come without a last layer".to_owned()),
        (true, Evidence::Logits) => linear_head(&document, &context, &chosen.value).map(|found| found.head),
    };
    let mut outputs = vec![Output::of(&context, &chosen.value, Some(chosen.class_axis))];
    outputs.extend(head.as_ref().ok().map(|head| Output::of(&context, &head.feature, None)));

    let mut cut = document.clone();
    keep_outputs(cut.graph_mut(), &outputs);
    if cut.graph().nodes().iter().any(|node| is_our_domain(node.op_domain())) {
        cut = inline(&cut)?.document;
    }
    let changes = inference::turn_training_off(cut.graph_mut(), opset)?;
    keep_outputs(cut.graph_mut(), &outputs);
    library.remove_from(&mut cut)?;
    drop_our_functions(&mut cut);
    refuse_weights_as_inputs(cut.graph())?;

    let names = name_outputs(cut.graph_mut(), &outputs);
    if let (Ok(head), Some(name)) = (&mut head, names.get(1)) {
        head.feature.clone_from(name);
    }
    let completed = two_classes::complete(cut.graph_mut(), &chosen, opset);
    let free_batch = free_batch::free(&mut cut, opset);
    let of_head = head.as_ref().ok().map(|head| head.bias.len());
    let classes = if completed { Some(2) } else { chosen.classes.or(of_head) };
    let Chosen { kind: evidence, value, how, class_axis, temperature, .. } = chosen;
    Ok(ScoringModel {
        document: cut,
        evidence,
        value,
        how,
        class_axis,
        classes,
        temperature,
        head,
        changes,
        free_batch,
    })
}

/// A value that the cut model gives.
struct Output {
    value: String,
    data_type: Option<DataType>,
    dims: Option<Vec<Dimension>>,
}

impl Output {
    /// Only the sizes that scores need are promised: what exporters declare of the rest is wrong at times.
    fn of(context: &Context, value: &str, class_axis: Option<usize>) -> Self {
        let dims = context.shapes.get(value).dims.map(|dims| {
            let kept = |at: usize| class_axis.is_none_or(|axis| axis == at) && at > 0;
            dims.into_iter()
                .enumerate()
                .map(|(at, dim)| match dim {
                    Dimension::Known(_) if !kept(at) => Dimension::Unknown,
                    dim => dim,
                })
                .collect()
        });
        Self { value: value.to_owned(), data_type: context.data_type(value), dims }
    }

    fn info(&self, name: &str) -> ValueInfoProto {
        match self.data_type {
            Some(data_type) => value_info(name, data_type as i32, self.dims.as_deref()),
            None => ValueInfoProto { name: Some(name.to_owned()), ..ValueInfoProto::default() },
        }
    }
}

/// Makes `outputs` the outputs of the graph and drops what they do not need.
fn keep_outputs(graph: &mut Graph, outputs: &[Output]) {
    let old: Vec<String> = graph.outputs().iter().map(|value| value.name().to_owned()).collect();
    for name in old {
        graph.remove_output(&name);
    }
    let wanted: Vec<&str> = outputs.iter().map(|output| output.value.as_str()).collect();
    cut::keep_only(graph, &wanted);
    for output in outputs {
        graph.remove_value_info(&output.value);
        graph.add_output(output.info(&output.value));
    }
}

/// A value that no node makes cannot be an output everywhere: it gets a name of its own. The names the outputs have.
fn name_outputs(graph: &mut Graph, outputs: &[Output]) -> Vec<String> {
    let mut names = Vec::new();
    for output in outputs {
        graph.remove_output(&output.value);
        let made = graph.nodes().iter().any(|node| node.output.contains(&output.value));
        let name = if made { output.value.clone() } else { graph.fresh_name(&format!("{}_output", output.value)) };
        if !made {
            let copy = node("Identity").inputs([&output.value]).outputs([&name]).build();
            graph.insert_node(graph.nodes().len(), copy);
        }
        graph.add_output(output.info(&name));
        names.push(name);
    }
    names
}

/// The graphs of ORT Training take their weights as inputs.
fn refuse_weights_as_inputs(graph: &Graph) -> Result<(), RewriteError> {
    let index = GraphIndex::new(graph);
    // a matrix of fixed sizes
    let stored_elsewhere = |value: &str| {
        let info = graph.inputs().iter().find(|input| input.name() == value);
        let dims = info.and_then(|info| ValueType::of_value_info(info).dims);
        dims.is_some_and(|dims| dims.len() == 2 && dims.iter().all(|dim| dim.known().is_some()))
    };
    let weight_input = |node: &NodeProto| {
        let is_weight = |value: &&str| match (node.op_domain(), node.op()) {
            ("", "Gemm" | "Conv") => index.is_input(value),
            ("", "MatMul") => index.is_input(value) && stored_elsewhere(value),
            _ => false,
        };
        node.input_at(1).filter(is_weight).map(str::to_owned)
    };
    let Some((node, weight)) = graph.nodes().iter().find_map(|node| Some((node, weight_input(node)?))) else {
        return Ok(());
    };
    Err(RewriteError::Unsupported {
        node: node.describe(),
        reason: format!(
            "its weight '{weight}' is an input of the model, as in the graphs of ORT Training; export the inference model \
             first (onnxruntime.training.api.Module.export_model_for_inferencing)"
        ),
    })
}
