//! Losses spelled in elementary ops, recognised by what they compute.
//!
//! Exporters write cross entropy in many ways: gather from a log-softmax, one-hot by OneHot or by Equal and Cast,
//! log-sum-exp minus the gathered logit, GatherND with index arithmetic … Instead of a pattern for each, the piece of
//! graph between the logits and the loss is cut out and run on probe logits and labels, and the numbers are compared
//! with the family ([`super::family`]). What agrees is that loss, however it is spelled; what does not is told why.

use std::collections::{BTreeSet, HashMap, HashSet};

use prost::Message;

use crate::loss::Reduction;
use crate::model::proto::TensorProto;
use crate::model::{DataType, Dimension, NodeId};
use crate::rewrite::RewriteError;
use crate::rewrite::evaluate::{Data, Tensor, evaluate};

use super::family::{self, Clues, Fit, Probe};
use super::{
    ClassAxis, Context, Findings, LossShape, Match, Refusal, data_type_name, linear, other_losses, shape_text,
    training_pair,
};
use crate::rewrite::report::LossReport;

const RULE: &str = "computed";
/// A loss is at most some 60 nodes; what is larger is a network.
const MAX_NODES: usize = 400;
/// Elements of the probe logits.
const MAX_ELEMENTS: usize = 2_000_000;
/// With more classes than this the probes have as few rows as tell losses apart.
const MANY_CLASSES: usize = 8192;
/// Runs, each on other numbers of rows where these are free: a sum divided by 5 is no mean.
const PROBES: usize = 4;
/// Runs where there is but one row in each.
const SINGLE_ROW_PROBES: usize = 8;
/// Values made of the labels that are tried as the labels of the rows.
const MAX_LABEL_VALUES: usize = 8;

/// Finds the losses that no structural rule took.
pub(super) fn find(
    context: &Context,
    taken: &mut HashSet<NodeId>,
    findings: &mut Findings,
) -> Result<(), RewriteError> {
    let mut soft = Vec::new();
    // the last softmax first: a loss is at the end, attention is not
    for anchor in anchors(context).into_iter().rev() {
        if taken.contains(&anchor.node) {
            continue;
        }
        match Piece::cut(context, &anchor.logits, anchor.axis, taken).and_then(|piece| piece.recognise(context)) {
            Ok(Recognised { end, found, beyond }) => {
                let uses = linear::uses(context, &end, &found.logits);
                if let Some((at, term)) = &uses.joined
                    && of_labels(context, term, &anchor.logits)
                {
                    findings.others.push(joined(context, &found, *at).report(context, found.at));
                } else if let Some(breaker) = uses.nonlinear
                    && !uses.reaches_output
                {
                    findings.others.push(match beyond {
                        Some((what, at)) => other(context, &anchor.logits, what, &found.nodes, at),
                        None => bent(context, &found, breaker).report(context, found.at),
                    });
                } else {
                    training_pair::refuse_gradient(context, &found)?;
                    taken.extend(&found.nodes);
                    findings.matches.push(found);
                    continue;
                }
                taken.extend(&found.nodes);
            }
            Err(Miss::NotALoss) => {}
            Err(Miss::SoftLabels { what, nodes, at }) => soft.push((anchor, what, nodes, at)),
            Err(Miss::Other { what, nodes, at }) => {
                findings.others.push(other(context, &anchor.logits, what, &nodes, at));
                taken.extend(nodes);
            }
            Err(Miss::Near { node, reason }) => findings.near_miss(context, RULE, node, reason),
        }
    }
    // a teacher's softmax beside the loss against class indices is part of that
    for (anchor, what, nodes, at) in soft {
        if !nodes.iter().any(|id| taken.contains(id)) {
            findings.others.push(other(context, &anchor.logits, what, &nodes, at));
            taken.extend(nodes);
        }
    }
    Ok(())
}

/// Looks at what is spelled on top of `found`, whose loss `breaker` bends.
///
/// # Errors
/// What it is, or that it could not be told, as the reason to leave it alone.
pub(super) fn explain(context: &Context, found: &Match, breaker: NodeId) -> Result<Match, Refusal> {
    let refuse = |what: String, reason: String| Refusal { rule: RULE, what, reason };
    match Piece::cut(context, &found.logits, 1, &HashSet::new()).and_then(|piece| piece.recognise(context)) {
        Ok(Recognised { end, found: better, .. }) if end != found.loss => {
            let uses = linear::uses(context, &end, &better.logits);
            match uses.nonlinear {
                Some(node) if !uses.reaches_output => Err(bent(context, &better, node)),
                _ => Ok(better),
            }
        }
        Ok(Recognised { beyond: Some((what, _)), .. })
        | Err(Miss::Other { what, .. } | Miss::SoftLabels { what, .. }) => {
            let reason = format!("it is {what}, not cross entropy or the encouraging loss");
            Err(refuse(what, reason))
        }
        Err(Miss::Near { reason, node }) => Err(refuse(
            "a loss built on cross entropy".into(),
            format!(
                "{} bends the cross entropy, and the whole could not be run: {} ({reason})",
                context.graph.node(breaker).describe(),
                context.graph.node(node).describe()
            ),
        )),
        _ => Err(bent(context, found, breaker)),
    }
}

