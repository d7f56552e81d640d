//! A graph: nodes, values, initializers; reading and editing.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::error::{Location, ModelError};
use super::external::ExternalReference;
use super::layout::Layout;
use super::proto::{NodeProto, TensorProto, ValueInfoProto};
use super::schema::{self, Kind};
use super::wire::{self, Scanner};

/// Field numbers of `GraphProto`.
const NODE: u32 = 1;
const NAME: u32 = 2;
const INITIALIZER: u32 = 5;
const INPUT: u32 = 11;
const OUTPUT: u32 = 12;
const VALUE_INFO: u32 = 13;

/// `TensorProto.raw_data`.
const RAW_DATA: u32 = 9;
/// `TensorProto.external_data`.
pub(super) const EXTERNAL_DATA: u32 = 13;
/// The fields of `TensorProto` that hold its elements, or say where they are.
const DATA_FIELDS: [u32; 9] = [4, 5, 6, 7, RAW_DATA, 10, 11, EXTERNAL_DATA, 14];

/// Position of a node in [`Graph::nodes`]; valid until the graph is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One node. Dereferences to its [`NodeProto`].
#[derive(Clone, Debug)]
pub struct Node {
    /// The whole field as it stands in the file.
    field: Bytes,
    proto: Arc<NodeProto>,
}

impl std::ops::Deref for Node {
    type Target = NodeProto;

    fn deref(&self) -> &NodeProto {
        &self.proto
    }
}

/// An initializer's header; its data stays in the file.
#[derive(Clone, Debug)]
pub struct Initializer {
    field: Bytes,
    header: TensorHeader,
}

/// What is read of a tensor without touching its data.
#[derive(Clone, Debug, Default)]
pub(super) struct TensorHeader {
    pub name: String,
    pub data_type: i32,
    pub dims: Vec<i64>,
    pub external: Option<ExternalReference>,
}

impl TensorHeader {
    /// Reads a checked tensor.
    pub(super) fn read(tensor: &[u8]) -> Result<Self, ModelError> {
        let mut header = Self::default();
        let mut entries = Vec::new();
        let mut external = false;
        for found in Scanner::new(tensor).map_while(Result::ok) {
            match (found.number, found.value) {
                (1, wire::Value::Varint(dim)) => header.dims.push(dim as i64),
                (1, wire::Value::Bytes(mut packed)) => {
                    while let Ok(dim) = prost::encoding::decode_varint(&mut packed) {
                        header.dims.push(dim as i64);
                    }
                }
                (2, wire::Value::Varint(data_type)) => header.data_type = data_type as i32,
                (8, value) => header.name = value.text().unwrap_or_default().to_owned(),
                (13, wire::Value::Bytes(entry)) => entries.push(entry),
                (14, wire::Value::Varint(location)) => external = location == 1,
                _ => {}
            }
        }
        if external {
            header.external = Some(ExternalReference::read(&header.name, &entries)?);
        }
        Ok(header)
    }
}

impl Initializer {
    /// name
    pub fn name(&self) -> &str {
        &self.header.name
    }

    /// TensorProto.data_type
    pub fn data_type(&self) -> i32 {
        self.header.data_type
    }

    /// dims
    pub fn dims(&self) -> &[i64] {
        &self.header.dims
    }

    /// where its data is, if external
    pub fn external(&self) -> Option<&ExternalReference> {
        self.header.external.as_ref()
    }

    /// The decoded message (raw_data a slice of the file).
    ///
    /// # Errors
    /// Where packed data inside the tensor is damaged.
    pub fn tensor(&self) -> Result<TensorProto, ModelError> {
        TensorProto::decode(wire::payload(&self.field))
            .map_err(|error| ModelError::TensorData { tensor: self.name().to_owned(), reason: error.to_string() })
    }

    /// Length of the encoded tensor in bytes.
    pub fn encoded_len(&self) -> usize {
        self.field.len()
    }

