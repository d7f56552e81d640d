//! Which nodes lie between a loss and the values whose gradients are asked for.

use std::collections::{HashMap, HashSet};

use crate::model::DataType;
use crate::model::proto::NodeProto;

use super::table::{Rule, rule};
use super::{Builder, Undifferentiable};

/// The part of a graph that gradients go through.
pub(super) struct Path {
    /// Values that change with what is asked for.
    active: HashSet<String>,
    /// Positions of the nodes between, in order.
    pub nodes: Vec<usize>,
}

impl Path {
    /// From `wrt` to `loss`.
    pub fn between(b: &Builder<'_>, loss: &str, wrt: &[&str]) -> Self {
        let needed = ancestors(b, loss);
        let mut active: HashSet<String> = wrt.iter().map(|&name| name.to_owned()).collect();
        let mut nodes = Vec::new();
        for at in (0..b.forward_len()).filter(|at| needed.contains(at)) {
            let node = b.node_at(at);
            let depends = node.reads().iter().any(|&name| active.contains(name));
            if !depends || matches!(rule(node.op_domain(), node.op()), Some(Rule::Zero)) {
                continue;
            }
            let floats: Vec<&String> = node.output.iter().filter(|o| !o.is_empty() && may_be_float(b, o)).collect();
            if floats.is_empty() {
                continue;
            }
            active.extend(floats.into_iter().cloned());
            nodes.push(at);
        }
        Self { active, nodes }
    }

    /// Whether the loss may change with a value.
    pub fn is_active(&self, value: &str) -> bool {
        self.active.contains(value)
    }

    /// The nodes from one to the loss, described.
    pub fn to_loss(&self, b: &Builder<'_>, from: usize) -> Vec<String> {
        let readers = self.readers(b);
        let mut path = Vec::new();
        let mut at = from;
        while let Some(&next) = b.node_at(at).output.iter().find_map(|output| readers.get(output.as_str())) {
            path.push(b.node_at(next).describe());
            at = next;
        }
        path
    }

    /// A node on the path that reads a value: the last one, which is nearest to the loss.
    fn readers<'b>(&self, b: &'b Builder<'_>) -> HashMap<&'b str, usize> {
        let mut readers = HashMap::new();
        for &at in &self.nodes {
            for name in b.node_at(at).reads() {
                readers.insert(name, at);
            }
        }
        readers
    }

    /// The nodes on the path that have no rule.
    pub fn without_rule(&self, b: &Builder<'_>) -> Vec<Undifferentiable> {
        let missing = |&&at: &&usize| {
            let node = b.node_at(at);
            rule(node.op_domain(), node.op()).is_none()
        };
        self.nodes.iter().filter(missing).map(|&at| self.undifferentiable(b, at, no_rule(b.node_at(at)))).collect()
    }

    /// A node of the path with a reason.
    pub fn undifferentiable(&self, b: &Builder<'_>, at: usize, reason: String) -> Undifferentiable {
        Undifferentiable { node: b.node_at(at).describe(), reason, path: self.to_loss(b, at) }
    }
}

fn no_rule(node: &NodeProto) -> String {
    match node.op() {
        "If" => "its condition is not constant, so the branch is chosen when the graph runs".to_owned(),
        "Loop" | "Scan" => "gradients through loops are not built".to_owned(),
        op if node.op_domain().is_empty() => format!("{op} has no gradient here"),
        op => format!("{}::{op} is no standard operator and has no gradient here", node.op_domain()),
    }
}

fn may_be_float(b: &Builder<'_>, value: &str) -> bool {
    b.data_type(value).is_none_or(is_float)
}

/// Whether gradients exist in a TensorProto.DataType.
pub(super) fn is_float(data_type: i32) -> bool {
    [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16].iter().any(|&t| t as i32 == data_type)
}

/// Positions of the nodes that `value` is computed from.
fn ancestors(b: &Builder<'_>, value: &str) -> HashSet<usize> {
    let mut wanted: HashSet<&str> = HashSet::from([value]);
    let mut found = HashSet::new();
    for at in (0..b.forward_len()).rev() {
        let node = b.node_at(at);
        if node.output.iter().any(|output| wanted.contains(output.as_str())) {
            wanted.extend(node.reads());
            found.insert(at);
        }
    }
    found
}
