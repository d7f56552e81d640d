use super::*;
use crate::model::{Document, NodeBuilder, Shapes, node, value_info};

fn sym(name: &str) -> Dimension {
    Dimension::Symbol(name.to_owned())
}

/// Type of "y" after nodes on x: float [batch, 3, 8, 8].
fn after(nodes: impl IntoIterator<Item = NodeBuilder>) -> ValueType {
    // an empty graph: field 7, no bytes
    let mut document = Document::from_bytes(vec![0x08, 0x08, 0x3a, 0x00]).unwrap();
    let graph = document.graph_mut();
    graph.add_input(value_info("x", FLOAT, Some(&[sym("batch"), Known(3), Known(8), Known(8)])));
    for (name, values) in [("axes", vec![1.0]), ("shape", vec![0.0, -1.0]), ("flat", vec![-1.0, 192.0])] {
        graph.add_initializer(TensorProto::vector(name, INT64, &values));
    }
    let mut weight = TensorProto::vector("w", FLOAT, &[0.0; 30]);
    weight.dims = vec![10, 3, 1, 1];
    graph.add_initializer(weight);
    for built in nodes {
        let at = graph.nodes().len();
        graph.insert_node(at, built.build());
    }
    Shapes::new(document.graph(), 13).get("y")
}

fn on_x(op: &str) -> NodeBuilder {
    node(op).inputs(["x"]).outputs(["y"])
}

fn dims(found: ValueType) -> Dims {
    found.dims.expect("a known rank")
}

#[test]
fn shapes_follow_the_operators() {
    assert_eq!(dims(after([on_x("Relu")])), [sym("batch"), Known(3), Known(8), Known(8)]);
    assert_eq!(dims(after([on_x("GlobalAveragePool")])), [sym("batch"), Known(3), Known(1), Known(1)]);
    assert_eq!(dims(after([on_x("Flatten")])), [sym("batch"), Known(192)]);
    assert_eq!(dims(after([node("Reshape").inputs(["x", "shape"]).outputs(["y"])])), [sym("batch"), Known(192)]);
    assert_eq!(dims(after([node("Reshape").inputs(["x", "flat"]).outputs(["y"])])), [sym("batch"), Known(192)]);
    assert_eq!(
        dims(after([on_x("Transpose").ints("perm", &[0, 2, 3, 1])])),
        [sym("batch"), Known(8), Known(8), Known(3)]
    );
    assert_eq!(dims(after([node("Unsqueeze").inputs(["x", "axes"]).outputs(["y"])])).len(), 5);
    assert_eq!(
        dims(after([node("ReduceSum").inputs(["x", "axes"]).outputs(["y"]).int("keepdims", 0)])),
        [sym("batch"), Known(8), Known(8)]
    );
    assert_eq!(
        dims(after([node("Conv").inputs(["x", "w"]).outputs(["y"]).ints("strides", &[2, 2])])),
        [sym("batch"), Known(10), Known(4), Known(4)]
    );
    assert_eq!(
        dims(after([on_x("MaxPool").ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1])])),
        [sym("batch"), Known(3), Known(8), Known(8)]
    );
    let arg = after([on_x("ArgMax").int("axis", 1).int("keepdims", 0)]);
    assert_eq!((arg.data_type, dims(arg)), (Some(INT64), vec![sym("batch"), Known(8), Known(8)]));
    let cast = after([on_x("Cast").int("to", 10)]);
    assert_eq!(cast.data_type, Some(10));
}

#[test]
fn computed_shapes_are_followed() {
    let found = after([
        node("Shape").inputs(["x"]).outputs(["s"]),
        node("Constant").outputs(["zero"]).int("value_int", 0),
        node("Gather").inputs(["s", "zero"]).outputs(["n"]),
        node("Unsqueeze").inputs(["n", "zero"]).outputs(["n1"]),
        node("Constant").outputs(["rest"]).ints("value_ints", &[-1, 8]),
        node("Concat").inputs(["n1", "rest"]).outputs(["target"]).int("axis", 0),
        node("Reshape").inputs(["x", "target"]).outputs(["y"]),
    ]);
    assert_eq!(dims(found), [sym("batch"), Known(24), Known(8)]);
}

#[test]
fn nonsense_is_unknown_not_a_panic() {
    assert_eq!(after([on_x("Softmax2")]), ValueType::default());
    let strides = on_x("MaxPool")
        .ints("kernel_shape", &[i64::MAX, 1])
        .ints("strides", &[0, i64::MIN])
        .ints("pads", &[i64::MAX; 4]);
    assert_eq!(dims(after([strides])), [sym("batch"), Known(3), Unknown, Unknown]);
    assert_eq!(after([on_x("Transpose").ints("perm", &[-1, 99, 0, 1])]).dims, None);
    assert_eq!(after([on_x("Flatten").int("axis", i64::MIN)]).dims.map(|dims| dims.len()), Some(2));
    assert_eq!(after([on_x("ArgMax").int("axis", i64::MIN)]).dims, None);
    assert_eq!(after([node("Gemm").outputs(["y"])]).dims.map(|dims| dims.len()), Some(2));
}

#[test]
fn ranks_cannot_explode() {
    let mut nodes = vec![node("Gather").inputs(["x", "x"]).outputs(["g0"])];
    for step in 0..40 {
        let from = format!("g{step}");
        nodes.push(node("Gather").inputs([&from, &from]).outputs([format!("g{}", step + 1)]));
    }
    nodes.push(node("Relu").inputs(["g40"]).outputs(["y"]));
    assert_eq!(after(nodes).dims, None);
}
