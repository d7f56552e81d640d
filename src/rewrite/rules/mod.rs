//! One file per form a loss takes in the wild.
//!
//! | rule | what it recognises |
//! | --- | --- |
//! | `encouraging-loss` | our own op, to leave it or to give it other parameters |
//! | `softmax-cross-entropy` | ONNX `SoftmaxCrossEntropyLoss`, ORT Training's `SoftmaxCrossEntropyLossInternal` |
//! | `negative-log-likelihood` | `LogSoftmax` + `NegativeLogLikelihoodLoss` (also ORT's `…Internal`) |
//! | `computed` | any spelling in elementary ops, by what it computes |
//! | `other-loss` | names what is none of these, to leave it alone |
//! | `training-pair` | the gradient that belongs to a cross entropy found by its node |

mod computed;
pub(crate) mod encouraging_op;
mod exporter_metadata;
pub(crate) mod family;
mod linear;
mod negative_log_likelihood;
mod other_losses;
mod softmax_cross_entropy;
#[cfg(test)]
mod tests;
mod training_pair;

use std::collections::HashSet;

use bytes::BytesMut;

use crate::loss::EncouragingLoss;
use crate::model::proto::NodeProto;
use crate::model::{DataType, Dimension, Document, Graph, GraphIndex, NodeId, Shapes};

use super::report::{Action, LossReport, NearMiss};
use super::{RewriteError, is_our_domain};

/// What the rules see of one graph.
pub(crate) struct Context<'g> {
    pub graph: &'g Graph,
    pub index: GraphIndex<'g>,
    pub shapes: Shapes,
    /// Version of the default domain.
    pub opset: i64,
    /// See [`LossReport::place`].
    pub place: String,
}

impl<'g> Context<'g> {
    pub fn new(graph: &'g Graph, opset: i64, place: String) -> Self {
        Context { graph, index: GraphIndex::new(graph), shapes: Shapes::new(graph, opset), opset, place }
    }

    /// Element type of `value`, if known.
    pub fn data_type(&self, value: &str) -> Option<DataType> {
        self.shapes.data_type(value).and_then(|t| DataType::try_from(t).ok())
    }

    /// Whether the node belongs to a gradient that ORT Training built.
    pub fn is_gradient(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        node.doc_string.as_deref() == Some("Backward pass")
            || (node.op_domain() == "com.microsoft" && (node.op().ends_with("Grad") || node.op().contains("Grad_")))
    }

    /// Whether this is a training graph: it holds gradients, or accumulates them.
    pub fn is_training_graph(&self) -> bool {
        (0..self.graph.nodes().len())
            .any(|i| self.is_gradient(NodeId(i)) || self.graph.nodes()[i].op().starts_with("InPlaceAccumulator"))
    }
}

/// Where the classes of the logits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClassAxis {
    /// Axis 1, as the operator wants it.
    One,
    /// The last axis of a tensor of this rank (> 2): needs a Transpose.
    Last { rank: usize },
}

/// What must happen to the op's loss to look like the value it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossShape {
    /// Nothing.
    AsIs,
    /// One loss per row, the class axis kept with size 1.
    KeptAxis(usize),
    /// A scalar with this many axes of size 1.
    Ones(usize),
}

/// The gradient that belongs to a loss.
#[derive(Clone, Debug)]
pub(crate) struct GradientMatch {
    pub node: NodeId,
    pub dloss: String,
    pub dlogits: String,
    /// `SoftmaxCrossEntropyLossInternalGrad` can add a tensor to its result.
    pub bias: Option<String>,
}

