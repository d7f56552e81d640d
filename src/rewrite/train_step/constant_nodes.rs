//! Weights that a file keeps in `Constant` nodes instead of initializers.

use std::collections::HashSet;

use prost::Message;

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Document, Graph, NodeId};

/// Makes initializers of the float tensors in `Constant` nodes of the main graph of `original`, so that they can be
/// trained as any other; [`super::trained`] finds the nodes again by the names of their outputs.
pub(super) fn store(flat: &mut Document, original: &Document) {
    let of_the_file: HashSet<&str> =
        all(original.graph()).into_iter().filter_map(|id| original.graph().node(id).output_at(0)).collect();
    let mut found: Vec<(NodeId, TensorProto)> = Vec::new();
    for (at, node) in flat.graph().nodes().iter().enumerate() {
        let Some(tensor) = float_tensor(node) else { continue };
        if let Some(name) = node.output_at(0).filter(|name| of_the_file.contains(name)) {
            found.push((NodeId(at), TensorProto { name: Some(name.to_owned()), ..tensor }));
        }
    }
    let graph = flat.graph_mut();
    graph.remove_nodes(&found.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    for (_, tensor) in found {
        graph.add_initializer(tensor);
    }
}

/// The `Constant` nodes of floats.
pub(super) fn all(graph: &Graph) -> Vec<NodeId> {
    let nodes = graph.nodes().iter().enumerate();
    nodes.filter(|(_, node)| float_tensor(node).is_some()).map(|(at, _)| NodeId(at)).collect()
}

/// The tensor of a `Constant` node, if it is made of floats and has more than one.
fn float_tensor(node: &NodeProto) -> Option<TensorProto> {
    if !node.is("", "Constant") {
        return None;
    }
    let tensor = TensorProto::decode(node.attr("value")?.t.clone()?).ok()?;
    let floats = [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16];
    let is_float = floats.iter().any(|&t| t as i32 == tensor.data_type());
    (is_float && tensor.dims.iter().any(|&dim| dim > 1)).then_some(tensor)
}
