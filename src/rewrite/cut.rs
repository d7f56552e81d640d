//! What is needed for some values, and nothing else.

use std::collections::HashSet;

use crate::model::{Graph, GraphIndex, NodeId};

/// Removes every node, input, initializer and `value_info` that `wanted` does not depend on.
pub(super) fn keep_only(graph: &mut Graph, wanted: &[&str]) {
    let (nodes, values) = needed(graph, wanted);
    let all = 0..graph.nodes().len();
    let dead: Vec<NodeId> = all.map(NodeId).filter(|id| !nodes.contains(id)).collect();
    graph.remove_nodes(&dead);
    let gone = |names: Vec<&str>| -> Vec<String> {
        names.into_iter().filter(|name| !values.contains(*name)).map(str::to_owned).collect()
    };
    let inputs = gone(graph.inputs().iter().map(|value| value.name()).collect());
    let initializers = gone(graph.initializers().iter().map(|tensor| tensor.name()).collect());
    let described = gone(graph.value_infos().iter().map(|value| value.name()).collect());
    for name in inputs {
        graph.remove_input(&name);
    }
    for name in initializers {
        graph.remove_initializer(&name);
    }
    for name in described {
        graph.remove_value_info(&name);
    }
}

/// The nodes and values that `wanted` is computed from; what subgraphs read of the graph around them counts.
fn needed(graph: &Graph, wanted: &[&str]) -> (HashSet<NodeId>, HashSet<String>) {
    let index = GraphIndex::new(graph);
    let mut nodes = HashSet::new();
    let mut values: HashSet<String> = HashSet::new();
    let mut open: Vec<&str> = wanted.to_vec();
    while let Some(value) = open.pop() {
        if !values.insert(value.to_owned()) {
            continue;
        }
        if let Some(id) = index.producer(value)
            && nodes.insert(id)
        {
            open.extend(graph.node(id).reads());
        }
    }
    (nodes, values)
}