/// One loss that can be swapped.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub rule: &'static str,
    /// In words, for the report.
    pub what: String,
    pub logits: String,
    pub class_axis: ClassAxis,
    pub labels: String,
    /// The labels must be flattened to one axis.
    pub flatten_labels: bool,
    pub class_weights: Option<String>,
    /// Its parameters; cross entropy has `bonus_weight` 0.
    pub parameters: EncouragingLoss,
    /// Whether it is the encouraging loss, so that its bonus carries over.
    pub encouraging: bool,
    pub loss: String,
    pub loss_shape: LossShape,
    /// What `loss` is times the op's loss: −1 for gathered log-probabilities, 1 as a rule.
    pub scale: f64,
    /// Element type the loss must have where it differs from the logits' (ORT's mixed precision).
    pub loss_type: Option<DataType>,
    /// Log-probabilities that the loss also gives, if anybody reads them.
    pub log_prob: Option<String>,
    /// Nodes that go as soon as nobody reads them.
    pub nodes: Vec<NodeId>,
    /// The node that makes `loss`; the op takes its place.
    pub at: NodeId,
    pub gradient: Option<GradientMatch>,
    pub notes: Vec<String>,
}

impl Match {
    /// The cross entropy that the node `at` is: the match of a structural rule, which adds what is special to it.
    fn cross_entropy(
        context: &Context,
        rule: &'static str,
        at: NodeId,
        [logits, labels, loss]: [&str; 3],
        parameters: EncouragingLoss,
    ) -> Match {
        Match {
            rule,
            what: "cross entropy".into(),
            logits: logits.to_owned(),
            class_axis: ClassAxis::One,
            labels: labels.to_owned(),
            flatten_labels: false,
            class_weights: context.graph.node(at).input_at(2).map(str::to_owned),
            parameters,
            encouraging: false,
            loss: loss.to_owned(),
            loss_shape: LossShape::AsIs,
            scale: 1.0,
            loss_type: None,
            log_prob: None,
            nodes: vec![at],
            at,
            gradient: None,
            notes: Vec::new(),
        }
    }
}

/// Everything found in one graph.
#[derive(Default)]
pub(crate) struct Findings {
    pub matches: Vec<Match>,
    /// Losses that stay, with the reason, and those that are ours already.
    pub others: Vec<LossReport>,
    pub near_misses: Vec<NearMiss>,
}

impl Findings {
    fn near_miss(&mut self, context: &Context, rule: &'static str, node: NodeId, reason: impl Into<String>) {
        self.near_misses.push(NearMiss {
            rule,
            place: context.place.clone(),
            node: context.graph.node(node).describe(),
            reason: reason.into(),
        });
    }
}

/// Finds every loss of a graph.
///
/// # Errors
/// [`RewriteError::HalfPair`] where a forward loss and its gradient do not belong together.
pub(crate) fn find(context: &Context) -> Result<Findings, RewriteError> {
    let mut findings = Findings::default();
    let mut taken: HashSet<NodeId> = HashSet::new();

    for (i, node) in context.graph.nodes().iter().enumerate() {
        let id = NodeId(i);
        if is_our_domain(node.op_domain()) {
            taken.insert(id);
            encouraging_op::find(context, id, &mut findings);
            continue;
        }
        let found = match (node.op_domain(), node.op()) {
            ("", "SoftmaxCrossEntropyLoss") | ("com.microsoft", "SoftmaxCrossEntropyLossInternal") => {
                Some(softmax_cross_entropy::find(context, id))
            }
            ("", "NegativeLogLikelihoodLoss") | ("com.microsoft", "NegativeLogLikelihoodLossInternal") => {
                negative_log_likelihood::find(context, id)
            }
            _ => None,
        };
        let Some(found) = found else { continue };
        match found {
            Ok(found) => accept(context, found, &mut taken, &mut findings)?,
            Err(refusal) => {
                taken.insert(id);
                findings.others.push(refusal.report(context, id));
            }
        }
    }
    computed::find(context, &mut taken, &mut findings)?;
    report_unexplained(context, &taken, &mut findings);
    if findings.matches.is_empty() && findings.others.is_empty() {
        other_losses::find(context, &mut findings);
    }
    training_pair::check_no_orphans(context, &findings)?;
    Ok(findings)
}

