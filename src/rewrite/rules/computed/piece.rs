//! The piece of graph that hangs on the logits, cut out of the rest.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::model::{DataType, Dimension, NodeId};
use crate::rewrite::evaluate::Tensor;
use crate::rewrite::rules::Context;

use super::outcome::Miss;

/// A loss is at most some 60 nodes; what is larger is a network.
const MAX_NODES: usize = 400;
/// Elements of the probe logits.
pub(super) const MAX_ELEMENTS: usize = 2_000_000;

/// The piece of graph that hangs on the logits and on one labels input.
pub(super) struct Piece {
    pub logits: String,
    /// Class axis, not negative.
    pub axis: usize,
    /// Declared sizes of the logits, as far as known.
    pub dims: Vec<Option<usize>>,
    pub classes: usize,
    /// Everything computed from the logits, in file order.
    pub cone: Vec<NodeId>,
    /// What the cone reads from elsewhere, back to the graph's inputs, in file order.
    pub side: Vec<NodeId>,
    /// Graph inputs that the side nodes (or the cone itself) read.
    pub inputs: BTreeSet<String>,
    /// The first node that stopped the cone.
    pub stopped: Option<NodeId>,
    pub constants: HashMap<String, Tensor>,
}

impl Piece {
    pub(super) fn cut(context: &Context, logits: &str, axis: i64, taken: &HashSet<NodeId>) -> Result<Self, Miss> {
        let dims: Option<Vec<Option<usize>>> =
            context.shapes.get(logits).dims.map(|dims| dims.iter().map(known).collect());
        let mut cone = Vec::new();
        let mut side = BTreeSet::new();
        let mut inputs = BTreeSet::new();
        let mut stopped = None;
        let mut from_logits: HashSet<&str> = HashSet::from([logits]);
        let start = context.index.producer(logits).map_or(0, |p| p.0);
        for (i, node) in context.graph.nodes().iter().enumerate().skip(start) {
            let id = NodeId(i);
            if !node.input.iter().any(|v| from_logits.contains(v.as_str())) {
                continue;
            }
            let network = is_network(node.op_domain(), node.op()) && !is_product_of_values(context, id);
            if network || taken.contains(&id) || context.is_gradient(id) {
                stopped.get_or_insert(id);
                continue;
            }
            let mut others = Side::default();
            let readable = node
                .input
                .iter()
                .filter(|v| !v.is_empty() && !from_logits.contains(v.as_str()))
                .all(|v| others.collect(context, v, &from_logits, taken));
            if !readable {
                stopped.get_or_insert(id);
                continue;
            }
            side.extend(others.nodes);
            inputs.extend(others.inputs);
            cone.push(id);
            from_logits.extend(node.output.iter().map(String::as_str));
            if cone.len() > MAX_NODES {
                return Err(Miss::NotALoss);
            }
        }
        if inputs.is_empty() {
            return Err(Miss::NotALoss);
        }
        let first = cone.first().copied().ok_or(Miss::NotALoss)?;
        let near = |reason: &str| Miss::Near { node: first, reason: reason.into() };
        let dims = dims
            .ok_or_else(|| near("the rank of the logits is not known; run onnx.shape_inference on the model first"))?;
        let axis =
            usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).map_err(|_| Miss::NotALoss)?;
        if axis == 0 && inputs.iter().any(|i| matches!(context.data_type(i), Some(DataType::Int32 | DataType::Int64))) {
            return Err(near("its classes are in axis 0, where the batch should be; transpose the logits"));
        }
        // the operator wants the classes in axis 1; the last axis can be moved there
        if axis == 0 || (axis != 1 && axis + 1 != dims.len()) {
            return Err(Miss::NotALoss);
        }
        let classes =
            dims.get(axis).copied().flatten().ok_or_else(|| {
                near("the number of classes is not known; run onnx.shape_inference on the model first")
            })?;
        if !(2..=MAX_ELEMENTS / 6).contains(&classes) {
            return Err(Miss::NotALoss);
        }
        let mut piece = Piece {
            logits: logits.to_owned(),
            axis,
            dims,
            classes,
            cone,
            side: side.into_iter().collect(),
            inputs,
            stopped,
            constants: HashMap::new(),
        };
        piece.read_constants(context);
        Ok(piece)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.side.iter().chain(&self.cone).copied()
    }

    /// The same in file order; the side nodes may read the shape of something in the cone.
    pub(super) fn nodes_in_order(&self) -> Vec<NodeId> {
        let mut order: Vec<NodeId> = self.nodes().collect();
        order.sort();
        order
    }

    fn read_constants(&mut self, context: &Context) {
        let mut constants = HashMap::new();
        for id in self.nodes() {
            for input in &context.graph.node(id).input {
                if let Some(constant) = context.index.constant(input)
                    && let Some(tensor) = Tensor::from_constant(&constant)
                {
                    constants.insert(input.clone(), tensor);
                }
            }
        }
        self.constants = constants;
    }

    /// The nodes of the piece that `at` needs, `at` included.
    pub(super) fn slice(&self, context: &Context, at: NodeId) -> Vec<NodeId> {
        let members: HashSet<NodeId> = self.nodes().collect();
        let mut slice = BTreeSet::from([at]);
        let mut open = vec![at];
        while let Some(id) = open.pop() {
            for input in &context.graph.node(id).input {
                if *input == self.logits {
                    continue;
                }
                if let Some(producer) = context.index.producer(input)
                    && (members.contains(&producer) || context.index.constant(input).is_some())
                    && slice.insert(producer)
                {
                    open.push(producer);
                }
            }
        }
        slice.into_iter().collect()
    }

    /// The op types of the slice, constants left out.
    pub(super) fn spelling(&self, context: &Context, at: NodeId) -> String {
        let ops: Vec<&str> = self
            .slice(context, at)
            .into_iter()
            .map(|id| context.graph.node(id).op())
            .filter(|op| *op != "Constant")
            .collect();
        ops.join(", ")
    }
}

