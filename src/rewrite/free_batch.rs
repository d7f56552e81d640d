//! Whether any number of samples can go through at once.
//!
//! Many files fix the batch to 1. From the inputs on, each operator is asked whether it treats the samples of its first
//! axis one by one; where all do, the number is taken off the inputs and out of the shapes that reshapes have written
//! down. An operator that is not known to do so leaves the file as it is.

use std::collections::HashSet;

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Dimension, Document, Graph, GraphIndex, NodeId, Shapes, ValueType, node as build_node};

/// Makes the first axis of every input free where the file fixes it and nothing depends on it. Whether it is free then.
pub(super) fn free(document: &mut Document, opset: i64) -> bool {
    let fixed = match fixed_size(document.graph()) {
        Batch::Free => return true,
        Batch::Fixed(size) => size,
        Batch::Other => return false,
    };
    let Some(reshapes) = Samples::new(document.graph(), opset, fixed).follow() else { return false };
    let graph = document.graph_mut();
    // from behind: the positions of the nodes before stay what they are
    for (id, shape) in reshapes.into_iter().rev() {
        set_shape(graph, id, &shape);
    }
    free_inputs(graph);
    // they still say what the batch was
    let described: Vec<String> = graph.value_infos().iter().map(|value| value.name().to_owned()).collect();
    for name in described {
        graph.remove_value_info(&name);
    }
    true
}

enum Batch {
    /// No input has a fixed first axis.
    Free,
    /// All have this size there.
    Fixed(i64),
    /// Neither.
    Other,
}

fn fixed_size(graph: &Graph) -> Batch {
    let index = GraphIndex::new(graph);
    let inputs = graph.inputs().iter().filter(|input| index.is_input(input.name()));
    let mut sizes = HashSet::new();
    for input in inputs {
        match ValueType::of_value_info(input).dims.as_deref() {
            Some([first, ..]) => drop(sizes.insert(first.known())),
            Some([]) => return Batch::Other,
            None => drop(sizes.insert(None)),
        }
    }
    let sizes: Vec<_> = sizes.into_iter().collect();
    match sizes[..] {
        [] | [None] => Batch::Free,
        [Some(size)] => Batch::Fixed(size),
        _ => Batch::Other,
    }
}

fn set_shape(graph: &mut Graph, id: NodeId, shape: &[i64]) {
    let mut node = NodeProto::clone(graph.node(id));
    let name = graph.fresh_name(&format!("{}_shape", node.output_at(0).unwrap_or_default()));
    let values: Vec<f64> = shape.iter().map(|&size| size as f64).collect();
    let tensor = TensorProto::vector(&name, DataType::Int64 as i32, &values);
    node.input[1].clone_from(&name);
    graph.replace_node(id, node);
    graph.insert_node(id.0, build_node("Constant").outputs([name]).tensor("value", &tensor).build());
}

fn free_inputs(graph: &mut Graph) {
    let initializers: HashSet<String> = graph.initializers().iter().map(|tensor| tensor.name().to_owned()).collect();
    // one by one to the end, so that their order stays
    for mut input in graph.inputs().to_vec() {
        graph.remove_input(input.name());
        let shape = input.r#type.as_mut().and_then(|t| t.tensor_type.as_mut()).and_then(|t| t.shape.as_mut());
        if let Some(first) = shape.and_then(|shape| shape.dim.first_mut())
            && !initializers.contains(input.name.as_deref().unwrap_or_default())
        {
            first.dim_value = None;
            first.dim_param = Some("batch".to_owned());
        }
        graph.add_input(input);
    }
}

/// The way of the samples through a graph.
struct Samples<'g> {
    graph: &'g Graph,
    index: GraphIndex<'g>,
    shapes: Shapes,
    opset: i64,
    /// Samples at once, as the file has it.
    size: i64,
    /// Values whose first axis counts samples.
    carried: HashSet<&'g str>,
    /// Reshapes that have the number of samples written down, with the shape to write instead.
    reshapes: Vec<(NodeId, Vec<i64>)>,
}

