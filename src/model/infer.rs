//! Forward propagation of element types and shapes through one node at a time.
//!
//! Light on purpose: it must never be wrong about what it claims, may claim nothing, and takes any input without panic.
//! Sources: the ONNX operator specifications, for the opsets since 1 where they differ.

mod axes;
mod elements;
mod extents;
mod gathering;
mod products;
mod windows;

use std::collections::HashMap;

use prost::Message;

use super::dims::{Dims, broadcast, flatten, matmul, only_sizes, position, shape_range, size, transpose, without};
use super::index::GraphIndex;
use super::proto::{DataType, NodeProto, TensorProto};
use super::shape::{Dimension, MAX_RANK, ValueType};
use Dimension::{Known, Unknown};

const BOOL: i32 = DataType::Bool as i32;
const FLOAT: i32 = DataType::Float as i32;
const INT32: i32 = DataType::Int32 as i32;
const INT64: i32 = DataType::Int64 as i32;
const UINT8: i32 = DataType::Uint8 as i32;

/// What is known so far.
pub(super) struct Inference<'g> {
    index: GraphIndex<'g>,
    opset: i64,
    types: HashMap<String, ValueType>,
    /// Elements of small integer vectors and scalars that are computed from shapes.
    elements: HashMap<String, Dims>,
    /// Whether a size that nobody knows gets a name of its own.
    names_sizes: bool,
}

impl<'g> Inference<'g> {
    pub(super) fn new(index: GraphIndex<'g>, opset: i64, types: HashMap<String, ValueType>) -> Self {
        Self { index, opset, types, elements: HashMap::new(), names_sizes: false }
    }

    /// Gives a size that nobody knows a name, so that it is the same as itself elsewhere: "value[axis]".
    pub(super) fn name_sizes(&mut self) {
        self.names_sizes = true;
        for (value, found) in &mut self.types {
            name_sizes(value, found);
        }
    }

    pub(super) fn into_types(self) -> HashMap<String, ValueType> {
        self.types
    }

    pub(super) fn value_type(&self, value: &str) -> ValueType {
        self.types.get(value).cloned().unwrap_or_default()
    }

    pub(super) fn declare(&mut self, value: &str, found: ValueType) {
        self.types.insert(value.to_owned(), found);
    }

