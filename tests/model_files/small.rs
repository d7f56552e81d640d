//! A small classifier with one of everything that a model can hold.

use elonnx::model::proto::{AttributeProto, AttributeType, FunctionProto, TensorProto};
use elonnx::model::{DataType, Dimension, Document, Graph, attribute, node, value_info};

pub const FLOAT: i32 = DataType::Float as i32;

fn branch(output: &str) -> AttributeProto {
    let mut graph = Graph::default();
    graph.insert_node(0, node("Add").inputs(["logits", "shift"]).outputs([format!("{output}_sum")]).build());
    graph.insert_node(1, node("Identity").inputs([format!("{output}_sum")]).outputs([output]).build());
    graph.add_output(value_info(output, FLOAT, None));
    AttributeProto { g: Some(graph.to_bytes()), ..attribute(output, AttributeType::Graph) }
}

/// x [batch, 4] → Gemm → logits [batch, 3] → If → y; a function, metadata, two opsets.
pub fn model() -> Document {
    let mut document = Document::from_bytes(super::wire::model([])).unwrap();
    document.set_opset_version("", 17);
    document.set_opset_version("test", 1);
    document.set_metadata("author", "nobody");
    let batch = Dimension::Symbol("batch".into());
    let graph = document.graph_mut();
    graph.add_input(value_info("x", FLOAT, Some(&[batch.clone(), Dimension::Known(4)])));
    graph.add_input(value_info("choose", DataType::Bool as i32, Some(&[])));
    graph.add_output(value_info("y", FLOAT, Some(&[batch, Dimension::Known(3)])));
    let weight = TensorProto { dims: vec![4, 3], ..TensorProto::vector("weight", FLOAT, &[0.5; 12]) };
    graph.add_initializer(weight);
    graph.add_initializer(TensorProto::vector("bias", FLOAT, &[1.0, 2.0, 3.0]));
    graph.insert_node(0, node("Gemm").name("head").inputs(["x", "weight", "bias"]).outputs(["logits"]).build());
    let shift = TensorProto::scalar("", FLOAT, 2.5);
    graph.insert_node(1, node("Constant").outputs(["shift"]).tensor("value", &shift).build());
    let choice =
        node("If").inputs(["choose"]).outputs(["y"]).attribute(branch("then_branch")).attribute(branch("else_branch"));
    graph.insert_node(2, choice.build());
    document.set_function(FunctionProto {
        name: Some("Twice".into()),
        domain: Some("test".into()),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![node("Add").inputs(["a", "a"]).outputs(["b"]).build()],
        ..FunctionProto::default()
    });
    document
}