    /// The same tensor with raw data.
    fn with_data(&self, data: &[u8]) -> Self {
        let header = TensorHeader { external: None, ..self.header.clone() };
        Self { field: self.replacing(&DATA_FIELDS, &wire::bytes_field(RAW_DATA, data)), header }
    }

    /// The same tensor with its data elsewhere.
    fn with_reference(&self, reference: &ExternalReference) -> Self {
        let header = TensorHeader { external: Some(reference.clone()), ..self.header.clone() };
        Self { field: self.replacing(&[EXTERNAL_DATA], &reference.entries()), header }
    }

    /// The field with `new` where the first of the tensor's fields of these numbers stood, and without the others.
    fn replacing(&self, numbers: &[u32], new: &[u8]) -> Bytes {
        let payload = wire::payload(&self.field);
        let mut tensor: Vec<u8> = Vec::with_capacity(payload.len().max(new.len()) + 16);
        let mut written = false;
        for found in Scanner::new(&payload).map_while(Result::ok) {
            if !numbers.contains(&found.number) {
                tensor.extend_from_slice(&payload[found.start..found.end]);
            } else if !std::mem::replace(&mut written, true) {
                tensor.extend_from_slice(new);
            }
        }
        if !written {
            tensor.extend_from_slice(new);
        }
        wire::bytes_field(INITIALIZER, &tensor)
    }
}

/// Value infos, each with the field it was read from.
#[derive(Clone, Debug, Default)]
struct Values {
    fields: Vec<Bytes>,
    decoded: Vec<ValueInfoProto>,
}

impl Values {
    fn push(&mut self, field: Bytes, value: ValueInfoProto) {
        self.fields.push(field);
        self.decoded.push(value);
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.decoded.iter().position(|value| value.name() == name)
    }

    fn remove(&mut self, at: usize) {
        self.fields.remove(at);
        self.decoded.remove(at);
    }
}

/// One `GraphProto`. Cloning is cheap: lists are shared until one is edited.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    name: String,
    layout: Layout,
    nodes: Arc<Vec<Node>>,
    initializers: Arc<Vec<Initializer>>,
    inputs: Arc<Values>,
    outputs: Arc<Values>,
    value_infos: Arc<Values>,
    /// Fields of all other numbers.
    others: Arc<Vec<Bytes>>,
}

impl Graph {
    /// Decodes a graph held by an attribute (bodies of If, Loop, Scan). `place` is for errors.
    ///
    /// # Errors
    /// As for [`super::Document::open`].
    pub fn decode(bytes: Bytes, place: &str) -> Result<Self, ModelError> {
        const FILE: &str = "<graph attribute>";
        schema::check(&bytes, Kind::Graph, FILE, place)?;
        Self::split(&bytes, &Location { file: FILE.to_owned(), offset: 0, place: place.to_owned() })
    }

    /// Splits a checked graph that starts at `origin`.
    pub(super) fn split(bytes: &Bytes, origin: &Location) -> Result<Self, ModelError> {
        let mut graph = Self::default();
        let mut nodes = Vec::new();
        let mut initializers = Vec::new();
        let mut others = Vec::new();
        let [mut inputs, mut outputs, mut value_infos] = [Values::default(), Values::default(), Values::default()];
        for found in Scanner::new(bytes) {
            let at = |offset, kind: &str| Location {
                file: origin.file.clone(),
                offset: origin.offset + offset,
                place: format!("{}{kind}", origin.place),
            };
            let found = found.map_err(|fault| fault.error(at(fault.offset, "")))?;
            let field = bytes.slice(found.start..found.end);
            let payload = || bytes.slice(found.payload..found.end);
            let undecodable = |kind: &str, index: usize, error: prost::DecodeError| ModelError::Undecodable {
                at: at(found.start, &format!(".{kind}[{index}]")),
                reason: error.to_string(),
            };
            graph.layout.push(found.number);
            match found.number {
                NODE => {
                    let proto =
                        NodeProto::decode(payload()).map_err(|error| undecodable("node", nodes.len(), error))?;
                    nodes.push(Node { field, proto: Arc::new(proto) });
                }
                INITIALIZER => initializers.push(Initializer { header: TensorHeader::read(&payload())?, field }),
                INPUT | OUTPUT | VALUE_INFO => {
                    let (values, kind) = match found.number {
                        INPUT => (&mut inputs, "input"),
                        OUTPUT => (&mut outputs, "output"),
                        _ => (&mut value_infos, "value_info"),
                    };
                    let value = ValueInfoProto::decode(payload())
                        .map_err(|error| undecodable(kind, values.decoded.len(), error))?;
                    values.push(field, value);
                }
                number => {
                    if number == NAME {
                        graph.name = found.value.text().unwrap_or_default().to_owned();
                    }
                    others.push(field);
                }
            }
        }
        graph.nodes = Arc::new(nodes);
        graph.initializers = Arc::new(initializers);
        graph.inputs = Arc::new(inputs);
        graph.outputs = Arc::new(outputs);
        graph.value_infos = Arc::new(value_infos);
        graph.others = Arc::new(others);
        Ok(graph)
    }

