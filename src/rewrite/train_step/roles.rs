//! Which stored tensors are parameters, by what the graph does with them.
//!
//! A file does not say which of its tensors were trained: weights, epsilons, masks and scales are initializers alike.
//! What tells them apart is the operand they are:
//!
//! | operand | role |
//! | --- | --- |
//! | weight or bias of Conv, ConvTranspose, Gemm, MatMul, Einsum, LSTM, GRU, RNN | parameter |
//! | scale or bias of a normalization, slope of PRelu | parameter |
//! | table of a Gather (embeddings), part of a Concat (class tokens) | parameter |
//! | running mean and variance of BatchNormalization | buffer |
//! | operand of Add or Mul behind a layer with weights, more than one number, no mask | parameter |
//! | the same before any layer with weights | stays: it prepares the input |
//! | a mask: 0 and −∞ (−10000 and below) added, or 0 and 1 multiplied | stays |
//! | a single number: scale of attention, parts of Gelu, epsilon | stays |
//! | what is subtracted, divided by, an exponent, a bound … | stays |
//!
//! Transpose, Cast, Reshape and anything else that is computed of stored tensors alone hands the role on to them.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, GraphIndex, NodeId, Shapes, TensorValue};

/// Numbers at or below this, added, are a mask.
const MASKED: f64 = -1e4;
/// Largest tensor that is looked into for being a mask, in bytes.
const MAX_MASK_BYTES: usize = 1 << 24;

/// What is done with a stored float tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Trained.
    Parameter,
    /// Running statistics.
    Buffer,
    /// Neither; why, a clause.
    Constant(&'static str),
}

/// Why a single number is no parameter; these are too many to list.
pub(super) const SINGLE: &str = "a single number";

/// The role of each float initializer that the logits are computed from, by name.
pub(super) fn roles(document: &Document, opset: i64, logits: &str) -> BTreeMap<String, Role> {
    let graph = document.graph();
    let index = GraphIndex::new(graph);
    let needed = ancestors(&index, logits);
    let mut reader = Reader {
        document,
        shapes: Shapes::new(graph, opset),
        index,
        stored: HashSet::new(),
        deep: HashSet::new(),
        found: BTreeMap::new(),
    };
    reader.stored.extend(graph.initializers().iter().filter(|t| is_float(t.data_type())).map(|t| t.name()));
    for (at, node) in graph.nodes().iter().enumerate() {
        if needed.contains(&NodeId(at)) {
            reader.node(node);
        }
    }
    reader.found
}

fn ancestors(index: &GraphIndex, value: &str) -> HashSet<NodeId> {
    let mut nodes = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if let Some(id) = index.producer(value)
            && nodes.insert(id)
        {
            open.extend(index.graph().node(id).reads());
        }
    }
    nodes
}

struct Reader<'g> {
    document: &'g Document,
    index: GraphIndex<'g>,
    shapes: Shapes,
    /// Float values that are computed of stored tensors alone.
    stored: HashSet<&'g str>,
    /// Values that a layer with weights has been on the way to.
    deep: HashSet<&'g str>,
    found: BTreeMap<String, Role>,
}

impl<'g> Reader<'g> {
    fn node(&mut self, node: &'g NodeProto) {
        let floats: Vec<&str> = node
            .input
            .iter()
            .map(String::as_str)
            .filter(|value| !value.is_empty() && self.may_be_float(value))
            .collect();
        let all_stored = !floats.is_empty() && floats.iter().all(|value| self.stored.contains(value));
        let looks_up = is_look_up(node) && node.input_at(1).is_some_and(|at| self.index.constant(at).is_none());
        let computed_of_stored = all_stored && !looks_up && node.subgraphs().next().is_none() && !is_layer(node, 0);
        if computed_of_stored || node.is("", "Constant") {
            let outputs = node.output.iter().map(String::as_str).filter(|output| !output.is_empty());
            let floats: Vec<&str> = outputs.filter(|output| self.may_be_float(output)).collect();
            self.stored.extend(floats);
            return;
        }
        let mut deep = floats.iter().any(|value| self.deep.contains(value));
        for (at, value) in node.input.iter().enumerate() {
            if !self.stored.contains(value.as_str()) {
                continue;
            }
            deep |= is_layer(node, at);
            let role = self.role(node, at, deep);
            self.mark(value, role);
        }
        // what a subgraph reads stays: gradients do not go there
        for value in node.reads() {
            if self.stored.contains(value) && !node.input.iter().any(|input| input == value) {
                self.mark(value, Role::Constant("read inside a subgraph"));
            }
        }
        if deep {
            self.deep.extend(node.output.iter().map(String::as_str).filter(|output| !output.is_empty()));
        }
    }

