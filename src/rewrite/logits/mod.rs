//! Where the logits of a classifier are.
//!
//! From each output of a graph back through what turns logits into an answer (softmax, as one op or spelled out,
//! temperature, arg max, top k, casts and reshapes) to the tensor before it.

mod probabilities;
mod softmax;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::model::{DataType, Dimension, Document, GraphIndex, Node, NodeId, Shapes};

use super::report::NearMiss;
pub(crate) use probabilities::find_probabilities;
use softmax::View;

/// The rule's name in [`NearMiss`].
const RULE: &str = "logits";

/// What turns logits into the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Nothing: the logits are the output.
    Raw,
    /// Softmax, or the Exp of a LogSoftmax.
    Softmax,
    /// LogSoftmax, or the Log of a Softmax.
    LogSoftmax,
    /// exp(z) / Σ exp(z) in single ops.
    DecomposedSoftmax,
    /// z − log Σ exp(z) in single ops.
    DecomposedLogSoftmax,
    /// ArgMax straight on the logits.
    ArgMax,
    /// TopK straight on the logits.
    TopK,
}

impl Head {
    /// How a sentence names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "the last layer",
            Self::Softmax => "a softmax",
            Self::LogSoftmax => "a log-softmax",
            Self::DecomposedSoftmax => "a softmax spelled out in single ops",
            Self::DecomposedLogSoftmax => "a log-softmax spelled out in single ops",
            Self::ArgMax => "an arg max",
            Self::TopK => "a top k",
        }
    }

    /// Whether it gives log probabilities.
    fn is_log(self) -> bool {
        matches!(self, Self::LogSoftmax | Self::DecomposedLogSoftmax)
    }

    /// Which of two ways from the same logits says more about them.
    fn strength(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::ArgMax | Self::TopK => 1,
            _ => 2,
        }
    }
}

/// A value that may be the logits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogitsCandidate {
    /// Its name.
    pub value: String,
    /// The nodes between it and the output, described, from the output back.
    pub through: Vec<String>,
    /// The graph output it leads to.
    pub output: String,
    /// What turns it into the output.
    pub head: Head,
    /// The number the logits are divided by before the softmax.
    pub temperature: Option<f64>,
    /// Axis of the classes.
    pub class_axis: usize,
    /// Number of classes, where known.
    pub classes: Option<i64>,
    /// Whether this is the one to take although there are others, such as features. At most one is.
    pub certain: bool,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

impl LogitsCandidate {
    /// How it was found, a clause.
    pub(crate) fn explain(&self) -> String {
        let mut told = match self.head {
            Head::Raw => format!("goes to the output '{}' as it is", self.output),
            head => format!("goes through {} to the output '{}'", head.name(), self.output),
        };
        if let Some(temperature) = self.temperature {
            told.push_str(&format!(", divided by a temperature of {temperature}"));
        }
        for note in &self.notes {
            told.push_str("; ");
            told.push_str(note);
        }
        told
    }
}

/// Looks for the logits of a model without a loss. Candidates come with classifier heads first, else in the order of the
/// outputs; each value once. Outputs that lead to none are near misses with the reason.
pub(crate) fn find_logits(
    document: &Document,
    index: &GraphIndex,
    shapes: &Shapes,
) -> (Vec<LogitsCandidate>, Vec<NearMiss>) {
    let view = View { index, shapes, opset: document.opset_version("").unwrap_or(1) };
    let mut candidates: Vec<LogitsCandidate> = Vec::new();
    let mut near_misses: Vec<NearMiss> = Vec::new();
    for output in index.graph().outputs() {
        match view.trace(output.name()) {
            Ok(found) => match candidates.iter_mut().find(|known| known.value == found.value) {
                Some(known) if known.head.strength() < found.head.strength() => *known = found,
                Some(_) => {}
                None => candidates.push(found),
            },
            Err(miss) if near_misses.contains(&miss) => {}
            Err(miss) => near_misses.push(miss),
        }
    }
    candidates.sort_by_key(|c| std::cmp::Reverse(c.head.strength()));
    settle(&mut candidates);
    (candidates, near_misses)
}

