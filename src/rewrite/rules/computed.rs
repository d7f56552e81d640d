//! Losses spelled in elementary ops, recognised by what they compute.
//!
//! Exporters write cross entropy in many ways: gather from a log-softmax, one-hot by OneHot or by Equal and Cast,
//! log-sum-exp minus the gathered logit, GatherND with index arithmetic … Instead of a pattern for each, the piece of
//! graph between the logits and the loss is cut out and run on probe logits and labels, and the numbers are compared
//! with the family ([`super::family`]). What agrees is that loss, however it is spelled; what does not is told why.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::loss::Reduction;
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
const MAX_ELEMENTS: usize = 1 << 20;
const PROBES: u64 = 2;
/// The same where the batch is fixed to a few rows.
const FEW_ROWS_PROBES: u64 = 16;
/// Values computed from the labels input that are tried as the labels.
const MAX_LABELS: usize = 16;

/// Finds the losses that no structural rule took.
pub(super) fn find(
    context: &Context,
    taken: &mut HashSet<NodeId>,
    findings: &mut Findings,
) -> Result<(), RewriteError> {
    let anchors = anchors(context);
    // the last softmax first: a loss is at the end, attention is not
    for (i, anchor) in anchors.iter().enumerate().rev() {
        if taken.contains(&anchor.node) {
            continue;
        }
        let mut outcome = recognise_at(context, anchor, taken);
        if !matches!(outcome, Err(Miss::NotALoss)) {
            // a softmax of log-probabilities is a part of the loss of the logits before them
            for earlier in anchors[..i].iter().rev().filter(|e| !taken.contains(&e.node)) {
                let leads_here = Piece::cut(context, &earlier.logits, earlier.axis, taken)
                    .is_ok_and(|piece| piece.cone.contains(&anchor.node));
                if leads_here
                    && let Ok(whole) = recognise_at(context, earlier, taken)
                    && whole.iter().any(|w| w.found.nodes.contains(&anchor.node))
                {
                    outcome = Ok(whole);
                }
            }
        }
        match outcome {
            Ok(all) => {
                for recognised in all {
                    settle(context, recognised, taken, findings)?;
                }
            }
            Err(Miss::NotALoss) => {}
            Err(Miss::Other { what, nodes, at }) => {
                findings.others.push(other(context, &anchor.logits, what, &nodes, at));
                taken.extend(nodes);
            }
            Err(Miss::Near { node, reason }) => findings.near_miss(context, RULE, node, reason),
        }
    }
    Ok(())
}

/// Takes what was recognised, unless something makes another loss of it further on.
fn settle(
    context: &Context,
    recognised: Recognised,
    taken: &mut HashSet<NodeId>,
    findings: &mut Findings,
) -> Result<(), RewriteError> {
    let Recognised { end, mut found, beyond } = recognised;
    let uses = linear::uses(context, &end, &found.logits, &found.labels);
    taken.extend(&found.nodes);
    if let Some(breaker) = uses.nonlinear
        && !uses.reaches_output
    {
        findings.others.push(match beyond {
            Some((what, at)) => other(context, &found.logits, what, &found.nodes, at),
            None => bent(context, &found, breaker).report(context, found.at),
        });
        return Ok(());
    }
    training_pair::refuse_gradient(context, &found)?;
    found.notes.extend(uses.note(context));
    findings.matches.push(found);
    Ok(())
}

/// Recognises the loss of an anchor's logits: of those behind a mask first, then of the anchor's own, then of those
/// that were given another layout for the softmax.
fn recognise_at(context: &Context, anchor: &Anchor, taken: &HashSet<NodeId>) -> Result<Vec<Recognised>, Miss> {
    let attempt =
        |logits: &str, axis: i64| Piece::cut(context, logits, axis, taken).and_then(|piece| piece.recognise(context));
    let masked = behind_masks(context, &anchor.logits).into_iter().rev();
    let behind = masked.map(|logits| attempt(&logits, anchor.axis)).find_map(Result::ok);
    let mut recognised = match behind.map_or_else(|| attempt(&anchor.logits, anchor.axis), Ok) {
        Ok(recognised) => recognised,
        Err(Miss::NotALoss) => {
            let laid_out = behind_layout(context, &anchor.logits).into_iter();
            let axes = laid_out.flat_map(|logits| [1, -1].map(|axis| (logits.clone(), axis)));
            axes.map(|(logits, axis)| attempt(&logits, axis)).find_map(Result::ok).ok_or(Miss::NotALoss)?
        }
        Err(miss) => return Err(miss),
    };
    for recognised in &mut recognised {
        take_narrow_logits(context, &mut recognised.found);
    }
    Ok(recognised)
}