/// Takes a structural match, unless what follows it makes another loss of it.
fn accept(
    context: &Context,
    mut found: Match,
    taken: &mut HashSet<NodeId>,
    findings: &mut Findings,
) -> Result<(), RewriteError> {
    let uses = linear::uses(context, &found.loss, &found.logits, &found.labels);
    if let Some(joined) = uses.joined.first() {
        // cross entropy plus a bonus may be the encouraging loss in two terms, or label smoothing spelled out
        if let Ok(whole) = computed::explain(context, &found, joined.at)
            && (whole.encouraging || whole.parameters.label_smoothing() > 0.0)
            && whole.loss != found.loss
        {
            taken.extend(&whole.nodes);
            training_pair::refuse_gradient(context, &whole)?;
            findings.matches.push(whole);
            return Ok(());
        }
    }
    if let Some(bonus) = uses.joined.iter().find(|joined| computed::is_bonus(context, &found, joined)) {
        taken.extend(&found.nodes);
        findings.others.push(computed::joined(context, &found, bonus.at).report(context, found.at));
        return Ok(());
    }
    if let Some(breaker) = uses.nonlinear
        && !uses.reaches_output
    {
        // an encouraging loss, or another one, spelled on top of a cross entropy per row
        return match computed::explain(context, &found, breaker) {
            Ok(better) => {
                taken.extend(&better.nodes);
                taken.insert(found.at);
                training_pair::refuse_gradient(context, &better)?;
                findings.matches.push(better);
                Ok(())
            }
            Err(what) => {
                taken.extend(&found.nodes);
                findings.others.push(what.report(context, found.at));
                Ok(())
            }
        };
    }
    if let Some(node) = uses.nonlinear {
        found.notes.push(format!(
            "{} reads the loss too; what it computes follows the new loss",
            context.graph.node(node).describe()
        ));
    }
    found.notes.extend(uses.joined.first().map(|joined| joined.note(context)));
    training_pair::attach_gradient(context, &mut found)?;
    taken.extend(&found.nodes);
    findings.matches.push(found);
    Ok(())
}

/// NLL nodes that no rule explained.
fn report_unexplained(context: &Context, taken: &HashSet<NodeId>, findings: &mut Findings) {
    for (i, node) in context.graph.nodes().iter().enumerate() {
        let nll =
            node.is("", "NegativeLogLikelihoodLoss") || node.is("com.microsoft", "NegativeLogLikelihoodLossInternal");
        if nll && !taken.contains(&NodeId(i)) {
            let refusal = Refusal {
                rule: "negative-log-likelihood",
                what: "negative log-likelihood".into(),
                reason: "its input is not the log-softmax of logits, so there are no logits to give to the new loss"
                    .into(),
            };
            findings.others.push(refusal.report(context, NodeId(i)));
        }
    }
}

/// A loss that was recognised and must stay as it is.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub rule: &'static str,
    pub what: String,
    pub reason: String,
}

impl Refusal {
    pub fn report(self, context: &Context, at: NodeId) -> LossReport {
        let node = context.graph.node(at);
        LossReport {
            rule: self.rule,
            place: context.place.clone(),
            what: self.what,
            nodes: vec![node.describe()],
            logits: node.input_at(0).map(str::to_owned),
            labels: node.input_at(1).map(str::to_owned),
            loss: node.output_at(0).map(str::to_owned),
            data_type: node.input_at(0).and_then(|v| context.data_type(v)).map(|t| data_type_name(t).to_owned()),
            shape: node.input_at(0).and_then(|v| shape_text(&context.shapes, v)),
            parameters: None,
            class_weights: None,
            gradient: None,
            action: Action::LeftAlone(self.reason),
            notes: Vec::new(),
        }
    }
}

/// NumPy's name of an element type.
pub(crate) fn data_type_name(data_type: DataType) -> &'static str {
    data_type.name()
}

/// "[N, 10]", or `None` where the rank is unknown.
pub(crate) fn shape_text(shapes: &Shapes, value: &str) -> Option<String> {
    Some(dims_text(&shapes.get(value).dims?))
}

