//! The second class of a model that gives the probability of one.

use crate::model::proto::TensorProto;
use crate::model::{DataType, Dimension, Graph, ValueType, node, value_info};

use super::Evidence;
use super::evidence::Chosen;

/// Turns probabilities p [N, 1] into [1 − p, p], so that they sum to one like others.
pub(super) fn complete(graph: &mut Graph, chosen: &Chosen, opset: i64) -> bool {
    if chosen.kind != Evidence::Probabilities || chosen.classes != Some(1) || opset < 7 {
        return false;
    }
    let Some(output) = graph.outputs().first().cloned() else { return false };
    let ValueType { data_type: Some(data_type), dims: Some(dims) } = ValueType::of_value_info(&output) else {
        return false;
    };
    if dims.len() != 2 || data_type != DataType::Float as i32 {
        return false;
    }
    let name = output.name();
    let [one, other, both] =
        ["one", "other_class", "two_classes"].map(|end| graph.fresh_name(&format!("{name}_{end}")));
    let constant = node("Constant").outputs([&one]).tensor("value", &TensorProto::scalar(&one, data_type, 1.0)).build();
    let nodes = [
        constant,
        node("Sub").inputs([one.as_str(), name]).outputs([&other]).build(),
        node("Concat").inputs([other.as_str(), name]).outputs([&both]).int("axis", 1).build(),
    ];
    for node in nodes {
        graph.insert_node(graph.nodes().len(), node);
    }
    let rest: Vec<_> = graph.outputs()[1..].to_vec();
    for old in std::iter::once(&output).chain(&rest) {
        graph.remove_output(old.name());
    }
    graph.add_output(value_info(&both, data_type, Some(&[dims[0].clone(), Dimension::Known(2)])));
    rest.into_iter().for_each(|old| graph.add_output(old));
    true
}
