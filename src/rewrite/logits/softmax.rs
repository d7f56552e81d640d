//! Recognises a softmax or log-softmax, as one op or spelled out.

use crate::model::{GraphIndex, Node, NodeId, Shapes};

use super::Head;

/// Most steps of a walk through nodes that keep the numbers; ends walks in circles too.
const MAX_STEPS: usize = 64;
/// Most Exp and Log on top of each other.
const MAX_DEPTH: usize = 4;

/// A graph to walk in, backwards.
pub(super) struct View<'a, 'g> {
    pub index: &'a GraphIndex<'g>,
    pub shapes: &'a Shapes,
    /// Version of the default domain.
    pub opset: i64,
}

/// A softmax.
pub(super) struct Softmax<'g> {
    /// One of the softmax heads.
    pub head: Head,
    /// What goes in.
    pub input: &'g str,
    /// Its axis as the graph gives it.
    pub axis: i64,
    /// Whether it runs over all axes from `axis` on (before opset 13).
    pub flattens: bool,
    /// Its nodes, from the output back.
    pub nodes: Vec<NodeId>,
}

impl<'g> View<'_, 'g> {
    /// The node that makes `value`.
    pub fn producer(&self, value: &str) -> Option<(NodeId, &'g Node)> {
        let id = self.index.producer(value)?;
        Some((id, self.index.graph().node(id)))
    }

    /// The node of the default domain that makes `value`, if it is an `op`.
    fn made_by(&self, value: &str, op: &str) -> Option<(NodeId, &'g Node)> {
        self.producer(value).filter(|(_, node)| node.is("", op))
    }

    /// Where `value` comes from, through nodes that hand it on unchanged.
    pub fn source(&self, value: &'g str) -> &'g str {
        let unchanged = |node: &Node| matches!(node.op(), "Identity" | "Cast");
        self.back(value, |node| unchanged(node).then_some(0))
    }

    /// Where a statistic per row comes from, through nodes that bring it back to the shape of the rows or keep it from
    /// zero and infinity.
    fn statistic(&self, value: &'g str) -> &'g str {
        self.back(value, |node| match node.op() {
            "Identity" | "Cast" | "Reshape" | "Expand" | "Squeeze" | "Unsqueeze" | "Clip" => Some(0),
            "Max" | "Add" if node.input.len() == 2 => {
                let constant = |i: usize| node.input_at(i).is_some_and(|v| self.index.constant(v).is_some());
                match (constant(0), constant(1)) {
                    (false, true) => Some(0),
                    (true, false) => Some(1),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// Walks back while `next` says through which input.
    fn back(&self, mut value: &'g str, next: impl Fn(&Node) -> Option<usize>) -> &'g str {
        for _ in 0..MAX_STEPS {
            let Some((_, node)) = self.producer(value) else { break };
            let onward = if node.op_domain().is_empty() { next(node).and_then(|i| node.input_at(i)) } else { None };
            let Some(input) = onward else { break };
            value = input;
        }
        value
    }

    /// u, where `value` is exp(u).
    fn exponent(&self, value: &'g str) -> Option<(NodeId, &'g str)> {
        let (id, node) = self.made_by(self.source(value), "Exp")?;
        Some((id, self.source(node.input_at(0)?)))
    }

    /// The only axis of a reduction.
    fn reduced_axis(&self, node: &Node) -> Option<i64> {
        let axes = match node.input_at(1) {
            Some(axes) => self.index.constant(axes)?.ints()?,
            None => node.attr_ints("axes")?.to_vec(),
        };
        if let [axis] = axes[..] { Some(axis) } else { None }
    }

    /// z, where `value` is z less its largest element per row; else `value`. A softmax does not see the difference.
    fn unshifted(&self, value: &'g str) -> (Option<NodeId>, &'g str) {
        let found = || {
            let (id, node) = self.made_by(value, "Sub")?;
            let scores = self.source(node.input_at(0)?);
            let (_, largest) = self.made_by(self.statistic(node.input_at(1)?), "ReduceMax")?;
            (self.source(largest.input_at(0)?) == scores).then_some((Some(id), scores))
        };
        found().unwrap_or((None, value))
    }

    /// The softmax that makes `value`, if one does.
    pub fn softmax(&self, value: &'g str) -> Option<Softmax<'g>> {
        self.softmax_within(value, MAX_DEPTH)
    }

    fn softmax_within(&self, value: &'g str, depth: usize) -> Option<Softmax<'g>> {
        let (id, node) = self.producer(value)?;
        let input = node.input_at(0)?;
        let inner = |value: &'g str| if depth == 0 { None } else { self.softmax_within(value, depth - 1) };
        let mut found = match (node.op_domain(), node.op()) {
            ("", "Softmax") => self.single(node, Head::Softmax)?,
            ("", "LogSoftmax") => self.single(node, Head::LogSoftmax)?,
            ("", "SoftmaxCrossEntropyLoss") | ("com.microsoft", "SoftmaxCrossEntropyLossInternal")
                if node.output_at(1) == Some(value) =>
            {
                Softmax { head: Head::LogSoftmax, input, axis: 1, flattens: false, nodes: vec![] }
            }
            ("", "Exp") => inner(self.source(input)).filter(|s| s.head.is_log())?.turned(Head::Softmax),
            ("", "Log") => inner(self.statistic(input)).filter(|s| !s.head.is_log())?.turned(Head::LogSoftmax),
            ("", "Div") => self.quotient(input, node.input_at(1)?)?,
            ("", "Mul") => {
                let other = node.input_at(1)?;
                self.product(input, other).or_else(|| self.product(other, input))?
            }
            ("", "Sub") => self.difference(input, node.input_at(1)?)?,
            _ => return None,
        };
        found.nodes.insert(0, id);
        Some(found)
    }

    fn single(&self, node: &'g Node, head: Head) -> Option<Softmax<'g>> {
        let flattens = self.opset < 13;
        let axis = node.attr_int("axis").unwrap_or(if flattens { 1 } else { -1 });
        Some(Softmax { head, input: node.input_at(0)?, axis, flattens, nodes: vec![] })
    }

    /// exp(u) / Σ exp(u)
    fn quotient(&self, numerator: &'g str, denominator: &'g str) -> Option<Softmax<'g>> {
        let (exp, u) = self.exponent(numerator)?;
        let total = self.statistic(denominator);
        let (sum, node) = self.made_by(total, "ReduceSum")?;
        let (_, summed) = self.exponent(node.input_at(0)?)?;
        // a sum that lost its axis and did not get it back divides something else
        if summed != u || (node.attr_int("keepdims") == Some(0) && total == denominator) {
            return None;
        }
        self.spelled_out(Head::DecomposedSoftmax, u, self.reduced_axis(node)?, vec![sum, exp])
    }

    /// exp(u) · (1 / Σ exp(u))
    fn product(&self, numerator: &'g str, reciprocal: &'g str) -> Option<Softmax<'g>> {
        let (id, node) = self.made_by(self.source(reciprocal), "Reciprocal")?;
        let mut found = self.quotient(numerator, node.input_at(0)?)?;
        found.nodes.insert(0, id);
        Some(found)
    }

    /// u − log Σ exp(u)
    fn difference(&self, scores: &'g str, normaliser: &'g str) -> Option<Softmax<'g>> {
        let scores = self.source(scores);
        let normaliser = self.statistic(normaliser);
        let (id, node) = self.producer(normaliser).filter(|(_, node)| node.op_domain().is_empty())?;
        let first = node.input_at(0)?;
        let (axis, mut nodes) = match node.op() {
            "ReduceLogSumExp" if self.source(first) == scores => (self.reduced_axis(node)?, vec![]),
            "Log" => self.log_sum(normaliser, scores)?,
            // log Σ exp(z − max) + max
            "Add" => {
                let (a, b) = (self.statistic(first), self.statistic(node.input_at(1)?));
                self.shifted_log_sum(a, b, scores).or_else(|| self.shifted_log_sum(b, a, scores))?
            }
            _ => return None,
        };
        nodes.insert(0, id);
        self.spelled_out(Head::DecomposedLogSoftmax, scores, axis, nodes)
    }

    /// Axis and nodes of `value`, where it is log Σ exp(u).
    fn log_sum(&self, value: &'g str, u: &str) -> Option<(i64, Vec<NodeId>)> {
        let (_, log) = self.made_by(value, "Log")?;
        let (sum, node) = self.made_by(self.statistic(log.input_at(0)?), "ReduceSum")?;
        let (exp, summed) = self.exponent(node.input_at(0)?)?;
        (summed == u).then_some((self.reduced_axis(node)?, vec![sum, exp]))
    }

    /// The same for log Σ exp(z − `largest`), where `largest` is the maximum of z.
    fn shifted_log_sum(&self, value: &'g str, largest: &'g str, z: &str) -> Option<(i64, Vec<NodeId>)> {
        let (_, maximum) = self.made_by(largest, "ReduceMax")?;
        if self.source(maximum.input_at(0)?) != z {
            return None;
        }
        let (_, log) = self.made_by(value, "Log")?;
        let (sum, node) = self.made_by(self.statistic(log.input_at(0)?), "ReduceSum")?;
        let (exp, shifted) = self.exponent(node.input_at(0)?)?;
        let (_, difference) = self.made_by(shifted, "Sub")?;
        let same = self.source(difference.input_at(0)?) == z && self.statistic(difference.input_at(1)?) == largest;
        same.then_some((self.reduced_axis(node)?, vec![sum, exp]))
    }

    fn spelled_out(&self, head: Head, u: &'g str, axis: i64, mut nodes: Vec<NodeId>) -> Option<Softmax<'g>> {
        let (shift, input) = self.unshifted(u);
        nodes.extend(shift);
        Some(Softmax { head, input, axis, flattens: false, nodes })
    }
}

impl Softmax<'_> {
    /// Under an Exp or a Log.
    fn turned(mut self, head: Head) -> Self {
        self.head = head;
        self
    }
}
