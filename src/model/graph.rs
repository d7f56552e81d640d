//! A graph: nodes, values, initializers; reading and editing.
use bytes::Bytes;
use super::error::ModelError;
use super::proto::{AttributeProto, NodeProto, TensorProto, ValueInfoProto, OperatorSetIdProto};
use super::tensor::TensorValue;
use super::external::ExternalReference;

/// Position of a node in [`Graph::nodes`]; valid until the graph is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One node. Dereferences to its [`NodeProto`].
#[derive(Clone, Debug)]
pub struct Node { }
impl std::ops::Deref for Node { type Target = NodeProto; fn deref(&self) -> &NodeProto { todo!() } }
// (the following live on NodeProto so that built and read nodes answer alike)
impl NodeProto {
    /// op_type, "" where absent
    pub fn op(&self) -> &str { self.op_type.as_deref().unwrap_or_default() }
    /// domain with "ai.onnx" normalised to ""
    pub fn op_domain(&self) -> &str { match self.domain.as_deref() { None | Some("ai.onnx") => "", Some(d) => d } }
    /// whether this is `domain::op`
    pub fn is(&self, domain: &str, op: &str) -> bool { self.op() == op && self.op_domain() == domain }
    /// node name, "" where absent (same word as prost's getter)
    pub fn label(&self) -> &str { self.name.as_deref().unwrap_or_default() }
    /// input `i`, None where absent or empty
    pub fn input_at(&self, i: usize) -> Option<&str> { self.input.get(i).map(String::as_str).filter(|s| !s.is_empty()) }
    /// output `i`, None where absent or empty
    pub fn output_at(&self, i: usize) -> Option<&str> { self.output.get(i).map(String::as_str).filter(|s| !s.is_empty()) }
    /// an attribute by name
    pub fn attr(&self, name: &str) -> Option<&AttributeProto> { self.attribute.iter().find(|a| a.name.as_deref() == Some(name)) }
    /// integer attribute
    pub fn attr_int(&self, name: &str) -> Option<i64> { self.attr(name).and_then(|a| a.i) }
    /// float attribute
    pub fn attr_float(&self, name: &str) -> Option<f32> { self.attr(name).and_then(|a| a.f) }
    /// string attribute (None also where it is not UTF-8)
    pub fn attr_str(&self, name: &str) -> Option<&str> { self.attr(name).and_then(|a| a.s.as_deref()).and_then(|s| std::str::from_utf8(s).ok()) }
    /// ints attribute
    pub fn attr_ints(&self, name: &str) -> Option<&[i64]> { self.attr(name).map(|a| a.ints.as_slice()) }
    /// value of a metadata_props key of the node
    pub fn metadata(&self, key: &str) -> Option<&str> { self.metadata_props.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.as_deref()) }
    /// "Softmax 'name'" or, without a name, "Softmax -> 'output'": how a report names a node
    pub fn describe(&self) -> String { todo!() }
}

/// An initializer's header; its data stays in the file.
#[derive(Clone, Debug)]
pub struct Initializer { }
impl Initializer {
    /// name
    pub fn name(&self) -> &str { todo!() }
    /// TensorProto.data_type
    pub fn data_type(&self) -> i32 { todo!() }
    /// dims
    pub fn dims(&self) -> &[i64] { todo!() }
    /// where its data is, if external
    pub fn external(&self) -> Option<&ExternalReference> { todo!() }
    /// The decoded message (raw_data a slice of the file).
    pub fn tensor(&self) -> Result<TensorProto, ModelError> { todo!() }
}

/// One `GraphProto`.
#[derive(Clone, Debug)]
pub struct Graph { }
impl Graph {
    /// Decodes a graph held by an attribute (bodies of If, Loop, Scan). `place` is for errors.
    pub fn decode(bytes: Bytes, place: &str) -> Result<Self, ModelError> { todo!() }
    /// name
    pub fn name(&self) -> &str { todo!() }
    /// nodes in file order
    pub fn nodes(&self) -> &[Node] { todo!() }
    /// node
    pub fn node(&self, id: NodeId) -> &Node { &self.nodes()[id.0] }
    /// initializers
    pub fn initializers(&self) -> &[Initializer] { todo!() }
    /// inputs (with IR < 4 initializers are listed here too)
    pub fn inputs(&self) -> &[ValueInfoProto] { todo!() }
    /// outputs
    pub fn outputs(&self) -> &[ValueInfoProto] { todo!() }
    /// value_info
    pub fn value_infos(&self) -> &[ValueInfoProto] { todo!() }
    // ---- edits (appends go after the last field of their kind)
    /// Removes nodes.
    pub fn remove_nodes(&mut self, nodes: &[NodeId]) { todo!() }
    /// Inserts before position `at` (`at == nodes().len()` appends).
    pub fn insert_node(&mut self, at: usize, node: NodeProto) { todo!() }
    /// Adds an input.
    pub fn add_input(&mut self, value: ValueInfoProto) { todo!() }
    /// Removes an input; whether it was there.
    pub fn remove_input(&mut self, name: &str) -> bool { todo!() }
    /// Adds an output.
    pub fn add_output(&mut self, value: ValueInfoProto) { todo!() }
    /// Removes an output; whether it was there.
    pub fn remove_output(&mut self, name: &str) -> bool { todo!() }
    /// Adds a value_info.
    pub fn add_value_info(&mut self, value: ValueInfoProto) { todo!() }
    /// Removes a value_info; whether it was there.
    pub fn remove_value_info(&mut self, name: &str) -> bool { todo!() }
    /// Adds an initializer.
    pub fn add_initializer(&mut self, tensor: TensorProto) { todo!() }
    /// Removes an initializer; whether it was there.
    pub fn remove_initializer(&mut self, name: &str) -> bool { todo!() }
    /// Whether any input, initializer, node output (also inside subgraphs) has this name.
    pub fn has_value(&self, name: &str) -> bool { todo!() }
    /// `base`, or `base_1`, `base_2` … : a value name that is free.
    pub fn fresh_name(&self, base: &str) -> String { todo!() }
}

/// Who makes and who reads each value; built once per look at a graph.
pub struct GraphIndex<'g> { graph: &'g Graph }
impl<'g> GraphIndex<'g> {
    /// Builds it. Names read by subgraphs count as read by the node that holds the subgraph.
    pub fn new(graph: &'g Graph) -> Self { todo!() }
    /// The graph.
    pub fn graph(&self) -> &'g Graph { self.graph }
    /// The node that makes `value`.
    pub fn producer(&self, value: &str) -> Option<NodeId> { todo!() }
    /// The nodes that read `value`, in file order, without repeats.
    pub fn consumers(&self, value: &str) -> &[NodeId] { todo!() }
    /// Whether it is a graph output.
    pub fn is_output(&self, value: &str) -> bool { todo!() }
    /// Whether it is a graph input (and not only an initializer listed there).
    pub fn is_input(&self, value: &str) -> bool { todo!() }
    /// The initializer of that name.
    pub fn initializer(&self, value: &str) -> Option<&'g Initializer> { todo!() }
    /// The value of a small constant: an initializer, or the output of a `Constant` node (all attribute forms), also
    /// through Identity and Cast between numbers. None where it is not constant, external, or larger than 4096 elements.
    pub fn constant(&self, value: &str) -> Option<TensorValue> { todo!() }
}