impl<'g> Samples<'g> {
    fn new(graph: &'g Graph, opset: i64, size: i64) -> Self {
        let index = GraphIndex::new(graph);
        let inputs = graph.inputs().iter().map(|input| input.name());
        let carried = inputs.filter(|name| index.is_input(name)).collect();
        Self { graph, shapes: Shapes::new(graph, opset), index, opset, size, carried, reshapes: Vec::new() }
    }

    /// The reshapes to change; `None` where an operator may mix samples.
    fn follow(mut self) -> Option<Vec<(NodeId, Vec<i64>)>> {
        for (at, node) in self.graph.nodes().iter().enumerate() {
            if !node.reads().iter().any(|value| self.carried.contains(value)) {
                continue;
            }
            if node.subgraphs().next().is_some() || !self.keeps_apart(NodeId(at), node) {
                return None;
            }
            self.carried.extend(node.output.iter().filter(|output| !output.is_empty()).map(String::as_str));
        }
        let outputs = self.graph.outputs();
        outputs.iter().all(|output| self.carried.contains(output.name())).then_some(self.reshapes)
    }

    fn carries(&self, node: &NodeProto, at: usize) -> bool {
        node.input_at(at).is_some_and(|value| self.carried.contains(value))
    }

    /// Whether nothing but input 0 depends on the samples.
    fn only_first(&self, node: &NodeProto) -> bool {
        self.carries(node, 0) && (1..node.input.len()).all(|at| !self.carries(node, at))
    }

    fn dims(&self, node: &NodeProto, at: usize) -> Option<Vec<Dimension>> {
        self.shapes.get(node.input_at(at)?).dims
    }

    fn rank(&self, node: &NodeProto, at: usize) -> Option<usize> {
        self.shapes.rank(node.input_at(at)?)
    }

    /// Whether all of some axes are known not to be the first.
    fn not_first(&self, axes: &[i64], rank: Option<usize>) -> bool {
        axes.iter().all(|&axis| axis > 0 || (axis < 0 && rank.is_some_and(|rank| axis + rank as i64 > 0)))
    }

    /// Axes given as an input (in newer opsets) or as an attribute.
    fn axes(&self, node: &NodeProto, input: usize) -> Option<Vec<i64>> {
        match node.input_at(input) {
            Some(value) => self.index.constant(value)?.ints(),
            None => node.attr_ints("axes").map(<[i64]>::to_vec),
        }
    }

    /// Whether each sample of the output comes from the same sample of the inputs alone.
    fn keeps_apart(&mut self, id: NodeId, node: &NodeProto) -> bool {
        let axis = |default: i64| node.attr_int("axis").unwrap_or(default);
        match (node.op_domain(), node.op()) {
            ("", op) if ELEMENTWISE.contains(&op) || WINDOWS.contains(&op) => self.only_first(node),
            ("", op) if BROADCASTING.contains(&op) => self.broadcasts(node),
            ("", "Softmax" | "LogSoftmax" | "Hardmax") => {
                let default = if self.opset < 13 { 1 } else { -1 };
                self.not_first(&[axis(default)], self.rank(node, 0))
            }
            ("", "LayerNormalization" | "LpNormalization" | "RMSNormalization") => {
                self.only_first(node) && self.not_first(&[axis(-1)], self.rank(node, 0))
            }
            ("", "Gemm") => self.gemm(node),
            ("", "MatMul") => self.matmul(node),
            ("", "Flatten") => axis(1) == 1,
            ("", "Reshape") => self.only_first(node) && self.reshape(id, node),
            ("", "Transpose") => node.attr_ints("perm").is_some_and(|perm| perm.first() == Some(&0)),
            ("", "Squeeze") => self.axes(node, 1).is_some_and(|axes| self.not_first(&axes, self.rank(node, 0))),
            ("", "Unsqueeze") => self
                .axes(node, 1)
                .is_some_and(|axes| self.not_first(&axes, self.rank(node, 0).map(|rank| rank + axes.len()))),
            ("", "Concat") => {
                (0..node.input.len()).all(|at| self.carries(node, at)) && self.not_first(&[axis(0)], self.rank(node, 0))
            }
            ("", "Split" | "ArgMax" | "ArgMin") => {
                self.only_first(node) && self.not_first(&[axis(0)], self.rank(node, 0))
            }
            ("", "Slice") => {
                self.only_first(node)
                    && self.axes(node, 3).is_some_and(|axes| self.not_first(&axes, self.rank(node, 0)))
            }
            ("", "Gather") => match (self.carries(node, 0), self.carries(node, 1)) {
                (true, false) => self.not_first(&[axis(0)], self.rank(node, 0)),
                // a table of words
                (false, true) => axis(0) == 0,
                _ => false,
            },
            ("", "Pad") => self.only_first(node) && self.pads_none(node),
            ("", op) if op.starts_with("Reduce") => {
                self.only_first(node)
                    && self
                        .axes(node, 1)
                        .is_some_and(|axes| !axes.is_empty() && self.not_first(&axes, self.rank(node, 0)))
            }
            ("ai.onnx.ml", op) => ROWWISE.contains(&op) && self.only_first(node),
            _ => false,
        }
    }

