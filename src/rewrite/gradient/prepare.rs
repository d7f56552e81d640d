//! A model as gradients need it: one flat graph.

use std::collections::HashMap;

use crate::model::{Document, Graph};
use crate::rewrite::RewriteError;
use crate::rewrite::patch::default_opset;
use crate::rewrite::raise::raise;
use crate::rewrite::write_out::Library;

use super::branches::write_out_branches;

/// Version of the standard operators that older models are raised to: the oldest that gradients are written in.
const MIN_OPSET: i64 = 13;

/// Functions of the model are written out, and so is every If whose condition is known: its branch stays. Models in older
/// operators are raised.
///
/// # Errors
/// A function or branch that cannot be written out, a model without the default domain, nodes that cannot run in their
/// order.
pub(crate) fn prepare(document: &Document) -> Result<Document, RewriteError> {
    let opset = default_opset(document)?;
    let library = Library::of(document);
    let mut flat = document.clone();
    library.write_out(&mut flat)?;
    library.remove_from(&mut flat)?;
    write_out_branches(&mut flat, opset)?;
    check_order(flat.graph())?;
    raise(&flat, MIN_OPSET)
}

/// A graph as ONNX wants it: every value is made once, before anybody reads it. The way back from the loss relies on it.
///
/// # Errors
/// A value that two nodes make; a node that reads what it or a later one makes.
fn check_order(graph: &Graph) -> Result<(), RewriteError> {
    let refuse =
        |at: usize, reason: String| Err(RewriteError::Unsupported { node: graph.nodes()[at].describe(), reason });
    let mut makers = HashMap::new();
    for (at, node) in graph.nodes().iter().enumerate() {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if let Some(first) = makers.insert(output.as_str(), at) {
                let first = graph.nodes()[first].describe();
                return refuse(
                    at,
                    format!("it makes '{output}', which {first} makes already; no value may have two makers"),
                );
            }
        }
    }
    for (at, node) in graph.nodes().iter().enumerate() {
        let early = node.reads().into_iter().filter(|name| makers.get(name).is_some_and(|&maker| maker >= at)).min();
        if let Some(early) = early {
            let rule = "nodes must stand in the order in which they run";
            return refuse(at, format!("it reads '{early}' before that is made; {rule}"));
        }
    }
    Ok(())
}
