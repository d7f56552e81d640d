use std::collections::HashMap;

use super::*;
use crate::model::proto::NodeProto;
use crate::model::{DataType, NodeBuilder, TensorValue, node};
use crate::rewrite::evaluate::{Data, Tensor, Values, evaluate};
use crate::rewrite::testing::TestModel;

/// y on x [2, 3, 4] counting up in steps that tell all apart, in the document's own opset.
fn run(document: &Document) -> Tensor {
    let x: Vec<f64> = (0..24).map(|i| f64::from(i * 7 % 24) / 6.0 - 2.0).collect();
    let mut values: Values = HashMap::from([("x".to_owned(), Tensor { dims: vec![2, 3, 4], data: Data::Float(x) })]);
    for initializer in document.graph().initializers() {
        let value = TensorValue::decode(&initializer.tensor().unwrap()).unwrap();
        values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).unwrap());
    }
    let nodes: Vec<&NodeProto> = document.graph().nodes().iter().map(|node| &**node).collect();
    let opset = document.opset_version("").unwrap();
    evaluate(&nodes, values, opset).unwrap().remove("y").expect("y")
}

fn model(opset: i64, dims: &[&str], nodes: impl IntoIterator<Item = NodeBuilder>) -> Document {
    let start = TestModel::new(opset).input("x", DataType::Float, dims).output("y", DataType::Float, &[]);
    nodes.into_iter().fold(start, TestModel::with).build()
}

fn on_x(op: &str) -> NodeBuilder {
    node(op).name("under_test").inputs(["x"]).outputs(["y"])
}

fn raised(document: &Document, to: i64) -> Document {
    raise(document, to).unwrap_or_else(|error| panic!("{error}"))
}

/// The same numbers before and after, and none of the old attributes left.
#[track_caller]
fn same(opset: i64, built: NodeBuilder, gone: &[&str]) {
    for dims in [["2", "3", "4"], ["N", "3", "4"], ["a", "b", "c"]] {
        let old = model(opset, &dims, [built.clone()]);
        for to in [13, 17] {
            let new = raised(&old, to);
            assert_eq!(new.opset_version(""), Some(to));
            assert!(new.ir_version() >= 7);
            let (before, after) = (run(&old), run(&new));
            assert_eq!(before, after, "{dims:?}");
            for node in new.graph().nodes() {
                assert!(gone.iter().all(|name| node.attr(name).is_none()), "{node:?}");
            }
        }
    }
}

#[test]
fn attributes_become_inputs() {
    same(11, node("ReduceSum").inputs(["x"]).outputs(["y"]).ints("axes", &[1, -1]).int("keepdims", 0), &["axes"]);
    same(7, on_x("ReduceSum"), &["axes"]);
    same(11, on_x("Unsqueeze").ints("axes", &[0, 2]), &["axes"]);
    same(9, node("Split").inputs(["x"]).outputs(["other", "y"]).int("axis", 2).ints("split", &[1, 3]), &["split"]);
    same(9, node("Split").inputs(["x"]).outputs(["other", "y"]).int("axis", 2), &["split"]);
    let slice = on_x("Slice").ints("starts", &[-2, 1]).ints("ends", &[3, 1000]);
    same(9, slice.clone().ints("axes", &[1, 2]), &["starts", "ends", "axes"]);
    same(7, slice, &["starts", "ends"]);
    same(9, on_x("TopK").int("k", 2).int("axis", 1), &["k"]);
    same(10, on_x("Pad").ints("pads", &[0, 1, 0, 0, 0, 2]).float("value", 0.5), &["pads", "value"]);
    same(7, on_x("Pad").ints("pads", &[0, 1, 0, 0, 0, -2]), &["pads", "value"]);
    same(8, on_x("Clip").float("min", -0.5).float("max", 0.75), &["min", "max"]);
    same(10, on_x("Clip").float("max", 0.75), &["max"]);
    same(6 + 1, on_x("Clip"), &[]);
    same(11, on_x("Dropout").float("ratio", 0.25), &["ratio"]);
    same(7, on_x("Dropout"), &["ratio"]);
}

#[test]
fn squeezed_axes_become_an_input() {
    let nodes = [
        node("Unsqueeze").inputs(["x"]).outputs(["u"]).ints("axes", &[0]),
        node("Squeeze").inputs(["u"]).outputs(["y"]).ints("axes", &[0]),
    ];
    let old = model(11, &["2", "3", "4"], nodes);
    let new = raised(&old, 13);
    assert_eq!(run(&new), run(&old));
    let inputs: Vec<usize> = new.graph().nodes().iter().map(|node| node.input.len()).collect();
    assert_eq!(inputs, [2, 2]);
}