/// What a value is before it was reshaped and transposed (ONNX's own body of SoftmaxCrossEntropyLoss moves the classes
/// to the end); which axis has the classes then, the numbers tell.
fn behind_layout(context: &Context, value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut value = value;
    while found.len() < 4 {
        let Some(node) = context.index.producer(value).map(|id| context.graph.node(id)) else { break };
        let layout = matches!(node.op(), "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten");
        let Some(before) = node.input_at(0).filter(|_| layout && node.op_domain().is_empty()) else { break };
        found.push(before.to_owned());
        value = before;
    }
    found
}

/// What a value is before some of its elements are replaced (the label's logit by −∞, padding by a constant).
fn behind_masks(context: &Context, value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut value = value;
    while found.len() < 4 {
        let Some(node) = context.index.producer(value).map(|id| context.graph.node(id)) else { break };
        if !node.op_domain().is_empty() {
            break;
        }
        let constant = |position: usize| node.input_at(position).is_none_or(|v| is_filled_with_a_constant(context, v));
        let before = match node.op() {
            "ScatterElements" => node.input_at(0),
            "Where" => match (constant(1), constant(2)) {
                (true, false) => node.input_at(2),
                (false, true) => node.input_at(1),
                _ => None,
            },
            _ => None,
        };
        let Some(before) = before else { break };
        found.push(before.to_owned());
        value = before;
    }
    found
}

/// Whether `value` is a constant, or one brought to a shape.
fn is_filled_with_a_constant(context: &Context, value: &str) -> bool {
    if context.index.constant(value).is_some() {
        return true;
    }
    context.index.producer(value).map(|id| context.graph.node(id)).is_some_and(|node| {
        node.op() == "ConstantOfShape"
            || (matches!(node.op(), "Expand" | "Cast" | "Identity" | "Reshape")
                && node.input_at(0).is_some_and(|v| is_filled_with_a_constant(context, v)))
    })
}

/// Where half-precision logits were only widened for the arithmetic, and the loss has their type again (as in the body
/// of the operator itself), the loss is one of the half-precision logits.
fn take_narrow_logits(context: &Context, found: &mut Match) {
    let Some(id) = context.index.producer(&found.logits) else { return };
    let node = context.graph.node(id);
    let Some(narrow) = node.input_at(0).filter(|_| node.is("", "Cast")) else { return };
    let narrow_type = context.data_type(narrow);
    if narrow_type.is_some()
        && narrow_type == context.data_type(&found.loss)
        && narrow_type != context.data_type(&found.logits)
    {
        found.logits = narrow.to_owned();
        found.nodes.insert(0, id);
    }
}

