//! A graph that was exported for training, as it runs in inference.

use bytes::Bytes;

use crate::model::proto::{AttributeProto, AttributeType, NodeProto};
use crate::model::{Graph, GraphIndex, NodeId, attribute, node};
use crate::rewrite::RewriteError;

/// What was turned off.
#[derive(Default)]
struct Count {
    dropouts: usize,
    normalizations: usize,
}

/// Turns Dropout and BatchNormalization to inference, also in the bodies of If, Loop and Scan; a sentence for each kind.
///
/// # Errors
/// Where a node reads what only training makes: the mask of a Dropout, the statistics of a batch.
pub(super) fn turn_training_off(graph: &mut Graph, opset: i64) -> Result<Vec<String>, RewriteError> {
    let mut count = Count::default();
    turn_off(graph, opset, &mut count)?;
    let mut told = Vec::new();
    if count.dropouts > 0 {
        told.push(format!("turned off {}: the model was exported for training", counted(count.dropouts, "Dropout")));
    }
    if count.normalizations > 0 {
        told.push(format!(
            "made {} use the running statistics: the model was exported for training",
            counted(count.normalizations, "BatchNormalization")
        ));
    }
    Ok(told)
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("one {what} node") } else { format!("{count} {what} nodes") }
}

fn turn_off(graph: &mut Graph, opset: i64, count: &mut Count) -> Result<(), RewriteError> {
    for at in 0..graph.nodes().len() {
        let id = NodeId(at);
        let old: &NodeProto = graph.node(id);
        let new = match (old.op_domain(), old.op()) {
            ("", "Dropout") => dropout(graph, id, opset, count)?,
            ("", "BatchNormalization") => batch_normalization(graph, id, opset, count)?,
            _ if old.subgraphs().next().is_some() => subgraphs(old.clone(), opset, count)?,
            _ => continue,
        };
        if new != **graph.node(id) {
            graph.replace_node(id, new);
        }
    }
    Ok(())
}

fn subgraphs(mut node: NodeProto, opset: i64, count: &mut Count) -> Result<NodeProto, RewriteError> {
    let place = node.describe();
    for attribute in &mut node.attribute {
        for encoded in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            let mut graph = Graph::decode(Bytes::clone(encoded), &place)?;
            turn_off(&mut graph, opset, count)?;
            *encoded = graph.to_bytes();
        }
    }
    Ok(node)
}

/// A Dropout hands its input on.
fn dropout(graph: &Graph, id: NodeId, opset: i64, count: &mut Count) -> Result<NodeProto, RewriteError> {
    let old = graph.node(id);
    refuse_readers(graph, id, "the mask of a Dropout, which exists in training only")?;
    let training = match opset {
        ..7 => old.attr_int("is_test").unwrap_or(0) == 0,
        7..12 => false,
        _ => old.input_at(2).is_some_and(|mode| {
            // a mode that the caller chooses is a training export, too
            GraphIndex::new(graph).constant(mode).and_then(|mode| mode.scalar()) != Some(0.0)
        }),
    };
    count.dropouts += usize::from(training);
    Ok(node("Identity").name(old.label()).inputs(old.input_at(0)).outputs(old.output_at(0)).build())
}

/// A BatchNormalization uses the statistics it has.
fn batch_normalization(graph: &Graph, id: NodeId, opset: i64, count: &mut Count) -> Result<NodeProto, RewriteError> {
    let old = graph.node(id);
    refuse_readers(graph, id, "the statistics of a batch, which exist in training only")?;
    let outputs = old.output.iter().filter(|output| !output.is_empty()).count();
    let training = match opset {
        ..7 => old.attr_int("is_test").unwrap_or(0) == 0,
        7..14 => outputs > 1,
        _ => old.attr_int("training_mode").unwrap_or(0) != 0,
    };
    count.normalizations += usize::from(training);
    let mut new = NodeProto::clone(old);
    new.output.truncate(1);
    new.attribute.retain(|a| !matches!(a.name(), "training_mode" | "is_test"));
    if opset < 7 {
        new.attribute.push(AttributeProto { i: Some(1), ..attribute("is_test", AttributeType::Int) });
    }
    Ok(new)
}

/// Outputs but the first may not be read; what reads them is left after everything unneeded is cut away.
fn refuse_readers(graph: &Graph, id: NodeId, what: &str) -> Result<(), RewriteError> {
    let node = graph.node(id);
    if node.output.len() < 2 {
        return Ok(());
    }
    let index = GraphIndex::new(graph);
    for output in node.output.iter().skip(1).filter(|output| !output.is_empty()) {
        if let Some(reader) = index.consumers(output).first() {
            return Err(RewriteError::Unsupported {
                node: graph.node(*reader).describe(),
                reason: format!("it reads '{output}', {what}; export the model in inference mode (model.eval())"),
            });
        }
    }
    Ok(())
}
