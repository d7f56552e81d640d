//! Small tensors as numbers.
use super::proto::TensorProto;
use super::error::ModelError;

/// A tensor decoded to f64, i64 or bool elements; for constants that rules look at.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorValue {
    /// TensorProto.data_type it had
    pub data_type: i32,
    /// dims
    pub dims: Vec<i64>,
    /// elements as f64 (i64 beyond 2^53 lose digits; use `ints`)
    pub data: Vec<f64>,
}
impl TensorValue {
    /// Decodes (f16, bf16, f32, f64, all integers, bool; raw or typed data). Errors name the tensor.
    pub fn decode(tensor: &TensorProto) -> Result<Self, ModelError> { todo!() }
    /// The only element, if there is exactly one.
    pub fn scalar(&self) -> Option<f64> { if let [x] = self.data[..] { Some(x) } else { None } }
    /// as integers, if all are whole
    pub fn ints(&self) -> Option<Vec<i64>> { todo!() }
}
impl TensorProto {
    /// A scalar of `data_type` (float, float16, bfloat16, double, int32, int64, bool), stored raw.
    pub fn scalar(name: &str, data_type: i32, value: f64) -> Self { todo!() }
    /// A 1-D tensor, stored raw.
    pub fn vector(name: &str, data_type: i32, values: &[f64]) -> Self { todo!() }
}
