//! Which field of which ONNX message is what; checks encoded messages before anything is decoded, and walks them.
//!
//! After [`check`] the decoder cannot be made to allocate without bound, and every nested graph is known to be whole.

use std::mem::size_of;

use super::error::{Location, ModelError};
use super::proto::*;
use super::wire::{Field, Scanner, Value};

/// How deep graphs may nest in attributes (exporters reach 3 or 4).
pub const MAX_GRAPH_DEPTH: usize = 32;
/// Memory that decoded nodes, names and types of any file may take.
const DECODED_FLOOR: u64 = 64 << 20;
/// Memory that they may take per byte of the file. A node of a real file has 30 bytes or more, decoded under 1000.
const DECODED_PER_BYTE: u64 = 64;
/// Memory that they may take whatever the file's length.
const DECODED_CEILING: u64 = 2 << 30;

/// Upper bound on the memory for the decoded nodes, names and types of a file of `length` bytes: 64 MiB plus 64 bytes
/// per byte, at most 2 GiB. Tensor data is never decoded on opening and does not count.
pub fn decoded_limit(length: usize) -> u64 {
    DECODED_PER_BYTE.saturating_mul(length as u64).saturating_add(DECODED_FLOOR).min(DECODED_CEILING)
}

/// The messages that are looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Dimension,
    Entry,
    Opset,
    Function,
    TrainingInfo,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Int,
    /// Repeated integers, packed or not.
    Ints,
    Float,
    /// Repeated floats, packed or not.
    Floats,
    /// Repeated doubles, packed or not.
    Doubles,
    Text,
    /// Bytes that are not looked into.
    Blob,
    /// A message that may occur once.
    One(Kind),
    /// A repeated message.
    Many(Kind),
}

impl Holds {
    fn expected(self) -> &'static str {
        match self {
            Holds::Int | Holds::Ints => "an integer",
            Holds::Float | Holds::Floats => "a float",
            Holds::Doubles => "a double",
            Holds::Text => "a string",
            Holds::Blob => "bytes",
            Holds::One(_) | Holds::Many(_) => "a message",
        }
    }

    fn accepts(self, value: Value<'_>) -> bool {
        match (self, value) {
            (Holds::Int | Holds::Ints, Value::Varint(_)) => true,
            (Holds::Float | Holds::Floats, Value::Fixed32) => true,
            (Holds::Doubles, Value::Fixed64) => true,
            (Holds::Int | Holds::Float, Value::Bytes(_)) => false,
            (_, Value::Bytes(_)) => true,
            _ => false,
        }
    }
}

