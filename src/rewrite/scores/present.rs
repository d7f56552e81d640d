//! Scores that a graph has already.

use std::collections::HashSet;

use crate::model::{Graph, GraphIndex, NodeId};
use crate::rewrite::swap::NODE_RULE;

use super::{NODE_FORMULA, NODE_SCORE, RULE};

/// A score that was added earlier.
pub(super) struct Present {
    pub output: String,
    pub formula: String,
}

/// The output that holds a score.
pub(super) fn find(graph: &Graph, score: &str) -> Option<Present> {
    let node = graph.nodes().iter().find(|node| node.metadata(NODE_SCORE) == Some(score))?;
    let output = node.output_at(0)?.to_owned();
    graph
        .outputs()
        .iter()
        .any(|value| value.name() == output)
        .then(|| Present { output, formula: node.metadata(NODE_FORMULA).unwrap_or_default().to_owned() })
}

/// Whether a value is a score that was added earlier.
pub(crate) fn is_score(index: &GraphIndex, value: &str) -> bool {
    index.producer(value).is_some_and(|id| index.graph().node(id).metadata(NODE_SCORE).is_some())
}

/// Takes a score out, with the nodes that only it needs.
pub(super) fn remove(graph: &mut Graph, output: &str) {
    graph.remove_output(output);
    let mut read: HashSet<String> = graph.outputs().iter().map(|value| value.name().to_owned()).collect();
    let mut dead = Vec::new();
    for (at, node) in graph.nodes().iter().enumerate().rev() {
        let ours = node.metadata(NODE_RULE) == Some(RULE);
        if ours && !node.output.iter().any(|output| read.contains(output)) {
            dead.push(NodeId(at));
        } else {
            read.extend(node.reads().into_iter().map(str::to_owned));
        }
    }
    graph.remove_nodes(&dead);
}
