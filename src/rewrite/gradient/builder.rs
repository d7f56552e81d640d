//! Appends nodes to a graph: knows the shapes, makes nothing twice, drops what nobody reads.

use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::model::proto::{NodeProto, TensorProto, ValueInfoProto};
use crate::model::{
    DataType, Dimension, Document, GraphIndex, GrowingShapes, NodeBuilder, NodeId, TensorValue, ValueType,
    holds_numbers, node,
};
use crate::rewrite::fused::{self, Fused};
use crate::rewrite::swap::stamped;
use crate::rewrite::{DOMAIN, DOMAIN_VERSION, RewriteError, attach};

use super::GradientError;

/// What new nodes are stamped with.
const RULE: &str = "gradient";
/// Oldest version of the standard operators that gradients are written in.
const MIN_OPSET: i64 = 13;

/// A graph that grows at its end.
pub(crate) struct Builder<'g> {
    document: &'g Document,
    opset: i64,
    /// Those of the document, then new ones; always in an order in which they can run.
    nodes: Vec<NodeProto>,
    /// How many of them are the document's.
    forward: usize,
    shapes: GrowingShapes<'g>,
    /// What a node computes, encoded, and where it stands.
    known: HashMap<Vec<u8>, usize>,
    names: HashSet<String>,
    new_constants: HashMap<String, TensorValue>,
    /// What a value that was made by stretching was made of.
    stretched: HashMap<String, String>,
    /// Names that outputs get in the end.
    renamed: HashMap<String, String>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    /// Initializers that are no longer any: they are inputs now.
    released: HashSet<String>,
    /// Whether operators of the plugin with a body may be used.
    fuses: bool,
    /// What new nodes are named after.
    scope: String,
}

impl<'g> Builder<'g> {
    /// On a graph as [`super::prepare`] gives it.
    ///
    /// # Errors
    /// An opset older than 13.
    pub fn new(document: &'g Document) -> Result<Self, GradientError> {
        let opset = document.opset_version("").unwrap_or_default();
        if opset < MIN_OPSET {
            return Err(GradientError::Opset(format!(
                "gradients are written in version {MIN_OPSET} of the standard operators or newer, but the model imports \
                 {opset}; convert it (onnx.version_converter) or export it again"
            )));
        }
        let graph = document.graph();
        let nodes: Vec<NodeProto> = graph.nodes().iter().map(|node| NodeProto::clone(node)).collect();
        let infos = graph.inputs().iter().chain(graph.outputs()).chain(graph.value_infos());
        let mut names: HashSet<String> = infos.map(|value| value.name().to_owned()).collect();
        names.extend(graph.initializers().iter().map(|tensor| tensor.name().to_owned()));
        names.extend(nodes.iter().flat_map(|node| node.input.iter().chain(&node.output)).cloned());
        let known = nodes.iter().enumerate().filter_map(|(at, node)| Some((what_it_computes(node)?, at))).collect();
        Ok(Self {
            document,
            opset,
            forward: nodes.len(),
            nodes,
            shapes: GrowingShapes::new(graph, opset),
            known,
            names,
            new_constants: HashMap::new(),
            stretched: HashMap::new(),
            renamed: HashMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            released: HashSet::new(),
            fuses: false,
            scope: RULE.to_owned(),
        })
    }

    /// Allows operators of the plugin where they are faster; each carries a body of standard operators.
    pub fn with_fused_operators(mut self) -> Self {
        self.fuses = true;
        self
    }

    /// Version of the standard operators.
    pub fn opset(&self) -> i64 {
        self.opset
    }

    /// How many nodes are the document's: their positions are 0 up to this.
    pub fn forward_len(&self) -> usize {
        self.forward
    }

    /// A node, by its position.
    pub fn node_at(&self, at: usize) -> &NodeProto {
        &self.nodes[at]
    }

    /// Puts another node in the place of one; it must make the same outputs, or more.
    pub fn replace_node(&mut self, at: usize, new: NodeProto) {
        self.names.extend(new.output.iter().cloned());
        self.known.retain(|_, &mut known| known != at);
        self.shapes.add(&new);
        self.nodes[at] = new;
    }

