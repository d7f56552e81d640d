//! What is cast and what is not.

use std::collections::BTreeSet;

use super::{Precision, lower};
use crate::model::{DataType, Document, Shapes, node};
use crate::rewrite::testing::TestModel;

/// Operators with the type of their first output, in order; casts with an arrow.
fn computed(document: &Document) -> Vec<String> {
    let shapes = Shapes::new(document.graph(), document.opset_version("").unwrap());
    let word = |value: &str| match shapes.data_type(value).and_then(|t| DataType::try_from(t).ok()) {
        Some(DataType::Float) => "f32",
        Some(DataType::Float16) => "f16",
        Some(DataType::Bfloat16) => "bf16",
        _ => "?",
    };
    let nodes = document.graph().nodes().iter();
    nodes
        .map(|node| match node.op() {
            "Cast" => format!("{}→{}", node.input_at(0).unwrap(), word(node.output_at(0).unwrap())),
            op => format!("{op} {}", word(node.output_at(0).unwrap())),
        })
        .collect()
}

fn lowered(model: TestModel, low: DataType, weights: &[&str]) -> Document {
    let mut document = model.build();
    let weights: BTreeSet<String> = weights.iter().map(|name| (*name).to_owned()).collect();
    lower(&mut document, low, &weights);
    document
}

fn perceptron(opset: i64) -> TestModel {
    TestModel::new(opset)
        .input("x", DataType::Float, &["N", "3"])
        .initializer("w", DataType::Float, &[3, 3], &[0.5; 9])
        .initializer("b", DataType::Float, &[3], &[0.5; 3])
        .op("MatMul", &["x", "w"], &["m"])
        .op("Add", &["m", "b"], &["a"])
        .op("Relu", &["a"], &["r"])
}

#[test]
fn products_are_low_and_what_follows_them() {
    let model = perceptron(17).op("MatMul", &["r", "w"], &["z"]).op("Softmax", &["z"], &["p"]);
    let document = lowered(model.output("p", DataType::Float, &["N", "3"]), DataType::Float16, &["w", "b"]);
    let expected =
        ["x→f16", "w→f16", "MatMul f16", "b→f16", "Add f16", "Relu f16", "MatMul f16", "z/float16→f32", "Softmax f32"];
    assert_eq!(computed(&document), expected);
    // parameters and outputs are what they were
    assert!(document.graph().initializers().iter().all(|tensor| tensor.data_type() == DataType::Float as i32));
}

#[test]
fn outputs_and_subgraphs_read_float32() {
    let document = lowered(perceptron(17).output("r", DataType::Float, &["N", "3"]), DataType::Float16, &["w", "b"]);
    assert_eq!(computed(&document).last().unwrap(), "r/float16→f32");
    assert_eq!(document.graph().outputs()[0].name(), "r");

    let branch = TestModel::new(17).op("Exp", &["r"], &["e"]).output("e", DataType::Float, &["N", "3"]);
    let choice = node("If").inputs(["c"]).outputs(["y"]);
    let graph = |name: &str| crate::model::proto::AttributeProto {
        g: Some(branch.graph_bytes().into()),
        ..crate::model::attribute(name, crate::model::proto::AttributeType::Graph)
    };
    let model = perceptron(17).input("c", DataType::Bool, &[]);
    let model = model.with(choice.attribute(graph("then_branch")).attribute(graph("else_branch")));
    let document = lowered(model.output("y", DataType::Float, &["N", "3"]), DataType::Float16, &["w", "b"]);
    let all = computed(&document);
    assert_eq!(all[all.len() - 2..], ["r/float16→f32", "If f32"]);
}

/// Data that are float32 draw what they meet to float32, and so do numbers that float16 does not hold.
#[test]
fn nothing_is_lost_where_types_meet() {
    let of = |model: TestModel| {
        let model = model.output("y", DataType::Float, &["N", "3"]);
        computed(&lowered(model, DataType::Float16, &["w", "b"]))
    };
    let residual = of(perceptron(17).op("Add", &["r", "x"], &["y"]));
    assert_eq!(residual[residual.len() - 2..], ["r/float16→f32", "Add f32"]);
    for (numbers, fits) in [
        (&[-1e9, 0.0, 0.0][..], false),
        (&[f64::NEG_INFINITY, 0.0, 0.0], true),
        (&[1e-9, 1.0, 0.0], true),
        (&[1e-12], false),
        (&[8.0], true),
    ] {
        let model = perceptron(17).initializer("k", DataType::Float, &[numbers.len() as i64], numbers);
        let all = of(model.op("Add", &["r", "k"], &["y"]));
        assert_eq!(all.contains(&"Add f32".to_owned()), !fits, "{numbers:?}: {all:?}");
    }
    // the range of bfloat16 is that of float32
    let model = perceptron(17).number("k", -1e9).op("Add", &["r", "k"], &["y"]);
    let document = lowered(model.output("y", DataType::Float, &["N", "3"]), DataType::Bfloat16, &["w", "b"]);
    assert!(!computed(&document).contains(&"Add f32".to_owned()));
}

#[test]
fn statistics_stay_float32() {
    let model = perceptron(17)
        .initializer("s", DataType::Float, &[3], &[1.0; 3])
        .op("LayerNormalization", &["r", "s"], &["n"])
        .op("Relu", &["n"], &["q"])
        .op("MatMul", &["q", "w"], &["y"]);
    let document = lowered(model.output("y", DataType::Float, &["N", "3"]), DataType::Float16, &["w", "b", "s"]);
    let all = computed(&document);
    let expected = ["r/float16→f32", "LayerNormalization f32", "Relu f32", "q→f16", "MatMul f16", "y/float16→f32"];
    assert_eq!(all[all.len() - 6..], expected);
}

#[test]
fn what_is_missing_in_bfloat16_is_told() {
    let model = TestModel::new(17)
        .input("x", DataType::Float, &["N", "3", "8"])
        .initializer("w", DataType::Float, &[3, 3, 1], &[0.5; 9])
        .op("Conv", &["x", "w"], &["y"])
        .output("y", DataType::Float, &["N", "3", "8"]);
    let mut document = model.build();
    let before = document.to_bytes();
    let done = lower(&mut document, DataType::Bfloat16, &BTreeSet::new());
    assert!(done.low.is_empty());
    assert_eq!(done.missing.into_iter().collect::<Vec<_>>(), ["Conv"]);
    assert_eq!(document.to_bytes(), before);
}

#[test]
fn other_types_stay() {
    for data_type in [DataType::Double, DataType::Float16] {
        let mut document = TestModel::new(17)
            .input("x", data_type, &["N", "3"])
            .initializer("w", data_type, &[3, 3], &[0.5; 9])
            .op("MatMul", &["x", "w"], &["y"])
            .output("y", data_type, &["N", "3"])
            .build();
        assert!(lower(&mut document, DataType::Bfloat16, &BTreeSet::new()).low.is_empty());
    }
}

#[test]
fn names_are_read_back() {
    for precision in Precision::ALL {
        assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        assert_eq!(serde_json::to_string(&precision).unwrap(), format!("\"{precision}\""));
    }
    assert_eq!(
        "fp16".parse::<Precision>().unwrap_err().to_string(),
        "'fp16' is no precision; there are f32, f16 and bf16"
    );
}
