//! A small classifier, and steps run by the f64 evaluator.

use std::collections::HashMap;

use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, TensorValue};
use crate::rewrite::evaluate::{Data, Tensor, Values, evaluate};
use crate::rewrite::inline;
use crate::rewrite::testing::TestModel;

use super::{Initial, TrainStep};

/// Some numbers in (-1, 1). Reproducible.
pub(super) fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    // as a file stores them
    (0..count).map(|_| f64::from((random.f64() * 2.0 - 1.0) as f32)).collect()
}

pub(super) fn floats(dims: &[usize], data: Vec<f64>) -> Tensor {
    Tensor { dims: dims.to_vec(), data: Data::Float(data) }
}

pub(super) fn ints(dims: &[usize], data: Vec<i64>) -> Tensor {
    Tensor { dims: dims.to_vec(), data: Data::Int(data) }
}

pub(super) fn data(tensor: &Tensor) -> &[f64] {
    match &tensor.data {
        Data::Float(data) => data,
        other => panic!("a float tensor, not {other:?}"),
    }
}

/// x [batch, 3] → Gemm 4 → Tanh → MatMul, Add 5.
pub(super) fn mlp(batch: &str) -> TestModel {
    TestModel::new(17)
        .input("x", DataType::Float, &[batch, "3"])
        .initializer("fc1.weight", DataType::Float, &[4, 3], &numbers(12, 1))
        .initializer("fc1.bias", DataType::Float, &[4], &numbers(4, 2))
        .initializer("fc2.weight", DataType::Float, &[4, 5], &numbers(20, 3))
        .initializer("fc2.bias", DataType::Float, &[5], &numbers(5, 4))
        .with(crate::model::node("Gemm").inputs(["x", "fc1.weight", "fc1.bias"]).outputs(["h"]).int("transB", 1))
        .op("Tanh", &["h"], &["a"])
        .op("MatMul", &["a", "fc2.weight"], &["z"])
        .op("Add", &["z", "fc2.bias"], &["scores"])
        .output("scores", DataType::Float, &[batch, "5"])
}

/// The initializers of a model.
pub(super) fn stored(document: &Document) -> HashMap<String, Tensor> {
    let mut values = HashMap::new();
    for initializer in document.graph().initializers() {
        let value = TensorValue::decode(&initializer.tensor().unwrap()).unwrap();
        values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).unwrap());
    }
    values
}

/// Runs a graph on inputs; what is stored in it need not be given.
pub(super) fn run(document: &Document, inputs: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let plain = inline(document).unwrap().document;
    let mut values: Values = inputs.clone();
    values.extend(stored(&plain));
    for input in plain.graph().inputs() {
        assert!(values.contains_key(input.name()), "no value for the input {}", input.name());
    }
    let nodes: Vec<&NodeProto> = plain.graph().nodes().iter().map(|node| &**node).collect();
    evaluate(&nodes, values, plain.opset_version("").unwrap()).unwrap()
}

/// Data for the small classifier, and all else that a step asks for.
pub(super) fn feed(document: &Document, step: &TrainStep) -> HashMap<String, Tensor> {
    let mut feed = stored(document);
    feed.insert("x".into(), floats(&[6, 3], numbers(18, 9)));
    feed.insert(step.signature.labels.name.clone(), ints(&[6], vec![0, 1, 2, 3, 4, 0]));
    for state in &step.signature.state {
        let shape: Vec<usize> = state.shape.iter().map(|&n| n as usize).collect();
        let first = match state.initial {
            Initial::Zeros => 0,
            Initial::Value(value) => value,
        };
        let count = shape.iter().product();
        let value = match state.data_type.as_str() {
            "int64" => ints(&shape, vec![first; count]),
            _ => floats(&shape, vec![first as f64; count]),
        };
        feed.insert(state.name.clone(), value);
    }
    if let Some(rate) = &step.signature.learning_rate {
        feed.insert(rate.clone(), floats(&[], vec![0.125]));
    }
    if let Some(step) = &step.signature.step {
        feed.insert(step.clone(), ints(&[], vec![1]));
    }
    feed
}
