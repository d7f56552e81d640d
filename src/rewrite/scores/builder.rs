//! Nodes of the model's own opset, appended to its graph.

use std::collections::HashMap;

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Document, NodeBuilder, NodeId};
use crate::rewrite::plan::Plan;
use crate::rewrite::rules::Context;
use crate::rewrite::swap::stamped;

use super::{Logits, NODE_FORMULA, NODE_SCORE, RULE};

/// Appends nodes; what was computed once is not computed again.
pub(super) struct Builder<'a, 'g> {
    pub document: &'a Document,
    pub context: &'a Context<'g>,
    pub logits: &'a Logits,
    plan: &'a mut Plan,
    known: HashMap<String, String>,
}

impl<'a, 'g> Builder<'a, 'g> {
    pub fn new(document: &'a Document, context: &'a Context<'g>, logits: &'a Logits, plan: &'a mut Plan) -> Self {
        Self { document, context, logits, plan, known: HashMap::new() }
    }

    pub fn opset(&self) -> i64 {
        self.context.opset
    }

    /// Axis of the classes in what [`Self::rows`] gives.
    pub fn axis(&self) -> i64 {
        self.logits.chosen.class_axis as i64
    }

    /// A name for a value of its own.
    fn fresh(&mut self, what: &str) -> String {
        self.plan.fresh_name(self.context.graph, &format!("{RULE}/{what}"))
    }

    /// A name for an output.
    pub fn output(&mut self, name: &str) -> String {
        self.plan.fresh_name(self.context.graph, name)
    }

    fn append(&mut self, node: NodeProto) {
        self.plan.append(self.context.graph, node);
    }

    /// What `make` gives under `key`, made once.
    pub fn once(&mut self, key: String, make: impl FnOnce(&mut Self) -> String) -> String {
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let value = make(self);
        self.known.insert(key, value.clone());
        value
    }

    /// One node; `more` adds attributes. Its first output.
    pub fn node(
        &mut self,
        what: &str,
        op: &str,
        inputs: &[&str],
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> String {
        let output = self.fresh(what);
        let node = more(stamped(op, RULE).name(&output).inputs(inputs).outputs([&output]));
        self.append(node.build());
        output
    }

    /// One node without attributes.
    pub fn op(&mut self, what: &str, op: &str, inputs: &[&str]) -> String {
        self.node(what, op, inputs, |node| node)
    }

    /// A copy of a node of the graph that reads and makes other values.
    pub fn copy(&mut self, id: NodeId, from: &str, to: &str) -> String {
        let mut node = NodeProto::clone(self.context.graph.node(id));
        let what = format!("{}_again", node.op().to_lowercase());
        let output = self.fresh(&what);
        for input in node.input.iter_mut().filter(|input| *input == from) {
            to.clone_into(input);
        }
        node.output = vec![output.clone()];
        node.name = Some(output.clone());
        let stamps = stamped("", RULE).build().metadata_props;
        node.metadata_props.extend(stamps);
        self.append(node);
        output
    }

    /// The last node of a score.
    pub fn finish(
        &mut self,
        output: &str,
        [score, formula]: [&str; 2],
        op: &str,
        inputs: &[&str],
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) {
        let node = stamped(op, RULE)
            .metadata(NODE_SCORE, score)
            .metadata(NODE_FORMULA, formula)
            .name(&format!("{RULE}/{output}/output"))
            .inputs(inputs)
            .outputs([output]);
        self.append(more(node).build());
    }

    fn tensor(&mut self, what: &str, tensor: &TensorProto) -> String {
        let key = format!("{what} {:?} {:?} {:?}", tensor.data_type, tensor.dims, tensor.raw_data);
        self.once(key, |b| b.node(what, "Constant", &[], |node| node.tensor("value", tensor)))
    }

    /// A number in the type the scores are computed in.
    pub fn number(&mut self, value: f64) -> String {
        let data_type = self.logits.float_type() as i32;
        self.tensor("number", &TensorProto::scalar("", data_type, value))
    }

    /// Numbers in the type the scores are computed in.
    pub fn numbers(&mut self, values: &[f64]) -> String {
        let data_type = self.logits.float_type() as i32;
        self.tensor("numbers", &TensorProto::vector("", data_type, values))
    }

    /// Indices or sizes; Constant gives those since opset 9.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let values: Vec<f64> = values.iter().map(|&value| value as f64).collect();
        self.tensor("integers", &TensorProto::vector("", DataType::Int64 as i32, &values))
    }

    /// Over one axis, which stays with size 1.
    pub fn reduce(&mut self, what: &str, op: &str, value: &str, axis: i64) -> String {
        // ReduceSum takes its axes as an input since opset 13, the others since 18
        let as_input = self.opset() >= if op == "ReduceSum" { 13 } else { 18 };
        if as_input {
            let axes = self.integers(&[axis]);
            return self.node(what, op, &[value, &axes], |node| node.int("keepdims", 1));
        }
        self.node(what, op, &[value], |node| node.ints("axes", &[axis]).int("keepdims", 1))
    }

    /// The `k` largest along an axis, in descending order.
    pub fn top(&mut self, what: &str, value: &str, k: usize, axis: i64) -> String {
        self.once(format!("top {value} {k} {axis}"), |b| {
            let (output, indices) = (b.fresh(what), b.fresh(&format!("{what}_indices")));
            let node = stamped("TopK", RULE).name(&output).outputs([&output, &indices]).int("axis", axis);
            let node = if b.opset() >= 10 {
                let k = b.integers(&[k as i64]);
                node.inputs([value, &k])
            } else {
                node.inputs([value]).int("k", k as i64)
            };
            b.append(node.build());
            output
        })
    }

    /// The entries `from..to` of an axis, which stays.
    pub fn range(&mut self, what: &str, value: &str, [from, to]: [usize; 2], axis: i64) -> String {
        let (from, to) = (from as i64, to as i64);
        if self.opset() < 10 {
            return self.node(what, "Slice", &[value], |node| {
                node.ints("axes", &[axis]).ints("starts", &[from]).ints("ends", &[to])
            });
        }
        let bounds = [from, to, axis].map(|bound| self.integers(&[bound]));
        let [starts, ends, axes] = bounds.each_ref().map(String::as_str);
        self.op(what, "Slice", &[value, starts, ends, axes])
    }

    /// Logits in float or double, [N, C] where they are [N, C, 1, 1].
    pub fn rows(&mut self, logits: &str) -> String {
        self.once(format!("rows {logits}"), |b| {
            let mut value = logits.to_owned();
            if b.logits.float_type() != b.logits.data_type {
                let to = b.logits.float_type() as i64;
                value = b.node("wide_logits", "Cast", &[&value], |node| node.int("to", to));
            }
            if b.logits.one_position() {
                value = b.node("flat_logits", "Flatten", &[&value], |node| node.int("axis", 1));
            }
            value
        })
    }
}
