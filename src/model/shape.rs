//! Element types and shapes of values, as far as the file or simple propagation tells.

use std::collections::HashMap;

use super::graph::Graph;
use super::index::GraphIndex;
use super::infer::Inference;
use super::proto::{DimensionProto, NodeProto, ValueInfoProto};

/// Ranks beyond this are taken as unknown.
pub(super) const MAX_RANK: usize = 64;

/// One dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// known
    Known(i64),
    /// symbolic
    Symbol(String),
    /// neither
    Unknown,
}

impl Dimension {
    /// The size, where known.
    pub fn known(&self) -> Option<i64> {
        match self {
            Dimension::Known(size) => Some(*size),
            _ => None,
        }
    }

    /// Negative sizes say nothing.
    pub(super) fn of(size: i64) -> Self {
        if size >= 0 { Dimension::Known(size) } else { Dimension::Unknown }
    }

    fn from_proto(dim: &DimensionProto) -> Self {
        match (dim.dim_value, dim.dim_param.as_deref()) {
            (Some(size), _) => Self::of(size),
            (None, Some(name)) if !name.is_empty() => Dimension::Symbol(name.to_owned()),
            _ => Dimension::Unknown,
        }
    }

    /// The more telling of the two: a number before a symbol before nothing; `self` before `other`.
    fn refined(self, other: Dimension) -> Self {
        match (&self, &other) {
            (Dimension::Known(_), _) => self,
            (_, Dimension::Known(_)) | (Dimension::Unknown, _) => other,
            _ => self,
        }
    }
}

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueType {
    /// TensorProto.DataType
    pub data_type: Option<i32>,
    /// None: rank unknown
    pub dims: Option<Vec<Dimension>>,
}

impl ValueType {
    /// As declared by a value_info; nothing where it is no tensor.
    pub fn of_value_info(value: &ValueInfoProto) -> Self {
        let Some(tensor) = value.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()) else {
            return Self::default();
        };
        let dims = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(Dimension::from_proto).collect());
        Self { data_type: tensor.elem_type.filter(|&data_type| data_type != 0), dims }.bounded()
    }

    pub(super) fn new(data_type: Option<i32>, dims: Option<Vec<Dimension>>) -> Self {
        Self { data_type, dims }.bounded()
    }

    fn bounded(mut self) -> Self {
        self.dims = self.dims.filter(|dims| dims.len() <= MAX_RANK);
        self
    }

    /// What the operators say, with what is `declared` beyond it. Where the ranks differ the operators are right: PyTorch's
    /// dynamo exporter declares an unreduced loss, and all that follows from it, as scalars.
    pub(super) fn completed(self, declared: ValueType) -> Self {
        let dims = match (self.dims, declared.dims) {
            (Some(found), Some(said)) if found.len() == said.len() => {
                Some(found.into_iter().zip(said).map(|(found, said)| found.refined(said)).collect())
            }
            (found, said) => found.or(said),
        };
        Self { data_type: declared.data_type.or(self.data_type), dims }
    }
}

/// Types of all values of a graph.
pub struct Shapes {
    types: HashMap<String, ValueType>,
}

impl Shapes {
    /// From inputs, outputs, value_info, initializers, then propagated forwards through the ops whose output type is
    /// plain to see (elementwise with broadcasting, Gemm, MatMul, Conv, pooling, Flatten, Reshape with constant shape,
    /// Transpose, Cast, Constant, Softmax, reductions, Gather, Concat, Slice, norms …). `opset` is the default domain's.
    /// Declarations fill in what propagation does not tell.
    pub fn new(graph: &Graph, opset: i64) -> Self {
        Self { types: propagated(graph, opset, false).into_types() }
    }

    /// What is known of `value` (all None where nothing is).
    pub fn get(&self, value: &str) -> ValueType {
        self.types.get(value).cloned().unwrap_or_default()
    }

    /// element type
    pub fn data_type(&self, value: &str) -> Option<i32> {
        self.types.get(value)?.data_type
    }

    /// rank
    pub fn rank(&self, value: &str) -> Option<usize> {
        Some(self.types.get(value)?.dims.as_ref()?.len())
    }
}

/// Types of the values of a graph and of nodes that are to be appended to it.
pub(crate) struct GrowingShapes<'g> {
    inference: Inference<'g>,
}

impl<'g> GrowingShapes<'g> {
    /// As [`Shapes::new`], but a size that nobody knows is a symbol of its own: the same along all that it is handed on to.
    pub fn new(graph: &'g Graph, opset: i64) -> Self {
        Self { inference: propagated(graph, opset, true) }
    }

    /// Takes in a node that reads what is known here.
    pub fn add(&mut self, node: &NodeProto) {
        self.inference.node(node);
    }

    /// What is known of `value` (all None where nothing is).
    pub fn get(&self, value: &str) -> ValueType {
        self.inference.value_type(value)
    }

    /// Takes in what no node tells.
    pub fn set(&mut self, value: &str, found: ValueType) {
        self.inference.declare(value, found);
    }

    /// The elements of a small integer value that is constant or made of shapes, as far as known.
    pub fn elements(&self, value: &str) -> Option<Vec<Dimension>> {
        self.inference.elements_of(value)
    }

    /// Who makes and reads the values of the graph that is there.
    pub fn index(&self) -> &GraphIndex<'g> {
        self.inference.index()
    }
}

fn propagated(graph: &Graph, opset: i64, name_sizes: bool) -> Inference<'_> {
    let mut types = HashMap::new();
    for value in graph.value_infos().iter().chain(graph.outputs()).chain(graph.inputs()) {
        types.insert(value.name().to_owned(), ValueType::of_value_info(value));
    }
    for tensor in graph.initializers() {
        let dims = tensor.dims().iter().map(|&dim| Dimension::of(dim)).collect();
        types.insert(tensor.name().to_owned(), ValueType::new(Some(tensor.data_type()), Some(dims)));
    }
    let mut inference = Inference::new(GraphIndex::new(graph), opset, types);
    if name_sizes {
        inference.name_sizes();
    }
    for node in graph.nodes() {
        inference.node(node);
    }
    inference
}
