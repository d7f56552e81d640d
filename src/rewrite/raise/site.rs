//! One node that is to be raised, and what is known around it.

use std::collections::HashSet;

use crate::model::proto::{AttributeProto, AttributeType, NodeProto, TensorProto};
use crate::model::{DataType, Dimension, Graph, GraphIndex, Shapes, attribute};

/// What becomes of a node.
pub(super) enum Raised {
    /// It stays as it is.
    Same,
    /// Other nodes make its outputs.
    Into(Vec<NodeProto>),
}

impl Raised {
    /// One node in its place.
    pub fn one(node: NodeProto) -> Self {
        Self::Into(vec![node])
    }
}

/// Why a node cannot be raised, a clause.
pub(super) type Outcome = Result<Raised, String>;

/// The graph that nodes are raised in.
pub(super) struct Surroundings<'g> {
    /// Version it is in.
    pub from: i64,
    /// Version it is raised to.
    pub to: i64,
    graph: &'g Graph,
    shapes: Shapes,
    index: GraphIndex<'g>,
    names: HashSet<String>,
    initializers: Vec<TensorProto>,
}

impl<'g> Surroundings<'g> {
    /// Of a graph between two versions.
    pub fn of(graph: &'g Graph, from: i64, to: i64) -> Self {
        Self {
            from,
            to,
            graph,
            shapes: Shapes::new(graph, from),
            index: GraphIndex::new(graph),
            names: HashSet::new(),
            initializers: Vec::new(),
        }
    }

    /// New constants.
    pub fn into_initializers(self) -> Vec<TensorProto> {
        self.initializers
    }
}

/// One node.
pub(super) struct Site<'s, 'g> {
    /// It.
    pub node: NodeProto,
    around: &'s mut Surroundings<'g>,
}

impl<'s, 'g> Site<'s, 'g> {
    pub fn new(around: &'s mut Surroundings<'g>, node: &NodeProto) -> Self {
        Self { node: node.clone(), around }
    }

    /// Whether it is raised over the change that came with a version.
    pub fn crosses(&self, version: i64) -> bool {
        self.around.from < version && version <= self.around.to
    }

    /// Version the graph is in.
    pub fn from(&self) -> i64 {
        self.around.from
    }

    /// A name for a value beside the node's first output.
    pub fn fresh(&mut self, what: &str) -> String {
        let base = format!("{}/{what}", self.node.output_at(0).unwrap_or_default());
        let mut name = self.around.graph.fresh_name(&base);
        let mut number = 0;
        while !self.around.names.insert(name.clone()) {
            number += 1;
            name = self.around.graph.fresh_name(&format!("{base}_{number}"));
        }
        name
    }

    /// A constant vector as an initializer.
    pub fn vector(&mut self, what: &str, data_type: DataType, values: &[f64]) -> String {
        let name = self.fresh(what);
        self.around.initializers.push(TensorProto::vector(&name, data_type as i32, values));
        name
    }

    /// An int64 vector as an initializer.
    pub fn ints(&mut self, what: &str, values: &[i64]) -> String {
        let values: Vec<f64> = values.iter().map(|&value| value as f64).collect();
        self.vector(what, DataType::Int64, &values)
    }

    /// A scalar of a data type as an initializer.
    pub fn scalar(&mut self, what: &str, data_type: i32, value: f32) -> String {
        let name = self.fresh(what);
        self.around.initializers.push(TensorProto::scalar(&name, data_type, value.into()));
        name
    }

    /// Element type of input 0.
    ///
    /// # Errors
    /// It is not known.
    pub fn data_type(&self) -> Result<i32, String> {
        let found = self.node.input_at(0).and_then(|input| self.around.shapes.data_type(input));
        found.ok_or_else(|| "the element type of its input is not known (run onnx shape inference)".to_owned())
    }

    /// Dimensions of input 0, if known.
    pub fn dims(&self) -> Option<Vec<Dimension>> {
        self.around.shapes.get(self.node.input_at(0)?).dims
    }

    /// Numbers of a constant input.
    pub fn constant(&self, input: usize) -> Option<Vec<f64>> {
        Some(self.around.index.constant(self.node.input_at(input)?)?.data)
    }

    /// Whether somebody reads output `i`.
    pub fn is_read(&self, i: usize) -> bool {
        self.node.output_at(i).is_some_and(|output| {
            self.around.index.is_output(output) || !self.around.index.consumers(output).is_empty()
        })
    }

    /// Sets an int attribute.
    pub fn set_int(&mut self, name: &str, value: i64) {
        self.remove(name);
        let set = AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) };
        self.node.attribute.push(set);
    }

    /// Takes an attribute off.
    pub fn remove(&mut self, attribute: &str) {
        self.node.attribute.retain(|present| present.name() != attribute);
    }

    /// Puts a value in the place of input `i`; those between are left out.
    pub fn set_input(&mut self, i: usize, value: String) {
        if self.node.input.len() <= i {
            self.node.input.resize(i + 1, String::new());
        }
        if let Some(slot) = self.node.input.get_mut(i) {
            *slot = value;
        }
    }

    /// The node as it is now.
    pub fn done(&self) -> Outcome {
        Ok(Raised::one(self.node.clone()))
    }
}