/// Whether `term`, added to `found`, is a function of the labels' log-probabilities: a bonus that is not known, which
/// must not be added to ours. Dice and penalties on the logits are other losses, and stay.
pub(super) fn is_bonus(context: &Context, found: &Match, term: &str) -> bool {
    let Ok(piece) = Piece::cut(context, &found.logits, 1, &HashSet::new()) else { return false };
    let logarithmic = context
        .index
        .producer(term)
        .is_some_and(|at| piece.slice(context, at).iter().any(|id| context.graph.node(*id).is("", "Log")));
    if piece.classes == 2 || !logarithmic || !of_labels(context, term, &found.logits) {
        return false;
    }
    piece.inputs.iter().any(|labels_input| {
        piece.label_shapes(context, labels_input).iter().any(|shapes| {
            let dims = &shapes[0];
            let raw = Probe::new(dims.iter().product::<usize>().max(2), piece.classes, &[], 31).labels().to_vec();
            let count = dims.iter().product();
            let Ok((run, _)) =
                piece.run_once(context, labels_input, dims, &found.labels, raw[..count].to_vec(), &[], 37)
            else {
                return false;
            };
            let turned = piece.run_on(context, run.values.clone(), &run.probe.with_others_turned(), &run.logits_dims).0;
            match (run.values.get(term).and_then(floats), turned.get(term).and_then(floats)) {
                (Some(a), Some(b)) => {
                    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9 * (1.0 + a.abs()))
                }
                _ => false,
            }
        })
    })
}

/// A loss that is added to another of the same logits: a bonus that is not known, the second label of a mixup.
pub(super) fn joined(context: &Context, found: &Match, at: NodeId) -> Refusal {
    Refusal {
        rule: RULE,
        what: format!("a loss with {} as one of its terms", found.what),
        reason: format!(
            "{} adds another term made of the same logits and of labels, and the sum is not known",
            context.graph.node(at).describe()
        ),
    }
}

/// Whether integer inputs of the graph are needed to make `value` (more than their shape), beside `logits`.
fn of_labels(context: &Context, value: &str, logits: &str) -> bool {
    let mut seen: HashSet<NodeId> = context.index.producer(logits).into_iter().collect();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match context.index.producer(value).map(|id| (id, context.graph.node(id))) {
            // labels come in beside the logits, not through the network
            Some((id, node)) => {
                if !matches!(node.op(), "Shape" | "Size") && !is_network(node.op_domain(), node.op()) && seen.insert(id)
                {
                    open.extend(node.input.iter().map(String::as_str));
                }
            }
            None => {
                let integer = matches!(context.data_type(value), Some(DataType::Int32 | DataType::Int64));
                if integer && context.index.is_input(value) {
                    return true;
                }
            }
        }
    }
    false
}

/// A loss that something downstream makes another loss of.
fn bent(context: &Context, found: &Match, breaker: NodeId) -> Refusal {
    Refusal {
        rule: RULE,
        what: format!("a loss built on {}", found.what),
        reason: format!(
            "{} bends the {} into a loss that is not known",
            context.graph.node(breaker).describe(),
            found.what
        ),
    }
}

/// The report of a loss that is not of the family.
fn other(context: &Context, logits: &str, what: String, nodes: &[NodeId], at: NodeId) -> LossReport {
    let reason = format!("it is {what}, not cross entropy or the encouraging loss");
    let mut report = Refusal { rule: RULE, what, reason }.report(context, at);
    report.nodes = nodes.iter().map(|id| context.graph.node(*id).describe()).collect();
    report.logits = Some(logits.to_owned());
    report.labels = None;
    report.data_type = context.data_type(logits).map(|t| data_type_name(t).to_owned());
    report.shape = shape_text(&context.shapes, logits);
    report
}

/// A softmax-like node, and the logits it reads.
struct Anchor {
    node: NodeId,
    logits: String,
    axis: i64,
}

fn anchors(context: &Context) -> Vec<Anchor> {
    let mut seen = HashSet::new();
    let mut anchors = Vec::new();
    for (i, node) in context.graph.nodes().iter().enumerate() {
        let id = NodeId(i);
        if node.op_domain() != "" || context.is_gradient(id) {
            continue;
        }
        let Some(input) = node.input_at(0) else { continue };
        let default_axis = if context.opset < 13 { 1 } else { -1 };
        let (logits, axis) = match node.op() {
            "Softmax" | "LogSoftmax" => (input.to_owned(), node.attr_int("axis").unwrap_or(default_axis)),
            "ReduceLogSumExp" => (input.to_owned(), reduced_axis(context, id).unwrap_or(-1)),
            "Exp" => match exponentials_of(context, id) {
                Some((logits, axis)) => (logits, axis),
                None => continue,
            },
            _ => continue,
        };
        if seen.insert(logits.clone()) {
            anchors.push(Anchor { node: id, logits, axis });
        }
    }
    anchors
}

