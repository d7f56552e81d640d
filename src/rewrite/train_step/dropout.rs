//! Dropout with random numbers that the graph makes itself.
//!
//! ONNX's Dropout draws them inside the runtime, from a state that no file holds, so training could not go on where it
//! stopped. Here they are a function of a seed that comes in, of the number of the Dropout in the graph and of the
//! position of the element: the same in every runtime, thread count and run.
//!
//! The function squares twice, as the counter-based generator "Squares" does (Widynski 2020, arXiv 2004.06278), in
//! numbers that int64 holds without overflow. With mid(t) = bits 15 to 45 of t, a number below 2³¹, and two keys k₁, k₂
//! below 2⁶¹ of each Dropout:
//!
//! ```text
//! s = i·1327217885 + k₁         position i, below 2³⁰
//! u = mid(s);  u = mid(u² + k₂);  u = mid(u² + s)
//! keep where u ≥ ratio·2³¹
//! ```
//!
//! The keys of all Dropouts are mixed from the seed at the beginning of the graph, by the same steps, six times.
//! Integers are multiplied and added as int64 and shifted as uint64: operators that ONNX Runtime has for the CPU since
//! long, in all opsets from 13. Measured in ONNX Runtime 1.32 on one thread: 7 to 11 ns for each element, of ONNX's own
//! Dropout 4 to 5.

use std::collections::{HashMap, HashSet};

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Document, Graph, GraphIndex, NodeBuilder, NodeId, Shapes, node, value_info};
use crate::rewrite::RewriteError;

/// Which Dropouts drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropouts {
    /// Those whose training mode is set in the file, or chosen when the graph runs.
    ThatTrain,
    /// All: the file was exported for inference.
    All,
}

/// Replaces Dropouts in the main graph by y = x·mask / (1 − ratio) with a mask that depends on `seed`, an int64 scalar of
/// the graph, and on nothing else. How many; with 0 the seed is not read.
///
/// To be called before gradients are taken: they go through the product as through any other.
///
/// # Errors
/// A Dropout of data whose element type is not known.
pub(crate) fn explicit_dropout(document: &mut Document, seed: &str, which: Dropouts) -> Result<usize, RewriteError> {
    let opset = document.opset_version("").unwrap_or_default();
    let graph = document.graph();
    let found: Vec<Found> = {
        let index = GraphIndex::new(graph);
        let shapes = Shapes::new(graph, opset);
        let ids = (0..graph.nodes().len()).map(NodeId);
        ids.filter_map(|id| Found::of(&index, &shapes, id, which).transpose()).collect::<Result<_, _>>()?
    };
    if found.is_empty() {
        return Ok(0);
    }
    let mut writer = Writer::new(graph);
    let keys = writer.keys(seed, found.len());
    let mut nodes = std::mem::take(&mut writer.nodes);
    let mut next = 0;
    for (at, node) in graph.nodes().iter().enumerate() {
        match found.get(next).filter(|dropout| dropout.id == NodeId(at)) {
            Some(dropout) => {
                writer.dropout(dropout, &keys, next);
                nodes.append(&mut writer.nodes);
                next += 1;
            }
            None => nodes.push(NodeProto::clone(node)),
        }
    }
    let count = found.len();
    let masks = std::mem::take(&mut writer.masks);
    let graph = document.graph_mut();
    let all: Vec<NodeId> = (0..graph.nodes().len()).map(NodeId).collect();
    graph.remove_nodes(&all);
    for (at, node) in nodes.into_iter().enumerate() {
        graph.insert_node(at, node);
    }
    for (mask, dropout) in masks.into_iter().zip(&found) {
        graph.add_value_info(value_info(&mask, dropout.data_type, dropout.dims.as_deref()));
    }
    Ok(count)
}

/// A Dropout that drops.
struct Found {
    id: NodeId,
    node: NodeProto,
    data_type: i32,
    dims: Option<Vec<crate::model::Dimension>>,
    /// The value of its ratio, where it is known.
    ratio: Option<f64>,
    /// Where it is chosen when the graph runs whether it drops.
    mode: Option<String>,
}