/// What a node reads besides the logits, back to graph inputs and constants.
#[derive(Default)]
struct Side {
    nodes: BTreeSet<NodeId>,
    inputs: BTreeSet<String>,
}

impl Side {
    /// Collects what `value` needs; `false` where a part cannot be run.
    fn collect(
        &mut self,
        context: &Context,
        value: &str,
        from_logits: &HashSet<&str>,
        taken: &HashSet<NodeId>,
    ) -> bool {
        let mut open = vec![value.to_owned()];
        while let Some(value) = open.pop() {
            if value.is_empty() || from_logits.contains(value.as_str()) || context.index.constant(&value).is_some() {
                continue;
            }
            match context.index.producer(&value) {
                Some(id) => {
                    let node = context.graph.node(id);
                    if is_network(node.op_domain(), node.op())
                        || (taken.contains(&id) && !is_of_indices(context, id))
                        || self.nodes.len() > MAX_NODES
                    {
                        return false;
                    }
                    if self.nodes.insert(id) {
                        open.extend(node.input.iter().cloned());
                    }
                }
                None if context.index.is_input(&value) => {
                    self.inputs.insert(value);
                }
                None => return false,
            }
        }
        true
    }
}

/// Whether graph input `from` is needed to make `value`.
pub(super) fn makes(context: &Context, from: &str, value: &str) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if value == from {
            return true;
        }
        if let Some(id) = context.index.producer(value)
            && seen.insert(id)
        {
            open.extend(context.graph.node(id).input.iter().map(String::as_str));
        }
    }
    false
}

/// Whether a node is made of integers and constants alone: a one-hot matrix or a mask, which several losses may read.
fn is_of_indices(context: &Context, id: NodeId) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        let node = context.graph.node(id);
        if is_network(node.op_domain(), node.op()) || seen.len() > MAX_NODES {
            return false;
        }
        for input in node.input.iter().filter(|v| !v.is_empty() && context.index.constant(v).is_none()) {
            match context.index.producer(input) {
                Some(producer) if seen.insert(producer) => open.push(producer),
                Some(_) => {}
                None => {
                    let integer = matches!(context.data_type(input), Some(DataType::Int32 | DataType::Int64));
                    if !integer || !context.index.is_input(input) {
                        return false;
                    }
                }
            }
        }
    }
    true
}

/// Ops with weights, or that hold graphs: they make logits, they are no part of a loss.
pub(in crate::rewrite::rules) fn is_network(domain: &str, op: &str) -> bool {
    !domain.is_empty()
        || matches!(
            op,
            "MatMul"
                | "Gemm"
                | "Conv"
                | "ConvTranspose"
                | "LSTM"
                | "GRU"
                | "RNN"
                | "BatchNormalization"
                | "LayerNormalization"
                | "InstanceNormalization"
                | "GroupNormalization"
                | "RMSNormalization"
                | "Attention"
                | "If"
                | "Loop"
                | "Scan"
                | "Einsum"
                | "MaxPool"
                | "AveragePool"
                | "GlobalAveragePool"
                | "Resize"
                | "QLinearMatMul"
                | "QLinearConv"
        )
}

/// A product (Einsum) of values none of which is a weight.
fn is_product_of_values(context: &Context, id: NodeId) -> bool {
    let node = context.graph.node(id);
    node.is("", "Einsum") && node.input.iter().all(|v| context.index.constant(v).is_none())
}

pub(super) fn known(dim: &Dimension) -> Option<usize> {
    match dim {
        Dimension::Known(n) => usize::try_from(*n).ok().filter(|n| *n > 0),
        _ => None,
    }
}