/// Marks the one candidate to take, if one stands out: the only one with a classifier head, or the only one.
fn settle(candidates: &mut [LogitsCandidate]) {
    let strong = |c: &LogitsCandidate| c.head != Head::Raw && c.class_axis < 3;
    let wanted = candidates.iter().filter(|c| strong(c)).count();
    let lone = candidates.len() == 1;
    for candidate in candidates.iter_mut() {
        candidate.certain = lone || (wanted == 1 && strong(candidate));
    }
}

/// Those of the candidates that a choice is left between: the certain one, else all.
pub(crate) fn to_choose_from(candidates: &[LogitsCandidate]) -> Vec<&LogitsCandidate> {
    let certain: Vec<_> = candidates.iter().filter(|c| c.certain).collect();
    if certain.is_empty() { candidates.iter().collect() } else { certain }
}

/// The logits behind a value that comes out of a softmax or log-softmax, if it does.
pub(crate) fn before_softmax(
    document: &Document,
    index: &GraphIndex,
    shapes: &Shapes,
    value: &str,
) -> Option<LogitsCandidate> {
    let view = View { index, shapes, opset: document.opset_version("").unwrap_or(1) };
    let (_, node) = view.producer(value)?;
    let value = node.output.iter().find(|o| *o == value)?;
    view.trace(value).ok().filter(|found| found.head.strength() > Head::ArgMax.strength())
}

/// The softmax or log-softmax that a value fed to a loss comes out of, if it does: a loss that takes logits would apply
/// another one.
pub(crate) fn head_before_loss(index: &GraphIndex, shapes: &Shapes, logits_value: &str) -> Option<Head> {
    // the axis, which the opset decides, does not matter here
    let view = View { index, shapes, opset: i64::MAX };
    let (_, node) = view.producer(logits_value)?;
    let mut value = node.output.iter().find(|o| *o == logits_value)?.as_str();
    let mut seen = HashSet::new();
    while seen.insert(value) {
        if let Some(found) = view.softmax(value) {
            return Some(found.head);
        }
        let (_, node) = view.producer(value)?;
        value = match (node.op_domain(), node.op()) {
            ("", "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Transpose" | "Slice") => {
                node.input_at(0)?
            }
            ("", "Dropout") if node.output_at(0) == Some(value) => node.input_at(0)?,
            _ => return None,
        };
    }
    None
}

/// Where a value that the user names as the logits has its classes: last, where a matrix product made it or a transpose
/// moved the channels there (NHWC), else in axis 1.
pub(crate) fn class_axis(document: &Document, index: &GraphIndex, shapes: &Shapes, value: &str) -> usize {
    let view = View { index, shapes, opset: document.opset_version("").unwrap_or(1) };
    let Some(last) = shapes.rank(value).and_then(|rank| rank.checked_sub(1)).filter(|last| *last > 1) else { return 1 };
    let channels_moved = view.producer(value).is_some_and(|(_, node)| {
        node.is("", "Transpose") && node.attr_ints("perm").is_some_and(|perm| perm.last() == Some(&1))
    });
    if channels_moved || view.is_linear(value) { last } else { 1 }
}

/// How far a walk from an output has come.
struct Walk<'g> {
    value: &'g str,
    nodes: Vec<NodeId>,
    /// Where the logits are if no softmax follows: the first value whose shape the walk has left.
    reshaped: Option<(&'g str, usize)>,
    /// ArgMax or TopK passed on the way, with its axis.
    label: Option<(Head, i64)>,
    /// A node that keeps some of the classes only, or scales them: what is behind it counts only if it is a softmax.
    selection: Option<NodeId>,
}