    /// name
    pub fn name(&self) -> &str {
        &self.name
    }

    /// nodes in file order
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// node
    ///
    /// # Panics
    /// Where the id is of another graph, or from before an edit.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// initializers
    pub fn initializers(&self) -> &[Initializer] {
        &self.initializers
    }

    /// inputs (with IR < 4 initializers are listed here too)
    pub fn inputs(&self) -> &[ValueInfoProto] {
        &self.inputs.decoded
    }

    /// outputs
    pub fn outputs(&self) -> &[ValueInfoProto] {
        &self.outputs.decoded
    }

    /// value_info
    pub fn value_infos(&self) -> &[ValueInfoProto] {
        &self.value_infos.decoded
    }

    // ---- edits

    /// Removes nodes.
    pub fn remove_nodes(&mut self, nodes: &[NodeId]) {
        let mut gone: Vec<usize> = nodes.iter().map(|id| id.0).filter(|&at| at < self.nodes.len()).collect();
        gone.sort_unstable();
        gone.dedup();
        for &at in gone.iter().rev() {
            self.layout.remove(NODE, at);
        }
        let mut at = 0;
        Arc::make_mut(&mut self.nodes).retain(|_| {
            at += 1;
            gone.binary_search(&(at - 1)).is_err()
        });
    }

    /// Inserts before position `at` (`at >= nodes().len()` appends).
    pub fn insert_node(&mut self, at: usize, node: NodeProto) {
        let at = at.min(self.nodes.len());
        self.layout.insert(NODE, at);
        let field = wire::message_field(NODE, &node);
        Arc::make_mut(&mut self.nodes).insert(at, Node { field, proto: Arc::new(node) });
    }

    /// Puts another node in the place of one.
    ///
    /// # Panics
    /// Where the id is of another graph, or from before an edit.
    pub fn replace_node(&mut self, id: NodeId, node: NodeProto) {
        let field = wire::message_field(NODE, &node);
        Arc::make_mut(&mut self.nodes)[id.0] = Node { field, proto: Arc::new(node) };
    }

    fn values_mut(&mut self, number: u32) -> &mut Values {
        Arc::make_mut(match number {
            INPUT => &mut self.inputs,
            OUTPUT => &mut self.outputs,
            _ => &mut self.value_infos,
        })
    }

    fn add_value(&mut self, number: u32, value: ValueInfoProto) {
        let values = self.values_mut(number);
        let at = values.decoded.len();
        values.push(wire::message_field(number, &value), value);
        self.layout.insert(number, at);
    }

    fn remove_value(&mut self, number: u32, name: &str) -> bool {
        let values = self.values_mut(number);
        let Some(at) = values.position(name) else { return false };
        values.remove(at);
        self.layout.remove(number, at);
        true
    }

    /// Adds an input.
    pub fn add_input(&mut self, value: ValueInfoProto) {
        self.add_value(INPUT, value);
    }

    /// Removes an input; whether it was there.
    pub fn remove_input(&mut self, name: &str) -> bool {
        self.remove_value(INPUT, name)
    }

