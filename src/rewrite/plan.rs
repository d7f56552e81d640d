//! The edits of a rewrite, collected against one graph and applied in one step.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::proto::{NodeProto, ValueInfoProto};
use crate::model::{Graph, GraphIndex, NodeId};

/// Edits against the graph that the rules looked at.
#[derive(Default)]
pub(crate) struct Plan {
    removes: BTreeSet<NodeId>,
    /// Before which node of the old graph the new ones go.
    inserts: BTreeMap<usize, Vec<NodeProto>>,
    value_infos: Vec<ValueInfoProto>,
    issued: HashSet<String>,
}

impl Plan {
    /// A value name that neither the graph nor this plan uses.
    pub fn fresh_name(&mut self, graph: &Graph, base: &str) -> String {
        let mut name = graph.fresh_name(base);
        let mut n = 1;
        while self.issued.contains(&name) {
            n += 1;
            name = graph.fresh_name(&format!("{base}_{n}"));
        }
        self.issued.insert(name.clone());
        name
    }

    /// Puts `node` before node `at` of the old graph, after what was put there earlier.
    pub fn insert(&mut self, at: NodeId, node: NodeProto) {
        self.inserts.entry(at.0).or_default().push(node);
    }

    /// Puts `node` at the end.
    pub fn append(&mut self, graph: &Graph, node: NodeProto) {
        self.insert(NodeId(graph.nodes().len()), node);
    }

    /// Takes a node out, whoever reads it.
    pub fn remove(&mut self, id: NodeId) {
        self.removes.insert(id);
    }

    /// Adds a value_info.
    pub fn add_value_info(&mut self, value: ValueInfoProto) {
        self.value_infos.push(value);
    }

    /// Takes out those of `candidates` that nobody reads once the plan is carried out.
    pub fn remove_unread(&mut self, index: &GraphIndex, candidates: &[NodeId]) {
        let mut candidates: Vec<NodeId> = candidates.to_vec();
        // readers come after what they read
        candidates.sort_unstable_by(|a, b| b.cmp(a));
        for id in candidates {
            if self.removes.contains(&id) {
                continue;
            }
            let read = index.graph().node(id).output.iter().any(|output| self.is_read(index, output));
            if !read {
                self.removes.insert(id);
            }
        }
    }

    fn is_read(&self, index: &GraphIndex, value: &str) -> bool {
        index.is_output(value)
            || index.consumers(value).iter().any(|reader| !self.removes.contains(reader))
            || self.new_nodes().any(|node| node.input.iter().any(|input| input == value))
    }

    fn new_nodes(&self) -> impl Iterator<Item = &NodeProto> {
        self.inserts.values().flatten()
    }

    /// Carries it out; also drops the initializers and value_infos that nobody needs any more.
    pub fn apply(self, graph: &mut Graph) {
        let (stale_values, unread) = self.leftovers(graph);
        let positions: BTreeSet<usize> =
            self.removes.iter().map(|id| id.0).chain(self.inserts.keys().copied()).collect();
        // from the end, so that earlier positions stay what they were
        for position in positions.into_iter().rev() {
            if self.removes.contains(&NodeId(position)) {
                graph.remove_nodes(&[NodeId(position)]);
            }
            for node in self.inserts.get(&position).into_iter().flatten().rev() {
                graph.insert_node(position, node.clone());
            }
        }
        for name in stale_values {
            graph.remove_value_info(&name);
        }
        for name in unread {
            graph.remove_initializer(&name);
        }
        for value in self.value_infos {
            graph.add_value_info(value);
        }
    }

    /// Values that are no longer made, and initializers that only removed nodes read.
    fn leftovers(&self, graph: &Graph) -> (Vec<String>, Vec<String>) {
        let index = GraphIndex::new(graph);
        let mut stale = Vec::new();
        let mut unread = BTreeSet::new();
        for id in &self.removes {
            let node = graph.node(*id);
            let made_again = |output: &String| self.new_nodes().any(|n| n.output.contains(output));
            stale.extend(node.output.iter().filter(|o| !o.is_empty() && !made_again(o)).cloned());
            unread.extend(
                node.input
                    .iter()
                    .filter(|i| index.initializer(i).is_some() && !index.is_input(i) && !self.is_read(&index, i))
                    .cloned(),
            );
        }
        (stale, unread.into_iter().collect())
    }
}
