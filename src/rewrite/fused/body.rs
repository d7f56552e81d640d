//! A body under construction: standard operators, every value named after what it holds.

use crate::model::proto::{AttributeType, FunctionProto, OperatorSetIdProto, StringStringEntryProto, TensorProto};
use crate::model::{DataType, NodeBuilder, node};
use crate::rewrite::DOMAIN;

/// Nodes in order.
pub(super) struct Body {
    opset: i64,
    function: FunctionProto,
}

impl Body {
    /// Of an operator with these inputs, outputs and attributes.
    pub(super) fn new(opset: i64, name: &str, inputs: &[&str], outputs: &[&str], attributes: &[&str]) -> Body {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let function = FunctionProto {
            name: Some(name.to_owned()),
            domain: Some(DOMAIN.to_owned()),
            input: owned(inputs),
            output: owned(outputs),
            attribute: owned(attributes),
            doc_string: Some(format!("{name} in standard operators")),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
            metadata_props: vec![StringStringEntryProto {
                key: Some("elonnx.version".to_owned()),
                value: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }],
            ..FunctionProto::default()
        };
        Body { opset, function }
    }

    pub(super) fn finish(self) -> FunctionProto {
        self.function
    }

    /// `output = op(inputs)`, with what `more` adds. The output.
    pub(super) fn with<'a>(
        &mut self,
        output: &'a str,
        op: &str,
        inputs: &[&str],
        more: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> &'a str {
        let made = more(node(op).name(output).inputs(inputs).outputs([output])).build();
        self.function.node.push(made);
        output
    }

    /// `output = op(inputs)`. The output.
    pub(super) fn op<'a>(&mut self, output: &'a str, op: &str, inputs: &[&str]) -> &'a str {
        self.with(output, op, inputs, |node| node)
    }

    /// A float attribute of the node as a scalar.
    pub(super) fn float_attribute<'a>(&mut self, output: &'a str, from: &str) -> &'a str {
        self.with(output, "Constant", &[], |node| node.reference("value_float", AttributeType::Float, from))
    }

    /// An int attribute of the node as a vector of one.
    pub(super) fn int_attribute<'a>(&mut self, output: &'a str, from: &str) -> &'a str {
        let scalar = format!("{output}_scalar");
        self.with(&scalar, "Constant", &[], |node| node.reference("value_int", AttributeType::Int, from));
        let one = self.ints(&format!("{output}_shape"), &[1]).to_owned();
        self.op(output, "Reshape", &[&scalar, &one])
    }

    /// A list attribute of the node as a vector.
    pub(super) fn ints_attribute<'a>(&mut self, output: &'a str, from: &str) -> &'a str {
        self.with(output, "Constant", &[], |node| node.reference("value_ints", AttributeType::Ints, from))
    }

    /// A float32 scalar.
    pub(super) fn number<'a>(&mut self, output: &'a str, value: f64) -> &'a str {
        let tensor = TensorProto::scalar("", DataType::Float as i32, value);
        self.with(output, "Constant", &[], |node| node.tensor("value", &tensor))
    }

    /// An int64 vector.
    pub(super) fn ints<'a>(&mut self, output: &'a str, values: &[i64]) -> &'a str {
        let values: Vec<f64> = values.iter().map(|&value| value as f64).collect();
        let tensor = TensorProto::vector("", DataType::Int64 as i32, &values);
        self.with(output, "Constant", &[], |node| node.tensor("value", &tensor))
    }

    /// Σ or mean of `value` over axes, an int64 vector of the body; kept with length 1 or not.
    pub(super) fn reduce<'a>(&mut self, output: &'a str, op: &str, value: &str, axes: &[i64], keep: bool) -> &'a str {
        let keep = i64::from(keep);
        if op == "ReduceSum" || self.opset >= 18 {
            let name = format!("{output}_axes");
            self.ints(&name, axes);
            return self.with(output, op, &[value, &name], |node| node.int("keepdims", keep));
        }
        self.with(output, op, &[value], |node| node.ints("axes", axes).int("keepdims", keep))
    }
}