/// Looks at what is spelled on top of `found`, whose loss `breaker` bends.
///
/// # Errors
/// What it is, or that it could not be told, as the reason to leave it alone.
pub(super) fn explain(context: &Context, found: &Match, breaker: NodeId) -> Result<Match, Refusal> {
    let refuse = |what: String, reason: String| Refusal { rule: RULE, what, reason };
    let recognised = Piece::cut(context, &found.logits, 1, &HashSet::new()).and_then(|piece| piece.recognise(context));
    // the one that holds the loss found, if there are several
    let recognised = recognised.and_then(|all| {
        all.into_iter().find(|r| r.found.nodes.contains(&found.at) || r.end == found.loss).ok_or(Miss::NotALoss)
    });
    match recognised {
        Ok(Recognised { end, found: better, .. }) if end != found.loss => {
            let uses = linear::uses(context, &end, &better.logits, &better.labels);
            match uses.nonlinear {
                Some(node) if !uses.reaches_output => Err(bent(context, &better, node)),
                _ => Ok(better),
            }
        }
        Ok(Recognised { beyond: Some((what, _)), .. }) | Err(Miss::Other { what, .. }) => {
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
    let summed = |value: &str| {
        context.index.consumers(value).iter().copied().find(|c| context.graph.node(*c).is("", "ReduceSum"))
    };
    let exponentials = node.output_at(0)?;
    // also with some classes masked out of the sum
    let sum = summed(exponentials).or_else(|| {
        let masks = context.index.consumers(exponentials).iter().map(|c| context.graph.node(*c));
        masks.filter(|n| matches!(n.op(), "Where" | "Mul")).find_map(|n| summed(n.output_at(0)?))
    })?;
    let axis = reduced_axis(context, sum).unwrap_or(-1);
    let shifted = node.input_at(0)?;
    let logits =
        context.index.producer(shifted).map(|p| context.graph.node(p)).filter(|p| p.is("", "Sub")).and_then(|sub| {
            let (logits, shift) = (sub.input_at(0)?, sub.input_at(1)?);
            is_maximum_of(context, shift, logits).then(|| logits.to_owned())
        });
    Some((logits.unwrap_or_else(|| shifted.to_owned()), axis))
}

/// Whether `value` is ReduceMax(`of`), also through what keeps it finite or in shape, and with some classes masked.
fn is_maximum_of(context: &Context, value: &str, of: &str) -> bool {
    let mut open = vec![(value, false)];
    let mut seen = HashSet::new();
    while let Some((value, reduced)) = open.pop() {
        if reduced && value == of {
            return true;
        }
        if seen.len() > 64 || !seen.insert((value, reduced)) {
            continue;
        }
        let Some(node) = context.index.producer(value).map(|p| context.graph.node(p)) else { continue };
        match node.op() {
            "ReduceMax" => open.extend(node.input_at(0).map(|v| (v, true))),
            "Identity" | "Cast" | "Max" | "Min" | "Reshape" | "Squeeze" | "Unsqueeze" | "Expand" | "Where" | "Mul"
            | "Add" | "ScatterElements" => open.extend(node.input.iter().map(|v| (v.as_str(), reduced))),
            _ => {}
        }
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
            if is_network(node.op_domain(), node.op()) || taken.contains(&id) || context.is_gradient(id) {
                stopped.get_or_insert(id);
                continue;
            }
            let mut others = Side::default();
            let readable = node
                .input
                .iter()
                .filter(|v| !v.is_empty() && !from_logits.contains(v.as_str()))
                .all(|v| others.collect(context, v, &from_logits));
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
        if axis == 0 && inputs.iter().any(|i| matches!(context.data_type(i), Some(DataType::Int32 | DataType::Int64))) {
            return Err(near("its classes are in axis 0, where the batch should be; transpose the logits"));
        }
        if axis == 0 || (axis != 1 && axis + 1 != dims.len()) {
            return Err(Miss::NotALoss);
        }
        let classes =
            dims.get(axis).copied().flatten().ok_or_else(|| {
                near("the number of classes is not known; run onnx.shape_inference on the model first")
            })?;
        if !(2..=MAX_ELEMENTS / 8).contains(&classes) {
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

    /// The losses of the logits, one for each input with labels (mixup has two).
    fn recognise(&self, context: &Context) -> Result<Vec<Recognised>, Miss> {
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
        let mut shapes = self.label_shapes(context, labels_input);
        shapes.dedup();
        for label_dims in shapes {
            for candidate in self.label_values(context, labels_input, &label_dims) {
                match self.run(context, labels_input, &label_dims, &candidate, &clues) {
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

    /// Sizes to try for the labels input: what is declared, free sizes filled in.
    fn label_shapes(&self, context: &Context, labels_input: &str) -> Vec<Vec<usize>> {
        let Some(declared) = context.shapes.get(labels_input).dims else {
            return vec![vec![5], vec![3, 2]];
        };
        let declared: Vec<Option<usize>> = declared.iter().map(known).collect();
        let rows: Vec<Option<usize>> =
            self.dims.iter().enumerate().filter(|(i, _)| *i != self.axis).map(|(_, d)| *d).collect();
        // free sizes as the logits have them; else small, and different so that mixed-up axes show
        let fill = |free: [usize; 3]| -> Vec<usize> {
            declared
                .iter()
                .enumerate()
                .map(|(i, d)| d.or_else(|| rows.get(i).copied().flatten()).unwrap_or(free[i.min(2)]))
                .collect()
        };
        vec![fill([5, 3, 2]), fill([4, 4, 4])]
    }

    /// Integer values computed from the labels input alone, itself first, with their sizes.
    fn label_values(&self, context: &Context, labels_input: &str, dims: &[usize]) -> Vec<(String, Vec<usize>)> {
        let count: usize = dims.iter().product();
        if count == 0 || count > MAX_ELEMENTS / self.classes {
            return Vec::new();
        }
        let probe =
            Tensor { dims: dims.to_vec(), data: Data::Int((0..count).map(|i| (i % self.classes) as i64).collect()) };
        let mut values = self.constants.clone();
        values.insert(labels_input.to_owned(), probe);
        let mut found = vec![(labels_input.to_owned(), dims.to_vec())];
        for id in &self.side {
            let node = context.graph.node(*id);
            if let Ok(outputs) = evaluate(&[node], values.clone(), context.opset) {
                for output in node.output.iter().filter(|o| !o.is_empty()) {
                    if let Some(tensor) = outputs.get(output) {
                        let renamed = tensor.dims == dims && matches!(node.op(), "Cast" | "Identity");
                        if matches!(tensor.data, Data::Int(_))
                            && tensor.data.len() <= count
                            && !renamed
                            && found.len() < MAX_LABELS
                        {
                            found.push((output.clone(), tensor.dims.clone()));
                        }
                        values.insert(output.clone(), tensor.clone());
                    }
                }
            }
        }
        found
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
        let fits = dims.iter().zip(&self.dims).all(|(d, known)| known.is_none_or(|k| k == *d));
        (fits && dims.iter().product::<usize>() <= MAX_ELEMENTS).then_some((dims, flatten))
    }

    /// Runs the piece with `candidate` as the labels of the rows and compares every value with the family.
    fn run(
        &self,
        context: &Context,
        labels_input: &str,
        input_dims: &[usize],
        candidate: &(String, Vec<usize>),
        clues: &Clues,
    ) -> Result<Recognised, Miss> {
        let (labels, label_dims) = candidate;
        let (logits_dims, flatten) = self.logits_dims(label_dims).ok_or(Miss::NotALoss)?;
        let rows: usize = logits_dims.iter().product::<usize>() / self.classes;
        if rows == 0 {
            return Err(Miss::NotALoss);
        }
        let ignored = self.compared_integers(context);
        let mut runs = Vec::new();
        let mut far = None;
        let mut trouble = None;
        // as many rows in all, however few the graph fixes
        for seed in 0..if rows < 4 { FEW_ROWS_PROBES } else { PROBES } {
            // the labels of the rows are what the side nodes make of the input: run them first on a plain input,
            // counted from 0 or from 1
            let count: usize = input_dims.iter().product();
            let raw = Probe::new(count.max(2), self.classes, &ignored, seed + 11).labels;
            let from = |first: i64| -> Option<(HashMap<String, Tensor>, Vec<i64>)> {
                let input = Tensor {
                    dims: input_dims.to_vec(),
                    data: Data::Int(raw[..count].iter().map(|l| l + first).collect()),
                };
                let mut values = self.start_values(context, (labels_input, &input), &logits_dims);
                self.run_nodes(context, &self.side, &mut values);
                let Data::Int(row_labels) = &values.get(labels)?.data else { return None };
                let row_labels = row_labels.clone();
                let plain = row_labels.len() == rows && row_labels.iter().all(|l| (0..self.classes as i64).contains(l));
                plain.then_some((values, row_labels))
            };
            let Some((mut values, row_labels)) = from(0).or_else(|| from(1)) else { return Err(Miss::NotALoss) };
            let mut probe = Probe::new(rows, self.classes, &ignored, seed + 101);
            probe.relabel(&row_labels);
            values.insert(self.logits.clone(), self.lay_out(&probe, &logits_dims));
            // the side nodes may read the shape of something in the cone: run all in file order
            let mut order: Vec<NodeId> = self.nodes().collect();
            order.sort();
            if seed == 0 {
                let extreme = probe.stretched();
                let mut values = values.clone();
                values.insert(self.logits.clone(), self.lay_out(&extreme, &logits_dims));
                self.run_nodes(context, &order, &mut values);
                far = Some((extreme, values));
            }
            trouble = trouble.or(self.run_nodes(context, &order, &mut values));
            runs.push((probe, values));
        }
        self.last_fit(
            context,
            &runs,
            far.as_ref(),
            clues,
            labels,
            &logits_dims,
            flatten,
            trouble,
            (labels_input, input_dims, &ignored),
        )
    }

    /// What is known before a run: constants, labels, and the shapes of inputs whose numbers are not.
    fn start_values(
        &self,
        context: &Context,
        (labels_input, labels): (&str, &Tensor),
        logits_dims: &[usize],
    ) -> HashMap<String, Tensor> {
        let mut values = self.constants.clone();
        for (name, weights) in self.weight_inputs(context) {
            values.insert(name, Tensor { dims: vec![weights.len()], data: Data::Float(weights) });
        }
        values.insert(labels_input.to_owned(), labels.clone());
        let mut sizes: HashMap<String, usize> = HashMap::new();
        for (value, dims) in [(self.logits.as_str(), logits_dims), (labels_input, labels.dims.as_slice())] {
            for (declared, size) in context.shapes.get(value).dims.unwrap_or_default().iter().zip(dims) {
                if let Dimension::Symbol(name) = declared {
                    sizes.entry(name.clone()).or_insert(*size);
                }
            }
        }
        for id in &self.side {
            let node = context.graph.node(*id);
            let (Some(of), Some(output)) = (node.input_at(0).filter(|_| node.is("", "Shape")), node.output_at(0))
            else {
                continue;
            };
            if values.contains_key(of) || !context.index.is_input(of) {
                continue;
            }
            let Some(declared) = context.shapes.get(of).dims else { continue };
            let dims: Option<Vec<usize>> = declared
                .iter()
                .enumerate()
                .map(|(i, dim)| match dim {
                    Dimension::Known(n) => usize::try_from(*n).ok(),
                    Dimension::Symbol(name) if sizes.contains_key(name) => sizes.get(name).copied(),
                    _ => labels.dims.get(i).copied(),
                })
                .collect();
            let Some(dims) = dims.filter(|d| d.iter().product::<usize>() <= MAX_ELEMENTS) else { continue };
            let zeros = Tensor { data: Data::Float(vec![0.0; dims.iter().product()]), dims };
            if let Ok(outputs) = evaluate(&[node], HashMap::from([(of.to_owned(), zeros)]), context.opset)
                && let Some(shape) = outputs.get(output)
            {
                values.insert(output.to_owned(), shape.clone());
            }
        }
        values
    }

    /// Float inputs with one number per class, which may be class weights, with numbers to try them with.
    fn weight_inputs(&self, context: &Context) -> Vec<(String, Vec<f64>)> {
        let per_class = |input: &&String| {
            matches!(
                context.data_type(input),
                Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
            ) && context.shapes.get(input).dims.is_some_and(|d| d == [Dimension::Known(self.classes as i64)])
        };
        let weights: Vec<f64> = (0..self.classes).map(|c| 0.5 + (0.37 * c as f64).fract()).collect();
        self.inputs.iter().filter(per_class).map(|input| (input.clone(), weights.clone())).collect()
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

    #[allow(clippy::too_many_arguments, reason = "one run and what it was made of")]
    fn last_fit(
        &self,
        context: &Context,
        runs: &[(Probe, HashMap<String, Tensor>)],
        far: Option<&(Probe, HashMap<String, Tensor>)>,
        clues: &Clues,
        labels: &str,
        logits_dims: &[usize],
        flatten: bool,
        trouble: Option<(NodeId, String)>,
        input: (&str, &[usize], &[i64]),
    ) -> Result<Recognised, Miss> {
        let mut other = None;
        let mut reached = None;
        let mut inexpressible = None;
        for id in self.cone.iter().rev() {
            for output in context.graph.node(*id).output.iter().filter(|o| !o.is_empty()) {
                let Some(seen) = observations(runs, output) else { continue };
                if !depends_on_labels(context, self, *id, labels, input.0) {
                    continue;
                }
                reached.get_or_insert(*id);
                let views: Vec<(&Probe, &[f64])> =
                    runs.iter().map(|(p, _)| p).zip(seen.iter().map(Vec::as_slice)).collect();
                let fit = family::fit(&views, clues, None).filter(|fit| {
                    far.is_none_or(|(probe, values)| {
                        values
                            .get(output)
                            .and_then(floats)
                            .is_some_and(|seen| family::is_about(fit, probe, seen, clues))
                    })
                });
                if let Some(fit) = fit {
                    let dims = runs[0].1[output].dims.clone();
                    let Some(loss_shape) = self.loss_shape(&dims, logits_dims, fit.parameters.reduction()) else {
                        continue;
                    };
                    let ignore = match self.ignore_index(context, &fit, clues, output, labels, logits_dims, input) {
                        Ok(ignore) => ignore,
                        Err(reason) => {
                            // before the mask it may still be a plain loss per row
                            inexpressible.get_or_insert(Miss::Near { node: *id, reason });
                            continue;
                        }
                    };
                    let mut recognised = self.matched(context, *id, output, fit, ignore.0, labels, flatten, loss_shape);
                    recognised.found.notes.extend(ignore.1);
                    recognised.beyond = other;
                    return Ok(recognised);
                }
                if other.is_none() {
                    other = family::name_other(&views, clues).map(|what| (what, *id));
                }
            }
        }
        if let Some((what, at)) = other {
            let nodes = self.slice(context, at);
            return Err(Miss::Other { what, nodes, at });
        }
        if let Some(miss) = inexpressible {
            return Err(miss);
        }
        // labels came in, so it is some loss; say what stood in the way
        match (trouble, reached, self.stopped) {
            (Some((node, reason)), _, _) => Err(Miss::Near { node, reason }),
            (None, Some(node), _) => Err(Miss::Near {
                node,
                reason: "what it computes is neither cross entropy nor the encouraging loss of these logits and labels"
                    .into(),
            }),
            (None, None, Some(node)) => {
                Err(Miss::Near { node, reason: "the loss could not be followed through it".into() })
            }
            (None, None, None) => Err(Miss::NotALoss),
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

    /// Integers that labels are compared with, and the ignore_index of a loss inside: candidates for ignore_index.
    fn compared_integers(&self, context: &Context) -> Vec<i64> {
        let compared = self.comparisons(context).into_iter().map(|(value, _)| value);
        compared.chain(self.explicit_ignore_index(context)).collect()
    }

    /// The same, and whether the comparison is an inequality. keras compares labels as floats.
    fn comparisons(&self, context: &Context) -> Vec<(i64, bool)> {
        let mut found: Vec<(i64, bool)> = Vec::new();
        for id in self.nodes() {
            let node = context.graph.node(id);
            if !matches!(node.op(), "Equal" | "Less" | "Greater" | "GreaterOrEqual" | "LessOrEqual") {
                continue;
            }
            let of_labels = self.side.contains(&id);
            for input in &node.input {
                let value = match self.constants.get(input).map(|t| &t.data) {
                    Some(Data::Int(values)) => values.first().copied().filter(|_| values.len() == 1),
                    Some(Data::Float(values)) if of_labels => values
                        .first()
                        .filter(|x| values.len() == 1 && x.fract() == 0.0 && x.abs() < 1e9)
                        .map(|x| *x as i64),
                    _ => None,
                };
                let comparison = value.map(|value| (value, node.op() != "Equal"));
                found.extend(comparison.filter(|c| !found.contains(c)));
            }
        }
        found
    }

    /// Label values that may mean something else than a class: compared ones, their neighbours where the comparison is
    /// an inequality, and 0, which a cast to bool singles out.
    fn special_labels(&self, context: &Context) -> Vec<i64> {
        let mut special = vec![0];
        for (value, unequal) in self.comparisons(context) {
            let around = if unequal { -2..=2 } else { 0..=0 };
            special.extend(around.map(|step| value + step));
        }
        special.sort_unstable();
        special.dedup();
        special
    }

    /// Which one label value does not count; runs the piece once more for each that may be it.
    #[allow(clippy::too_many_arguments, reason = "one run and what it was made of")]
    fn ignore_index(
        &self,
        context: &Context,
        fit: &Fit,
        clues: &Clues,
        output: &str,
        labels: &str,
        logits_dims: &[usize],
        (labels_input, input_dims, compared): (&str, &[usize], &[i64]),
    ) -> Result<(Option<i64>, Option<String>), String> {
        let explicit = self.explicit_ignore_index(context);
        let mut special = self.special_labels(context);
        special.extend(explicit.filter(|e| !special.contains(e)));
        let classes = 0..self.classes as i64;
        let mut ignored = Vec::new();
        for index in special {
            let count: usize = input_dims.iter().product();
            let rows: usize = logits_dims.iter().product::<usize>() / self.classes;
            let mut raw = Probe::new(count.max(2), self.classes, compared, 23).labels;
            raw.truncate(count);
            let last = raw.len() - 1;
            raw[last] = index;
            let input = Tensor { dims: input_dims.to_vec(), data: Data::Int(raw) };
            let mut values = self.start_values(context, (labels_input, &input), logits_dims);
            self.run_nodes(context, &self.side, &mut values);
            let Some(Data::Int(row_labels)) = values.get(labels).map(|t| &t.data) else { continue };
            if row_labels.len() != rows {
                continue;
            }
            let mut probe = Probe::new(rows, self.classes, compared, 29);
            probe.relabel(row_labels);
            values.insert(self.logits.clone(), self.lay_out(&probe, logits_dims));
            let mut order: Vec<NodeId> = self.nodes().collect();
            order.sort();
            self.run_nodes(context, &order, &mut values);
            let Some(seen) = values.get(output).and_then(floats) else { continue };
            if family::is(fit, &probe, seen, clues, None) {
                continue;
            }
            if family::is(fit, &probe, seen, clues, Some(index)) {
                ignored.push(index);
                continue;
            }
            if explicit == Some(index) {
                // PyTorch writes ignore_index -100 into every loss, and what is spelled on top counts such rows as p = 1
                let note =
                    format!("rows labelled {index} no longer count; in the old graph they entered the loss with p = 1");
                return Ok((Some(index), Some(note)));
            }
            // a label that is no class has no loss in the old graph, or is counted from the end
            let undefined = seen.iter().any(|x| !x.is_finite());
            let no_class = probe.labels.iter().any(|l| !classes.contains(l));
            let mut wrapped = probe.clone();
            let from_end: Vec<i64> =
                probe.labels.iter().map(|l| if *l < 0 { l + self.classes as i64 } else { *l }).collect();
            wrapped.labels.clone_from(&from_end);
            if no_class && (undefined || family::is(fit, &wrapped, seen, clues, None)) {
                continue;
            }
            return Err(format!("rows with label {index} count in a way that ignore_index cannot express"));
        }
        match ignored[..] {
            [] => Ok((None, None)),
            [index] => Ok((Some(index), None)),
            [a, b, ..] => match explicit.filter(|e| ignored.contains(e)) {
                Some(index) => Ok((Some(index), None)),
                None => {
                    Err(format!("rows with label {a} and rows with label {b} do not count; ignore_index is one label"))
                }
            },
        }
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
        let mut clues = Clues { numbers: Vec::new(), weights: self.weight_inputs(context) };
        for (name, tensor) in &self.constants {
            if let Data::Float(values) = &tensor.data {
                match values[..] {
                    [x] if !clues.numbers.contains(&x) => clues.numbers.push(x),
                    _ if values.len() == self.classes && values.len() > 1 => {
                        clues.weights.push((name.clone(), values.clone()));
                    }
                    // OneHot's (off, on) pair
                    [a, b] => clues.numbers.extend([a, b]),
                    _ => {}
                }
            }
        }
        for id in self.nodes() {
            let clip = context.graph.node(id);
            clues.numbers.extend(clip.attr_float("alpha").map(f64::from));
        }
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
            loss_type: None,
            log_prob: None,
            nodes: self.slice(context, at),
            at,
            gradient: None,
            notes: vec![format!("recognised by what it computes: {}", self.spelling(context, at))],
        };
        Recognised { end: output.to_owned(), found, beyond: None }
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
                    && (members.contains(&producer) || context.index.constant(input).is_some())
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
        Some(Miss::Other {
            what: format!("{what} (its labels '{labels_input}' are floats, class indices are needed)"),
            nodes,
            at,
        })
    }
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
    fn collect(&mut self, context: &Context, value: &str, from_logits: &HashSet<&str>) -> bool {
        let mut open = vec![value.to_owned()];
        while let Some(value) = open.pop() {
            if value.is_empty() || from_logits.contains(value.as_str()) || context.index.constant(&value).is_some() {
                continue;
            }
            match context.index.producer(&value) {
                Some(id) => {
                    let node = context.graph.node(id);
                    if is_network(node.op_domain(), node.op()) || self.nodes.len() > MAX_NODES {
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

/// The value in every run, if it is float and one number or one per row.
fn observations(runs: &[(Probe, HashMap<String, Tensor>)], value: &str) -> Option<Vec<Vec<f64>>> {
    runs.iter()
        .map(|(probe, values)| {
            let seen = values.get(value).and_then(floats)?;
            (seen.len() == 1 || seen.len() == probe.labels.len()).then(|| seen.to_vec())
        })
        .collect()
}