impl Found {
    fn of(index: &GraphIndex, shapes: &Shapes, id: NodeId, which: Dropouts) -> Result<Option<Self>, RewriteError> {
        let node = index.graph().node(id);
        if !node.is("", "Dropout") {
            return Ok(None);
        }
        let constant = |at: usize| index.constant(node.input_at(at)?)?.scalar();
        let mode = match which {
            Dropouts::All => None,
            Dropouts::ThatTrain => match (node.input_at(2), constant(2)) {
                (None, _) | (_, Some(0.0)) => return Ok(None),
                (_, Some(_)) => None,
                (Some(mode), None) => Some(mode.to_owned()),
            },
        };
        let data = node.input_at(0).map(|data| shapes.get(data)).unwrap_or_default();
        let Some(data_type) = data.data_type else {
            return Err(RewriteError::Unsupported {
                node: node.describe(),
                reason: "the element type of its data is not known; run onnx shape inference on the model".to_owned(),
            });
        };
        let ratio = if node.input_at(1).is_none() { Some(0.5) } else { constant(1) };
        Ok(Some(Self { id, node: NodeProto::clone(node), data_type, dims: data.dims, ratio, mode }))
    }
}

/// Multiplies positions: odd, near 2³¹ by the golden ratio.
const STEP: i64 = 1_327_217_885;
/// 2³¹: a random number is below.
const RANGE: i64 = 1 << 31;
/// Keys of one Dropout.
const KEYS: usize = 2;

/// Writes nodes whose names are free.
struct Writer<'g> {
    graph: &'g Graph,
    nodes: Vec<NodeProto>,
    taken: HashSet<String>,
    /// Constants made so far.
    constants: HashMap<(i32, Vec<u64>), String>,
    /// What data is multiplied by, in order.
    masks: Vec<String>,
    scope: String,
}

