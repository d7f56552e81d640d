//! Casts into a graph.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, Graph, GraphIndex, NodeId, Shapes, TensorValue, value_info};
use crate::rewrite::rules::data_type_name;
use crate::rewrite::swap::stamped;

use super::table::{Place, place};

/// What new nodes are stamped with.
const RULE: &str = "mixed precision";
/// Largest stored tensor that is looked into for numbers that the low type does not hold, in bytes.
const MAX_LOOKED_INTO: usize = 1 << 24;

/// What became of a graph.
pub(crate) struct Lowered {
    /// Operators that compute in the low type, with how many there are of each.
    pub low: BTreeMap<String, usize>,
    /// How many nodes there were.
    pub nodes: usize,
    /// Operators that would, if this opset had them in the low type.
    pub missing: BTreeSet<String>,
}

/// Lets a graph compute in `low` (float16 or bfloat16) where that pays. `weights` are its trained tensors, which may come
/// to hold any numbers; other stored tensors are looked at, and what reads one that the low type cannot hold stays as it
/// is: −10⁹ of a mask, the 1e-12 of a quotient.
///
/// Types of values that are not known stay what they are, and so does what reads them.
pub(crate) fn lower(document: &mut Document, low: DataType, weights: &BTreeSet<String>) -> Lowered {
    let opset = document.opset_version("").unwrap_or_default();
    let graph = document.graph();
    let mut writer = Writer {
        graph,
        index: GraphIndex::new(graph),
        shapes: Shapes::new(graph, opset),
        low,
        opset,
        weights,
        stored: graph.initializers().iter().map(|tensor| tensor.name()).collect(),
        made_low: HashSet::new(),
        as_low: HashMap::new(),
        widened: HashSet::new(),
        taken: HashSet::new(),
        nodes: Vec::with_capacity(graph.nodes().len()),
        done: Lowered { low: BTreeMap::new(), nodes: graph.nodes().len(), missing: BTreeSet::new() },
    };
    for node in graph.nodes() {
        writer.node(node);
    }
    for output in graph.outputs() {
        writer.widen(output.name());
    }
    let Writer { nodes, done, made_low, as_low, widened, shapes, .. } = writer;
    let infos: Vec<_> = as_low
        .iter()
        .filter(|(value, _)| made_low.contains(*value))
        .map(|(value, low_value)| value_info(low_value, low as i32, shapes.get(value).dims.as_deref()))
        .collect();
    let gone: Vec<String> = made_low.iter().filter(|v| !widened.contains(*v)).map(|v| (*v).to_owned()).collect();
    let graph = document.graph_mut();
    let all: Vec<NodeId> = (0..graph.nodes().len()).map(NodeId).collect();
    graph.remove_nodes(&all);
    for (at, node) in nodes.into_iter().enumerate() {
        graph.insert_node(at, node);
    }
    for name in gone {
        graph.remove_value_info(&name);
    }
    for info in infos {
        graph.add_value_info(info);
    }
    done
}

struct Writer<'g> {
    graph: &'g Graph,
    index: GraphIndex<'g>,
    shapes: Shapes,
    low: DataType,
    opset: i64,
    weights: &'g BTreeSet<String>,
    /// Values that are computed of stored tensors alone.
    stored: HashSet<&'g str>,
    /// Values that come out of a node in the low type.
    made_low: HashSet<&'g str>,
    /// The name of a value in the low type, where there is one.
    as_low: HashMap<&'g str, String>,
    /// Of those made low: which there are in float32, too.
    widened: HashSet<&'g str>,
    /// Names given.
    taken: HashSet<String>,
    nodes: Vec<NodeProto>,
    done: Lowered,
}

impl<'g> Writer<'g> {
    fn node(&mut self, old: &'g NodeProto) {
        let inputs = old.input.iter().map(String::as_str).filter(|input| !input.is_empty());
        let is_stored = inputs.clone().all(|input| self.stored.contains(input)) && old.subgraphs().next().is_none();
        if is_stored {
            self.stored.extend(outputs(old));
        }
        let (place, is_missing) = place(old, self.low, self.opset);
        let lowers = match place {
            Place::Low => !is_stored && self.is_of_floats(old),
            Place::Follows => !is_stored && self.is_of_floats(old) && self.follows(old),
            Place::Wide => false,
        };
        if is_missing && !is_stored && self.is_of_floats(old) {
            self.done.missing.insert(old.op().to_owned());
        }
        if lowers {
            self.narrow_node(old);
        } else {
            for value in old.reads() {
                if let Some(value) = self.made_low.get(value).copied() {
                    self.widen(value);
                }
            }
            self.nodes.push(old.clone());
        }
    }

