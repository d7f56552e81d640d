//! Building messages.
use super::proto::*;

/// Fluent [`NodeProto`].
///
/// `node("Softmax").inputs(["x"]).outputs(["y"]).name("head").int("axis", 1).build()`
pub struct NodeBuilder { node: NodeProto }
/// Starts a node of the standard domain.
pub fn node(op_type: &str) -> NodeBuilder { todo!() }
impl NodeBuilder {
    /// domain
    pub fn domain(mut self, domain: &str) -> Self { todo!() }
    /// name
    pub fn name(mut self, name: &str) -> Self { todo!() }
    /// inputs; "" leaves an optional one out; trailing empty ones are dropped
    pub fn inputs<S: AsRef<str>>(mut self, inputs: impl IntoIterator<Item = S>) -> Self { todo!() }
    /// outputs
    pub fn outputs<S: AsRef<str>>(mut self, outputs: impl IntoIterator<Item = S>) -> Self { todo!() }
    /// int attribute
    pub fn int(mut self, name: &str, value: i64) -> Self { todo!() }
    /// float attribute
    pub fn float(mut self, name: &str, value: f32) -> Self { todo!() }
    /// string attribute
    pub fn string(mut self, name: &str, value: &str) -> Self { todo!() }
    /// ints attribute
    pub fn ints(mut self, name: &str, values: &[i64]) -> Self { todo!() }
    /// tensor attribute
    pub fn tensor(mut self, name: &str, value: &TensorProto) -> Self { todo!() }
    /// any attribute
    pub fn attribute(mut self, attribute: AttributeProto) -> Self { todo!() }
    /// attribute that refers to the function's attribute `from`
    pub fn reference(mut self, name: &str, kind: AttributeType, from: &str) -> Self { todo!() }
    /// metadata_props entry
    pub fn metadata(mut self, key: &str, value: &str) -> Self { todo!() }
    /// done
    pub fn build(self) -> NodeProto { self.node }
}
/// An attribute of a kind without value.
pub fn attribute(name: &str, kind: AttributeType) -> AttributeProto { todo!() }
/// A metadata entry.
pub fn metadata_entry(key: &str, value: &str) -> StringStringEntryProto { todo!() }
/// A tensor type; `None` dims: rank unknown.
pub fn tensor_type(elem_type: i32, dims: Option<&[super::shape::Dimension]>) -> TypeProto { todo!() }
/// A value_info of a tensor.
pub fn value_info(name: &str, elem_type: i32, dims: Option<&[super::shape::Dimension]>) -> ValueInfoProto { todo!() }