    /// Output `i` of the node at a position, which gets it if it has none yet: the mask of a Dropout, the indices of a
    /// MaxPool …
    pub fn output_of(&mut self, at: usize, i: usize) -> String {
        if let Some(present) = self.nodes[at].output_at(i) {
            return present.to_owned();
        }
        let name = self.fresh(&format!("{}/output_{i}", self.nodes[at].label()));
        let node = &mut self.nodes[at];
        if node.output.len() <= i {
            node.output.resize(i + 1, String::new());
        }
        node.output[i].clone_from(&name);
        self.shapes.add(&self.nodes[at]);
        name
    }

    /// Names new nodes after a node of the graph from here on.
    pub fn set_scope(&mut self, scope: &str) {
        self.scope = format!("{RULE}/{scope}");
    }

    // names

    /// A name that is free.
    pub fn fresh(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut number = 0;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    /// Gives a value a name of its own, which is returned: "name", or with a number where that is taken. A value of the
    /// old graph, or one that has such a name already, is copied.
    pub fn name_value(&mut self, value: &str, name: &str) -> String {
        let name = self.fresh(name);
        let is_new = self.nodes[self.forward..].iter().any(|node| node.output.iter().any(|output| output == value));
        if is_new && !self.renamed.contains_key(value) {
            self.renamed.insert(value.to_owned(), name.clone());
        } else {
            let copy = node("Identity").name(&name).inputs([value]).outputs([&name]).build();
            self.shapes.add(&copy);
            self.nodes.push(copy);
        }
        name
    }

    // nodes

    /// One node of the standard operators; `more` adds attributes. Its first output.
    pub fn node(&mut self, op: &str, inputs: &[&str], more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> String {
        if let Some((narrow, dims)) = self.unstretched(op, inputs) {
            let inputs: Vec<&str> = narrow.iter().map(String::as_str).collect();
            let output = self.nodes_outputs("", op, &inputs, 1, more).swap_remove(0);
            let data_type = self.data_type(&output);
            self.declare(&output, ValueType { data_type, dims });
            return output;
        }
        self.nodes_outputs("", op, inputs, 1, more).swap_remove(0)
    }

    /// Remembers that `wide` is `narrow` stretched.
    pub fn note_stretched(&mut self, wide: &str, narrow: &str) {
        self.stretched.insert(wide.to_owned(), narrow.to_owned());
    }

    /// Inputs of an operator that broadcasts, with those that were stretched to the shape of another as they were
    /// before, and that shape: it stretches them by itself, without a tensor of that size in memory.
    fn unstretched(&self, op: &str, inputs: &[&str]) -> Option<(Vec<String>, Option<Vec<Dimension>>)> {
        if !matches!(op, "Add" | "Sub" | "Mul" | "Div" | "Where") {
            return None;
        }
        let (stretched, plain): (Vec<&str>, Vec<&str>) =
            inputs.iter().partition(|&&input| self.stretched.contains_key(input));
        let wide = plain.into_iter().find(|other| stretched.iter().any(|input| self.same_shape(input, other)))?;
        let narrow = |input: &&str| match self.stretched.get(*input) {
            Some(narrow) if self.same_shape(input, wide) => narrow.clone(),
            _ => (*input).to_owned(),
        };
        Some((inputs.iter().map(narrow).collect(), self.dims(wide)))
    }

    /// One node without attributes. Its output.
    pub fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.node(op, inputs, |node| node)
    }

    /// One node with so many outputs.
    pub fn multi(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Vec<String> {
        self.nodes_outputs("", op, inputs, outputs, more)
    }

    /// An operator of the domain `ai.elonnx`; the caller tells the types of its outputs with [`Self::declare`].
    pub fn ours(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Vec<String> {
        self.nodes_outputs(DOMAIN, op, inputs, outputs, more)
    }

    /// Whether a fused operator may be used for `value`: they are allowed, and it is float32.
    pub fn fuses(&self, value: &str) -> bool {
        self.fuses && self.data_type(value) == Some(DataType::Float as i32)
    }

    /// A fused operator; the caller tells the types of its outputs with [`Self::declare`].
    pub fn fused(
        &mut self,
        operator: &Fused,
        inputs: &[&str],
        outputs: usize,
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Vec<String> {
        self.nodes_outputs(DOMAIN, operator.name, inputs, outputs, more)
    }

    fn nodes_outputs(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: usize,
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Vec<String> {
        let plain = more(node(op).domain(domain).inputs(inputs)).build();
        let key = what_it_computes(&plain);
        if let Some(&at) = key.as_ref().and_then(|key| self.known.get(key)) {
            return (0..outputs).map(|i| self.output_of(at, i)).collect();
        }
        let name = self.fresh(&format!("{}/{op}", self.scope));
        let mut names = vec![name.clone()];
        names.extend((1..outputs).map(|i| self.fresh(&format!("{name}_{i}"))).collect::<Vec<_>>());
        let mut new = stamped(op, RULE).name(&name).build();
        new.domain = plain.domain;
        new.input = plain.input;
        new.attribute = plain.attribute;
        new.output.clone_from(&names);
        self.shapes.add(&new);
        if let Some(key) = key {
            self.known.insert(key, self.nodes.len());
        }
        self.nodes.push(new);
        names
    }

    // constants

    /// A constant tensor.
    pub fn constant(&mut self, tensor: &TensorProto) -> String {
        let name = self.node("Constant", &[], |node| node.tensor("value", tensor));
        if let Ok(value) = TensorValue::decode(tensor) {
            self.new_constants.insert(name.clone(), value);
        }
        name
    }

    /// A scalar in the element type of `like`.
    pub fn number(&mut self, like: &str, value: f64) -> String {
        let data_type = self.number_type(like);
        self.constant(&TensorProto::scalar("", data_type, value))
    }

    /// An int64 vector: axes, shapes, bounds.
    pub fn ints(&mut self, values: &[i64]) -> String {
        let values: Vec<f64> = values.iter().map(|&value| value as f64).collect();
        self.constant(&TensorProto::vector("", DataType::Int64 as i32, &values))
    }

    /// An int64 scalar.
    pub fn int(&mut self, value: i64) -> String {
        self.constant(&TensorProto::scalar("", DataType::Int64 as i32, value as f64))
    }

    /// The value of a small constant: of the graph, or made here.
    pub fn constant_value(&self, value: &str) -> Option<TensorValue> {
        self.index().constant(value).or_else(|| self.new_constants.get(value).cloned())
    }

    /// A small integer vector or scalar whose elements are all known: a constant, or made of known sizes.
    pub fn known_ints(&self, value: &str) -> Option<Vec<i64>> {
        match self.shapes.elements(value) {
            Some(elements) => elements.iter().map(Dimension::known).collect(),
            None => self.constant_value(value)?.ints(),
        }
    }

    // what is known

    /// Who makes and reads the values of the old graph.
    pub fn index(&self) -> &GraphIndex<'g> {
        self.shapes.index()
    }

    /// Type and shape, as far as known.
    pub fn value_type(&self, value: &str) -> ValueType {
        self.shapes.get(value)
    }

    /// TensorProto.DataType
    pub fn data_type(&self, value: &str) -> Option<i32> {
        self.shapes.get(value).data_type
    }

    /// What numbers that go with a value are written in: its TensorProto.DataType, or float where that is not known or no
    /// type of numbers.
    pub fn number_type(&self, value: &str) -> i32 {
        self.data_type(value).filter(|&data_type| holds_numbers(data_type)).unwrap_or(DataType::Float as i32)
    }

    /// Dimensions; None: not even the rank is known.
    pub fn dims(&self, value: &str) -> Option<Vec<Dimension>> {
        self.shapes.get(value).dims
    }

    /// Sizes, where all are known.
    pub fn sizes(&self, value: &str) -> Option<Vec<i64>> {
        self.dims(value)?.iter().map(Dimension::known).collect()
    }

    /// Rank.
    pub fn rank(&self, value: &str) -> Option<usize> {
        self.dims(value).map(|dims| dims.len())
    }

    /// Tells what inference cannot know: types of our own operators' outputs.
    pub fn declare(&mut self, value: &str, found: ValueType) {
        self.shapes.set(value, found);
    }

    /// Tells that a value has type and shape of another.
    pub fn declare_like(&mut self, value: &str, like: &str) {
        let found = self.value_type(like);
        self.declare(value, found);
    }

    /// Whether two values certainly have the same shape.
    pub fn same_shape(&self, one: &str, other: &str) -> bool {
        match (self.dims(one), self.dims(other)) {
            (Some(one), Some(other)) => one == other && !one.contains(&Dimension::Unknown),
            _ => false,
        }
    }

    // inputs and outputs

    /// Makes an initializer an input of the same name.
    pub fn release(&mut self, initializer: &str) {
        if !self.released.insert(initializer.to_owned()) {
            return;
        }
        let found = self.value_type(initializer);
        let info = crate::model::value_info(initializer, found.data_type.unwrap_or_default(), found.dims.as_deref());
        self.inputs.push(info);
    }

    /// Adds an input; its name must be free.
    pub fn add_input(&mut self, info: ValueInfoProto) {
        self.names.insert(info.name().to_owned());
        self.shapes.set(info.name(), ValueType::of_value_info(&info));
        self.inputs.push(info);
    }

    /// Adds an output.
    pub fn add_output(&mut self, info: ValueInfoProto) {
        self.outputs.push(info);
    }

    /// The graph, with the nodes that an output needs only, and bodies for all operators of ours.
    ///
    /// # Errors
    /// A body that cannot be written.
    pub fn finish(mut self) -> Result<Document, RewriteError> {
        let mut document = self.document.clone();
        let old_outputs = document.graph().outputs().iter().map(|value| value.name().to_owned());
        let wanted: HashSet<String> =
            old_outputs.chain(self.outputs.iter().map(|value| value.name().to_owned())).collect();
        for node in &mut self.nodes {
            for name in node.input.iter_mut().chain(&mut node.output) {
                if let Some(new) = self.renamed.get(name) {
                    name.clone_from(new);
                }
            }
        }
        let nodes = live(self.nodes, wanted);
        let graph = document.graph_mut();
        let all: Vec<NodeId> = (0..graph.nodes().len()).map(NodeId).collect();
        graph.remove_nodes(&all);
        for name in &self.released {
            graph.remove_initializer(name);
            graph.remove_input(name);
        }
        for info in self.inputs {
            graph.add_input(info);
        }
        for info in self.outputs {
            graph.add_output(info);
        }
        for (at, node) in nodes.into_iter().enumerate() {
            graph.insert_node(at, node);
        }
        attach(&mut document)?;
        fused::attach(&mut document, self.opset, DOMAIN_VERSION)?;
        Ok(document)
    }
}

/// What a node computes, without its names; None where two of the same need not give the same.
fn what_it_computes(node: &NodeProto) -> Option<Vec<u8>> {
    let is_random = matches!(
        node.op(),
        "Dropout"
            | "RandomNormal"
            | "RandomNormalLike"
            | "RandomUniform"
            | "RandomUniformLike"
            | "Bernoulli"
            | "Multinomial"
    );
    if is_random || node.subgraphs().next().is_some() {
        return None;
    }
    let mut attribute = node.attribute.clone();
    attribute.sort_by(|one, other| one.name.cmp(&other.name));
    let bare = NodeProto {
        op_type: node.op_type.clone(),
        domain: Some(node.op_domain().to_owned()),
        input: node.input.clone(),
        attribute,
        ..NodeProto::default()
    };
    Some(bare.encode_to_vec())
}

/// The nodes that somebody needs.
fn live(nodes: Vec<NodeProto>, mut wanted: HashSet<String>) -> Vec<NodeProto> {
    let mut live: Vec<NodeProto> = Vec::with_capacity(nodes.len());
    for node in nodes.into_iter().rev() {
        if node.output.iter().any(|output| wanted.contains(output)) {
            let graph_reads: Vec<String> = reads(&node);
            wanted.extend(graph_reads);
            live.push(node);
        }
    }
    live.reverse();
    live
}

fn reads(node: &NodeProto) -> Vec<String> {
    node.reads().into_iter().map(str::to_owned).collect()
}