    fn may_be_float(&self, value: &str) -> bool {
        self.shapes.data_type(value).is_none_or(is_float)
    }

    fn role(&self, node: &NodeProto, at: usize, deep: bool) -> Role {
        if is_layer(node, at) {
            return Role::Parameter;
        }
        match (node.op_domain(), node.op(), at) {
            ("", "BatchNormalization", 3 | 4) => Role::Buffer,
            ("", "Add" | "Sum" | "Mul", _) if !deep => {
                Role::Constant("it acts on the input before any layer with weights")
            }
            ("", "Add" | "Sum" | "Mul", _) if self.is_mask(node, at) => Role::Constant("it is a mask"),
            ("", "Add" | "Sum" | "Mul" | "Concat", _) => Role::Parameter,
            ("", "Sub", _) => Role::Constant("it is an operand of Sub"),
            ("", "Div", _) => Role::Constant("it is an operand of Div"),
            ("", "Pow", _) => Role::Constant("it is an exponent"),
            ("", "Where", _) => Role::Constant("it fills in a Where, as masks do"),
            ("", "DequantizeLinear" | "QuantizeLinear", _) => Role::Constant("it belongs to quantised numbers"),
            _ => Role::Constant("it is no weight, bias, scale or table of its operator"),
        }
    }

    /// Whether the stored operand switches elements off.
    fn is_mask(&self, node: &NodeProto, at: usize) -> bool {
        let Some(value) = node.input_at(at).and_then(|value| self.numbers(value)) else { return false };
        match node.op() {
            "Mul" => value.data.iter().all(|&x| x == 0.0 || x == 1.0) && value.data.contains(&0.0),
            _ => value.data.iter().all(|&x| x == 0.0 || x <= MASKED) && value.data.iter().any(|&x| x <= MASKED),
        }
    }

    fn numbers(&self, value: &str) -> Option<TensorValue> {
        let initializer = self.index.initializer(value)?;
        if initializer.encoded_len() > MAX_MASK_BYTES || initializer.external().is_some() {
            return None;
        }
        TensorValue::decode(&self.document.tensor(initializer).ok()?).ok()
    }

    /// Hands a role on to the initializers that a value is computed of.
    fn mark(&mut self, value: &str, role: Role) {
        let mut open = vec![(value.to_owned(), role)];
        let mut seen: HashMap<String, Role> = HashMap::new();
        while let Some((value, role)) = open.pop() {
            if seen.get(&value).is_some_and(|earlier| *earlier <= role) {
                continue;
            }
            seen.insert(value.clone(), role);
            if let Some(initializer) = self.index.initializer(&value) {
                let elements = initializer.dims().iter().fold(1i64, |n, &dim| n.saturating_mul(dim));
                let role = if role == Role::Parameter && elements == 1 && !self.is_layer_operand(&value) {
                    Role::Constant(SINGLE)
                } else {
                    role
                };
                if is_float(initializer.data_type()) {
                    self.found.entry(value).and_modify(|known| *known = (*known).min(role)).or_insert(role);
                }
                continue;
            }
            let Some(id) = self.index.producer(&value) else { continue };
            let node: &NodeProto = self.index.graph().node(id);
            let inputs = node.input.iter().enumerate().filter(|(_, input)| self.stored.contains(input.as_str()));
            let quantised = matches!(node.op(), "DequantizeLinear" | "QuantizeLinear");
            open.extend(inputs.map(|(_, input)| {
                let role = if quantised { Role::Constant("it belongs to quantised numbers") } else { role };
                (input.clone(), role)
            }));
        }
    }

    /// Whether it is read as a weight or bias somewhere, whatever its size.
    fn is_layer_operand(&self, value: &str) -> bool {
        self.index.consumers(value).iter().any(|&id| {
            let node = self.index.graph().node(id);
            node.input.iter().enumerate().any(|(at, input)| input == value && is_layer(node, at))
        })
    }
}

