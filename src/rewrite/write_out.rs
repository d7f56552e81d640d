//! Functions of the model itself, written out: tract has none, logits may lie inside one, and gradients go through them.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::model::proto::{FunctionProto, NodeProto};
use crate::model::{Document, Function, Graph, NodeId};
use crate::rewrite::RewriteError;
use crate::rewrite::expand::expand;
use crate::rewrite::is_our_domain;

/// Deepest nesting of functions; one that calls itself ends here.
const MAX_DEPTH: usize = 32;
/// Most nodes that functions may become.
const MAX_NODES: usize = 1 << 20;

/// Domain, name, overload.
type Key = (String, String, String);

fn key(domain: &str, name: &str, overload: &str) -> Key {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    (domain.to_owned(), name.to_owned(), overload.to_owned())
}

/// The functions of a model, ours left out: the rules know those as they are.
pub(crate) struct Library {
    functions: HashMap<Key, Function>,
    /// Version of the default domain in the model.
    opset: Option<i64>,
}

impl Library {
    pub(crate) fn of(document: &Document) -> Self {
        let all = document.functions().iter().filter(|f| !is_our_domain(f.proto().domain()));
        let functions =
            all.map(|f| (key(f.proto().domain(), f.proto().name(), f.proto().overload()), f.clone())).collect();
        Self { functions, opset: document.opset_version("") }
    }

    fn called(&self, node: &NodeProto) -> Option<&FunctionProto> {
        if self.functions.is_empty() {
            return None;
        }
        Some(self.functions.get(&key(node.op_domain(), node.op(), node.overload()))?.proto())
    }

    /// Whether the body means the same in the main graph.
    fn fits(&self, body: &FunctionProto) -> bool {
        let import = body.opset_import.iter().find(|import| matches!(import.domain(), "" | "ai.onnx"));
        import.is_none_or(|import| Some(import.version()) == self.opset)
    }

    /// Puts bodies in the place of calls, as deep as they go. Functions of another opset stay calls.
    pub(crate) fn write_out(&self, document: &mut Document) -> Result<(), RewriteError> {
        if self.functions.is_empty() {
            return Ok(());
        }
        let mut names = BTreeSet::new();
        collect_names(document.graph(), &mut names)?;
        let mut writer = Writer { library: self, names, written: 0 };
        writer.graph(document.graph_mut(), 0)?;
        for function in self.functions.values() {
            for import in &function.proto().opset_import {
                if document.opset_version(import.domain()).is_none() {
                    document.set_opset_version(import.domain(), import.version());
                }
            }
        }
        Ok(())
    }

    /// Takes out the functions; one that is still called is an error.
    pub(crate) fn remove_from(&self, document: &mut Document) -> Result<(), RewriteError> {
        self.refuse_calls(document.graph())?;
        for (domain, name, _) in self.functions.keys() {
            document.remove_function(domain, name);
            let used = document.graph().nodes().iter().any(|node| node.op_domain() == domain);
            if !used && !domain.is_empty() {
                document.remove_opset(domain);
            }
        }
        Ok(())
    }

    fn refuse_calls(&self, graph: &Graph) -> Result<(), RewriteError> {
        for node in graph.nodes() {
            if let Some(body) = self.called(node) {
                return Err(RewriteError::Unsupported {
                    node: node.describe(),
                    reason: format!(
                        "it calls the model's function {}::{}, which is written in another opset than the model and so \
                         cannot be written out; export the model with functions inlined (onnx.inliner)",
                        body.domain(),
                        body.name()
                    ),
                });
            }
            for inner in node.subgraphs() {
                self.refuse_calls(&Graph::decode(inner.clone(), &node.describe())?)?;
            }
        }
        Ok(())
    }
}

struct Writer<'a> {
    library: &'a Library,
    /// Every value name in use.
    names: BTreeSet<String>,
    written: usize,
}

impl Writer<'_> {
    fn graph(&mut self, graph: &mut Graph, depth: usize) -> Result<(), RewriteError> {
        // from behind: the positions of the nodes before stay what they are
        for at in (0..graph.nodes().len()).rev() {
            let node: &NodeProto = graph.node(NodeId(at));
            if let Some(body) = self.library.called(node).filter(|body| self.library.fits(body)) {
                let nodes = self.call(body, &node.clone(), depth)?;
                graph.remove_nodes(&[NodeId(at)]);
                for (offset, node) in nodes.into_iter().enumerate() {
                    graph.insert_node(at + offset, node);
                }
            } else if node.subgraphs().next().is_some() {
                let new = self.subgraphs(node.clone(), depth)?;
                if new != **graph.node(NodeId(at)) {
                    graph.replace_node(NodeId(at), new);
                }
            }
        }
        Ok(())
    }

    fn call(&mut self, body: &FunctionProto, node: &NodeProto, depth: usize) -> Result<Vec<NodeProto>, RewriteError> {
        let refuse = |reason: &str| Err(RewriteError::Unsupported { node: node.describe(), reason: reason.into() });
        if depth >= MAX_DEPTH {
            return refuse("functions call each other more than 32 deep here, or one calls itself");
        }
        let expanded = expand(body, node, &self.free_prefix(node))?;
        self.written += expanded.len();
        if self.written > MAX_NODES {
            return refuse("the functions of the model become more than a million nodes; no exporter does that");
        }
        self.names.extend(expanded.iter().flat_map(|node| &node.output).cloned());
        let mut nodes = Vec::with_capacity(expanded.len());
        for inner in expanded {
            match self.library.called(&inner).filter(|body| self.library.fits(body)) {
                Some(body) => nodes.extend(self.call(body, &inner, depth + 1)?),
                None => nodes.push(self.subgraphs(inner, depth + 1)?),
            }
        }
        Ok(nodes)
    }

    fn subgraphs(&mut self, mut node: NodeProto, depth: usize) -> Result<NodeProto, RewriteError> {
        let place = node.describe();
        for attribute in &mut node.attribute {
            for encoded in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                let mut graph = Graph::decode(Bytes::clone(encoded), &place)?;
                self.graph(&mut graph, depth)?;
                *encoded = graph.to_bytes();
            }
        }
        Ok(node)
    }

    /// The node's name, or its operator's, with a number where values of that prefix exist.
    fn free_prefix(&self, node: &NodeProto) -> String {
        let base = if node.label().is_empty() { node.op() } else { node.label() };
        let taken = |prefix: &str| {
            let start = format!("{prefix}/");
            self.names.range(start.clone()..).next().is_some_and(|name| name.starts_with(&start))
        };
        let mut prefix = base.to_owned();
        let mut number = 0;
        while taken(&prefix) {
            number += 1;
            prefix = format!("{base}_{number}");
        }
        prefix
    }
}

fn collect_names(graph: &Graph, names: &mut BTreeSet<String>) -> Result<(), RewriteError> {
    let infos = graph.inputs().iter().chain(graph.outputs()).chain(graph.value_infos());
    names.extend(infos.map(|value| value.name().to_owned()));
    names.extend(graph.initializers().iter().map(|tensor| tensor.name().to_owned()));
    for node in graph.nodes() {
        names.extend(node.input.iter().chain(&node.output).cloned());
        for inner in node.subgraphs() {
            collect_names(&Graph::decode(inner.clone(), &node.describe())?, names)?;
        }
    }
    Ok(())
}