/// Name and content of a field, `None` where onnx.proto has no such field (or one that is of no interest here).
pub(super) fn field(kind: Kind, number: u32) -> Option<(&'static str, Holds)> {
    use Holds::*;
    Some(match (kind, number) {
        (Kind::Model, 1) => ("ir_version", Int),
        (Kind::Model, 2) => ("producer_name", Text),
        (Kind::Model, 3) => ("producer_version", Text),
        (Kind::Model, 4) => ("domain", Text),
        (Kind::Model, 5) => ("model_version", Int),
        (Kind::Model, 6) => ("doc_string", Text),
        (Kind::Model, 7) => ("graph", One(Kind::Graph)),
        (Kind::Model, 8) => ("opset_import", Many(Kind::Opset)),
        (Kind::Model, 14) => ("metadata_props", Many(Kind::Entry)),
        (Kind::Model, 20) => ("training_info", Many(Kind::TrainingInfo)),
        (Kind::Model, 25) => ("functions", Many(Kind::Function)),

        (Kind::Graph, 1) => ("node", Many(Kind::Node)),
        (Kind::Graph, 2) => ("name", Text),
        (Kind::Graph, 5) => ("initializer", Many(Kind::Tensor)),
        (Kind::Graph, 10) => ("doc_string", Text),
        (Kind::Graph, 11) => ("input", Many(Kind::ValueInfo)),
        (Kind::Graph, 12) => ("output", Many(Kind::ValueInfo)),
        (Kind::Graph, 13) => ("value_info", Many(Kind::ValueInfo)),
        (Kind::Graph, 14) => ("quantization_annotation", Blob),
        (Kind::Graph, 15) => ("sparse_initializer", Many(Kind::SparseTensor)),
        (Kind::Graph, 16) => ("metadata_props", Many(Kind::Entry)),

        (Kind::Node, 1) => ("input", Text),
        (Kind::Node, 2) => ("output", Text),
        (Kind::Node, 3) => ("name", Text),
        (Kind::Node, 4) => ("op_type", Text),
        (Kind::Node, 5) => ("attribute", Many(Kind::Attribute)),
        (Kind::Node, 6) => ("doc_string", Text),
        (Kind::Node, 7) => ("domain", Text),
        (Kind::Node, 8) => ("overload", Text),
        (Kind::Node, 9) => ("metadata_props", Many(Kind::Entry)),
        (Kind::Node, 10) => ("device_configurations", Blob),

        (Kind::Attribute, 1) => ("name", Text),
        (Kind::Attribute, 2) => ("f", Float),
        (Kind::Attribute, 3) => ("i", Int),
        (Kind::Attribute, 4) => ("s", Blob),
        (Kind::Attribute, 5) => ("t", One(Kind::Tensor)),
        (Kind::Attribute, 6) => ("g", One(Kind::Graph)),
        (Kind::Attribute, 7) => ("floats", Floats),
        (Kind::Attribute, 8) => ("ints", Ints),
        (Kind::Attribute, 9) => ("strings", Blob),
        (Kind::Attribute, 10) => ("tensors", Many(Kind::Tensor)),
        (Kind::Attribute, 11) => ("graphs", Many(Kind::Graph)),
        (Kind::Attribute, 13) => ("doc_string", Text),
        (Kind::Attribute, 14) => ("tp", One(Kind::Type)),
        (Kind::Attribute, 15) => ("type_protos", Blob),
        (Kind::Attribute, 20) => ("type", Int),
        (Kind::Attribute, 21) => ("ref_attr_name", Text),
        (Kind::Attribute, 22) => ("sparse_tensor", One(Kind::SparseTensor)),
        (Kind::Attribute, 23) => ("sparse_tensors", Many(Kind::SparseTensor)),

        (Kind::Tensor, 1) => ("dims", Ints),
        (Kind::Tensor, 2) => ("data_type", Int),
        (Kind::Tensor, 4) => ("float_data", Floats),
        (Kind::Tensor, 5) => ("int32_data", Ints),
        (Kind::Tensor, 6) => ("string_data", Blob),
        (Kind::Tensor, 7) => ("int64_data", Ints),
        (Kind::Tensor, 8) => ("name", Text),
        (Kind::Tensor, 9) => ("raw_data", Blob),
        (Kind::Tensor, 10) => ("double_data", Doubles),
        (Kind::Tensor, 11) => ("uint64_data", Ints),
        (Kind::Tensor, 12) => ("doc_string", Text),
        (Kind::Tensor, 13) => ("external_data", Many(Kind::Entry)),
        (Kind::Tensor, 14) => ("data_location", Int),
        (Kind::Tensor, 16) => ("metadata_props", Many(Kind::Entry)),

        (Kind::SparseTensor, 1) => ("values", One(Kind::Tensor)),
        (Kind::SparseTensor, 2) => ("indices", One(Kind::Tensor)),
        (Kind::SparseTensor, 3) => ("dims", Ints),

        (Kind::ValueInfo, 1) => ("name", Text),
        (Kind::ValueInfo, 2) => ("type", One(Kind::Type)),
        (Kind::ValueInfo, 3) => ("doc_string", Text),
        (Kind::ValueInfo, 4) => ("metadata_props", Many(Kind::Entry)),

        (Kind::Type, 1) => ("tensor_type", One(Kind::TensorType)),
        (Kind::Type, 4) => ("sequence_type", Blob),
        (Kind::Type, 5) => ("map_type", Blob),
        (Kind::Type, 6) => ("denotation", Text),
        (Kind::Type, 7) => ("opaque_type", Blob),
        (Kind::Type, 8) => ("sparse_tensor_type", Blob),
        (Kind::Type, 9) => ("optional_type", Blob),

        (Kind::TensorType, 1) => ("elem_type", Int),
        (Kind::TensorType, 2) => ("shape", One(Kind::Shape)),

        (Kind::Shape, 1) => ("dim", Many(Kind::Dimension)),

        (Kind::Dimension, 1) => ("dim_value", Int),
        (Kind::Dimension, 2) => ("dim_param", Text),
        (Kind::Dimension, 3) => ("denotation", Text),

        (Kind::Entry, 1) => ("key", Text),
        (Kind::Entry, 2) => ("value", Text),

        (Kind::Opset, 1) => ("domain", Text),
        (Kind::Opset, 2) => ("version", Int),

        (Kind::Function, 1) => ("name", Text),
        (Kind::Function, 4) => ("input", Text),
        (Kind::Function, 5) => ("output", Text),
        (Kind::Function, 6) => ("attribute", Text),
        (Kind::Function, 7) => ("node", Many(Kind::Node)),
        (Kind::Function, 8) => ("doc_string", Text),
        (Kind::Function, 9) => ("opset_import", Many(Kind::Opset)),
        (Kind::Function, 10) => ("domain", Text),
        (Kind::Function, 11) => ("attribute_proto", Many(Kind::Attribute)),
        (Kind::Function, 12) => ("value_info", Many(Kind::ValueInfo)),
        (Kind::Function, 13) => ("overload", Text),
        (Kind::Function, 14) => ("metadata_props", Many(Kind::Entry)),

        (Kind::TrainingInfo, 1) => ("initialization", One(Kind::Graph)),
        (Kind::TrainingInfo, 2) => ("algorithm", One(Kind::Graph)),
        (Kind::TrainingInfo, 3) => ("initialization_binding", Many(Kind::Entry)),
        (Kind::TrainingInfo, 4) => ("update_binding", Many(Kind::Entry)),
        _ => return None,
    })
}