/// Exp(z) or Exp(z − max z), summed over an axis: the logits and the axis.
fn exponentials_of(context: &Context, id: NodeId) -> Option<(String, i64)> {
    let node = context.graph.node(id);
    let sum = context
        .index
        .consumers(node.output_at(0)?)
        .iter()
        .copied()
        .find(|c| context.graph.node(*c).is("", "ReduceSum"))?;
    let axis = reduced_axis(context, sum).unwrap_or(-1);
    let shifted = node.input_at(0)?;
    let logits =
        context.index.producer(shifted).map(|p| context.graph.node(p)).filter(|p| p.is("", "Sub")).and_then(|sub| {
            let (logits, shift) = (sub.input_at(0)?, sub.input_at(1)?);
            is_maximum_of(context, shift, logits).then(|| logits.to_owned())
        });
    Some((logits.unwrap_or_else(|| shifted.to_owned()), axis))
}

/// Whether `value` is ReduceMax(`of`), also through Identity and the like (stop_gradient).
fn is_maximum_of(context: &Context, value: &str, of: &str) -> bool {
    let mut value = value;
    for _ in 0..6 {
        let Some(node) = context.index.producer(value).map(|p| context.graph.node(p)) else { return false };
        let Some(input) = node.input_at(0) else { return false };
        if node.is("", "ReduceMax") {
            return input == of;
        }
        value = match node.op() {
            "Where" => match node.input_at(1) {
                Some(kept) => kept,
                None => return false,
            },
            "Identity" | "Cast" | "Max" | "Reshape" | "Unsqueeze" | "Expand" => input,
            _ => return false,
        };
    }
    false
}

/// The one axis a reduction reduces.
fn reduced_axis(context: &Context, id: NodeId) -> Option<i64> {
    let node = context.graph.node(id);
    if let Some([axis]) = node.attr_ints("axes") {
        return Some(*axis);
    }
    match context.index.constant(node.input_at(1)?)?.ints()?[..] {
        [axis] => Some(axis),
        _ => None,
    }
}

/// Why a piece is not a loss of the family.
enum Miss {
    /// Nothing about it looks like a loss (attention, a classifier's head).
    NotALoss,
    /// It is a loss, another one.
    Other { what: String, nodes: Vec<NodeId>, at: NodeId },
    /// It is a loss against class probabilities.
    SoftLabels { what: String, nodes: Vec<NodeId>, at: NodeId },
    /// It looked like one up to this node.
    Near { node: NodeId, reason: String },
}

struct Recognised {
    end: String,
    found: Match,
    /// A loss of another name that is computed from it further on, and where.
    beyond: Option<(String, NodeId)>,
}

/// The piece of graph that hangs on the logits and on one labels input.
struct Piece {
    logits: String,
    /// Class axis, not negative.
    axis: usize,
    /// Declared sizes of the logits, as far as known.
    dims: Vec<Option<usize>>,
    classes: usize,
    /// Everything computed from the logits, in file order.
    cone: Vec<NodeId>,
    /// What the cone reads from elsewhere, back to the graph's inputs, in file order.
    side: Vec<NodeId>,
    /// Graph inputs that the side nodes (or the cone itself) read.
    inputs: BTreeSet<String>,
    /// The first node that stopped the cone.
    stopped: Option<NodeId>,
    constants: HashMap<String, Tensor>,
}