impl<'g> View<'_, 'g> {
    /// From an output back to the logits.
    fn trace(&self, output: &'g str) -> Result<LogitsCandidate, NearMiss> {
        let mut walk = Walk { value: output, nodes: Vec::new(), reshaped: None, label: None, selection: None };
        let mut seen = HashSet::new();
        while seen.insert(walk.value) {
            if let Some(found) = self.softmax(walk.value) {
                return self.behind_softmax(output, walk, found);
            }
            if !self.step(&mut walk) {
                return self.without_softmax(output, walk);
            }
        }
        Err(self.miss(output, walk.value, "the graph runs in a circle here".into()))
    }

    /// Goes one node back, if it is one that an answer passes on its way out.
    fn step(&self, walk: &mut Walk<'g>) -> bool {
        let Some((id, node)) = self.producer(walk.value) else { return false };
        let from = match (node.op_domain(), node.op()) {
            ("", "Identity") | ("ai.onnx.ml", "ZipMap") => 0,
            ("", "Cast") if !self.rounds(node) => 0,
            ("", "Dropout") if node.output_at(0) == Some(walk.value) => 0,
            ("", "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" | "Transpose") => {
                walk.reshaped.get_or_insert((walk.value, walk.nodes.len()));
                0
            }
            ("", op @ ("ArgMax" | "TopK")) => {
                let (head, default) = if op == "ArgMax" { (Head::ArgMax, 0) } else { (Head::TopK, -1) };
                walk.label = Some((head, node.attr_int("axis").unwrap_or(default)));
                walk.reshaped = None;
                walk.selection = None;
                0
            }
            // names of the classes, looked up by index
            ("ai.onnx.ml", "ArrayFeatureExtractor") => 1,
            ("", "Gather") if self.looks_up_classes(node) => 1,
            ("", "Slice" | "Gather" | "ReduceMax") | ("ai.onnx.ml", "Normalizer") => {
                walk.selection.get_or_insert(id);
                0
            }
            _ => return false,
        };
        let Some(input) = node.input_at(from) else { return false };
        walk.nodes.push(id);
        walk.value = input;
        true
    }

    /// Whether a Gather reads a constant table of class numbers or names.
    fn looks_up_classes(&self, node: &Node) -> bool {
        let Some(table) = node.input_at(0) else { return false };
        let stored = self.index.initializer(table).map(|i| i.data_type());
        let data_type = stored.or_else(|| self.index.constant(table).map(|c| c.data_type));
        data_type.is_some_and(|t| !is_float(t))
    }

    /// Whether a Cast is known to make integers of floats, which is an answer of another kind.
    fn rounds(&self, node: &Node) -> bool {
        let from_float = node.input_at(0).and_then(|v| self.shapes.data_type(v)).is_some_and(is_float);
        from_float && node.attr_int("to").is_some_and(|to| !is_float(to as i32))
    }

    fn is_integer(&self, value: &str) -> bool {
        self.shapes.data_type(value).is_some_and(|t| !is_float(t))
    }

    /// The walk ends at a softmax: what goes in, less a temperature.
    fn behind_softmax(
        &self,
        output: &'g str,
        mut walk: Walk<'g>,
        found: softmax::Softmax<'g>,
    ) -> Result<LogitsCandidate, NearMiss> {
        let (probabilities, mut value) = (walk.value, found.input);
        walk.nodes.extend(&found.nodes);
        let mut temperature = None;
        let mut seen = HashSet::new();
        while seen.insert(value) {
            let Some((id, node)) = self.producer(value).filter(|(_, node)| node.op_domain().is_empty()) else { break };
            let next = match node.op() {
                "Identity" => node.input_at(0),
                "Cast" if !node.input_at(0).is_some_and(|v| self.is_integer(v)) => node.input_at(0),
                "Div" | "Mul" if temperature.is_none() => self.scaled(node).map(|(input, divisor)| {
                    temperature = Some(divisor);
                    input
                }),
                _ => None,
            };
            let Some(next) = next else { break };
            walk.nodes.push(id);
            value = next;
        }
        // a softmax keeps the shape
        let dims = [value, found.input, probabilities].iter().find_map(|v| self.shapes.get(v).dims);
        let place = Place { output, value, dims: dims.as_deref() };
        let class_axis = softmax_axis(&found, place.dims).map_err(|reason| self.miss(output, probabilities, reason))?;
        self.accept(place, &walk.nodes, found.head, temperature, class_axis)
    }

    /// Input and divisor, where the node multiplies or divides by one positive constant.
    fn scaled(&self, node: &'g Node) -> Option<(&'g str, f64)> {
        let (left, right) = (node.input_at(0)?, node.input_at(1)?);
        let factor = |v: &str| self.index.constant(v)?.scalar().filter(|c| *c > 0.0 && c.is_finite());
        match node.op() {
            "Div" => Some((left, factor(right)?)),
            _ => factor(right).map(|c| (left, 1.0 / c)).or_else(|| factor(left).map(|c| (right, 1.0 / c))),
        }
    }

    /// The walk ends elsewhere: the logits are the output itself, or what an ArgMax or TopK reads.
    fn without_softmax(&self, output: &'g str, mut walk: Walk<'g>) -> Result<LogitsCandidate, NearMiss> {
        let last = walk.value;
        let mut linear = self.is_linear(last);
        if let Some((before, passed)) = walk.reshaped {
            // a transposed layer may have its classes anywhere
            linear &= walk.nodes[passed..].iter().all(|&id| !self.index.graph().node(id).is("", "Transpose"));
            walk.value = before;
            walk.nodes.truncate(passed);
        }
        let value = walk.value;
        let miss = |at: &str, reason: String| Err(self.miss(output, at, reason));
        let dims = self.shapes.get(value).dims;
        let place = Place { output, value, dims: dims.as_deref() };
        if let Some(reason) = self.no_layer_of_logits(last) {
            return miss(last, reason);
        }
        if let Some(id) = walk.selection {
            let node = self.index.graph().node(id).describe();
            return miss(last, format!("{node} keeps a part of it or scales it, and no softmax is behind that"));
        }
        if self.is_integer(value) {
            return miss(value, format!("'{value}' holds integers, and no ArgMax or TopK made them"));
        }
        if let Some((head, axis)) = walk.label {
            let axis = match resolve(axis, place.dims) {
                Ok(axis) => axis,
                Err(reason) => return miss(value, reason),
            };
            return self.accept(place, &walk.nodes, head, None, axis);
        }
        if self.index.producer(last).is_none() {
            return miss(last, format!("'{last}' is an input or a constant, nothing computes it"));
        }
        match raw_axis(place.dims, linear) {
            Ok(axis) => self.accept(place, &walk.nodes, Head::Raw, None, axis),
            Err(reason) => miss(last, reason),
        }
    }

    /// Whether a matrix product made `value`, a bias added or not.
    fn is_linear(&self, value: &str) -> bool {
        let product = |node: &Node| {
            matches!(
                (node.op_domain(), node.op()),
                ("", "Gemm" | "MatMul") | ("com.microsoft", "FusedGemm" | "FusedMatMul" | "MatMulNBits")
            )
        };
        let Some((_, node)) = self.producer(value) else { return false };
        let adds_a_bias = || {
            node.is("", "Add") && node.input.iter().any(|v| self.producer(v).is_some_and(|(_, before)| product(before)))
        };
        product(node) || adds_a_bias()
    }

    /// Why the node that makes `value` is not the last layer of a softmax classifier, if it is plain to see.
    fn no_layer_of_logits(&self, value: &str) -> Option<String> {
        let (_, node) = self.producer(value)?;
        Some(match (node.op_domain(), node.op()) {
            ("", "Sigmoid" | "HardSigmoid") => {
                "a sigmoid gives each class its own yes or no (multi-label or binary), not a choice between classes as \
                 a softmax does"
                    .into()
            }
            ("", op @ ("Tanh" | "LayerNormalization" | "LpNormalization" | "GroupNormalization")) => {
                format!("the output of {op} is a feature vector rather than logits; if it is the logits, say --logits")
            }
            ("", op @ ("If" | "Loop" | "Scan")) => {
                format!("the value comes out of the body of {op}, which is not looked into; say --logits")
            }
            ("ai.onnx.ml", op) => classical(op),
            ("", "SoftmaxCrossEntropyLoss" | "NegativeLogLikelihoodLoss") => "this is a loss".into(),
            ("com.microsoft", "FusedGemm" | "FusedMatMul" | "FusedConv" | "MatMulNBits") | ("", _) => return None,
            (domain, op) => format!("{domain}::{op} is not an operator that gives logits"),
        })
    }

    /// The last checks, then the candidate.
    fn accept(
        &self,
        place: Place,
        nodes: &[NodeId],
        head: Head,
        temperature: Option<f64>,
        class_axis: usize,
    ) -> Result<LogitsCandidate, NearMiss> {
        let Place { output, value, dims } = place;
        if self.is_integer(value) {
            return Err(self.miss(output, value, format!("'{value}' is not a float tensor")));
        }
        let classes = match dims.and_then(|d| d.get(class_axis)) {
            Some(Dimension::Known(classes)) => Some(*classes),
            _ => None,
        };
        if let Some(few @ ..2) = classes {
            let reason = format!("'{value}' has {few} class in axis {class_axis}: regression or binary, not a choice");
            return Err(self.miss(output, value, reason));
        }
        let mut notes = Vec::new();
        let rank = dims.map(<[_]>::len);
        let one_position = || dims.is_some_and(|d| d.iter().skip(2).all(|size| *size == Dimension::Known(1)));
        if class_axis != 1 {
            notes.push(format!("the classes are in axis {class_axis}, one choice per position"));
        } else if let Some(rank @ 3..) = rank.filter(|_| !one_position()) {
            notes.push(format!("the logits have {rank} axes, one choice per position"));
        }
        if self.index.is_input(value) {
            notes.push("it is an input of the model: there is nothing before it to train".into());
        }
        let through = nodes.iter().map(|&id| self.index.graph().node(id).describe()).collect();
        Ok(LogitsCandidate {
            value: value.to_owned(),
            through,
            output: output.to_owned(),
            head,
            temperature,
            class_axis,
            classes,
            certain: false,
            notes,
        })
    }

    /// `at` is the value where the way from `output` ended.
    fn miss(&self, output: &str, at: &str, reason: String) -> NearMiss {
        let node = match self.producer(at) {
            Some((_, node)) => node.describe(),
            None => format!("output '{output}'"),
        };
        NearMiss { rule: RULE, place: "graph".into(), node, reason }
    }
}