    /// Operands of one rank carry samples; the others are the same for every sample.
    fn broadcasts(&self, node: &NodeProto) -> bool {
        let ranks: Option<Vec<usize>> = (0..node.input.len()).map(|at| self.rank(node, at)).collect();
        let Some(ranks) = ranks else { return false };
        let widest = ranks.iter().copied().max().unwrap_or(0);
        self.opset >= 7
            && (0..node.input.len()).all(|at| match self.carries(node, at) {
                true => ranks[at] == widest,
                false => ranks[at] < widest || self.first_is_one(node, at),
            })
    }

    fn first_is_one(&self, node: &NodeProto, at: usize) -> bool {
        self.dims(node, at).is_some_and(|dims| dims.first() == Some(&Dimension::Known(1)))
    }

    fn gemm(&self, node: &NodeProto) -> bool {
        let bias_for_all = match self.rank(node, 2) {
            None => node.input_at(2).is_none(),
            Some(rank) => rank < 2 || self.first_is_one(node, 2),
        };
        self.only_first(node) && node.attr_int("transA").unwrap_or(0) == 0 && bias_for_all
    }

    fn matmul(&self, node: &NodeProto) -> bool {
        let (Some(left), Some(right)) = (self.rank(node, 0), self.rank(node, 1)) else { return false };
        match (self.carries(node, 0), self.carries(node, 1)) {
            (true, false) => left >= 2 && (right <= 2 || right < left),
            (false, true) => right >= 3 && left < right,
            _ => left == right && left >= 3,
        }
    }

    /// Whether the samples stay in front; one that has their number written down is put on the list.
    fn reshape(&mut self, id: NodeId, node: &NodeProto) -> bool {
        let shape = node.input_at(1).and_then(|shape| self.index.constant(shape)).and_then(|shape| shape.ints());
        let (Some(shape), Some(dims)) = (shape, self.dims(node, 0)) else { return false };
        let [first, rest @ ..] = &shape[..] else { return false };
        let zero_is_copy = node.attr_int("allowzero").unwrap_or(0) == 0;
        if *first == 0 {
            return zero_is_copy;
        }
        if *first == self.size {
            let free = if zero_is_copy { 0 } else { -1 };
            if free == -1 && rest.contains(&-1) {
                return false;
            }
            self.reshapes.push((id, [&[free], rest].concat()));
            return true;
        }
        let per_sample = dims[1..].iter().try_fold(1i64, |n, dim| n.checked_mul(dim.known()?));
        let sizes = rest.iter().enumerate().map(|(at, &size)| match size {
            0 if zero_is_copy => dims.get(at + 1).and_then(Dimension::known),
            size => Some(size),
        });
        let kept = sizes.map(|size| size.filter(|&n| n > 0)).try_fold(1i64, |n, size| n.checked_mul(size?));
        *first == -1 && per_sample.is_some() && per_sample == kept
    }

    fn pads_none(&self, node: &NodeProto) -> bool {
        let pads = match node.input_at(1) {
            Some(value) => self.index.constant(value).and_then(|pads| pads.ints()),
            None => node.attr_ints("pads").or_else(|| node.attr_ints("paddings")).map(<[i64]>::to_vec),
        };
        let Some(pads) = pads.filter(|_| node.input_at(3).is_none()) else { return false };
        pads.first() == Some(&0) && pads.get(pads.len() / 2) == Some(&0)
    }
}