impl<'g> Writer<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            nodes: Vec::new(),
            taken: HashSet::new(),
            constants: HashMap::new(),
            masks: Vec::new(),
            scope: "dropout".to_owned(),
        }
    }

    fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut number = 0;
        while self.taken.contains(&name) || self.graph.fresh_name(&name) != name {
            number += 1;
            name = format!("{base}_{number}");
        }
        self.taken.insert(name.clone());
        name
    }

    fn node(&mut self, op: &str, inputs: &[&str], more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> String {
        let name = self.fresh(&format!("{}/{op}", self.scope));
        self.nodes.push(more(node(op).name(&name).inputs(inputs).outputs([&name])).build());
        name
    }

    fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.node(op, inputs, |node| node)
    }

    fn constant(&mut self, data_type: DataType, dims: &[i64], values: &[f64]) -> String {
        let data_type = data_type as i32;
        let key = (data_type, dims.iter().map(|&size| size as u64).chain(values.iter().map(|x| x.to_bits())).collect());
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let mut tensor = TensorProto::vector("", data_type, values);
        tensor.dims = dims.to_vec();
        let name = self.node("Constant", &[], |node| node.tensor("value", &tensor));
        self.constants.insert(key, name.clone());
        name
    }

    fn int(&mut self, value: i64) -> String {
        self.constant(DataType::Int64, &[], &[value as f64])
    }

    /// Bits 15 to 45.
    fn mid(&mut self, value: &str) -> String {
        let (up, down) = (self.constant(DataType::Uint64, &[], &[18.0]), self.constant(DataType::Uint64, &[], &[33.0]));
        let unsigned = self.node("Cast", &[value], |node| node.int("to", DataType::Uint64 as i64));
        let cut = self.node("BitShift", &[&unsigned, &up], |node| node.string("direction", "LEFT"));
        let low = self.node("BitShift", &[&cut, &down], |node| node.string("direction", "RIGHT"));
        self.node("Cast", &[&low], |node| node.int("to", DataType::Int64 as i64))
    }

    /// mid(u² + more)
    fn squared(&mut self, u: &str, more: &str) -> String {
        let square = self.op("Mul", &[u, u]);
        let sum = self.op("Add", &[&square, more]);
        self.mid(&sum)
    }

    /// The keys of all Dropouts, int64 \[2·count\].
    fn keys(&mut self, seed: &str, count: usize) -> String {
        self.scope = "dropout/keys".to_owned();
        let columns = KEYS * count;
        let different = self.constant(DataType::Int64, &[2, columns as i64], &odd_numbers(2 * columns));
        let (range, step) = (self.int(RANGE), self.int(STEP));
        // the lower and the upper half of the seed; also of a negative one
        let low = self.op("Mod", &[seed, &range]);
        let rest = self.op("Sub", &[seed, &low]);
        let high = self.op("Div", &[&rest, &range]);
        let high = self.op("Mod", &[&high, &range]);
        let (low, high) = (self.op("Mul", &[&low, &step]), self.op("Mul", &[&high, &step]));
        let sum = self.op("Add", &[&different, &low]);
        let mut u = self.mid(&sum);
        for more in [&different, &high, &different, &low, &different] {
            u = self.squared(&u, more);
        }
        // two numbers of 31 bits make a key of 61
        let (zero, one, shift) = (self.int(0), self.int(1), self.int(1 << 30));
        let (upper, lower) = (self.op("Gather", &[&u, &zero]), self.op("Gather", &[&u, &one]));
        let upper = self.op("Mul", &[&upper, &shift]);
        self.op("Add", &[&upper, &lower])
    }

    /// A random number below 2³¹ for each element of a value, in a row.
    fn random(&mut self, value: &str, keys: &str, number: usize) -> String {
        let at = |n: usize| (KEYS * number + n) as i64;
        let (first, second) = (self.int(at(0)), self.int(at(1)));
        let (first, second) = (self.op("Gather", &[keys, &first]), self.op("Gather", &[keys, &second]));
        let size = self.op("Size", &[value]);
        let (zero, one, step) = (self.int(0), self.int(1), self.int(STEP));
        let position = self.op("Range", &[&zero, &size, &one]);
        let scaled = self.op("Mul", &[&position, &step]);
        let start = self.op("Add", &[&scaled, &first]);
        let u = self.mid(&start);
        let u = self.squared(&u, &second);
        self.squared(&u, &start)
    }

    /// In the place of one.
    fn dropout(&mut self, dropout: &Found, keys: &str, number: usize) {
        self.scope =
            if dropout.node.label().is_empty() { "dropout".to_owned() } else { dropout.node.label().to_owned() };
        let x = dropout.node.input_at(0).unwrap_or_default();
        let random = self.random(x, keys, number);
        let data_type = DataType::try_from(dropout.data_type).unwrap_or(DataType::Float);
        let (zero, one) = (self.constant(data_type, &[], &[0.0]), self.constant(data_type, &[], &[1.0]));
        let (threshold, scale) = match dropout.ratio {
            Some(ratio) => {
                let threshold = (ratio.clamp(0.0, 1.0) * RANGE as f64).round() as i64;
                let scale = if ratio < 1.0 { 1.0 / (1.0 - ratio) } else { 0.0 };
                (self.int(threshold), self.constant(data_type, &[], &[scale]))
            }
            None => {
                let ratio = dropout.node.input_at(1).unwrap_or_default();
                let float = self.node("Cast", &[ratio], |node| node.int("to", DataType::Float as i64));
                let range = self.constant(DataType::Float, &[], &[RANGE as f64]);
                let threshold = self.op("Mul", &[&float, &range]);
                let threshold = self.node("Cast", &[&threshold], |node| node.int("to", DataType::Int64 as i64));
                let ratio = self.node("Cast", &[ratio], |node| node.int("to", data_type as i64));
                let kept = self.op("Sub", &[&one, &ratio]);
                (threshold, self.op("Div", &[&one, &kept]))
            }
        };
        let (threshold, scale) = match &dropout.mode {
            None => (threshold, scale),
            Some(mode) => {
                let nothing = self.int(0);
                (self.op("Where", &[mode, &threshold, &nothing]), self.op("Where", &[mode, &scale, &one]))
            }
        };
        let kept = self.op("GreaterOrEqual", &[&random, &threshold]);
        let factors = self.op("Where", &[&kept, &scale, &zero]);
        let shape = self.op("Shape", &[x]);
        let mask = self.op("Reshape", &[&factors, &shape]);
        self.masks.push(mask.clone());
        if let Some(y) = dropout.node.output_at(0) {
            let name = self.fresh(&format!("{}/Mul", self.scope));
            self.nodes.push(node("Mul").name(&name).inputs([x, &mask]).outputs([y]).build());
        }
        if let Some(output) = dropout.node.output_at(1) {
            let name = self.fresh(&format!("{}/mask", self.scope));
            self.nodes.push(node("Reshape").name(&name).inputs([&kept, &shape]).outputs([output]).build());
        }
    }
}

/// So many different odd numbers below 2⁵², which f64 holds exactly: those of the generator "SplitMix64".
fn odd_numbers(count: usize) -> Vec<f64> {
    let mix = |n: u64| {
        let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 12 | 1) as f64
    };
    (1..=count as u64).map(mix).collect()
}

#[cfg(test)]
mod tests;