/// A value on its way to an output.
#[derive(Clone, Copy)]
struct Place<'a> {
    output: &'a str,
    value: &'a str,
    dims: Option<&'a [Dimension]>,
}

fn is_float(data_type: i32) -> bool {
    use DataType::{Bfloat16, Double, Float, Float16};
    matches!(DataType::try_from(data_type), Ok(Float | Double | Float16 | Bfloat16))
}

fn classical(op: &str) -> String {
    format!("{op} (classical machine learning) keeps its scores inside; it gives no logits")
}

/// A class axis as a position; without a known rank the tensor is taken to be a matrix.
fn resolve(axis: i64, dims: Option<&[Dimension]>) -> Result<usize, String> {
    let rank = dims.map_or(2, <[_]>::len);
    let from_start = if axis < 0 { axis + rank as i64 } else { axis };
    match usize::try_from(from_start) {
        Ok(0) if rank < 2 => Err("the value has a single axis; logits have a batch and classes".into()),
        Ok(0) => Err("it works over axis 0, the batch, not over classes".into()),
        Ok(axis) if axis < rank || dims.is_none() => Ok(axis),
        _ => Err(format!("axis {axis} does not exist in a value of rank {rank}")),
    }
}

/// Class axis of a softmax. Before opset 13 it runs over all axes from its own on; only one of them may be larger than 1.
fn softmax_axis(found: &softmax::Softmax, dims: Option<&[Dimension]>) -> Result<usize, String> {
    let axis = resolve(found.axis, dims)?;
    let rest = dims.and_then(|d| d.get(axis + 1..)).unwrap_or_default();
    if found.flattens && rest.iter().any(|d| *d != Dimension::Known(1)) {
        return Err(format!("before opset 13 it runs over all axes from {axis} on at once, not over classes"));
    }
    let last = dims.is_none_or(|d| axis + 1 == d.len());
    if axis == 1 || last {
        Ok(axis)
    } else {
        Err(format!("it runs over axis {axis}, which is neither axis 1 nor the last"))
    }
}

/// Class axis of an output that no softmax follows.
fn raw_axis(dims: Option<&[Dimension]>, linear: bool) -> Result<usize, String> {
    match dims {
        Some([_, _]) => Ok(1),
        Some([_, _, _]) if linear => Ok(2),
        Some([_, _, rest @ ..]) if !rest.is_empty() && rest.iter().all(|d| *d == Dimension::Known(1)) => Ok(1),
        Some([] | [_]) => Err("it has less than two axes; logits have a batch and classes".into()),
        Some(dims) => Err(format!(
            "it has {} axes and no softmax follows that would tell which one holds the classes; say --logits",
            dims.len()
        )),
        None if linear => Ok(1),
        None => Err("its shape is not known and it is no linear layer; say --logits if it is the logits".into()),
    }
}