/// Element by element, or with numbers that are the same for every sample.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
];
/// Over channels and positions of a sample.
const WINDOWS: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "LpPool",
    "MaxPool",
    "SpaceToDepth",
];
/// With NumPy's broadcasting.
const BROADCASTING: &[&str] = &[
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
];
/// Classical machine learning, row by row.
const ROWWISE: &[&str] =
    &["Binarizer", "Imputer", "LinearClassifier", "Normalizer", "SVMClassifier", "Scaler", "TreeEnsembleClassifier"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{NodeBuilder, node};
    use crate::rewrite::testing::TestModel;

    /// Input x [1, 2, 4], weights [4, 3], node(s) that make y.
    fn freed(nodes: impl IntoIterator<Item = NodeBuilder>) -> Option<Document> {
        let mut model = TestModel::new(17)
            .input("x", DataType::Float, &["1", "2", "4"])
            .initializer("w", DataType::Float, &[4, 3], &[0.0; 12])
            .initializer("token", DataType::Float, &[1, 1, 4], &[0.0; 4])
            .ints("flat", &[1, 8])
            .ints("rows", &[-1, 4])
            .ints("any", &[-1, 8])
            .ints("one", &[1])
            .ints("zero", &[0])
            .output("y", DataType::Float, &["n"]);
        for node in nodes {
            model = model.with(node);
        }
        let mut document = model.build();
        free(&mut document, 17).then_some(document)
    }

    fn on_x(op: &str, more: &[&str]) -> NodeBuilder {
        node(op).inputs([&["x"], more].concat()).outputs(["y"])
    }

    #[test]
    fn samples_one_by_one_are_freed() {
        for fine in [
            on_x("Relu", &[]),
            on_x("Softmax", &[]),
            on_x("MatMul", &["w"]),
            on_x("Add", &["token"]),
            on_x("Flatten", &[]),
            on_x("Reshape", &["any"]),
            on_x("Reshape", &["flat"]),
            on_x("Transpose", &[]).ints("perm", &[0, 2, 1]),
            on_x("Unsqueeze", &["one"]),
            on_x("ReduceSum", &["one"]),
            on_x("ReduceMean", &[]).ints("axes", &[-1]),
            on_x("Concat", &["x"]).int("axis", 1),
        ] {
            let what = fine.clone().build().describe();
            let document = freed([fine]).unwrap_or_else(|| panic!("{what}"));
            let dims = ValueType::of_value_info(&document.graph().inputs()[0]).dims.unwrap();
            assert_eq!(dims[0], Dimension::Symbol("batch".into()), "{what}");
        }
        let reshaped = freed([on_x("Reshape", &["flat"])]).unwrap();
        let index = GraphIndex::new(reshaped.graph());
        let shape = index.constant(reshaped.graph().nodes()[1].input_at(1).unwrap()).unwrap();
        assert_eq!(shape.data, [0.0, 8.0]);
    }

    #[test]
    fn what_may_mix_samples_stays_fixed() {
        for mixing in [
            on_x("Transpose", &[]),
            on_x("Softmax", &[]).int("axis", 0),
            on_x("Softmax", &[]).int("axis", -3),
            on_x("Reshape", &["rows"]),
            on_x("Squeeze", &[]),
            on_x("Squeeze", &["zero"]),
            on_x("Concat", &["token"]).int("axis", 1),
            on_x("ReduceMean", &[]),
            on_x("Flatten", &[]).int("axis", 0),
            on_x("Shape", &[]),
            on_x("Gather", &["one"]),
            node("MatMul").inputs(["x", "x"]).outputs(["z"]),
            on_x("Anything", &[]),
        ] {
            let what = mixing.clone().build().describe();
            assert!(freed([mixing]).is_none(), "{what}");
        }
    }

    #[test]
    fn a_constant_that_is_no_sample_is_not_followed() {
        let shape = node("Shape").inputs(["w"]).outputs(["s"]);
        assert!(freed([shape, on_x("Relu", &[])]).is_some());
    }
}
