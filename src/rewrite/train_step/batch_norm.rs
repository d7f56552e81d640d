//! BatchNormalization that trains: statistics of the batch, running ones as buffers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::proto::{AttributeProto, AttributeType, NodeProto};
use crate::model::{Graph, GraphIndex, NodeId, attribute};

use super::TrainStepOptions;
use super::selection::Selection;

/// What was done with the nodes of a graph.
#[derive(Default)]
pub(super) struct Normalizations {
    /// Each buffer with the value that it becomes; one that two nodes update has the last one's.
    pub updated: BTreeMap<String, String>,
    /// How many nodes train.
    pub trained: usize,
    /// How many stay as in inference.
    pub frozen: usize,
}

/// The stored tensors that a node reads.
struct Operands {
    scale: Option<String>,
    bias: Option<String>,
    mean: String,
    variance: String,
}

impl Operands {
    fn of(index: &GraphIndex, node: &NodeProto) -> Option<Self> {
        let stored = |at: usize| stored(index, node.input_at(at)?);
        Some(Self { scale: stored(1), bias: stored(2), mean: stored(3)?, variance: stored(4)? })
    }

    /// Whether training changes anything of it: it has a parameter that is trained, and running statistics that may
    /// change.
    fn trains(&self, selection: &Selection) -> bool {
        let trained = |name: &Option<String>| name.as_ref().is_some_and(|name| selection.parameters.contains(name));
        let buffers = [&self.mean, &self.variance].iter().all(|name| selection.buffers.contains(*name));
        let affine = self.scale.is_some() || self.bias.is_some();
        buffers && (!affine || trained(&self.scale) || trained(&self.bias))
    }
}

/// The initializer behind a value, through Identity.
fn stored(index: &GraphIndex, value: &str) -> Option<String> {
    let mut value = value;
    let mut seen = BTreeSet::new();
    while seen.insert(value) {
        if index.initializer(value).is_some() {
            return Some(value.to_owned());
        }
        let node = index.graph().node(index.producer(value)?);
        value = node.input_at(0).filter(|_| node.is("", "Identity"))?;
    }
    None
}

/// Puts every BatchNormalization into training mode whose scale or bias is trained, the others into inference mode.
pub(super) fn train(graph: &mut Graph, selection: &Selection, options: &TrainStepOptions) -> Normalizations {
    let mut done = Normalizations::default();
    for at in 0..graph.nodes().len() {
        let old = graph.node(NodeId(at));
        if !old.is("", "BatchNormalization") {
            continue;
        }
        let mut new = NodeProto::clone(old);
        new.output.truncate(1);
        new.attribute.retain(|a| a.name() != "training_mode");
        let operands = Operands::of(&GraphIndex::new(graph), old);
        match operands.filter(|operands| !options.freeze_batch_norm && operands.trains(selection)) {
            Some(operands) => {
                done.trained += 1;
                let one = AttributeProto { i: Some(1), ..attribute("training_mode", AttributeType::Int) };
                new.attribute.push(one);
                for (input, buffer) in [(3, operands.mean), (4, operands.variance)] {
                    // a layer that is called twice goes on from where its first call left
                    if let Some(earlier) = done.updated.get(&buffer)
                        && let Some(slot) = new.input.get_mut(input)
                    {
                        slot.clone_from(earlier);
                    }
                    let updated = graph.fresh_name(&format!("{buffer}/updated"));
                    new.output.push(updated.clone());
                    done.updated.insert(buffer, updated);
                }
            }
            None => done.frozen += 1,
        }
        graph.replace_node(NodeId(at), new);
    }
    done
}
