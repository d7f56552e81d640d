//! Gradients held against central finite differences in f64.
//!
//! Both graphs are run by the f64 evaluator of this crate, so a rule is wrong by more than 1e-6 or right.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, TensorValue, value_info};
use crate::rewrite::evaluate::{Data, Tensor, Values, evaluate};
use crate::rewrite::testing::TestModel;

use super::gradient;

/// A tensor of numbers.
pub(crate) fn tensor(dims: &[usize], data: Vec<f64>) -> Tensor {
    assert_eq!(dims.iter().product::<usize>(), data.len());
    Tensor { dims: dims.to_vec(), data: Data::Float(data) }
}

/// Numbers in (-2, 2) that no two of are close, far from 0 and from ±1: so that kinks and ties are away. Reproducible.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all: Vec<f64> = (0..count).map(|i| 0.11 + 1.8 * (i as f64 + 0.3) / count as f64).collect();
    random.shuffle(&mut all);
    all.into_iter()
        .map(|x| if random.bool() { x } else { -x })
        .map(|x| if (x.abs() - 1.0).abs() < 0.01 { x * 1.03 } else { x })
        .collect()
}

/// A shape, and so many that broadcast to it: some axes are 1 there, some leading ones left out.
pub(crate) fn broadcast_shapes(count: usize) -> impl Strategy<Value = (Vec<usize>, Vec<Vec<usize>>)> {
    let operand = (0..4usize, proptest::collection::vec(proptest::bool::weighted(0.3), 4));
    let all = (proptest::collection::vec(1..4usize, 0..4), proptest::collection::vec(operand, count));
    all.prop_map(|(dims, operands)| {
        let narrowed = |(skipped, ones): (usize, Vec<bool>)| {
            let narrow = dims.iter().zip(ones).map(|(&size, one)| if one { 1 } else { size });
            narrow.skip(skipped.min(dims.len())).collect()
        };
        let shapes = operands.into_iter().map(narrowed).collect();
        (dims, shapes)
    })
}

/// What is known about shapes when the gradient is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Every size.
    All,
    /// Every size but the first, which has a name.
    AllButBatch,
    /// The rank.
    Rank,
}