/// "[N, 10]".
pub(crate) fn dims_text(dims: &[Dimension]) -> String {
    let dims: Vec<String> = dims
        .iter()
        .map(|d| match d {
            Dimension::Known(n) => n.to_string(),
            Dimension::Symbol(s) => s.clone(),
            Dimension::Unknown => "?".into(),
        })
        .collect();
    format!("[{}]", dims.join(", "))
}

/// Losses inside the bodies of If, Loop and Scan, and inside model-local functions: seen, never touched.
///
/// # Errors
/// A body that cannot be decoded.
pub(crate) fn find_nested(document: &Document, opset: i64) -> Result<Vec<LossReport>, RewriteError> {
    let mut reports = Vec::new();
    nested_in(document.graph(), "graph", opset, 0, &mut reports)?;
    for function in document.functions() {
        let proto = function.proto();
        let domain = proto.domain.as_deref().unwrap_or_default();
        if is_our_domain(domain) {
            continue;
        }
        let place = format!("function {}::{}", domain, proto.name.as_deref().unwrap_or_default());
        let graph = function_graph(&proto.node, &place)?;
        report_nested(
            &graph,
            place.clone(),
            opset,
            "a function body; inline it first (onnx.inliner) or patch before it is made a function",
            &mut reports,
        );
        nested_in(&graph, &place, opset, 0, &mut reports)?;
    }
    Ok(reports)
}

/// The nodes of a function as a graph (without types: its inputs have none).
fn function_graph(nodes: &[NodeProto], place: &str) -> Result<Graph, RewriteError> {
    let mut bytes = BytesMut::new();
    for node in nodes {
        // GraphProto.node is field 1
        prost::encoding::message::encode(1, node, &mut bytes);
    }
    Ok(Graph::decode(bytes.freeze(), place)?)
}

/// How deep bodies are followed; ONNX files in the wild stay below 5.
const MAX_NESTING: usize = 32;

fn nested_in(
    graph: &Graph,
    place: &str,
    opset: i64,
    depth: usize,
    reports: &mut Vec<LossReport>,
) -> Result<(), RewriteError> {
    if depth > MAX_NESTING {
        return Ok(());
    }
    for node in graph.nodes() {
        for attribute in &node.attribute {
            let bodies = attribute.g.iter().chain(&attribute.graphs);
            for body in bodies {
                let place =
                    format!("{place} > {} > {}", node.describe(), attribute.name.as_deref().unwrap_or_default());
                let inner = Graph::decode(body.clone(), &place)?;
                report_nested(
                    &inner,
                    place.clone(),
                    opset,
                    &format!("a body of {}; losses under control flow are not rewritten", node.op()),
                    reports,
                );
                nested_in(&inner, &place, opset, depth + 1, reports)?;
            }
        }
    }
    Ok(())
}

fn report_nested(graph: &Graph, place: String, opset: i64, inside: &str, reports: &mut Vec<LossReport>) {
    let context = Context::new(graph, opset, place);
    // half pairs inside bodies are not our business: nothing is touched there
    let Ok(findings) = find(&context) else { return };
    reports.extend(findings.others);
    for found in findings.matches {
        let mut report = describe(&context, &found);
        report.action = Action::LeftAlone(format!("it is inside {inside}"));
        reports.push(report);
    }
}

/// The report of a match, before anything is done to it.
pub(crate) fn describe(context: &Context, found: &Match) -> LossReport {
    LossReport {
        rule: found.rule,
        place: context.place.clone(),
        what: found.what.clone(),
        nodes: found.nodes.iter().map(|id| context.graph.node(*id).describe()).collect(),
        logits: Some(found.logits.clone()),
        labels: Some(found.labels.clone()),
        loss: Some(found.loss.clone()),
        data_type: context.data_type(&found.logits).map(|t| data_type_name(t).to_owned()),
        shape: shape_text(&context.shapes, &found.logits),
        parameters: Some(found.parameters),
        class_weights: found.class_weights.clone(),
        gradient: found.gradient.as_ref().map(|g| context.graph.node(g.node).describe()),
        action: Action::Swapped,
        notes: found.notes.clone(),
    }
}
