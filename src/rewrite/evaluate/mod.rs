//! A small, exact interpreter of ONNX nodes, for recognising a loss by what it computes.
//!
//! The rules cut the nodes between logits, labels and loss out of a graph, run them on probe inputs in f64 and compare
//! with the reference of the loss. Semantics are those of the ONNX operator specification; tensors are small (at most
//! [`tensor::MAX_ELEMENTS`] elements), speed does not matter, and nothing in a node can make it panic.

mod activation;
mod convolution;
mod einsum;
mod elementwise;
mod indexing;
#[cfg(test)]
mod layout_tests;
mod loss;
mod movement;
mod normalization;
mod pooling;
mod product;
mod rearrange;
mod reduction;
mod resize;
#[cfg(test)]
mod shape_tests;
mod tensor;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::HashMap;

use crate::model::proto::{AttributeProto, NodeProto};

pub(crate) use resize::Interpolation;
pub(crate) use tensor::{Data, Kind, Tensor};

/// Why a subgraph could not be evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum EvaluateError {
    /// The operator, or a form of it, is not known here.
    #[error("{node}: {op} cannot be evaluated")]
    Unsupported {
        /// The node, described.
        node: String,
        /// The operator with its domain, or what of it is not supported.
        op: String,
    },
    /// A value that is neither given nor made by an earlier node.
    #[error("{node}: its input '{value}' has no value")]
    MissingInput {
        /// The node, described.
        node: String,
        /// The value's name, or "input 2" where the node leaves a required input out.
        value: String,
    },
    /// Shapes, element types, attributes or indices that contradict the operator.
    #[error("{node}: {reason}")]
    Shape {
        /// The node, described; for a value given by the caller, its name.
        node: String,
        /// What does not fit, a clause.
        reason: String,
    },
    /// A result beyond the size limit.
    #[error("{node}: a tensor of shape {dims:?} is too large to evaluate")]
    TooLarge {
        /// The node, described.
        node: String,
        /// The shape.
        dims: Vec<usize>,
    },
}

/// What an operator finds wrong; [`evaluate`] adds the node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// See [`EvaluateError::Unsupported`].
    Unsupported(String),
    /// A required input (by position) is left out.
    Missing(usize),
    /// See [`EvaluateError::Shape`].
    Invalid(String),
    /// See [`EvaluateError::TooLarge`].
    TooLarge(Vec<usize>),
}

impl Fault {
    fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }

    fn at(self, node: String) -> EvaluateError {
        match self {
            Self::Unsupported(op) => EvaluateError::Unsupported { node, op },
            Self::Missing(position) => EvaluateError::MissingInput { node, value: format!("input {position}") },
            Self::Invalid(reason) => EvaluateError::Shape { node, reason },
            Self::TooLarge(dims) => EvaluateError::TooLarge { node, dims },
        }
    }
}

/// Values by name.
pub(crate) type Values = HashMap<String, Tensor>;

/// Runs `nodes` (in topological order) on `values`, the known inputs and constants, and returns these with all results
/// added. `opset` is the version of the default domain.
pub(crate) fn evaluate(nodes: &[&NodeProto], mut values: Values, opset: i64) -> Result<Values, EvaluateError> {
    for (name, value) in &values {
        let fits = tensor::element_count(&value.dims).map_err(|fault| fault.at(format!("value '{name}'")))?;
        if fits != value.len() {
            return Err(EvaluateError::Shape {
                node: format!("value '{name}'"),
                reason: format!("{} elements do not fill the shape {:?}", value.len(), value.dims),
            });
        }
    }
    for node in nodes {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match name.as_str() {
                "" => None,
                name => Some(
                    values
                        .get(name)
                        .ok_or_else(|| EvaluateError::MissingInput { node: node.describe(), value: name.to_owned() })?,
                ),
            });
        }
        let call = Call { node, inputs, opset };
        let results = call.run().map_err(|fault| fault.at(node.describe()))?;
        for (name, result) in node.output.iter().zip(results) {
            if !name.is_empty() {
                values.insert(name.clone(), result);
            }
        }
    }
    Ok(values)
}

/// One node with the values of its inputs.
struct Call<'a> {
    node: &'a NodeProto,
    inputs: Vec<Option<&'a Tensor>>,
    opset: i64,
}

impl<'a> Call<'a> {
    /// The results, one per output; more or fewer than the node names where that is the operator's own number.
    fn run(&self) -> Result<Vec<Tensor>, Fault> {
        if self.node.op_domain() == "com.microsoft" && self.node.op() == "SoftmaxCrossEntropyLossInternal" {
            return loss::softmax_cross_entropy_internal(self);
        }
        if !self.node.op_domain().is_empty() {
            return Err(Fault::Unsupported(format!("{}::{}", self.node.op_domain(), self.node.op())));
        }
        if self.opset < 7 && self.node.attr("broadcast").is_some() {
            return Err(Fault::Unsupported(format!("{} with the broadcast attribute of opset 6", self.node.op())));
        }
        let families = [
            elementwise::run,
            activation::run,
            movement::run,
            indexing::run,
            reduction::run,
            product::run,
            einsum::run,
            convolution::run,
            pooling::run,
            normalization::run,
            rearrange::run,
            resize::run,
            loss::run,
        ];
        for family in families {
            if let Some(results) = family(self)? {
                return Ok(results);
            }
        }
        Err(Fault::Unsupported(self.node.op().to_owned()))
    }

    /// A required input.
    fn input(&self, position: usize) -> Result<&'a Tensor, Fault> {
        self.optional(position).ok_or(Fault::Missing(position))
    }

    /// An input that may be left out.
    fn optional(&self, position: usize) -> Option<&'a Tensor> {
        self.inputs.get(position).copied().flatten()
    }

    /// All inputs; none may be left out, and there must be one.
    fn all_inputs(&self) -> Result<Vec<&'a Tensor>, Fault> {
        self.input(0)?;
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }

    fn attr(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attr(name)
    }

    /// An integer attribute or its default.
    fn int(&self, name: &str, default: i64) -> i64 {
        self.attr(name).and_then(|a| a.i).unwrap_or(default)
    }

    /// A float attribute or its default.
    fn float(&self, name: &str, default: f64) -> f64 {
        self.attr(name).and_then(|a| a.f).map_or(default, f64::from)
    }

    /// A string attribute or its default.
    fn string(&self, name: &str, default: &'static str) -> &'a str {
        self.node.attr_str(name).unwrap_or(default)
    }

    /// Integers that are an input in newer opsets and an attribute in older ones.
    fn ints_at(&self, position: usize, name: &str) -> Result<Option<&'a [i64]>, Fault> {
        match self.optional(position) {
            Some(tensor) => tensor.as_ints().map(Some),
            None => Ok(self.node.attr_ints(name)),
        }
    }
}
