//! Element types and shapes of values, as far as the file or simple propagation tells.
use super::graph::Graph;

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

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueType {
    /// TensorProto.DataType
    pub data_type: Option<i32>,
    /// None: rank unknown
    pub dims: Option<Vec<Dimension>>,
}
/// Types of all values of a graph.
pub struct Shapes {}
impl Shapes {
    /// From inputs, outputs, value_info, initializers, then propagated forwards through the ops whose output type is
    /// plain to see (elementwise with broadcasting, Gemm, MatMul, Conv, pooling, Flatten, Reshape with constant shape,
    /// Transpose, Cast, Constant, Softmax, reductions, Gather, Concat, Slice, norms …). `opset` is the default domain's.
    pub fn new(graph: &Graph, opset: i64) -> Self {
        todo!()
    }
    /// What is known of `value` (all None where nothing is).
    pub fn get(&self, value: &str) -> ValueType {
        todo!()
    }
    /// element type
    pub fn data_type(&self, value: &str) -> Option<i32> {
        self.get(value).data_type
    }
    /// rank
    pub fn rank(&self, value: &str) -> Option<usize> {
        self.get(value).dims.map(|d| d.len())
    }
}