/// What one decoded message takes besides its strings and lists, in bytes.
fn footprint(kind: Kind) -> usize {
    // each is also held as a raw field, and vectors grow by doubling
    const RAW: usize = size_of::<bytes::Bytes>() + 16;
    2 * (RAW
        + match kind {
            Kind::Model | Kind::Graph | Kind::TrainingInfo => 512,
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor | Kind::SparseTensor => size_of::<TensorProto>(),
            Kind::ValueInfo => size_of::<ValueInfoProto>(),
            Kind::Type => size_of::<TypeProto>(),
            Kind::TensorType => size_of::<TensorTypeProto>(),
            Kind::Shape => size_of::<TensorShapeProto>(),
            Kind::Dimension => size_of::<DimensionProto>(),
            Kind::Entry => size_of::<StringStringEntryProto>(),
            Kind::Opset => size_of::<OperatorSetIdProto>(),
            Kind::Function => size_of::<FunctionProto>(),
        })
}

/// What a field takes once decoded, in bytes; tensor data stays encoded.
fn cost(kind: Kind, number: u32, found: &Field<'_>) -> u64 {
    let length = found.value.bytes().map_or(0, <[u8]>::len);
    let bytes = match field(kind, number) {
        Some((_, Holds::One(inner) | Holds::Many(inner))) => footprint(inner),
        Some((_, Holds::Text)) => 2 * size_of::<String>() + length,
        Some((_, Holds::Ints)) if kind != Kind::Tensor || number == 1 => 16 * length.max(1),
        Some((_, Holds::Floats)) if kind != Kind::Tensor => 2 * length.max(4),
        Some((_, Holds::Blob)) => 2 * size_of::<bytes::Bytes>(),
        Some(_) => 0,
        None if matches!(kind, Kind::Model | Kind::Graph) => 2 * size_of::<bytes::Bytes>() + 32,
        None => 0,
    };
    bytes as u64
}

