//! Who makes and who reads each value of a graph.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::graph::{Graph, Initializer, NodeId, outer_reads};
use super::proto::{DataType, NodeProto, TensorProto};
use super::tensor::TensorValue;

/// Largest constant that [`GraphIndex::constant`] decodes, in elements.
const MAX_CONSTANT_ELEMENTS: usize = 4096;
/// Most bytes an encoded tensor of that many numbers can sensibly have.
const MAX_CONSTANT_BYTES: usize = 32 * MAX_CONSTANT_ELEMENTS;
/// How many Identity and Cast nodes a constant is followed through.
const MAX_CONSTANT_STEPS: usize = 64;

/// Who makes and who reads each value; built once per look at a graph.
pub struct GraphIndex<'g> {
    graph: &'g Graph,
    producers: HashMap<&'g str, NodeId>,
    consumers: HashMap<&'g str, Vec<NodeId>>,
    inputs: HashSet<&'g str>,
    outputs: HashSet<&'g str>,
    initializers: HashMap<&'g str, &'g Initializer>,
}

impl<'g> GraphIndex<'g> {
    /// Builds it. Names read by subgraphs count as read by the node that holds the subgraph.
    pub fn new(graph: &'g Graph) -> Self {
        let mut producers = HashMap::new();
        let mut consumers: HashMap<&str, Vec<NodeId>> = HashMap::new();
        for (at, node) in graph.nodes().iter().enumerate() {
            let id = NodeId(at);
            let outer: HashSet<&str> = node.subgraphs().flat_map(|inner| outer_reads(inner)).collect();
            for name in node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).chain(outer) {
                let readers = consumers.entry(name).or_default();
                if readers.last() != Some(&id) {
                    readers.push(id);
                }
            }
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                producers.entry(output.as_str()).or_insert(id);
            }
        }
        let initializers: HashMap<&str, _> =
            graph.initializers().iter().map(|tensor| (tensor.name(), tensor)).collect();
        Self {
            graph,
            producers,
            consumers,
            inputs: graph
                .inputs()
                .iter()
                .map(|value| value.name())
                .filter(|name| !initializers.contains_key(name))
                .collect(),
            outputs: graph.outputs().iter().map(|value| value.name()).collect(),
            initializers,
        }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The node that makes `value`.
    pub fn producer(&self, value: &str) -> Option<NodeId> {
        self.producers.get(value).copied()
    }

    /// The nodes that read `value`, in file order, without repeats.
    pub fn consumers(&self, value: &str) -> &[NodeId] {
        self.consumers.get(value).map_or(&[], Vec::as_slice)
    }

    /// Whether it is a graph output.
    pub fn is_output(&self, value: &str) -> bool {
        self.outputs.contains(value)
    }

    /// Whether it is a graph input (and not only an initializer listed there).
    pub fn is_input(&self, value: &str) -> bool {
        self.inputs.contains(value)
    }

    /// The initializer of that name.
    pub fn initializer(&self, value: &str) -> Option<&'g Initializer> {
        self.initializers.get(value).copied()
    }

    /// The value of a small constant: an initializer, or the output of a `Constant` node (all attribute forms), also
    /// through Identity and Cast between numbers. None where it is not constant, external, or larger than 4096 elements.
    pub fn constant(&self, value: &str) -> Option<TensorValue> {
        let mut value = value;
        let mut casts = Vec::new();
        for _ in 0..MAX_CONSTANT_STEPS {
            if let Some(tensor) = self.initializer(value) {
                let constant = small_initializer(tensor)?;
                return casts.iter().rev().try_fold(constant, |constant, &to| constant.cast(to));
            }
            let node: &NodeProto = self.graph.node(self.producer(value)?);
            match (node.op_domain(), node.op()) {
                ("", "Identity") => value = node.input_at(0)?,
                ("", "Cast") => {
                    casts.push(node.attr_int("to")? as i32);
                    value = node.input_at(0)?;
                }
                ("", "Constant") => {
                    let constant = constant_node(node)?;
                    return casts.iter().rev().try_fold(constant, |constant, &to| constant.cast(to));
                }
                _ => return None,
            }
        }
        None
    }
}

fn small_initializer(tensor: &Initializer) -> Option<TensorValue> {
    if tensor.external().is_some() || tensor.encoded_len() > MAX_CONSTANT_BYTES {
        return None;
    }
    small(&tensor.tensor().ok()?)
}

fn small(tensor: &TensorProto) -> Option<TensorValue> {
    let elements =
        tensor.dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))?;
    (elements <= MAX_CONSTANT_ELEMENTS).then(|| TensorValue::decode(tensor).ok()).flatten()
}

/// The tensor of a `Constant` node of numbers.
pub(super) fn constant_node(node: &NodeProto) -> Option<TensorValue> {
    let (float, int) = (DataType::Float as i32, DataType::Int64 as i32);
    let vector = |data_type, data: Vec<f64>| {
        (data.len() <= MAX_CONSTANT_ELEMENTS).then(|| TensorValue { data_type, dims: vec![data.len() as i64], data })
    };
    let attribute = node.attribute.iter().find(|attribute| attribute.name().starts_with("value"))?;
    match attribute.name() {
        "value" => {
            let encoded = attribute.t.clone().filter(|tensor| tensor.len() <= MAX_CONSTANT_BYTES)?;
            small(&TensorProto::decode(encoded).ok()?)
        }
        "value_float" => Some(TensorValue { data_type: float, dims: vec![], data: vec![attribute.f?.into()] }),
        "value_int" => Some(TensorValue { data_type: int, dims: vec![], data: vec![attribute.i? as f64] }),
        "value_floats" => vector(float, attribute.floats.iter().map(|&x| x.into()).collect()),
        "value_ints" => vector(int, attribute.ints.iter().map(|&x| x as f64).collect()),
        _ => None,
    }
}
