//! Losses that are not of the family, named so that the user knows why nothing was done.
//!
//! Only where no rule found anything: a float scalar that is a graph output, reduced from rows, and that depends on an
//! input which the network does not read.

use std::collections::{BTreeSet, HashSet};

use crate::model::{DataType, NodeId};

use super::{Context, Findings, Refusal};

const RULE: &str = "other-loss";
/// A loss with logarithms that has no name here.
pub(super) const LOGARITHMS: &str = "a loss with logarithms that is not known";
/// A loss that has no name here.
pub(super) const UNKNOWN: &str = "a loss that is not known";
/// A loss of class indices that the rules could not make out.
const OF_INDICES: &str = "a loss of class indices in a form that is not known";
/// How far back from the output a loss is looked for.
const MAX_NODES: usize = 60;

/// Names what the scalar outputs are.
pub(super) fn find(context: &Context, findings: &mut Findings) {
    for output in context.graph.outputs() {
        let Some(name) = output.name.as_deref() else { continue };
        let Some(at) = context.index.producer(name) else { continue };
        if !is_float_scalar(context, name) {
            continue;
        }
        let slice = Slice::before(context, at);
        if !slice.reduces || slice.inputs.is_empty() {
            continue;
        }
        let Some(what) = name_of(&slice) else { continue };
        let reason = format!("it is {what}; only cross entropy and the encouraging loss can be swapped");
        let mut report = Refusal { rule: RULE, what: what.to_owned(), reason }.report(context, at);
        report.nodes = slice.nodes.iter().map(|id| context.graph.node(*id).describe()).collect();
        report.loss = Some(name.to_owned());
        (report.logits, report.labels, report.data_type, report.shape) = (None, None, None, None);
        findings.others.push(report);
    }
}

/// What the elementwise end of the graph at `at` looks like.
pub(super) fn name_at(context: &Context, at: NodeId) -> Option<&'static str> {
    name_of(&Slice::before(context, at))
}

fn is_float_scalar(context: &Context, value: &str) -> bool {
    let float = matches!(
        context.data_type(value),
        Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
    );
    float && context.shapes.rank(value) == Some(0)
}

/// The elementwise end of a graph.
struct Slice {
    nodes: BTreeSet<NodeId>,
    ops: HashSet<String>,
    /// Something is multiplied with itself or squared.
    squares: bool,
    /// Logarithms: nodes, and whether one is of a quotient.
    logarithms: usize,
    log_of_quotient: bool,
    /// A softplus of a difference.
    softplus_of_difference: bool,
    /// An input holds integers.
    indices: bool,
    reduces: bool,
    inputs: BTreeSet<String>,
}

impl Slice {
    fn before(context: &Context, at: NodeId) -> Self {
        let mut slice = Slice {
            nodes: BTreeSet::from([at]),
            ops: HashSet::new(),
            squares: false,
            logarithms: 0,
            log_of_quotient: false,
            softplus_of_difference: false,
            indices: false,
            reduces: false,
            inputs: BTreeSet::new(),
        };
        let mut open = vec![at];
        while let Some(id) = open.pop() {
            let node = context.graph.node(id);
            slice.ops.insert(node.op().to_owned());
            slice.squares |= node.op() == "Mul" && is_square(context, node.input_at(0), node.input_at(1));
            slice.squares |= node.op() == "Pow"
                && node.input_at(1).and_then(|v| context.index.constant(v)).and_then(|c| c.scalar()) == Some(2.0);
            let made_by = |op: &str| {
                node.input_at(0).and_then(|v| source(context, v)).is_some_and(|n| context.graph.node(n).op() == op)
            };
            slice.logarithms += usize::from(matches!(node.op(), "Log" | "LogSoftmax"));
            slice.log_of_quotient |= node.op() == "Log" && made_by("Div");
            slice.softplus_of_difference |= node.op() == "Softplus" && made_by("Sub");
            slice.reduces |= matches!(node.op(), "ReduceMean" | "ReduceSum");
            for input in node.input.iter().filter(|i| !i.is_empty()) {
                match context.index.producer(input) {
                    Some(producer)
                        if !super::computed::is_network(
                            context.graph.node(producer).op_domain(),
                            context.graph.node(producer).op(),
                        ) && slice.nodes.len() < MAX_NODES
                            && slice.nodes.insert(producer) =>
                    {
                        open.push(producer);
                    }
                    None if context.index.is_input(input) => {
                        slice.indices |= matches!(context.data_type(input), Some(DataType::Int32 | DataType::Int64));
                        slice.inputs.insert(input.clone());
                    }
                    _ => {}
                }
            }
        }
        slice
    }

    fn has(&self, op: &str) -> bool {
        self.ops.contains(op)
    }
}

/// The node that makes `value`, scaling and signs left out.
fn source(context: &Context, value: &str) -> Option<NodeId> {
    let mut value = value;
    for _ in 0..4 {
        let id = context.index.producer(value)?;
        let node = context.graph.node(id);
        if !matches!(node.op(), "Mul" | "Neg" | "Identity" | "Cast") {
            return Some(id);
        }
        value = node.input.iter().find(|v| context.index.constant(v).is_none())?;
    }
    None
}

/// x·x, also where an exporter computed the same difference twice.
fn is_square(context: &Context, a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    if a == b {
        return true;
    }
    let difference = |v: &str| {
        context.index.producer(v).map(|id| context.graph.node(id)).filter(|n| n.op() == "Sub").map(|n| n.input.clone())
    };
    difference(a).is_some_and(|inputs| difference(b) == Some(inputs))
}

fn name_of(slice: &Slice) -> Option<&'static str> {
    let logs = slice.has("Log") || slice.has("LogSoftmax") || slice.has("Softplus");
    let piecewise = slice.has("Min") || slice.has("Where") || slice.has("Less") || slice.has("LessOrEqual");
    if slice.has("ArgMax") || slice.has("TopK") {
        None // a metric
    } else if slice.softplus_of_difference {
        Some("log-cosh error")
    } else if (slice.has("Sigmoid") && slice.has("Log")) || slice.has("Softplus") || slice.has("Log1p") {
        Some("binary cross entropy")
    } else if slice.squares && slice.has("Abs") && slice.has("Sub") && piecewise && !logs {
        Some("Huber loss")
    } else if !logs && slice.has("Sub") && (slice.has("Sqrt") || slice.has("ReduceL2")) {
        Some("a loss of distances or angles")
    } else if slice.squares && slice.has("Sub") && !logs {
        Some("mean squared error")
    } else if slice.has("Abs") && slice.has("Sub") && !logs {
        Some("mean absolute error")
    } else if (slice.has("Max") || slice.has("Relu"))
        && slice.has("Sub")
        && !logs
        && !slice.has("Exp")
        && !slice.has("Sqrt")
    {
        Some("hinge loss")
    } else if logs && slice.indices {
        Some(OF_INDICES)
    } else if slice.has("Mul") && (slice.logarithms > 1 || slice.log_of_quotient) {
        Some("Kullback-Leibler divergence")
    } else if logs {
        Some(LOGARITHMS)
    } else if slice.has("Sub") && ["Relu", "Clip", "Max"].iter().any(|op| slice.has(op)) {
        Some("a hinge loss, or another loss with a margin")
    } else {
        Some(UNKNOWN)
    }
}