    pub(super) fn index(&self) -> &GraphIndex<'g> {
        &self.index
    }

    /// Takes in what a node tells about its outputs.
    pub(super) fn node(&mut self, node: &NodeProto) {
        if let Some(elements) = self.output_elements(node).filter(|elements| elements.len() <= MAX_RANK)
            && let Some(output) = node.output_at(0)
        {
            self.elements.insert(output.to_owned(), elements);
        }
        for (at, found) in self.output_types(node).into_iter().enumerate() {
            if let Some(output) = node.output_at(at) {
                let declared = self.types.remove(output).unwrap_or_default();
                let mut found = ValueType::new(found.data_type, found.dims).completed(declared);
                if self.names_sizes {
                    name_sizes(output, &mut found);
                }
                self.types.insert(output.to_owned(), found);
            }
        }
    }

    fn input(&self, node: &NodeProto, at: usize) -> ValueType {
        node.input_at(at).and_then(|name| self.types.get(name)).cloned().unwrap_or_default()
    }

    fn dims(&self, node: &NodeProto, at: usize) -> Option<Dims> {
        self.types.get(node.input_at(at)?)?.dims.clone()
    }

    fn data_type(&self, node: &NodeProto, at: usize) -> Option<i32> {
        self.types.get(node.input_at(at)?)?.data_type
    }

    /// A constant integer input.
    fn ints(&self, node: &NodeProto, at: usize) -> Option<Vec<i64>> {
        let name = node.input_at(at)?;
        match self.index.constant(name) {
            Some(constant) => constant.ints(),
            // of a node that is not in the graph yet
            None => self.elements.get(name)?.iter().map(Dimension::known).collect(),
        }
    }

    /// An integer list that is an attribute in old opsets, an input in new ones.
    fn ints_of(&self, node: &NodeProto, name: &str, at: usize) -> Option<Vec<i64>> {
        node.attr_ints(name).map(<[i64]>::to_vec).or_else(|| self.ints(node, at))
    }

    /// Elements of an integer input, as far as known.
    fn vector(&self, node: &NodeProto, at: usize) -> Option<Dims> {
        self.elements_of(node.input_at(at)?)
    }

    /// Elements of a small integer value, as far as known.
    pub(super) fn elements_of(&self, name: &str) -> Option<Dims> {
        if let Some(elements) = self.elements.get(name) {
            return Some(elements.clone());
        }
        let ints = self.index.constant(name)?.ints()?;
        (ints.len() <= MAX_RANK).then(|| ints.into_iter().map(Known).collect())
    }

    /// Types of the outputs, in order; fewer than there are outputs where nothing is known of the rest.
    fn output_types(&self, node: &NodeProto) -> Vec<ValueType> {
        match node.op_domain() {
            "" => self.standard(node),
            "com.microsoft" => self.microsoft(node),
            _ => vec![],
        }
    }

    fn standard(&self, node: &NodeProto) -> Vec<ValueType> {
        let first = self.input(node, 0);
        let data_type = first.data_type;
        let one = |data_type, dims| vec![ValueType::new(data_type, dims)];
        match node.op() {
            "Relu"
            | "Sigmoid"
            | "Tanh"
            | "Softmax"
            | "LogSoftmax"
            | "Hardmax"
            | "Identity"
            | "Clip"
            | "Elu"
            | "Selu"
            | "LeakyRelu"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "Swish"
            | "Softplus"
            | "Softsign"
            | "Mish"
            | "Celu"
            | "ThresholdedRelu"
            | "Shrink"
            | "Exp"
            | "Log"
            | "Sqrt"
            | "Neg"
            | "Abs"
            | "Reciprocal"
            | "Floor"
            | "Ceil"
            | "Round"
            | "Sign"
            | "Sin"
            | "Cos"
            | "Tan"
            | "Sinh"
            | "Cosh"
            | "Asin"
            | "Acos"
            | "Atan"
            | "Asinh"
            | "Acosh"
            | "Atanh"
            | "Erf"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "RMSNormalization"
            | "LpNormalization"
            | "MeanVarianceNormalization"
            | "LRN"
            | "CumSum"
            | "Trilu"
            | "ReverseSequence"
            | "ScatterElements"
            | "ScatterND"
            | "Scatter"
            | "PRelu"
            | "BitwiseNot"
            | "Not" => {
                vec![first]
            }
            "BatchNormalization" => {
                let statistics = self.input(node, 3);
                vec![first, statistics.clone(), statistics]
            }
            "LayerNormalization" => {
                let axis = node.attr_int("axis").unwrap_or(-1);
                let dims = first.dims.clone().and_then(|mut dims| {
                    let axis = position(axis, dims.len())?;
                    dims[axis..].fill(Known(1));
                    Some(dims)
                });
                let statistics = ValueType::new(Some(node.attr_int("stash_type").map_or(FLOAT, |to| to as i32)), dims);
                vec![first, statistics.clone(), statistics]
            }
            "Dropout" => {
                let mask = if self.opset >= 10 { Some(BOOL) } else { data_type };
                vec![first.clone(), ValueType::new(mask, first.dims)]
            }
            "IsNaN" | "IsInf" => one(Some(BOOL), first.dims),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "BitShift" | "Min" | "Max" | "Sum" | "Mean" | "And"
            | "Or" | "Xor" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => one(data_type, self.broadcast_inputs(node)),
            "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" => {
                one(Some(BOOL), self.broadcast_inputs(node))
            }
            "Where" => one(self.data_type(node, 1).or(self.data_type(node, 2)), self.broadcast_inputs(node)),
            "Cast" => one(node.attr_int("to").map(|to| to as i32), first.dims),
            "CastLike" => one(self.data_type(node, 1), first.dims),
            "Constant" => constant(node).into_iter().collect(),
            "ConstantOfShape" => {
                let value = node.attr("value").and_then(|value| TensorProto::decode(value.t.clone()?).ok());
                let data_type = value.map_or(FLOAT, |value| value.data_type());
                one(Some(data_type), self.target_shape(node, 0).map(only_sizes))
            }
            "Shape" => {
                one(Some(INT64), Some(vec![first.dims.map_or(Unknown, |dims| size(shape_range(node, dims).len()))]))
            }
            "Size" => one(Some(INT64), Some(vec![])),
            "Gemm" => one(data_type, self.gemm(node)),
            "MatMul" => one(data_type, matmul(first.dims, self.dims(node, 1))),
            "MatMulInteger" => one(Some(INT32), matmul(first.dims, self.dims(node, 1))),
            "Einsum" => one(data_type, self.einsum(node)),
            "Conv" => one(data_type, self.conv(node)),
            "ConvTranspose" => one(data_type, self.conv_transpose(node)),
            "MaxPool" | "AveragePool" | "LpPool" => {
                let dims = self.pool(node);
                vec![ValueType::new(data_type, dims.clone()), ValueType::new(Some(INT64), dims)]
            }
            "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => one(
                data_type,
                first.dims.map(|dims| {
                    dims.into_iter().enumerate().map(|(at, dim)| if at < 2 { dim } else { Known(1) }).collect()
                }),
            ),
            "Flatten" => one(data_type, flatten(node, first.dims)),
            "Reshape" => one(data_type, self.reshape(node, first.dims)),
            "Transpose" => one(data_type, first.dims.and_then(|dims| transpose(node, dims))),
            "Squeeze" => one(data_type, self.squeeze(node)),
            "Unsqueeze" => one(data_type, self.unsqueeze(node)),
            "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2"
            | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => one(data_type, self.reduce(node)),
            "ArgMax" | "ArgMin" => {
                let axis = node.attr_int("axis").unwrap_or(0);
                let keep = node.attr_int("keepdims").unwrap_or(1) != 0;
                one(Some(INT64), first.dims.and_then(|dims| without(dims, &[axis], keep)))
            }
            "Gather" => one(data_type, self.gather(node)),
            "GatherElements" => one(data_type, self.dims(node, 1)),
            "GatherND" => one(data_type, self.gather_nd(node)),
            "Concat" => one(data_type, self.concat(node)),
            "Split" => self.split(node),
            "Slice" => one(data_type, self.slice(node)),
            "Expand" => {
                one(data_type, self.target_shape(node, 1).and_then(|target| broadcast(first.dims?, only_sizes(target))))
            }
            "Tile" => one(data_type, self.tile(node)),
            "Pad" => one(data_type, self.pad(node)),
            "Resize" | "Upsample" => one(data_type, self.resize(node)),
            "DepthToSpace" => one(data_type, self.depth_to_space(node)),
            "SpaceToDepth" => one(data_type, self.space_to_depth(node)),
            "Compress" => one(
                data_type,
                match (node.attr("axis"), first.dims) {
                    (Some(axis), Some(mut dims)) => position(axis.i.unwrap_or_default(), dims.len()).map(|axis| {
                        dims[axis] = Unknown;
                        dims
                    }),
                    (None, _) => Some(vec![Unknown]),
                    _ => None,
                },
            ),
            "OneHot" => one(self.data_type(node, 2), self.one_hot(node)),
            "Range" => one(data_type, Some(vec![self.range(node)])),
            "NonZero" => one(Some(INT64), first.dims.map(|dims| vec![size(dims.len()), Unknown])),
            "TopK" => {
                let dims = self.top_k(node);
                vec![ValueType::new(data_type, dims.clone()), ValueType::new(Some(INT64), dims)]
            }
            "DequantizeLinear" => one(self.data_type(node, 1), first.dims),
            "QuantizeLinear" => {
                one(self.data_type(node, 2).or(Some(UINT8)).filter(|_| node.attr("output_dtype").is_none()), first.dims)
            }
            "LSTM" | "GRU" | "RNN" => self.recurrent(node),
            "SoftmaxCrossEntropyLoss" => vec![self.loss(node), first],
            "NegativeLogLikelihoodLoss" => vec![self.loss(node)],
            _ => vec![],
        }
    }

    /// The few of ONNX Runtime's own that surround losses.
    fn microsoft(&self, node: &NodeProto) -> Vec<ValueType> {
        match node.op() {
            "Gelu"
            | "FastGelu"
            | "QuickGelu"
            | "BiasGelu"
            | "BiasSoftmax"
            | "BiasDropout"
            | "LayerNormalization"
            | "SimplifiedLayerNormalization"
            | "SkipLayerNormalization"
            | "SkipSimplifiedLayerNormalization" => {
                vec![self.input(node, 0)]
            }
            "FusedMatMul" if node.attr_int("transA").unwrap_or(0) == 0 && node.attr_int("transB").unwrap_or(0) == 0 => {
                vec![ValueType::new(self.data_type(node, 0), matmul(self.dims(node, 0), self.dims(node, 1)))]
            }
            "FusedMatMul" => vec![ValueType::new(self.data_type(node, 0), None)],
            "SoftmaxCrossEntropyLossInternal" => vec![self.loss(node), self.input(node, 0)],
            "SoftmaxCrossEntropyLossGrad" | "SoftmaxCrossEntropyLossInternalGrad" => vec![self.input(node, 1)],
            _ => vec![],
        }
    }

    fn broadcast_inputs(&self, node: &NodeProto) -> Option<Dims> {
        // before opset 7 the second input was stretched to the first
        if self.opset < 7 {
            return self.dims(node, 0);
        }
        let mut all = self.dims(node, 0)?;
        for at in 1..node.input.len() {
            all = broadcast(all, self.dims(node, at)?)?;
        }
        Some(all)
    }

    /// A shape given as an input: its elements, or at least how many there are.
    fn target_shape(&self, node: &NodeProto, at: usize) -> Option<Dims> {
        self.vector(node, at).or_else(|| match self.dims(node, at)?[..] {
            [Known(rank)] if (0..=MAX_RANK as i64).contains(&rank) => Some(vec![Unknown; rank as usize]),
            _ => None,
        })
    }

    fn loss(&self, node: &NodeProto) -> ValueType {
        let dims = match node.attr_str("reduction").unwrap_or("mean") {
            "none" => self.dims(node, 1),
            _ => Some(vec![]),
        };
        ValueType::new(self.data_type(node, 0), dims)
    }

    /// Y [sequence, directions, batch, hidden], then Y_h and Y_c [directions, batch, hidden] (layout 0).
    fn recurrent(&self, node: &NodeProto) -> Vec<ValueType> {
        let data_type = self.data_type(node, 0);
        let dims = self.dims(node, 0).filter(|dims| dims.len() == 3 && node.attr_int("layout").unwrap_or(0) == 0);
        let Some([sequence, batch, _]) = dims.as_deref() else {
            return vec![ValueType::new(data_type, None); node.output.len().min(3)];
        };
        let directions = Known(if node.attr_str("direction") == Some("bidirectional") { 2 } else { 1 });
        let hidden = node.attr_int("hidden_size").map_or(Unknown, Dimension::of);
        let state = ValueType::new(data_type, Some(vec![directions.clone(), batch.clone(), hidden.clone()]));
        let all = ValueType::new(data_type, Some(vec![sequence.clone(), directions, batch.clone(), hidden]));
        vec![all, state.clone(), state]
    }
}

fn name_sizes(value: &str, found: &mut ValueType) {
    for (axis, dim) in found.dims.iter_mut().flatten().enumerate().filter(|(_, dim)| **dim == Unknown) {
        *dim = Dimension::Symbol(format!("{value}[{axis}]"));
    }
}

fn constant(node: &NodeProto) -> Option<ValueType> {
    let vector = |data_type, length| Some(ValueType::new(Some(data_type), Some(vec![size(length)])));
    let scalar = |data_type| Some(ValueType::new(Some(data_type), Some(vec![])));
    let attribute = node.attribute.iter().find(|attribute| attribute.name().starts_with("value"))?;
    match attribute.name() {
        "value" => {
            let header = super::graph::TensorHeader::read(attribute.t.as_ref()?).ok()?;
            let dims = header.dims.into_iter().map(Dimension::of).collect();
            Some(ValueType::new(Some(header.data_type), Some(dims)))
        }
        "value_float" => scalar(FLOAT),
        "value_int" => scalar(INT64),
        "value_floats" => vector(FLOAT, attribute.floats.len()),
        "value_ints" => vector(INT64, attribute.ints.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