#[test]
fn softmax_keeps_its_matrix() {
    for op in ["Softmax", "LogSoftmax", "Hardmax"] {
        same(11, on_x(op), &[]);
        for axis in [0, 1, 2, -1, -2, -3] {
            same(11, on_x(op).int("axis", axis), &[]);
        }
        same(7, on_x(op).int("axis", 0), &[]);
    }
}

/// A row along one axis needs no reshaping.
#[test]
fn softmax_along_one_axis_stays_one_node() {
    let one = |dims: &[&str], axis: Option<i64>| {
        let mut built = on_x("Softmax");
        if let Some(axis) = axis {
            built = built.int("axis", axis);
        }
        let document = raised(&model(9, dims, [built]), 13);
        let nodes = document.graph().nodes();
        (nodes.len() == 1).then(|| nodes[0].attr_int("axis"))
    };
    assert_eq!(one(&["N", "10"], None), Some(Some(1)));
    assert_eq!(one(&["N", "10", "1", "1"], None), Some(Some(1)));
    assert_eq!(one(&["N", "1", "10", "1"], Some(1)), Some(Some(2)));
    assert_eq!(one(&["N", "C", "10"], Some(-1)), Some(Some(-1)));
    assert_eq!(one(&["N", "10", "2"], None), None);
    assert_eq!(one(&["N", "C", "H"], None), None);
}

#[test]
fn batch_normalization_keeps_its_mode() {
    let bn = |outputs: &[&str]| {
        let built = node("BatchNormalization").inputs(["x", "s", "b", "m", "v"]).outputs(outputs).int("spatial", 1);
        let mut model = TestModel::new(7).input("x", DataType::Float, &["N", "3", "4"]);
        for name in ["s", "b", "m", "v"] {
            model = model.initializer(name, DataType::Float, &[3], &[1.0, 2.0, 3.0]);
        }
        model.with(built).output("y", DataType::Float, &[]).build()
    };
    let after = |outputs: &[&str], to: i64| raised(&bn(outputs), to).graph().nodes()[0].clone();
    let inference = after(&["y"], 17);
    assert!(inference.attr("spatial").is_none() && inference.attr("training_mode").is_none());
    let training = ["y", "mean", "var", "saved_mean", "saved_var"];
    assert_eq!(after(&training, 13).output, training);
    let newer = after(&training, 14);
    assert_eq!((newer.attr_int("training_mode"), newer.output.len()), (Some(1), 3));
}

fn refusal(opset: i64, dims: &[&str], nodes: impl IntoIterator<Item = NodeBuilder>) -> String {
    raise(&model(opset, dims, nodes), 17).expect_err("a refusal").to_string()
}

#[test]
fn what_cannot_be_raised_says_why() {
    let each_by_itself = node("BatchNormalization").name("bn").inputs(["x", "s", "b", "m", "v"]).outputs(["y"]);
    let refused = refusal(7, &["N", "3", "4"], [each_by_itself.int("spatial", 0)]);
    assert!(refused.contains("BatchNormalization 'bn'") && refused.contains("spatial = 0"), "{refused}");
    let mask = node("Dropout").inputs(["x"]).outputs(["d", "mask"]);
    let refused = refusal(9, &["N"], [mask, node("Mul").inputs(["d", "mask"]).outputs(["y"])]);
    assert!(refused.contains("its mask is used"), "{refused}");
    let refused = refusal(8, &["N"], [on_x("Affine")]);
    assert!(refused.contains("Affine 'under_test'") && refused.contains("onnx.version_converter"), "{refused}");
    let refused = refusal(6, &["N"], [on_x("Relu")]);
    assert!(refused.contains("imports version 6"), "{refused}");
    let untyped = [node("Mystery").domain("other").inputs(["x"]).outputs(["z"])];
    let clip = node("Clip").inputs(["z"]).outputs(["y"]).float("min", 0.0);
    let document = TestModel::new(9).with(untyped[0].clone()).with(clip).build();
    assert!(raise(&document, 13).expect_err("no type").to_string().contains("element type"));
}

#[test]
fn an_unread_mask_is_left_out() {
    let document = raised(&model(9, &["N"], [node("Dropout").inputs(["x"]).outputs(["y", "mask"])]), 13);
    assert_eq!(document.graph().nodes()[0].output, ["y"]);
}