/// Whether an operand is a weight, bias, scale or table of an operator that has such.
fn is_layer(node: &NodeProto, at: usize) -> bool {
    if !node.op_domain().is_empty() {
        return false;
    }
    match node.op() {
        "Gemm" | "MatMul" | "Einsum" => true,
        "Conv"
        | "ConvTranspose"
        | "LayerNormalization"
        | "GroupNormalization"
        | "InstanceNormalization"
        | "BatchNormalization" => matches!(at, 1 | 2),
        "RMSNormalization" | "PRelu" => at == 1,
        "LSTM" | "GRU" | "RNN" => matches!(at, 1..=3),
        "DeformConv" => matches!(at, 1 | 3),
        "Gather" | "GatherElements" | "GatherND" => at == 0,
        _ => false,
    }
}

fn is_look_up(node: &NodeProto) -> bool {
    node.op_domain().is_empty() && matches!(node.op(), "Gather" | "GatherElements" | "GatherND")
}

pub(super) fn is_float(data_type: i32) -> bool {
    [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16].iter().any(|&t| t as i32 == data_type)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::testing::TestModel;

    /// x [N, 3] prepared, a layer, and what follows one.
    #[test]
    fn operands_say_what_is_trained() {
        let document = TestModel::new(17)
            .input("x", DataType::Float, &["N", "3"])
            .initializer("mean", DataType::Float, &[3], &[0.5, 0.25, 0.125])
            .initializer("shift", DataType::Float, &[3], &[0.5, 0.25, 0.125])
            .initializer("stored", DataType::Float, &[4, 3], &[0.5; 12])
            .initializer("bias", DataType::Float, &[4], &[0.5; 4])
            .initializer("mask", DataType::Float, &[4], &[0.0, f64::NEG_INFINITY, 0.0, -1e9])
            .initializer("switch", DataType::Float, &[4], &[0.0, 1.0, 1.0, 0.0])
            .initializer("half", DataType::Float, &[1], &[0.5])
            .initializer("unused", DataType::Float, &[4], &[0.5; 4])
            .op("Sub", &["x", "mean"], &["a"])
            .op("Add", &["a", "shift"], &["b"])
            .op("Transpose", &["stored"], &["w"])
            .op("MatMul", &["b", "w"], &["c"])
            .op("Add", &["bias", "c"], &["d"])
            .op("Mul", &["d", "half"], &["e"])
            .op("Mul", &["e", "switch"], &["f"])
            .op("Add", &["f", "mask"], &["z"])
            .output("z", DataType::Float, &["N", "4"])
            .build();
        let found = roles(&document, 17, "z");
        let parameters: Vec<&str> =
            found.iter().filter(|(_, role)| **role == Role::Parameter).map(|(name, _)| name.as_str()).collect();
        assert_eq!(parameters, ["bias", "stored"]);
        assert_eq!(found["half"], Role::Constant(SINGLE));
        assert_eq!(found["mask"], Role::Constant("it is a mask"));
        assert_eq!(found["switch"], Role::Constant("it is a mask"));
        assert_eq!(found["mean"], Role::Constant("it is an operand of Sub"));
        assert_eq!(found["shift"], Role::Constant("it acts on the input before any layer with weights"));
        assert!(!found.contains_key("unused"));
    }

    #[test]
    fn running_statistics_are_buffers_and_tables_parameters() {
        let document = TestModel::new(17)
            .input("word", DataType::Int64, &["N"])
            .initializer("table", DataType::Float, &[9, 2], &[0.5; 18])
            .initializer("scale", DataType::Float, &[2], &[1.0; 2])
            .initializer("offset", DataType::Float, &[2], &[0.0; 2])
            .initializer("running", DataType::Float, &[2], &[0.0; 2])
            .initializer("variance", DataType::Float, &[2], &[1.0; 2])
            .op("Gather", &["table", "word"], &["e"])
            .op("BatchNormalization", &["e", "scale", "offset", "running", "variance"], &["z"])
            .output("z", DataType::Float, &["N", "2"])
            .build();
        let found = roles(&document, 17, "z");
        let of = |role: Role| -> Vec<&str> {
            found.iter().filter(|(_, r)| **r == role).map(|(name, _)| name.as_str()).collect()
        };
        assert_eq!(of(Role::Parameter), ["offset", "scale", "table"]);
        assert_eq!(of(Role::Buffer), ["running", "variance"]);
    }
}