    fn is_float(&self, value: &str) -> bool {
        self.shapes.data_type(value) == Some(DataType::Float as i32)
    }

    /// Whether it has float32 data and result, and the type of all that it reads is known.
    fn is_of_floats(&self, node: &NodeProto) -> bool {
        let is_known = |value: &String| value.is_empty() || self.shapes.data_type(value).is_some();
        let result = node.output_at(0).is_some_and(|output| self.is_float(output));
        result && node.input.iter().all(is_known) && node.input.iter().any(|input| self.is_float(input))
    }

    /// Whether all its data have the low type already, and the stored tensors beside them fit into it.
    fn follows(&self, node: &NodeProto) -> bool {
        let floats: Vec<&str> = node.input.iter().map(String::as_str).filter(|input| self.is_float(input)).collect();
        let (stored, data): (Vec<&str>, Vec<&str>) = floats.into_iter().partition(|input| self.stored.contains(input));
        !data.is_empty()
            && data.iter().all(|value| self.made_low.contains(value))
            && stored.iter().all(|value| self.fits(value))
    }

    /// Whether the low type holds the numbers of a stored tensor.
    fn fits(&self, value: &str) -> bool {
        if self.low == DataType::Bfloat16 || self.is_weight(value) {
            return true;
        }
        let numbers = self.index.constant(value).or_else(|| {
            let initializer = self.index.initializer(value)?;
            let readable = initializer.external().is_none() && initializer.encoded_len() <= MAX_LOOKED_INTO;
            TensorValue::decode(&readable.then(|| initializer.tensor().ok())??).ok()
        });
        let Some(numbers) = numbers else { return false };
        let (largest, least) = (half::f16::MAX.to_f64(), half::f16::MIN_POSITIVE.to_f64());
        let is_single = numbers.data.len() == 1;
        numbers.data.iter().all(|&x| {
            let in_range = !x.is_finite() || x.abs() <= largest;
            // of many numbers some may be lost, a single one is there for a reason
            in_range && !(is_single && x != 0.0 && x.abs() < least)
        })
    }

    /// Whether a stored value is made of a weight.
    fn is_weight(&self, value: &str) -> bool {
        let mut open = vec![value];
        let mut seen = HashSet::new();
        while let Some(value) = open.pop() {
            if self.weights.contains(value) {
                return true;
            }
            if seen.insert(value)
                && let Some(id) = self.index.producer(value)
            {
                open.extend(self.graph.node(id).input.iter().map(String::as_str));
            }
        }
        false
    }

    fn narrow_node(&mut self, old: &'g NodeProto) {
        let mut new = old.clone();
        for (input, slot) in old.input.iter().zip(&mut new.input) {
            if self.is_float(input) {
                *slot = self.narrow(input);
            }
        }
        for (output, slot) in old.output.iter().zip(&mut new.output) {
            if self.is_float(output) {
                *slot = self.fresh(output);
                self.as_low.insert(output, slot.clone());
                self.made_low.insert(output);
            }
        }
        *self.done.low.entry(old.op().to_owned()).or_default() += 1;
        self.nodes.push(new);
    }

    /// A float32 value in the low type.
    fn narrow(&mut self, value: &'g str) -> String {
        if let Some(name) = self.as_low.get(value) {
            return name.clone();
        }
        let name = self.fresh(value);
        self.cast(value, &name, self.low);
        self.as_low.insert(value, name.clone());
        name
    }

    /// Makes sure that a value is there in float32, by its own name.
    fn widen(&mut self, value: &str) {
        let Some(value) = self.made_low.get(value).copied() else { return };
        let Some(low) = self.as_low.get(value).cloned() else { return };
        if self.widened.insert(value) {
            self.cast(&low, value, DataType::Float);
        }
    }

    fn cast(&mut self, from: &str, to: &str, data_type: DataType) {
        let new = stamped("Cast", RULE).name(to).inputs([from]).outputs([to]).int("to", data_type as i64);
        self.nodes.push(new.build());
    }

    /// "value/float16"
    fn fresh(&mut self, value: &str) -> String {
        let base = format!("{value}/{}", data_type_name(self.low));
        let mut name = self.graph.fresh_name(&base);
        let mut number = 0;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = self.graph.fresh_name(&format!("{base}_{number}"));
        }
        name
    }
}

fn outputs(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|output| !output.is_empty())
}
