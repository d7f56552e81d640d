//! Any bytes are taken without panic or flood of memory; what is accepted comes back byte for byte and can be edited.
#![no_main]

use elonnx::model::{Document, Graph, GraphIndex, NodeId, Shapes, node, value_info};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut document) = Document::from_bytes(bytes.to_vec()) else {
        return;
    };
    assert_eq!(document.to_bytes(), bytes);
    assert_eq!(document.encoded_len(), bytes.len());
    explore(document.graph(), document.opset_version("").unwrap_or(1));
    edit(&mut document);
});

/// Everything that is read lazily.
fn explore(graph: &Graph, opset: i64) {
    let index = GraphIndex::new(graph);
    let shapes = Shapes::new(graph, opset);
    let _ = graph.fresh_name("x");
    for tensor in graph.initializers() {
        let _ = (tensor.tensor(), index.constant(tensor.name()));
    }
    for node in graph.nodes() {
        let _ = node.describe();
        for output in &node.output {
            let _ = (index.constant(output), index.consumers(output), shapes.get(output));
        }
        for inner in node.subgraphs() {
            let inner = Graph::decode(inner.clone(), "inner").expect("checked with the model");
            explore(&inner, opset);
        }
    }
}

/// An edited model reads back, and edits that are undone leave no trace.
fn edit(document: &mut Document) {
    let before = document.to_bytes();
    let opsets = document.opset_imports().len();
    let graph = document.graph_mut();
    let nodes = graph.nodes().len();
    let name = graph.fresh_name("added");
    graph.add_input(value_info(&name, 1, None));
    graph.insert_node(
        nodes / 2,
        node("Relu").inputs([&name]).outputs([graph.fresh_name("y")]).build(),
    );
    document.set_opset_version("fuzz", 1);
    let again = Document::from_bytes(document.to_bytes()).expect("an edited model reads back");
    assert_eq!(again.graph().nodes().len(), nodes + 1);
    assert_eq!(again.opset_version("fuzz"), Some(1));
    document.graph_mut().remove_nodes(&[NodeId(nodes / 2)]);
    assert!(document.graph_mut().remove_input(&name));
    if document.opset_imports().len() > opsets {
        document.remove_opset("fuzz");
        assert_eq!(document.to_bytes(), before);
    }
}