    /// Adds an output.
    pub fn add_output(&mut self, value: ValueInfoProto) {
        self.add_value(OUTPUT, value);
    }

    /// Removes an output; whether it was there.
    pub fn remove_output(&mut self, name: &str) -> bool {
        self.remove_value(OUTPUT, name)
    }

    /// Adds a value_info.
    pub fn add_value_info(&mut self, value: ValueInfoProto) {
        self.add_value(VALUE_INFO, value);
    }

    /// Removes a value_info; whether it was there.
    pub fn remove_value_info(&mut self, name: &str) -> bool {
        self.remove_value(VALUE_INFO, name)
    }

    /// Adds an initializer.
    pub fn add_initializer(&mut self, tensor: TensorProto) {
        let field = wire::message_field(INITIALIZER, &tensor);
        // a bad external reference is reported when the model is saved
        let header = TensorHeader::read(&wire::payload(&field)).unwrap_or_else(|_| TensorHeader {
            name: tensor.name().to_owned(),
            data_type: tensor.data_type(),
            dims: tensor.dims,
            external: None,
        });
        self.layout.insert(INITIALIZER, self.initializers.len());
        Arc::make_mut(&mut self.initializers).push(Initializer { field, header });
    }

    /// Removes an initializer; whether it was there.
    pub fn remove_initializer(&mut self, name: &str) -> bool {
        let Some(at) = self.initializers.iter().position(|tensor| tensor.name() == name) else {
            return false;
        };
        Arc::make_mut(&mut self.initializers).remove(at);
        self.layout.remove(INITIALIZER, at);
        true
    }

    /// Puts other data into an initializer: raw, little-endian, where the old data stood among the tensor's fields. Fields
    /// that are no data stay byte for byte; a reference to external data goes.
    ///
    /// # Errors
    /// No initializer of that name.
    pub fn set_initializer_data(&mut self, name: &str, data: Bytes) -> Result<(), ModelError> {
        let initializer = self.initializer_mut(name)?;
        *initializer = initializer.with_data(&data);
        Ok(())
    }

    /// Lets an initializer whose data is external refer to another place; all else of it stays byte for byte.
    ///
    /// # Errors
    /// No initializer of that name, or one whose data is not external.
    pub(super) fn set_initializer_reference(&mut self, reference: &ExternalReference) -> Result<(), ModelError> {
        let initializer = self.initializer_mut(&reference.tensor)?;
        if initializer.external().is_none() {
            let reason = "its data is in the model, and not in a file beside it".to_owned();
            return Err(ModelError::TensorData { tensor: reference.tensor.clone(), reason });
        }
        *initializer = initializer.with_reference(reference);
        Ok(())
    }

    fn initializer_mut(&mut self, name: &str) -> Result<&mut Initializer, ModelError> {
        let mut initializers = Arc::make_mut(&mut self.initializers).iter_mut();
        initializers.find(|tensor| tensor.name() == name).ok_or_else(|| ModelError::no_initializer(name))
    }

    /// Whether any input, initializer, node output (also inside subgraphs) has this name.
    pub fn has_value(&self, name: &str) -> bool {
        self.names(name, false)
    }

    /// `base`, or `base_1`, `base_2` … : a value name that is free (nor read anywhere, nor in value_info).
    pub fn fresh_name(&self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut count = 0;
        while name.is_empty() || self.names(&name, true) {
            count += 1;
            name = format!("{base}_{count}");
        }
        name
    }

    /// Whether `name` is made anywhere in the graph, with `reads` also whether it is read or described.
    fn names(&self, name: &str, reads: bool) -> bool {
        let listed = |values: &Values| values.position(name).is_some();
        if listed(&self.inputs) || self.initializers.iter().any(|tensor| tensor.name() == name) {
            return true;
        }
        if reads && (listed(&self.outputs) || listed(&self.value_infos)) {
            return true;
        }
        self.nodes.iter().any(|node| {
            node.output.iter().any(|output| output == name)
                || (reads && node.input.iter().any(|input| input == name))
                || node.subgraphs().any(|graph| names_in(graph, name, reads))
        })
    }

