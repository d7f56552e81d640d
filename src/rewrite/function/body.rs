//! Nodes of a function body: what differs between opsets and element types is settled here, the maths stays plain.

use prost::Message;

use super::Signature;
use crate::model::DataType;
use crate::model::proto::{AttributeProto, AttributeType, NodeProto, TensorProto};

/// The class axis of logits.
const CLASS_AXIS: i64 = 1;

/// What a reduction runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Axis 1, which stays with length 1.
    Classes,
    /// Everything; the result is a scalar.
    All,
}

/// A body under construction. Every value is named after what it holds, every node after the value it makes.
pub(super) struct Body {
    nodes: Vec<NodeProto>,
    opset: i64,
    /// Element type of logits, loss and gradient.
    data_type: i32,
    /// Element type of the arithmetic: double for double, float for everything else.
    compute_type: DataType,
}

impl Body {
    pub(super) fn new(signature: &Signature, opset: i64) -> Self {
        let compute_type =
            if signature.data_type == DataType::Double as i32 { DataType::Double } else { DataType::Float };
        Body { nodes: Vec::new(), opset, data_type: signature.data_type, compute_type }
    }

    pub(super) fn into_nodes(self) -> Vec<NodeProto> {
        self.nodes
    }

    /// `output = op(inputs)`; hands `output` back so that formulas can be threaded.
    pub(super) fn apply<'a>(&mut self, output: &'a str, op: &str, inputs: &[&str]) -> &'a str {
        self.nodes.push(NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(output.to_owned()),
            input: inputs.iter().map(|&i| i.to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
        output
    }

    /// Says of the last node what its operator does not.
    pub(super) fn explain(&mut self, why: &str) {
        if let Some(node) = self.nodes.last_mut() {
            node.doc_string = Some(why.to_owned());
        }
    }

    fn set(&mut self, attribute: AttributeProto) {
        if let Some(node) = self.nodes.last_mut() {
            node.attribute.push(attribute);
        }
    }

    fn set_int(&mut self, name: &str, value: i64) {
        self.set(AttributeProto { i: Some(value), ..named(name, AttributeType::Int) });
    }

    /// Whether the body has this value already; constants are made on first use.
    pub(super) fn has(&self, value: &str) -> bool {
        self.nodes.iter().any(|n| n.output.iter().any(|o| o == value))
    }

    // ---- constants and parameters

    /// A scalar of the arithmetic's type.
    pub(super) fn number<'a>(&mut self, name: &'a str, value: f64) -> &'a str {
        let raw = match self.compute_type {
            DataType::Double => value.to_le_bytes().to_vec(),
            _ => (value as f32).to_le_bytes().to_vec(),
        };
        self.tensor(name, self.compute_type, &[], raw)
    }

    /// The most negative finite number of the arithmetic's type.
    pub(super) fn lowest(&mut self) -> &'static str {
        let value = if self.compute_type == DataType::Double { f64::MIN } else { f64::from(f32::MIN) };
        self.number("lowest", value)
    }

    /// The largest finite number of the arithmetic's type.
    pub(super) fn highest(&mut self) -> &'static str {
        let value = if self.compute_type == DataType::Double { f64::MAX } else { f64::from(f32::MAX) };
        self.number("highest", value)
    }

    /// A scalar int64.
    pub(super) fn integer<'a>(&mut self, name: &'a str, value: i64) -> &'a str {
        self.tensor(name, DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    fn tensor<'a>(&mut self, name: &'a str, data_type: DataType, dims: &[i64], raw: Vec<u8>) -> &'a str {
        if !self.has(name) {
            let tensor = TensorProto {
                dims: dims.to_vec(),
                data_type: Some(data_type as i32),
                raw_data: Some(raw.into()),
                ..TensorProto::default()
            };
            self.apply(name, "Constant", &[]);
            self.set(AttributeProto {
                t: Some(tensor.encode_to_vec().into()),
                ..named("value", AttributeType::Tensor)
            });
        }
        name
    }

    /// The node's float attribute `name`, in the arithmetic's type.
    pub(super) fn parameter<'a>(&mut self, name: &'a str) -> &'a str {
        self.parameter_as(name, name)
    }

    /// The same under another name, where an input has that of the attribute.
    pub(super) fn parameter_as<'a>(&mut self, output: &'a str, attribute: &str) -> &'a str {
        if !self.has(output) {
            if self.compute_type == DataType::Double {
                let single = format!("{output}_single");
                self.reference(&single, "value_float", AttributeType::Float, attribute);
                self.cast(output, &single, DataType::Double as i32);
            } else {
                self.reference(output, "value_float", AttributeType::Float, attribute);
            }
        }
        output
    }

    /// The node's integer attribute `name`.
    pub(super) fn integer_parameter<'a>(&mut self, name: &'a str) -> &'a str {
        if !self.has(name) {
            self.reference(name, "value_int", AttributeType::Int, name);
        }
        name
    }

    fn reference(&mut self, output: &str, field: &str, kind: AttributeType, from: &str) {
        self.apply(output, "Constant", &[]);
        self.set(AttributeProto { ref_attr_name: Some(from.to_owned()), ..named(field, kind) });
    }

    // ---- operators with attributes

    pub(super) fn cast<'a>(&mut self, output: &'a str, input: &str, to: i32) -> &'a str {
        self.apply(output, "Cast", &[input]);
        self.set_int("to", i64::from(to));
        output
    }

    /// `input` of the logits' type in the arithmetic's type; `input` itself where they are the same.
    pub(super) fn widened<'a>(&mut self, output: &'a str, input: &'a str) -> &'a str {
        if self.data_type == self.compute_type as i32 {
            return input;
        }
        self.cast(output, input, self.compute_type as i32)
    }

    /// A float32 input in the arithmetic's type.
    pub(super) fn float_input(&mut self, input: &'static str) -> &'static str {
        match self.compute_type {
            DataType::Double => self.cast("wide_bonus_weight", input, DataType::Double as i32),
            _ => input,
        }
    }

    /// Casts a count to the arithmetic's type.
    pub(super) fn computed<'a>(&mut self, output: &'a str, input: &str) -> &'a str {
        self.cast(output, input, self.compute_type as i32)
    }

    /// An operator with `axis` = 1.
    pub(super) fn along_classes<'a>(&mut self, output: &'a str, op: &str, inputs: &[&str]) -> &'a str {
        self.apply(output, op, inputs);
        self.set_int("axis", CLASS_AXIS);
        output
    }

    /// The class with the largest value, axis 1 kept with length 1.
    pub(super) fn arg_max<'a>(&mut self, output: &'a str, input: &str) -> &'a str {
        self.along_classes(output, "ArgMax", &[input]);
        self.set_int("keepdims", 1);
        output
    }

    /// `table[indices]` along the only axis of `table`.
    pub(super) fn gather<'a>(&mut self, output: &'a str, table: &str, indices: &str) -> &'a str {
        self.apply(output, "Gather", &[table, indices]);
        self.set_int("axis", 0);
        output
    }

    /// A reduction. Its axes are an attribute up to opset 12 (ReduceSum) or 17 (the others), an input afterwards.
    pub(super) fn reduce<'a>(&mut self, output: &'a str, op: &str, input: &str, over: Over) -> &'a str {
        let axes_are_input = self.opset >= if op == "ReduceSum" { 13 } else { 18 };
        match over {
            Over::Classes => self.with_class_axes(output, op, input, axes_are_input),
            Over::All => self.apply(output, op, &[input]),
        };
        self.set_int("keepdims", i64::from(over == Over::Classes));
        output
    }

    /// Inserts axis 1.
    pub(super) fn unsqueeze<'a>(&mut self, output: &'a str, input: &str) -> &'a str {
        self.with_class_axes(output, "Unsqueeze", input, self.opset >= 13)
    }

    /// Removes axis 1, which has length 1.
    pub(super) fn squeeze<'a>(&mut self, output: &'a str, input: &str) -> &'a str {
        self.with_class_axes(output, "Squeeze", input, self.opset >= 13)
    }

    fn with_class_axes<'a>(&mut self, output: &'a str, op: &str, input: &str, axes_are_input: bool) -> &'a str {
        if axes_are_input {
            let axes = self.tensor("class_axis", DataType::Int64, &[1], CLASS_AXIS.to_le_bytes().to_vec());
            self.apply(output, op, &[input, axes]);
        } else {
            self.apply(output, op, &[input]);
            self.set(AttributeProto { ints: vec![CLASS_AXIS], ..named("axes", AttributeType::Ints) });
        }
        output
    }

    // ---- results

    /// Makes `value` the function's output `output`, of the logits' type.
    pub(super) fn result(&mut self, output: &str, value: &str) {
        if self.data_type == self.compute_type as i32 {
            self.rename(value, output);
        } else {
            self.cast(output, value, self.data_type);
        }
    }

    /// Makes `value` the function's output `output`, of type float32.
    pub(super) fn float_result(&mut self, output: &str, value: &str) {
        if self.compute_type == DataType::Float {
            self.rename(value, output);
        } else {
            self.cast(output, value, DataType::Float as i32);
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        for node in &mut self.nodes {
            for name in node.input.iter_mut().chain(&mut node.output).chain(&mut node.name) {
                if name == from {
                    *name = to.to_owned();
                }
            }
        }
    }
}

/// An attribute without a value.
pub(super) fn named(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}
