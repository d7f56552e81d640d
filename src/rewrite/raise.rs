//! Old models in newer operators: from version 7 or later of the standard operators up to 17.
//!
//! What changed in that time for operators that classifiers have: attributes became inputs (`attributes`), Softmax lost
//! its matrix view (`softmax`), Upsample became Resize (`resize`), BatchNormalization its modes. The rest of them stayed
//! what they were (`unchanged`); an operator that is on neither side is refused, never guessed.

mod attributes;
mod batch_normalization;
mod resize;
mod site;
mod softmax;
mod unchanged;

use crate::model::proto::NodeProto;
use crate::model::{Document, Graph, NodeId};
use crate::rewrite::patch::default_opset;
use crate::rewrite::{RewriteError, attach, is_our_domain};

use site::{Raised, Site, Surroundings};

/// Oldest version that is understood.
const OLDEST: i64 = 7;
/// Newest version that is written.
const NEWEST: i64 = 17;

/// The model in version `opset` (at most 17) of the standard operators; as it is where it has that or a newer one.
///
/// Numbers that became inputs are initializers with names of their own. A file older than IR version 4 lists its
/// initializers among its inputs, as it had to; those are taken off.
///
/// # Errors
/// [`RewriteError::Unsupported`] with the node: an operator, or a form of one, that this cannot raise; a model older than
/// version 7.
pub(crate) fn raise(document: &Document, opset: i64) -> Result<Document, RewriteError> {
    let from = default_opset(document)?;
    if from >= opset {
        return Ok(document.clone());
    }
    let refuse = |reason: String| Err(RewriteError::Unsupported { node: "the model".to_owned(), reason });
    if from < OLDEST || opset > NEWEST {
        return refuse(format!(
            "it imports version {from} of the standard operators, and only {OLDEST} to {NEWEST} can be raised, to at \
             most {NEWEST}; convert it (onnx.version_converter) or export it again"
        ));
    }
    if let Some(function) = document.functions().iter().find(|f| !is_our_domain(f.proto().domain())) {
        return refuse(format!(
            "it holds the function {}::{}, whose body would have to change, too; write the functions out (elonnx \
             inline) or export it again",
            function.proto().domain(),
            function.proto().name()
        ));
    }
    let mut raised = document.clone();
    if document.ir_version() < 4 {
        release_initializers(raised.graph_mut());
    }
    raise_graph(raised.graph_mut(), from, opset)?;
    raised.set_opset_version("", opset);
    raised.set_ir_version(raised.ir_version().max(if opset < 15 { 7 } else { 8 }));
    if !raised.functions().is_empty() {
        attach(&mut raised)?;
    }
    Ok(raised)
}

/// Takes initializers off the inputs.
fn release_initializers(graph: &mut Graph) {
    let names: Vec<String> = graph.initializers().iter().map(|tensor| tensor.name().to_owned()).collect();
    for name in names {
        graph.remove_input(&name);
    }
}

fn raise_graph(graph: &mut Graph, from: i64, to: i64) -> Result<(), RewriteError> {
    let (changes, initializers) = {
        let mut surroundings = Surroundings::of(graph, from, to);
        let mut changes = Vec::new();
        for (at, node) in graph.nodes().iter().enumerate() {
            if let Raised::Into(nodes) = raise_node(&mut surroundings, node)? {
                changes.push((at, nodes));
            }
        }
        (changes, surroundings.into_initializers())
    };
    // from behind: the positions of the nodes before stay what they are
    for (at, mut nodes) in changes.into_iter().rev() {
        let Some(last) = nodes.pop() else { continue };
        graph.replace_node(NodeId(at), last);
        for node in nodes.into_iter().rev() {
            graph.insert_node(at, node);
        }
    }
    for tensor in initializers {
        graph.add_initializer(tensor);
    }
    Ok(())
}

fn raise_node(surroundings: &mut Surroundings<'_>, node: &NodeProto) -> Result<Raised, RewriteError> {
    check_subgraphs(node, surroundings.from, surroundings.to)?;
    if !node.op_domain().is_empty() {
        return Ok(Raised::Same);
    }
    let refuse = |reason: String| RewriteError::Unsupported { node: node.describe(), reason };
    let mut site = Site::new(surroundings, node);
    let raised = match node.op() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" | "Split" | "Clip" | "Pad" | "Slice" | "TopK" | "Dropout" | "Scatter"
        | "RoiAlign" => attributes::raise(&mut site),
        "Softmax" | "LogSoftmax" | "Hardmax" => softmax::raise(&mut site),
        "Upsample" | "Resize" => resize::raise(&mut site),
        "BatchNormalization" => batch_normalization::raise(&mut site),
        op if unchanged::is_unchanged(op) => Ok(Raised::Same),
        _ => Err("it is not known how it changed".to_owned()),
    };
    raised.map_err(|reason| {
        refuse(format!(
            "{reason}, so it cannot be brought from version {} of the standard operators to {}; convert the model \
             (onnx.version_converter) or export it again",
            surroundings.from, surroundings.to
        ))
    })
}

/// Branches and loop bodies must be able to stay as they are.
fn check_subgraphs(node: &NodeProto, from: i64, to: i64) -> Result<(), RewriteError> {
    for encoded in node.subgraphs() {
        let inner = Graph::decode(encoded.clone(), "a graph inside a node")?;
        let mut surroundings = Surroundings::of(&inner, from, to);
        for inside in inner.nodes() {
            if let Raised::Into(_) = raise_node(&mut surroundings, inside)? {
                return Err(RewriteError::Unsupported {
                    node: node.describe(),
                    reason: format!(
                        "the graph inside it has {}, which would have to change, and that is done in the main graph \
                         only; convert the model (onnx.version_converter) or export it again",
                        inside.describe()
                    ),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