/// One operator (or a few nodes) under test.
pub(crate) struct Case {
    /// Version of the standard operators.
    pub opset: i64,
    /// Float inputs whose gradients are checked, in order.
    pub inputs: Vec<(&'static str, Tensor)>,
    /// Other inputs: indices, masks, shapes as initializers.
    pub constants: Vec<(&'static str, Tensor)>,
    /// The nodes; they make "y".
    pub nodes: Vec<NodeProto>,
    /// Inputs without a batch axis, as weights are: where all but the batch is known, all their sizes are.
    pub weights: Vec<&'static str>,
}

impl Case {
    /// Nodes on inputs, in opset 18.
    pub fn new(inputs: Vec<(&'static str, Tensor)>, nodes: Vec<NodeProto>) -> Self {
        Case { opset: 18, inputs, constants: Vec::new(), nodes, weights: Vec::new() }
    }

    /// Another version of the standard operators.
    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// Inputs that have no batch axis.
    pub fn weights(mut self, names: &[&'static str]) -> Self {
        self.weights.extend(names);
        self
    }

    /// An int64 initializer.
    pub fn ints(mut self, name: &'static str, dims: &[usize], data: &[i64]) -> Self {
        self.constants.push((name, Tensor { dims: dims.to_vec(), data: Data::Int(data.to_vec()) }));
        self
    }

    /// A double initializer without gradient.
    pub fn floats(mut self, name: &'static str, dims: &[usize], data: &[f64]) -> Self {
        self.constants.push((name, tensor(dims, data.to_vec())));
        self
    }

    /// Checks the gradients of Σ y·c for random c, with all that may be known of the shapes.
    pub fn check(&self) {
        for known in [Known::All, Known::AllButBatch, Known::Rank] {
            self.check_knowing(known);
        }
    }

    /// As [`Self::check`], with this much known.
    pub fn check_knowing(&self, known: Known) {
        let y = self.run(&self.model(known, None), &self.inputs)["y"].clone();
        let weights = numbers(y.len(), 99);
        let document = self.model(known, Some(&tensor(&y.dims, weights)));
        let names: Vec<&str> = self.inputs.iter().map(|(name, _)| *name).collect();
        let found = gradient(&document, "weighted", &names).unwrap_or_else(|error| panic!("{known:?}: {error}"));
        let results = self.run(&found.document, &self.inputs);
        for (at, (name, value)) in self.inputs.iter().enumerate() {
            let gradient = &results[&found.outputs[at]];
            assert_eq!(gradient.dims, value.dims, "{known:?}: shape of the gradient of {name}");
            let differences = self.differences(&document, at);
            let largest = differences.iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for (i, (got, want)) in floats(gradient).iter().zip(&differences).enumerate() {
                assert!(
                    (got - want).abs() <= 1e-6 * largest,
                    "{known:?}: ∂/∂{name}[{i}] is {got}, finite differences say {want}"
                );
            }
        }
    }

    /// Why there is no gradient.
    pub fn refusal(&self) -> String {
        let names: Vec<&str> = self.inputs.iter().map(|(name, _)| *name).collect();
        let document = self.model(Known::All, Some(&tensor(&[], vec![1.0])));
        gradient(&document, "weighted", &names).expect_err("a refusal").to_string()
    }

    pub fn refused(&self, known: Known) -> String {
        let document = self.model(known, None);
        let names: Vec<&str> = self.inputs.iter().map(|(name, _)| *name).collect();
        gradient(&document, "y", &names).expect_err("a refusal").to_string()
    }

    /// The gradients of Σ y, by input.
    pub fn gradients(&self, known: Known) -> HashMap<&'static str, Vec<f64>> {
        let found = self.differentiated(known);
        let results = self.run(&found.document, &self.inputs);
        let names = self.inputs.iter().map(|(name, _)| *name);
        names.zip(&found.outputs).map(|(name, output)| (name, floats(&results[output]).to_vec())).collect()
    }

    /// The operators of the nodes that the gradients of Σ y take.
    pub fn new_operators(&self, known: Known) -> Vec<String> {
        let document = self.differentiated(known).document;
        document.graph().nodes().iter().skip(self.nodes.len()).map(|node| node.op().to_owned()).collect()
    }

    fn differentiated(&self, known: Known) -> super::Gradient {
        let document = self.model(known, None);
        let names: Vec<&str> = self.inputs.iter().map(|(name, _)| *name).collect();
        gradient(&document, "y", &names).unwrap_or_else(|error| panic!("{known:?}: {error}"))
    }

    /// Central differences of the loss by each element of an input.
    fn differences(&self, document: &Document, at: usize) -> Vec<f64> {
        let step = 1e-5;
        let mut inputs = self.inputs.clone();
        let count = inputs[at].1.len();
        (0..count)
            .map(|i| {
                let mut loss_at = |delta: f64| {
                    let Data::Float(values) = &mut inputs[at].1.data else { panic!("inputs are floats") };
                    let old = values[i];
                    values[i] = old + delta;
                    let loss = floats(&self.run(document, &inputs)["loss"])[0];
                    let Data::Float(values) = &mut inputs[at].1.data else { panic!("inputs are floats") };
                    values[i] = old;
                    loss
                };
                (loss_at(step) - loss_at(-step)) / (2.0 * step)
            })
            .collect()
    }

    /// The nodes as a model; with weights, "weighted" = y·weights, whose gradient is taken, and "loss" = Σ weighted.
    fn model(&self, known: Known, weights: Option<&Tensor>) -> Document {
        let mut model = TestModel::new(self.opset);
        for (name, value) in &self.inputs {
            let known = if known == Known::AllButBatch && self.weights.contains(name) { Known::All } else { known };
            let dims: Vec<String> = value.dims.iter().enumerate().map(|(i, n)| dimension(name, i, *n, known)).collect();
            let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
            model = model.input(name, DataType::Double, &dims);
        }
        for (name, value) in self.constants.iter().map(|(n, v)| (*n, v)).chain(weights.map(|w| ("loss_weights", w))) {
            let dims: Vec<i64> = value.dims.iter().map(|&n| n as i64).collect();
            let (data_type, data) = match &value.data {
                Data::Float(data) => (DataType::Double, data.clone()),
                Data::Int(data) => (DataType::Int64, data.iter().map(|&i| i as f64).collect()),
                Data::Bool(data) => (DataType::Bool, data.iter().map(|&b| f64::from(u8::from(b))).collect()),
            };
            model = model.initializer(name, data_type, &dims, &data);
        }
        let mut document = model.build();
        let graph = document.graph_mut();
        for node in &self.nodes {
            graph.insert_node(usize::MAX, node.clone());
        }
        if weights.is_some() {
            let weighted = crate::model::node("Mul").inputs(["y", "loss_weights"]).outputs(["weighted"]);
            graph.insert_node(usize::MAX, weighted.build());
            let loss = crate::model::node("ReduceSum").inputs(["weighted"]).outputs(["loss"]).int("keepdims", 0);
            graph.insert_node(usize::MAX, loss.build());
        }
        graph.add_output(value_info(if weights.is_some() { "loss" } else { "y" }, DataType::Double as i32, None));
        document
    }

    fn run(&self, document: &Document, inputs: &[(&'static str, Tensor)]) -> HashMap<String, Tensor> {
        let mut values: Values = inputs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        for initializer in document.graph().initializers() {
            let proto = initializer.tensor().expect("a tensor");
            let value = TensorValue::decode(&proto).expect("plain numbers");
            values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).expect("a small tensor"));
        }
        let nodes: Vec<&NodeProto> = document.graph().nodes().iter().map(|node| &**node).collect();
        evaluate(&nodes, values, self.opset).unwrap_or_else(|error| panic!("{error}\n{}", listing(document)))
    }
}

fn dimension(input: &str, axis: usize, size: usize, known: Known) -> String {
    match known {
        Known::All => size.to_string(),
        Known::AllButBatch if axis > 0 => size.to_string(),
        // inputs that share a batch say so
        Known::AllButBatch if size > 1 => format!("N{size}"),
        Known::AllButBatch => size.to_string(),
        Known::Rank => format!("{input}_{axis}"),
    }
}

fn floats(tensor: &Tensor) -> &[f64] {
    match &tensor.data {
        Data::Float(data) => data,
        other => panic!("a float tensor, not {other:?}"),
    }
}

/// The nodes, for a failure.
fn listing(document: &Document) -> String {
    let lines =
        document.graph().nodes().iter().map(|node| format!("{} {:?} -> {:?}\n", node.op(), node.input, node.output));
    lines.collect()
}