    /// The node field as it will be written, for walks over what is not decoded.
    pub(super) fn fields(&self) -> impl Iterator<Item = (u32, &Bytes)> {
        let mut nodes = self.nodes.iter().map(|node| &node.field);
        let mut initializers = self.initializers.iter().map(|tensor| &tensor.field);
        let mut inputs = self.inputs.fields.iter();
        let mut outputs = self.outputs.fields.iter();
        let mut value_infos = self.value_infos.fields.iter();
        let mut others = self.others.iter();
        self.layout.runs().flat_map(|(number, count)| std::iter::repeat_n(number, count)).filter_map(move |number| {
            let field = match number {
                NODE => nodes.next(),
                INITIALIZER => initializers.next(),
                INPUT => inputs.next(),
                OUTPUT => outputs.next(),
                VALUE_INFO => value_infos.next(),
                _ => others.next(),
            };
            Some((number, field?))
        })
    }

    /// Length of the encoded graph in bytes.
    pub fn encoded_len(&self) -> usize {
        self.fields().map(|(_, field)| field.len()).sum()
    }

    /// The encoded graph, to be put into an attribute.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.fields().for_each(|(_, field)| bytes.extend_from_slice(field));
        bytes.into()
    }
}

impl NodeProto {
    /// The encoded graphs in its attributes, outermost only.
    pub fn subgraphs(&self) -> impl Iterator<Item = &Bytes> {
        self.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
    }

    /// The values it reads: its inputs, and what its subgraphs read of the graph around them.
    pub fn reads(&self) -> HashSet<&str> {
        let own = self.input.iter().map(String::as_str).filter(|name| !name.is_empty());
        own.chain(self.subgraphs().flat_map(|inner| outer_reads(inner))).collect()
    }
}

/// Whether an encoded graph, or one inside it, makes a value `name` (with `reads` also: reads or describes).
fn names_in(graph: &[u8], name: &str, reads: bool) -> bool {
    let mut found = false;
    schema::walk(graph, Kind::Graph, &mut |kind, number, payload| {
        let counts = match (kind, number) {
            (Kind::Node, 2) | (Kind::ValueInfo, 1) | (Kind::Tensor, 8) => true,
            (Kind::Node, 1) => reads,
            _ => false,
        };
        found |= counts && payload == name.as_bytes();
    });
    found
}

/// Names that an encoded graph reads and does not make itself: values of the graphs around it.
pub(super) fn outer_reads(graph: &[u8]) -> HashSet<&str> {
    let mut reads = HashSet::new();
    let mut made = HashSet::new();
    for found in Scanner::new(graph).map_while(Result::ok) {
        let Some(payload) = found.value.bytes() else { continue };
        match found.number {
            NODE => {
                for part in Scanner::new(payload).map_while(Result::ok) {
                    match part.number {
                        1 => reads.extend(part.value.text()),
                        2 => made.extend(part.value.text()),
                        5 => attribute_graphs(part.value.bytes().unwrap_or_default())
                            .for_each(|inner| reads.extend(outer_reads(inner))),
                        _ => {}
                    }
                }
            }
            INITIALIZER => made.extend(text_field(payload, 8)),
            INPUT => made.extend(text_field(payload, 1)),
            OUTPUT => reads.extend(text_field(payload, 1)),
            _ => {}
        }
    }
    reads.retain(|name| !name.is_empty() && !made.contains(name));
    reads
}

fn text_field(message: &[u8], number: u32) -> Option<&str> {
    Scanner::new(message).map_while(Result::ok).filter(|found| found.number == number).last()?.value.text()
}

fn attribute_graphs(attribute: &[u8]) -> impl Iterator<Item = &[u8]> {
    Scanner::new(attribute)
        .map_while(Result::ok)
        .filter(|found| matches!(found.number, 6 | 11))
        .filter_map(|found| found.value.bytes())
}
