//! A function's body in the place of the node that calls it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::model::proto::{AttributeProto, FunctionProto, NodeProto};
use crate::model::{Graph, ModelError, NodeId, node};

/// The nodes of `body` with the names of `call`, without those that only make an output nobody asked for. Values of the
/// body are called "prefix/…".
///
/// # Errors
/// A damaged graph inside an If, Loop or Scan of the body.
pub(crate) fn expand(body: &FunctionProto, call: &NodeProto, prefix: &str) -> Result<Vec<NodeProto>, ModelError> {
    let live = live_nodes(body, call);
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, formal) in body.input.iter().enumerate() {
        names.insert(formal, call.input_at(i).unwrap_or_default().to_owned());
    }
    // an output that is an input, or another output, handed on
    let mut copies = Vec::new();
    for (i, formal) in body.output.iter().enumerate() {
        let Some(actual) = call.output_at(i) else { continue };
        match names.get(formal.as_str()) {
            Some(known) => copies.push(node("Identity").inputs([known]).outputs([actual]).build()),
            None => drop(names.insert(formal, actual.to_owned())),
        }
    }
    let scope = Scope { names, call, body, prefix };
    let mut nodes: Vec<NodeProto> = live.into_iter().map(|inner| scope.node(inner)).collect::<Result<_, _>>()?;
    nodes.extend(copies);
    Ok(nodes)
}

/// What the names in a body mean where it is called.
struct Scope<'a> {
    names: HashMap<&'a str, String>,
    call: &'a NodeProto,
    body: &'a FunctionProto,
    prefix: &'a str,
}

impl Scope<'_> {
    fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(actual) => actual.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}/{name}", self.prefix),
        }
    }

    fn node(&self, inner: &NodeProto) -> Result<NodeProto, ModelError> {
        let mut new = inner.clone();
        new.name = Some(format!("{}/{}", self.prefix, inner.label()));
        for value in new.input.iter_mut().chain(&mut new.output) {
            *value = self.name(value);
        }
        new.attribute = inner.attribute.iter().filter_map(|a| self.attribute(a)).collect();
        for attribute in &mut new.attribute {
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                *graph = self.graph(graph)?;
            }
        }
        Ok(new)
    }

    /// An attribute with its value: of the call, else the function's default; one that has neither is left out, as ONNX
    /// says.
    fn attribute(&self, attribute: &AttributeProto) -> Option<AttributeProto> {
        let Some(from) = attribute.ref_attr_name.as_deref().filter(|from| !from.is_empty()) else {
            return Some(attribute.clone());
        };
        let default = || self.body.attribute_proto.iter().find(|default| default.name() == from);
        let mut value = self.call.attr(from).or_else(default)?.clone();
        value.name = attribute.name.clone();
        Some(value)
    }

    /// A graph inside the body; functions see nothing outside, so every name in it belongs to the body.
    fn graph(&self, encoded: &Bytes) -> Result<Bytes, ModelError> {
        let mut graph = Graph::decode(encoded.clone(), "a graph inside a function")?;
        for mut value in graph.inputs().to_vec() {
            graph.remove_input(value.name());
            value.name = Some(self.name(value.name()));
            graph.add_input(value);
        }
        for mut value in graph.outputs().to_vec() {
            graph.remove_output(value.name());
            value.name = Some(self.name(value.name()));
            graph.add_output(value);
        }
        for mut value in graph.value_infos().to_vec() {
            graph.remove_value_info(value.name());
            value.name = Some(self.name(value.name()));
            graph.add_value_info(value);
        }
        for initializer in graph.initializers().to_vec() {
            let mut tensor = initializer.tensor()?;
            graph.remove_initializer(initializer.name());
            tensor.name = Some(self.name(initializer.name()));
            graph.add_initializer(tensor);
        }
        for at in 0..graph.nodes().len() {
            let renamed = self.node(graph.node(NodeId(at)))?;
            graph.replace_node(NodeId(at), renamed);
        }
        Ok(graph.to_bytes())
    }
}

fn live_nodes<'f>(body: &'f FunctionProto, call: &NodeProto) -> Vec<&'f NodeProto> {
    let asked = body.output.iter().enumerate().filter(|(i, _)| call.output_at(*i).is_some());
    let mut read: HashSet<&str> = asked.map(|(_, name)| name.as_str()).collect();
    let mut live: Vec<_> = body
        .node
        .iter()
        .rev()
        .filter(|inner| {
            let is_live = inner.output.iter().any(|o| read.contains(o.as_str()));
            if is_live {
                read.extend(inner.reads());
            }
            is_live
        })
        .collect();
    live.reverse();
    live
}
