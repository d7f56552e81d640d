//! Trying the inputs of a piece as its labels.

use std::collections::HashSet;

use crate::model::{DataType, NodeId};
use crate::rewrite::rules::{Context, linear, other_losses};

use super::outcome::{Miss, Recognised};
use super::piece::{Piece, makes};

impl Piece {
    /// The losses of the logits, one for each input with labels (mixup has two).
    pub(super) fn recognise(&self, context: &Context) -> Result<Vec<Recognised>, Miss> {
        let mut best = Miss::NotALoss;
        let mut found: Vec<Recognised> = Vec::new();
        for labels_input in &self.inputs {
            if !found.is_empty() && !self.meets_logits(context, labels_input, &found) {
                continue; // a mask or a weight of the rows found
            }
            let kind = context.data_type(labels_input);
            if matches!(kind, Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)) {
                if let Some(miss) = self.soft_labels(context, labels_input) {
                    best = miss;
                }
                continue;
            }
            match self.with_labels(context, labels_input) {
                Ok(recognised) => found.extend(recognised),
                Err(Miss::NotALoss) => {}
                Err(miss) => best = miss,
            }
        }
        if found.is_empty() { Err(best) } else { Ok(found) }
    }

    /// Whether `input` comes together with the logits by another way than through the losses found.
    fn meets_logits(&self, context: &Context, input: &str, found: &[Recognised]) -> bool {
        let mut from_input = HashSet::from([input]);
        let mut from_logits = HashSet::from([self.logits.as_str()]);
        for node in self.nodes_in_order().into_iter().map(|id| context.graph.node(id)) {
            let reads = |values: &HashSet<&str>| node.input.iter().any(|v| values.contains(v.as_str()));
            let (of_input, of_logits) = (reads(&from_input), reads(&from_logits));
            if of_input && of_logits {
                return true;
            }
            let outputs = node.output.iter().map(String::as_str).filter(|o| found.iter().all(|f| f.end != *o));
            if of_input {
                from_input.extend(outputs);
            } else if of_logits {
                from_logits.extend(outputs);
            }
        }
        false
    }

    /// Tries every value computed from `labels_input` as the labels of the rows. There may be several losses, where the
    /// rows have more than one label.
    fn with_labels(&self, context: &Context, labels_input: &str) -> Result<Vec<Recognised>, Miss> {
        let clues = self.clues(context);
        let mut best = Miss::NotALoss;
        let mut found: Vec<Recognised> = Vec::new();
        for shapes in self.label_shapes(context, labels_input) {
            for candidate in self.label_values(context, labels_input, &shapes[0]) {
                let explained = |id: &NodeId| found.iter().any(|old| old.found.nodes.contains(id));
                if context.index.consumers(&candidate).iter().any(explained) {
                    continue;
                }
                match self.run(context, labels_input, &shapes, &candidate, &clues) {
                    Ok(new) => {
                        let apart = |old: &Recognised| {
                            !old.found.nodes.contains(&new.found.at) && !new.found.nodes.contains(&old.found.at)
                        };
                        if found.iter().all(apart) {
                            found.push(new);
                        }
                    }
                    Err(Miss::NotALoss) => {}
                    Err(miss) => {
                        if matches!(best, Miss::NotALoss) || matches!(miss, Miss::Other { .. }) {
                            best = miss;
                        }
                    }
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(best)
    }

    /// A loss that takes class probabilities: cross entropy against soft labels, mean squared error …
    fn soft_labels(&self, context: &Context, labels_input: &str) -> Option<Miss> {
        if makes(context, labels_input, &self.logits) {
            return None; // a size read off the network's own input
        }
        if context.shapes.rank(labels_input).is_some_and(|rank| rank != self.dims.len()) {
            return None; // a weight per row
        }
        let at = self.cone.iter().rev().copied().find(|id| {
            let node = context.graph.node(*id);
            node.output.iter().any(|o| linear::uses(context, o, &self.logits, labels_input).reaches_output)
        })?;
        let nodes = self.slice(context, at);
        let reads_labels = nodes.iter().any(|id| context.graph.node(*id).input.iter().any(|i| i == labels_input));
        if !reads_labels {
            return None;
        }
        let what = match other_losses::name_at(context, at) {
            Some(other_losses::LOGARITHMS | other_losses::UNKNOWN) | None => {
                "cross entropy against class probabilities"
            }
            Some(name) => name,
        };
        Some(Miss::SoftLabels {
            what: format!("{what} (its labels '{labels_input}' are floats, class indices are needed)"),
            nodes,
            at,
        })
    }
}