/// A step on the way to a message; kept on the stack and only written out for an error.
struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    name: &'p str,
    index: Option<usize>,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // below the model itself the root's name says nothing
        if let Some(parent) = self.parent.filter(|parent| parent.parent.is_some() || parent.name != MODEL_PLACE) {
            write!(f, "{parent}.")?;
        }
        match self.index {
            Some(index) => write!(f, "{}[{index}]", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// The place of fields of the model itself.
pub(super) const MODEL_PLACE: &str = "the model";

struct Checker<'a> {
    file: &'a str,
    length: usize,
    limit: u64,
    spent: u64,
}

/// Checks an encoded message and all known messages in it: bounds, wire types, UTF-8, single messages that occur twice,
/// depth of graphs, and the memory that decoding will take. `place` names the message in errors.
pub(super) fn check(bytes: &[u8], kind: Kind, file: &str, place: &str) -> Result<(), ModelError> {
    let mut checker = Checker { file, length: bytes.len(), limit: decoded_limit(bytes.len()), spent: 0 };
    checker.message(bytes, kind, 0, &Place { parent: None, name: place, index: None }, 0)
}

impl Checker<'_> {
    fn at(&self, offset: usize, place: &Place<'_>) -> Location {
        Location { file: self.file.to_owned(), offset, place: place.to_string() }
    }

    /// `base` is the position of `bytes` in the whole, `depth` the number of graphs around.
    fn message(
        &mut self,
        bytes: &[u8],
        kind: Kind,
        base: usize,
        place: &Place<'_>,
        depth: usize,
    ) -> Result<(), ModelError> {
        let depth = depth + usize::from(kind == Kind::Graph);
        if depth > MAX_GRAPH_DEPTH {
            return Err(ModelError::TooDeep { at: self.at(base, place), limit: MAX_GRAPH_DEPTH });
        }
        // all known numbers are below 32
        let mut seen = [0usize; 32];
        for found in Scanner::new(bytes) {
            let found = found.map_err(|fault| fault.error(self.at(base + fault.offset, place)))?;
            let at = |checker: &Self| checker.at(base + found.start, place);
            self.spent += cost(kind, found.number, &found);
            if self.spent > self.limit {
                return Err(ModelError::TooManyFields { at: at(self), limit: self.limit, length: self.length });
            }
            let Some((name, holds)) = field(kind, found.number) else {
                continue;
            };
            if !holds.accepts(found.value) {
                return Err(ModelError::FieldType {
                    at: at(self),
                    field: name,
                    expected: holds.expected(),
                    found: found.value.describe(),
                });
            }
            let index = seen[found.number as usize];
            seen[found.number as usize] += 1;
            match (holds, found.value) {
                (Holds::Text, value) if value.text().is_none() => {
                    return Err(ModelError::Utf8 { at: at(self), field: name });
                }
                (Holds::One(_), _) if index > 0 => {
                    return Err(ModelError::Duplicate { at: at(self), field: name });
                }
                (Holds::One(inner), Value::Bytes(payload)) => {
                    let place = Place { parent: Some(place), name, index: None };
                    self.message(payload, inner, base + found.payload, &place, depth)?;
                }
                (Holds::Many(inner), Value::Bytes(payload)) => {
                    let place = Place { parent: Some(place), name, index: Some(index) };
                    self.message(payload, inner, base + found.payload, &place, depth)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Calls `visit(kind, field number, payload)` for each length-delimited field of a checked message and of all known
/// messages in it, outer ones first.
pub(super) fn walk<'a>(bytes: &'a [u8], kind: Kind, visit: &mut dyn FnMut(Kind, u32, &'a [u8])) {
    for found in Scanner::new(bytes).map_while(Result::ok) {
        let Some(payload) = found.value.bytes() else { continue };
        visit(kind, found.number, payload);
        if let Some((_, Holds::One(inner) | Holds::Many(inner))) = field(kind, found.number) {
            walk(payload, inner, visit);
        }
    }
}
