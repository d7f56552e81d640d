//! The labels of the rows: which value they are, and the sizes that go with them.

use crate::model::{DataType, NodeId};
use crate::rewrite::evaluate::{Data, Tensor};
use crate::rewrite::rules::{Context, linear, other_losses};

use super::piece::{MAX_ELEMENTS, Piece, known, makes};
use super::{Miss, Recognised};

/// With more classes than this the probes have as few rows as tell losses apart.
pub(super) const MANY_CLASSES: usize = 8192;
/// Runs, each on other numbers of rows where these are free: a sum divided by 5 is no mean.
pub(super) const PROBES: usize = 4;
/// Values made of the labels that are tried as the labels of the rows.
const MAX_LABEL_VALUES: usize = 16;

impl Piece {
    /// The losses of the logits, one for each input with labels (mixup has two).
    pub(super) fn recognise(&self, context: &Context) -> Result<Vec<Recognised>, Miss> {
        let mut best = Miss::NotALoss;
        let mut found = Vec::new();
        for labels_input in &self.inputs {
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

    /// Sizes to try for the labels input, one for each run: what is declared, free sizes filled in.
    pub(super) fn label_shapes(&self, context: &Context, labels_input: &str) -> Vec<Vec<Vec<usize>>> {
        let (different, equal): ([[usize; 3]; PROBES], [[usize; 3]; PROBES]) = if self.classes > MANY_CLASSES {
            ([[3, 2, 1], [2, 3, 1], [2, 2, 1], [3, 2, 1]], [[2; 3]; PROBES])
        } else {
            ([[5, 3, 2], [7, 2, 3], [4, 3, 2], [6, 2, 2]], [[4; 3], [3; 3], [5; 3], [2; 3]])
        };
        let Some(declared) = context.shapes.get(labels_input).dims else {
            let cut = |rank: usize| different.iter().map(|free| free[..rank].to_vec()).collect();
            return vec![cut(1), cut(2)];
        };
        let mut declared: Vec<Option<usize>> = declared.iter().map(known).collect();
        let mut rows: Vec<Option<usize>> =
            self.dims.iter().enumerate().filter(|(i, _)| *i != self.axis).map(|(_, d)| *d).collect();
        let fixed: usize = declared.iter().flatten().product();
        if fixed.max(rows.iter().flatten().product()).saturating_mul(self.classes) > MAX_ELEMENTS / 8 {
            // too large to run as declared; what holds for a few rows holds for many, unless a size is baked in
            declared.iter_mut().chain(&mut rows).for_each(|d| *d = d.filter(|n| *n == 1));
        }
        // free sizes as the logits have them; else small, and different so that mixed-up axes show
        let fill = |free: &[usize; 3]| -> Vec<usize> {
            declared
                .iter()
                .enumerate()
                .map(|(i, d)| d.or_else(|| rows.get(i).copied().flatten()).unwrap_or(free[i.min(2)]))
                .collect()
        };
        let mut sets: Vec<Vec<Vec<usize>>> =
            [different, equal].iter().map(|set| set.iter().map(fill).collect()).collect();
        sets.dedup();
        sets
    }

    /// Integer values computed from the labels input alone, itself first.
    fn label_values(&self, context: &Context, labels_input: &str, dims: &[usize]) -> Vec<String> {
        let count: usize = dims.iter().product();
        if count == 0 || count > MAX_ELEMENTS / self.classes {
            return Vec::new();
        }
        let probe =
            Tensor { dims: dims.to_vec(), data: Data::Int((0..count).map(|i| (i % self.classes) as i64).collect()) };
        let mut values = self.start_values(context, (labels_input, &probe), &[]);
        self.run_nodes(context, &self.side, &mut values);
        let mut found = vec![labels_input.to_owned()];
        for node in self.side.iter().map(|id| context.graph.node(*id)) {
            for output in node.output.iter().filter(|o| !o.is_empty() && !found.contains(o)).collect::<Vec<_>>() {
                let Some(tensor) = values.get(output) else { continue };
                let renamed = tensor.dims == dims && matches!(node.op(), "Cast" | "Identity");
                if matches!(tensor.data, Data::Int(_))
                    && tensor.data.len() <= count
                    && !renamed
                    && found.len() < MAX_LABEL_VALUES
                    && self.could_be_labels(context, output, &tensor.dims)
                {
                    found.push(output.clone());
                }
            }
        }
        found
    }

    /// Whether the sizes declared for `value` and those of a run agree with the logits'.
    fn could_be_labels(&self, context: &Context, value: &str, dims: &[usize]) -> bool {
        if self.logits_dims(dims).is_none() {
            return false;
        }
        let Some(declared) = context.shapes.get(value).dims else { return true };
        let mut rows = self.dims.clone();
        rows.remove(self.axis);
        declared.len() != rows.len()
            || declared.iter().zip(&rows).all(|(d, r)| match (known(d), r) {
                (Some(d), Some(r)) => d == *r,
                _ => true,
            })
    }

    /// Sizes of the logits if `label_dims` are the labels of their rows; `true`: the labels must be flattened.
    pub(super) fn logits_dims(&self, label_dims: &[usize]) -> Option<(Vec<usize>, bool)> {
        let rank = self.dims.len();
        let insert = |dims: &[usize]| -> Vec<usize> {
            let mut dims = dims.to_vec();
            dims.insert(self.axis, self.classes);
            dims
        };
        let (dims, flatten) = if label_dims.len() + 1 == rank {
            (insert(label_dims), false)
        } else if label_dims.len() == rank && label_dims.get(self.axis) == Some(&1) {
            let mut dims = label_dims.to_vec();
            dims[self.axis] = self.classes;
            (dims, true)
        } else if rank == 2 {
            (insert(&[label_dims.iter().product()]), true)
        } else {
            return None;
        };
        let large = self.dims.iter().flatten().product::<usize>() > MAX_ELEMENTS / 8;
        let fits = dims
            .iter()
            .zip(&self.dims)
            .enumerate()
            .all(|(i, (d, known))| known.is_none_or(|k| k == *d || (large && i != self.axis && k > 1)));
        (fits && dims.iter().product::<usize>() <= MAX_ELEMENTS).then_some((dims, flatten))
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