#[test]
fn images_are_enlarged_from_the_corner() {
    let upsample = |mode: &str| {
        let mut built = node("Upsample").inputs(["x"]).outputs(["y"]).string("mode", mode).build();
        let mut scales = crate::model::attribute("scales", crate::model::proto::AttributeType::Floats);
        scales.floats = vec![1.0, 1.0, 2.0, 2.0];
        built.attribute.push(scales);
        let mut document = model(7, &["N", "3", "4", "4"], []);
        document.graph_mut().insert_node(0, built);
        raised(&document, 13)
    };
    for mode in ["nearest", "linear"] {
        let document = upsample(mode);
        let resize = &document.graph().nodes()[0];
        assert_eq!((resize.op(), resize.attr_str("mode")), ("Resize", Some(mode)));
        assert_eq!(resize.attr_str("coordinate_transformation_mode"), Some("asymmetric"));
        assert_eq!(resize.input_at(1), None);
        let scales = document.graph().initializers().iter().find(|i| Some(i.name()) == resize.input_at(2)).unwrap();
        assert_eq!(TensorValue::decode(&scales.tensor().unwrap()).unwrap().data, [1.0, 1.0, 2.0, 2.0]);
    }
    let resize = |scales: &[f64]| {
        let start = TestModel::new(10).input("x", DataType::Float, &["N", "4"]).output("y", DataType::Float, &[]);
        let start = start.initializer("s", DataType::Float, &[scales.len() as i64], scales);
        let document = start.op("Resize", &["x", "s"], &["y"]).build();
        raise(&document, 13).map(|d| d.graph().nodes()[0].attr_str("nearest_mode").map(str::to_owned))
    };
    assert_eq!(resize(&[1.0, 2.0]).unwrap().as_deref(), Some("floor"));
    assert_eq!(resize(&[1.0, 0.5]).unwrap().as_deref(), Some("ceil"));
    assert!(resize(&[2.0, 0.5]).unwrap_err().to_string().contains("rounded in two ways"));
}

/// A branch that could stay does, one that could not is refused.
#[test]
fn graphs_inside_nodes_must_be_able_to_stay() {
    let branch = |built: NodeBuilder| {
        let inner = TestModel::new(11).with(built).output("b", DataType::Float, &[]).graph_bytes();
        let mut built = node("If").name("switch").inputs(["x"]).outputs(["y"]).build();
        let mut then = crate::model::attribute("then_branch", crate::model::proto::AttributeType::Graph);
        then.g = Some(inner.into());
        built.attribute.push(then);
        let mut document = model(11, &["1"], []);
        document.graph_mut().insert_node(0, built);
        raise(&document, 13)
    };
    branch(node("Relu").inputs(["x"]).outputs(["b"])).unwrap();
    let refused = branch(node("Squeeze").inputs(["x"]).outputs(["b"]).ints("axes", &[0])).unwrap_err().to_string();
    assert!(refused.contains("If 'switch'") && refused.contains("Squeeze -> 'b'"), "{refused}");
}

/// Files of IR version 3 list their initializers among the inputs.
#[test]
fn listed_initializers_are_taken_off_the_inputs() {
    let start = TestModel::new(8).input("x", DataType::Float, &["N", "2"]).input("w", DataType::Float, &["2"]);
    let start = start.initializer("w", DataType::Float, &[2], &[1.0, 2.0]).output("y", DataType::Float, &[]);
    let mut document = start.op("Add", &["x", "w"], &["y"]).build();
    document.set_ir_version(3);
    let inputs =
        |document: &Document| document.graph().inputs().iter().map(|i| i.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(inputs(&raised(&document, 13)), ["x"]);
    document.set_ir_version(4);
    assert_eq!(inputs(&raised(&document, 13)), ["x", "w"]);
}

#[test]
fn newer_models_stay_as_they_are() {
    let document = model(18, &["N"], [on_x("Mystery")]);
    assert_eq!(raise(&document, 13).unwrap().to_bytes(), document.to_bytes());
}

/// Real classifiers, where they are at hand: they are raised, and nothing but what is told changes.
#[test]
fn old_classifiers() {
    for name in ["mnist_cntk_opset8", "mnist_pytorch_logsoftmax_opset9"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../shared/models/{name}.onnx"));
        let Ok(document) = Document::open(&path) else { continue };
        let new = raised(&document, 13);
        assert_eq!(new.graph().nodes().len(), document.graph().nodes().len());
        assert_eq!(new.graph().inputs().len(), 1);
    }
}