impl Piece {
    fn cut(context: &Context, logits: &str, axis: i64, taken: &HashSet<NodeId>) -> Result<Self, Miss> {
        let dims: Option<Vec<Option<usize>>> =
            context.shapes.get(logits).dims.map(|dims| dims.iter().map(known).collect());
        let mut cone = Vec::new();
        let mut side = BTreeSet::new();
        let mut inputs = BTreeSet::new();
        let mut stopped = None;
        let mut from_logits: HashSet<&str> = HashSet::from([logits]);
        let start = context.index.producer(logits).map_or(0, |p| p.0);
        for (i, node) in context.graph.nodes().iter().enumerate().skip(start) {
            let id = NodeId(i);
            if !node.input.iter().any(|v| from_logits.contains(v.as_str())) {
                continue;
            }
            let network = is_network(node.op_domain(), node.op()) && !is_product_of_values(context, id);
            if network || taken.contains(&id) || context.is_gradient(id) {
                stopped.get_or_insert(id);
                continue;
            }
            let mut others = Side::default();
            let readable = node
                .input
                .iter()
                .filter(|v| !v.is_empty() && !from_logits.contains(v.as_str()))
                .all(|v| others.collect(context, v, &from_logits, taken));
            if !readable {
                stopped.get_or_insert(id);
                continue;
            }
            side.extend(others.nodes);
            inputs.extend(others.inputs);
            cone.push(id);
            from_logits.extend(node.output.iter().map(String::as_str));
            if cone.len() > MAX_NODES {
                return Err(Miss::NotALoss);
            }
        }
        if inputs.is_empty() {
            return Err(Miss::NotALoss);
        }
        let first = cone.first().copied().ok_or(Miss::NotALoss)?;
        let near = |reason: &str| Miss::Near { node: first, reason: reason.into() };
        let dims = dims
            .ok_or_else(|| near("the rank of the logits is not known; run onnx.shape_inference on the model first"))?;
        let axis =
            usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).map_err(|_| Miss::NotALoss)?;
        // the operator wants the classes in axis 1; the last axis can be moved there
        if axis == 0 || (axis != 1 && axis + 1 != dims.len()) {
            return Err(Miss::NotALoss);
        }
        let classes =
            dims.get(axis).copied().flatten().ok_or_else(|| {
                near("the number of classes is not known; run onnx.shape_inference on the model first")
            })?;
        if !(2..=MAX_ELEMENTS / 6).contains(&classes) {
            return Err(Miss::NotALoss);
        }
        let mut piece = Piece {
            logits: logits.to_owned(),
            axis,
            dims,
            classes,
            cone,
            side: side.into_iter().collect(),
            inputs,
            stopped,
            constants: HashMap::new(),
        };
        piece.read_constants(context);
        Ok(piece)
    }

    fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.side.iter().chain(&self.cone).copied()
    }

    fn read_constants(&mut self, context: &Context) {
        let mut constants = HashMap::new();
        for id in self.nodes() {
            for input in &context.graph.node(id).input {
                if let Some(constant) = context.index.constant(input)
                    && let Some(tensor) = Tensor::from_constant(&constant)
                {
                    constants.insert(input.clone(), tensor);
                }
            }
        }
        self.constants = constants;
    }

    fn recognise(&self, context: &Context) -> Result<Recognised, Miss> {
        let mut best = Miss::NotALoss;
        for labels_input in &self.inputs {
            let kind = context.data_type(labels_input);
            if matches!(kind, Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)) {
                if let Some(miss) = self.soft_labels(context, labels_input) {
                    best = miss;
                }
                continue;
            }
            match self.with_labels(context, labels_input) {
                Ok(found) => return Ok(found),
                Err(Miss::NotALoss) => {}
                Err(miss) => best = miss,
            }
        }
        Err(best)
    }

    /// Tries every value computed from `labels_input` as the labels of the rows.
    fn with_labels(&self, context: &Context, labels_input: &str) -> Result<Recognised, Miss> {
        let clues = self.clues(context);
        let mut best = Miss::NotALoss;
        for shapes in self.label_shapes(context, labels_input) {
            for candidate in self.label_values(context, labels_input, &shapes[0]) {
                match self.run(context, labels_input, &shapes, &candidate, &clues) {
                    Ok(found) => return Ok(found),
                    Err(Miss::NotALoss) => {}
                    Err(miss) => {
                        if matches!(best, Miss::NotALoss) || matches!(miss, Miss::Other { .. }) {
                            best = miss;
                        }
                    }
                }
            }
        }
        Err(best)
    }

    /// Sizes to try for the labels input, one for each run: what is declared, free sizes filled in.
    fn label_shapes(&self, context: &Context, labels_input: &str) -> Vec<Vec<Vec<usize>>> {
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
        let mut values = self.constants.clone();
        values.insert(labels_input.to_owned(), probe);
        self.run_nodes(context, &self.side, &mut values);
        let mut found = vec![labels_input.to_owned()];
        for output in self.side.iter().flat_map(|id| &context.graph.node(*id).output) {
            if let Some(tensor) = values.get(output)
                && matches!(tensor.data, Data::Int(_))
                && tensor.data.len() <= count
                && (2..=count).contains(&tensor.data.len().max(2))
                && !found.contains(output)
                && found.len() < MAX_LABEL_VALUES
                && self.could_be_labels(context, output, &tensor.dims)
            {
                found.push(output.clone());
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
    fn logits_dims(&self, label_dims: &[usize]) -> Option<(Vec<usize>, bool)> {
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

    /// Runs the piece with `labels` as the labels of the rows and compares every value with the family.
    fn run(
        &self,
        context: &Context,
        labels_input: &str,
        shapes: &[Vec<usize>],
        labels: &str,
        clues: &Clues,
    ) -> Result<Recognised, Miss> {
        let ignored = self.compared_integers(context);
        let mut runs: Vec<Run> = Vec::new();
        let mut trouble = None;
        let mut wanted = PROBES;
        while runs.len() < wanted {
            let input_dims = &shapes[runs.len() % shapes.len()];
            let seed = runs.len() as u64;
            let count: usize = input_dims.iter().product();
            let raw = Probe::new(count.max(2), self.classes, &ignored, seed + 11).labels().to_vec();
            let (run, failed) =
                self.run_once(context, labels_input, input_dims, labels, raw[..count].to_vec(), &ignored, seed + 101)?;
            if run.probe.labels().len() < 3 {
                wanted = SINGLE_ROW_PROBES;
            }
            trouble = trouble.or(failed);
            runs.push(run);
        }
        self.last_fit(context, &runs, clues, labels, trouble, (labels_input, &shapes[0], &ignored))
    }

    /// One run on `raw` labels: the side nodes make the labels of the rows of them, then logits to go with these.
    #[allow(clippy::too_many_arguments, reason = "one run and what it is made of")]
    fn run_once(
        &self,
        context: &Context,
        labels_input: &str,
        input_dims: &[usize],
        labels: &str,
        raw: Vec<i64>,
        avoid: &[i64],
        seed: u64,
    ) -> Result<(Run, Option<(NodeId, String)>), Miss> {
        let mut values = self.constants.clone();
        values.insert(labels_input.to_owned(), Tensor { dims: input_dims.to_vec(), data: Data::Int(raw) });
        self.run_nodes(context, &self.side, &mut values);
        let Some(Tensor { dims, data: Data::Int(row_labels) }) = values.get(labels) else {
            return Err(Miss::NotALoss);
        };
        let (logits_dims, flatten) = self.logits_dims(dims).ok_or(Miss::NotALoss)?;
        let rows = logits_dims.iter().product::<usize>() / self.classes;
        if row_labels.len() != rows {
            return Err(Miss::NotALoss);
        }
        let mut probe = Probe::new(rows, self.classes, avoid, seed);
        probe.relabel(row_labels);
        let (values, trouble) = self.run_on(context, values, &probe, &logits_dims);
        Ok((Run { probe, values, logits_dims, flatten }, trouble))
    }

    /// Runs everything on the logits of `probe`; the values, and the first node that could not be run.
    fn run_on(
        &self,
        context: &Context,
        mut values: HashMap<String, Tensor>,
        probe: &Probe,
        logits_dims: &[usize],
    ) -> (HashMap<String, Tensor>, Option<(NodeId, String)>) {
        values.insert(self.logits.clone(), self.lay_out(probe, logits_dims));
        // the side nodes may read the shape of something in the cone: run all in file order
        let mut order: Vec<NodeId> = self.nodes().collect();
        order.sort();
        let trouble = self.run_nodes(context, &order, &mut values);
        (values, trouble)
    }

    /// Runs what can be run; the first node that could not be, with the reason.
    fn run_nodes(
        &self,
        context: &Context,
        nodes: &[NodeId],
        values: &mut HashMap<String, Tensor>,
    ) -> Option<(NodeId, String)> {
        let mut trouble = None;
        for id in nodes {
            let node = context.graph.node(*id);
            if node.input.iter().any(|v| !v.is_empty() && !values.contains_key(v)) {
                continue;
            }
            let inputs: HashMap<String, Tensor> =
                node.input.iter().filter_map(|v| values.get(v).map(|t| (v.clone(), t.clone()))).collect();
            match evaluate(&[node], inputs, context.opset) {
                Ok(outputs) => values.extend(outputs.into_iter().filter(|(name, _)| node.output.contains(name))),
                Err(error) => {
                    trouble.get_or_insert((*id, error.to_string()));
                }
            }
        }
        trouble
    }

    /// rows × classes → the layout of the logits.
    fn lay_out(&self, probe: &Probe, dims: &[usize]) -> Tensor {
        let inner: usize = dims[self.axis + 1..].iter().product();
        let outer: usize = dims[..self.axis].iter().product();
        let mut data = vec![0.0; probe.logits.len()];
        for o in 0..outer {
            for c in 0..self.classes {
                for i in 0..inner {
                    data[(o * self.classes + c) * inner + i] = probe.logits[(o * inner + i) * self.classes + c];
                }
            }
        }
        Tensor { dims: dims.to_vec(), data: Data::Float(data) }
    }

    /// The last value that is a member of the family; failing that, the last that is one times a constant.
    fn last_fit(
        &self,
        context: &Context,
        runs: &[Run],
        clues: &Clues,
        labels: &str,
        trouble: Option<(NodeId, String)>,
        input: (&str, &[usize], &[i64]),
    ) -> Result<Recognised, Miss> {
        let candidates: Vec<(NodeId, &String, Vec<Vec<f64>>)> = self
            .cone
            .iter()
            .rev()
            .flat_map(|id| context.graph.node(*id).output.iter().filter(|o| !o.is_empty()).map(move |o| (*id, o)))
            .filter(|(id, _)| depends_on_labels(context, self, *id, labels, input.0))
            .filter_map(|(id, output)| Some((id, output, observations(runs, output)?)))
            .collect();
        let mut other = None;
        let mut near = None;
        for scaled in [false, true] {
            for (id, output, seen) in &candidates {
                let views = views_of(runs, seen);
                let fit = if scaled { family::fit_scaled(&views, clues) } else { family::fit(&views, clues, None) };
                if let Some(fit) = fit {
                    if fit.scale < 0.0 && context.index.is_output(output) {
                        let reason = "it is an output and a log-likelihood: the loss times a negative number".into();
                        return Err(Miss::Near { node: *id, reason });
                    }
                    let dims = &runs[0].values[*output].dims;
                    let Some(loss_shape) = self.loss_shape(dims, &runs[0].logits_dims, fit.parameters.reduction())
                    else {
                        continue;
                    };
                    // losses of the rows that the graph gives too must not stay behind
                    let slice = self.slice(context, *id);
                    let rows_are_output = candidates.iter().any(|(inner, value, seen)| {
                        inner != id
                            && slice.contains(inner)
                            && context.index.is_output(value)
                            && seen.iter().any(|s| s.len() > 1)
                            && family::fit(&views_of(runs, seen), clues, None).is_some()
                    });
                    if rows_are_output {
                        continue;
                    }
                    match self.ignore_index(context, &fit, clues, output, labels, input) {
                        Ok((index, note)) => {
                            let flatten = runs[0].flatten;
                            let mut recognised =
                                self.matched(context, *id, output, fit, index, labels, flatten, loss_shape);
                            recognised.found.notes.extend(note);
                            recognised.beyond = other;
                            return Ok(recognised);
                        }
                        Err(reason) => {
                            near.get_or_insert((*id, reason));
                        }
                    }
                } else if !scaled && other.is_none() {
                    other = family::name_other(&views, clues).map(|what| (what, *id));
                }
            }
        }
        if let Some((what, at)) = other {
            let nodes = self.slice(context, at);
            return Err(Miss::Other { what, nodes, at });
        }
        // labels came in, so it is some loss; say what stood in the way
        if let Some((node, reason)) = near.or(trouble) {
            return Err(Miss::Near { node, reason });
        }
        match (candidates.first(), self.stopped) {
            (Some((node, ..)), _) => Err(Miss::Near {
                node: *node,
                reason: "what it computes is neither cross entropy nor the encouraging loss of these logits and labels"
                    .into(),
            }),
            (None, Some(node)) => Err(Miss::Near { node, reason: "the loss could not be followed through it".into() }),
            (None, None) => Err(Miss::NotALoss),
        }
    }

    fn loss_shape(&self, dims: &[usize], logits_dims: &[usize], reduction: Reduction) -> Option<LossShape> {
        if reduction != Reduction::None {
            return Some(if dims.is_empty() { LossShape::AsIs } else { LossShape::Ones(dims.len()) });
        }
        let mut rows = logits_dims.to_vec();
        rows.remove(self.axis);
        let mut kept = logits_dims.to_vec();
        kept[self.axis] = 1;
        if dims == rows {
            // with the classes last, the op's rows are in the same order
            Some(LossShape::AsIs)
        } else if dims == kept {
            Some(LossShape::KeptAxis(self.axis))
        } else {
            None
        }
    }

    /// Integers that labels are compared with, and the neighbours of bounds: candidates for ignore_index.
    fn compared_integers(&self, context: &Context) -> Vec<i64> {
        let mut found = BTreeSet::new();
        for id in self.nodes() {
            let node = context.graph.node(id);
            let reach = match node.op() {
                "Equal" => 0,
                "Less" | "Greater" | "GreaterOrEqual" | "LessOrEqual" => 1,
                _ => continue,
            };
            for input in &node.input {
                if let Some(Tensor { data: Data::Int(values), .. }) = self.constants.get(input)
                    && let [value] = values[..]
                {
                    found.extend(value.saturating_sub(reach)..=value.saturating_add(reach));
                }
            }
        }
        found.into_iter().collect()
    }

    /// Which label, if any, takes its rows out of the loss; runs the piece once more for each that may.
    fn ignore_index(
        &self,
        context: &Context,
        fit: &Fit,
        clues: &Clues,
        output: &str,
        labels: &str,
        (labels_input, input_dims, compared): (&str, &[usize], &[i64]),
    ) -> Result<(Option<i64>, Option<String>), String> {
        let explicit = self.explicit_ignore_index(context);
        let mut left_out = Vec::new();
        let mut note = None;
        let usual: &[i64] = if compared.is_empty() { &[] } else { &[-1, -100] };
        let candidates: BTreeSet<i64> = compared.iter().chain(&explicit).chain(usual).copied().collect();
        for index in candidates {
            match self.rows_with(context, fit, clues, output, labels, (labels_input, input_dims, compared), index) {
                Standing::LeftOut => left_out.push(index),
                Standing::Counts | Standing::NotALabel => {}
                Standing::Odd if explicit == Some(index) => {
                    // PyTorch writes ignore_index -100 into every loss, and what is spelled on top counts such rows as p = 1
                    left_out.push(index);
                    note = Some(format!(
                        "rows labelled {index} no longer count; in the old graph they entered the loss with p = 1"
                    ));
                }
                Standing::Odd if compared.contains(&index) => {
                    return Err(format!("rows with label {index} count in a way that ignore_index cannot express"));
                }
                Standing::Odd => {}
            }
        }
        match left_out[..] {
            [] => Ok((None, None)),
            [index] => Ok((Some(index), note)),
            [a, b, ..] => {
                Err(format!("rows with label {a} and with label {b} are left out, ignore_index can name one"))
            }
        }
    }

    /// How rows that the input labels `index` enter `output`.
    #[allow(clippy::too_many_arguments, reason = "one run and what it is made of")]
    fn rows_with(
        &self,
        context: &Context,
        fit: &Fit,
        clues: &Clues,
        output: &str,
        labels: &str,
        (labels_input, input_dims, compared): (&str, &[usize], &[i64]),
        index: i64,
    ) -> Standing {
        let count: usize = input_dims.iter().product();
        let mut raw = Probe::new(count.max(2), self.classes, compared, 23).labels().to_vec();
        raw.truncate(count);
        raw.iter_mut().skip(1).step_by(3).for_each(|label| *label = index);
        let Ok((Run { probe, values, .. }, _)) =
            self.run_once(context, labels_input, input_dims, labels, raw, compared, 29)
        else {
            return Standing::NotALabel;
        };
        let Some(seen) = values.get(output).and_then(floats) else { return Standing::NotALabel };
        let same = |probe: &Probe, ignore: Option<i64>| {
            let Ok(parameters) = fit.parameters.to_builder().ignore_index(ignore).build() else { return false };
            family::is(&Fit { parameters, ..fit.clone() }, clues, probe, seen)
        };
        let classes = self.classes as i64;
        let in_range = probe.labels().iter().all(|l| (0..classes).contains(l));
        if in_range && same(&probe, None) {
            return Standing::Counts;
        }
        if probe.labels().contains(&index) && same(&probe, Some(index)) {
            return Standing::LeftOut;
        }
        // a negative index counts from the end in Gather: what PyTorch refuses is no label to care about
        let wrapped: Vec<i64> = probe.labels().iter().map(|l| if *l < 0 { l + classes } else { *l }).collect();
        let in_range_now = wrapped.iter().all(|l| (0..classes).contains(l));
        if !in_range && in_range_now && same(&probe.with_labels(wrapped), None) {
            return Standing::NotALabel;
        }
        Standing::Odd
    }

    /// ignore_index of the ONNX losses inside the piece.
    fn explicit_ignore_index(&self, context: &Context) -> Option<i64> {
        self.nodes().find_map(|id| {
            let node = context.graph.node(id);
            node.op().ends_with("Loss").then(|| node.attr_int("ignore_index")).flatten()
        })
    }

    /// Constants of the piece that a member of the family could have as parameters.
    fn clues(&self, context: &Context) -> Clues {
        let mut clues = Clues::default();
        for (name, tensor) in &self.constants {
            if let Data::Float(values) = &tensor.data {
                match values[..] {
                    [x] if !clues.numbers.contains(&x) => clues.numbers.push(x),
                    _ if values.len() == self.classes && values.len() > 1 => {
                        clues.weights.push((name.clone(), values.clone()));
                    }
                    // OneHot's (off, on) pair
                    [a, b] => clues.numbers.extend([a, b]),
                    // rows of smoothed labels to pick from
                    [on, off, ..] if values.len() == self.classes * self.classes => clues.numbers.extend([on, off]),
                    _ => {}
                }
            }
        }
        for id in self.nodes() {
            let clip = context.graph.node(id);
            clues.numbers.extend(clip.attr_float("alpha").map(f64::from));
            let filled = clip.attr("value").and_then(|a| a.t.as_ref()).filter(|_| clip.op() == "ConstantOfShape");
            if let Some(Tensor { data: Data::Float(values), .. }) =
                filled.and_then(|t| TensorProto::decode(t.clone()).ok()).and_then(|t| Tensor::from_proto(&t).ok())
            {
                clues.numbers.extend(values.first());
            }
        }
        clues.rounding = match context.data_type(&self.logits) {
            Some(DataType::Float16) => 1e-3,
            Some(DataType::Bfloat16) => 8e-3,
            _ => 0.0,
        };
        clues.numbers.sort_by(f64::total_cmp);
        clues.numbers.dedup();
        clues.weights.sort_by(|a, b| a.0.cmp(&b.0));
        clues
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a match")]
    fn matched(
        &self,
        context: &Context,
        at: NodeId,
        output: &str,
        fit: Fit,
        ignore_index: Option<i64>,
        labels: &str,
        flatten: bool,
        loss_shape: LossShape,
    ) -> Recognised {
        let parameters = fit.parameters.to_builder().ignore_index(ignore_index).build().unwrap_or(fit.parameters);
        let rank = self.dims.len();
        let found = Match {
            rule: RULE,
            what: family::words(&parameters),
            logits: self.logits.clone(),
            class_axis: if self.axis == 1 { ClassAxis::One } else { ClassAxis::Last { rank } },
            labels: labels.to_owned(),
            flatten_labels: flatten,
            class_weights: fit.class_weights,
            bonus_weight: None,
            parameters,
            encouraging: fit.encouraging,
            loss: output.to_owned(),
            loss_shape,
            scale: fit.scale,
            loss_type: self.wider_loss_type(context, output),
            log_prob: None,
            nodes: self.slice(context, at),
            at,
            gradient: None,
            notes: vec![format!("recognised by what it computes: {}", self.spelling(context, at))],
        };
        Recognised { end: output.to_owned(), found, beyond: None }
    }

    /// float32 where half-precision logits make a float32 loss: it was computed in that type at least in part.
    fn wider_loss_type(&self, context: &Context, output: &str) -> Option<DataType> {
        let half = matches!(context.data_type(&self.logits), Some(DataType::Float16 | DataType::Bfloat16));
        context.data_type(output).filter(|t| half && matches!(t, DataType::Float | DataType::Double))
    }

    /// The nodes of the piece that `at` needs, `at` included.
    fn slice(&self, context: &Context, at: NodeId) -> Vec<NodeId> {
        let members: HashSet<NodeId> = self.nodes().collect();
        let mut slice = BTreeSet::from([at]);
        let mut open = vec![at];
        while let Some(id) = open.pop() {
            for input in &context.graph.node(id).input {
                if *input == self.logits {
                    continue;
                }
                if let Some(producer) = context.index.producer(input)
                    && (members.contains(&producer) || context.graph.node(producer).is("", "Constant"))
                    && slice.insert(producer)
                {
                    open.push(producer);
                }
            }
        }
        slice.into_iter().collect()
    }

    /// The op types of the slice, constants left out.
    fn spelling(&self, context: &Context, at: NodeId) -> String {
        let ops: Vec<&str> = self
            .slice(context, at)
            .into_iter()
            .map(|id| context.graph.node(id).op())
            .filter(|op| *op != "Constant")
            .collect();
        ops.join(", ")
    }

    /// A loss that takes class probabilities: cross entropy against soft labels, mean squared error …
    fn soft_labels(&self, context: &Context, labels_input: &str) -> Option<Miss> {
        if makes(context, labels_input, &self.logits) {
            return None; // a size read off the network's own input
        }
        let at = self.cone.iter().rev().copied().find(|id| {
            let node = context.graph.node(*id);
            node.output.iter().any(|o| linear::uses(context, o, &self.logits).reaches_output)
        })?;
        let nodes = self.slice(context, at);
        let reads_labels = nodes.iter().any(|id| context.graph.node(*id).input.iter().any(|i| i == labels_input));
        if !reads_labels {
            return None;
        }
        let what = match other_losses::name_at(context, at) {
            Some("Kullback-Leibler divergence") | None => "cross entropy against class probabilities",
            Some(name) => name,
        };
        Some(Miss::SoftLabels {
            what: format!("{what} (its labels '{labels_input}' are floats, class indices are needed)"),
            nodes,
            at,
        })
    }
}

/// One run of a piece.
struct Run {
    probe: Probe,
    values: HashMap<String, Tensor>,
    logits_dims: Vec<usize>,
    flatten: bool,
}

/// How rows with a certain label enter a loss.
enum Standing {
    /// As all others.
    Counts,
    /// Not at all.
    LeftOut,
    /// The graph has no sound value for such a label.
    NotALabel,
    Odd,
}

/// Whether graph input `from` is needed to make `value`.
fn makes(context: &Context, from: &str, value: &str) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        if value == from {
            return true;
        }
        if let Some(id) = context.index.producer(value)
            && seen.insert(id)
        {
            open.extend(context.graph.node(id).input.iter().map(String::as_str));
        }
    }
    false
}

/// What a node reads besides the logits, back to graph inputs and constants.
#[derive(Default)]
struct Side {
    nodes: BTreeSet<NodeId>,
    inputs: BTreeSet<String>,
}

impl Side {
    /// Collects what `value` needs; `false` where a part cannot be run.
    fn collect(
        &mut self,
        context: &Context,
        value: &str,
        from_logits: &HashSet<&str>,
        taken: &HashSet<NodeId>,
    ) -> bool {
        let mut open = vec![value.to_owned()];
        while let Some(value) = open.pop() {
            if value.is_empty() || from_logits.contains(value.as_str()) || context.index.constant(&value).is_some() {
                continue;
            }
            match context.index.producer(&value) {
                Some(id) => {
                    let node = context.graph.node(id);
                    if is_network(node.op_domain(), node.op()) || taken.contains(&id) || self.nodes.len() > MAX_NODES {
                        return false;
                    }
                    if self.nodes.insert(id) {
                        open.extend(node.input.iter().cloned());
                    }
                }
                None if context.index.is_input(&value) => {
                    self.inputs.insert(value);
                }
                None => return false,
            }
        }
        true
    }
}

/// Whether the loss value depends on the labels, so that a plain log-sum-exp is not taken for a loss.
fn depends_on_labels(context: &Context, piece: &Piece, at: NodeId, labels: &str, labels_input: &str) -> bool {
    piece
        .slice(context, at)
        .iter()
        .any(|id| context.graph.node(*id).input.iter().any(|v| v == labels || v == labels_input))
}

/// Ops with weights, or that hold graphs: they make logits, they are no part of a loss.
pub(super) fn is_network(domain: &str, op: &str) -> bool {
    !domain.is_empty()
        || matches!(
            op,
            "MatMul"
                | "Gemm"
                | "Conv"
                | "ConvTranspose"
                | "LSTM"
                | "GRU"
                | "RNN"
                | "BatchNormalization"
                | "LayerNormalization"
                | "InstanceNormalization"
                | "GroupNormalization"
                | "RMSNormalization"
                | "Attention"
                | "If"
                | "Loop"
                | "Scan"
                | "Einsum"
                | "MaxPool"
                | "AveragePool"
                | "GlobalAveragePool"
                | "Resize"
                | "QLinearMatMul"
                | "QLinearConv"
        )
}

/// A product (Einsum) of values none of which is a weight.
fn is_product_of_values(context: &Context, id: NodeId) -> bool {
    let node = context.graph.node(id);
    node.is("", "Einsum") && node.input.iter().all(|v| context.index.constant(v).is_none())
}

fn known(dim: &Dimension) -> Option<usize> {
    match dim {
        Dimension::Known(n) => usize::try_from(*n).ok().filter(|n| *n > 0),
        _ => None,
    }
}

fn floats(tensor: &Tensor) -> Option<&[f64]> {
    match &tensor.data {
        Data::Float(values) => Some(values),
        _ => None,
    }
}

/// What [`family::fit`] compares: each run's probe with a value seen in it.
fn views_of<'a>(runs: &'a [Run], seen: &'a [Vec<f64>]) -> Vec<(&'a Probe, &'a [f64])> {
    runs.iter().map(|run| &run.probe).zip(seen.iter().map(Vec::as_slice)).collect()
}

/// The value in every run, if it is float and one number or one per row.
fn observations(runs: &[Run], value: &str) -> Option<Vec<Vec<f64>>> {
    runs.iter()
        .map(|run| {
            let seen = run.values.get(value).and_then(floats)?;
            (seen.len() == 1 || seen.len() == run.probe.labels().len()).then(|| seen.to_vec())
        })
        .collect()
}
