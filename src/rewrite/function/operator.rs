//! One of our nodes read back: which operator, which parameters, which signature.

use crate::loss::{Bonus, EncouragingLoss, Reduction};
use crate::model::proto::{AttributeProto, AttributeType, NodeProto};
use crate::model::{DataType, Shapes, attribute};

use super::super::{BODY_DOMAIN, DOMAIN, GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP, RewriteError};
use super::{MIN_OPSET, Signature};

/// Which of our operators a node is: one of [`LOSS_OP`], [`GRAD_OP`], [`LOSS_AND_GRAD_OP`], in [`DOMAIN`] or, with
/// "_2", "_3" … behind its name where a model has several bodies, in [`BODY_DOMAIN`]. None: not ours.
#[must_use]
pub fn operator(node: &NodeProto) -> Option<&'static str> {
    let name = match node.op_domain() {
        DOMAIN => node.op(),
        BODY_DOMAIN => node.op().split('_').next().unwrap_or_default(),
        _ => return None,
    };
    [LOSS_OP, GRAD_OP, LOSS_AND_GRAD_OP].into_iter().find(|&op| op == name)
}

/// Parameters of one of our nodes; the operator's default where an attribute is absent.
///
/// # Errors
/// An attribute outside its range or of the wrong type, with the node.
pub fn parameters(node: &NodeProto) -> Result<EncouragingLoss, RewriteError> {
    let unsupported = |reason: String| RewriteError::Unsupported { node: node.describe(), reason };
    let float = |name: &str, default: f32| match node.attr(name) {
        None => Ok(default),
        Some(a) => a.f.ok_or_else(|| unsupported(format!("attribute {name} must be a float"))),
    };
    let text = |name: &str, default: &'static str| match node.attr(name) {
        None => Ok(default),
        Some(_) => node.attr_str(name).ok_or_else(|| unsupported(format!("attribute {name} must be a string"))),
    };
    let ignore_index = match node.attr("ignore_index") {
        None => None,
        Some(a) => Some(a.i.ok_or_else(|| unsupported("attribute ignore_index must be an int".to_owned()))?),
    };
    let defaults = EncouragingLoss::default();
    let bonus: Bonus = text("bonus", defaults.bonus().as_str())?.parse()?;
    let reduction: Reduction = text("reduction", defaults.reduction().as_str())?.parse()?;
    EncouragingLoss::builder()
        .log_end(float("log_end", defaults.log_end())?)
        .bonus(bonus)
        .power(float("power", defaults.power())?)
        .bonus_weight(float("bonus_weight", defaults.bonus_weight())?)
        .label_smoothing(float("label_smoothing", defaults.label_smoothing())?)
        .reduction(reduction)
        .ignore_index(ignore_index)
        .build()
        .map_err(|error| unsupported(error.to_string()))
}

/// The attributes of a node with these parameters, all of them: function bodies refer to them, and onnx's reference
/// evaluator fills in no default.
#[must_use]
pub fn attributes(loss: &EncouragingLoss) -> Vec<AttributeProto> {
    let float = |name: &str, f: f32| AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) };
    let text = |name: &str, s: &'static str| AttributeProto {
        s: Some(bytes::Bytes::from_static(s.as_bytes())),
        ..attribute(name, AttributeType::String)
    };
    let mut all = vec![
        float("log_end", loss.log_end()),
        text("bonus", loss.bonus().as_str()),
        float("power", loss.power()),
        float("bonus_weight", loss.bonus_weight()),
        float("label_smoothing", loss.label_smoothing()),
        text("reduction", loss.reduction().as_str()),
    ];
    if let Some(index) = loss.ignore_index() {
        all.push(AttributeProto { i: Some(index), ..attribute("ignore_index", AttributeType::Int) });
    }
    all
}

/// The node with all its attributes.
///
/// # Errors
/// As [`parameters`].
pub(in super::super) fn with_every_attribute(mut node: NodeProto) -> Result<NodeProto, RewriteError> {
    for attribute in attributes(&parameters(&node)?) {
        if node.attr(attribute.name()).is_none() {
            node.attribute.push(attribute);
        }
    }
    Ok(node)
}

/// The values of a node by what they are, whichever of our operators it is.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Operands<'a> {
    pub dloss: Option<&'a str>,
    pub logits: Option<&'a str>,
    pub labels: Option<&'a str>,
    pub class_weights: Option<&'a str>,
    pub bonus_weight: Option<&'a str>,
    pub margin_input: Option<&'a str>,
    pub loss: Option<&'a str>,
    pub margin: Option<&'a str>,
    pub dlogits: Option<&'a str>,
}

impl<'a> Operands<'a> {
    pub(in super::super) fn of(op: &str, node: &'a NodeProto) -> Self {
        let is_gradient = op == GRAD_OP;
        let first = usize::from(is_gradient);
        let forward = |i: usize| if is_gradient { None } else { node.output_at(i) };
        Operands {
            dloss: if is_gradient { node.input_at(0) } else { None },
            logits: node.input_at(first),
            labels: node.input_at(first + 1),
            class_weights: node.input_at(first + 2),
            bonus_weight: node.input_at(first + 3),
            margin_input: if is_gradient { node.input_at(5) } else { None },
            loss: forward(0),
            margin: forward(1),
            dlogits: if is_gradient { node.output_at(0) } else { forward(2) },
        }
    }
}

impl Signature {
    /// The signature of one of our nodes; element types come from `types`.
    ///
    /// # Errors
    /// Not one of our operators, a bad parameter, no logits or labels, or an element type that is unknown or that the
    /// operators do not have.
    pub fn of(node: &NodeProto, types: &Shapes) -> Result<Self, RewriteError> {
        let unsupported = |reason: String| RewriteError::Unsupported { node: node.describe(), reason };
        let op = operator(node).ok_or_else(|| unsupported(format!("is no operator of {DOMAIN}")))?;
        let loss = parameters(node)?;
        let operands = Operands::of(op, node);
        if operands.logits.is_none() || operands.labels.is_none() {
            return Err(unsupported("needs the inputs logits and labels".to_owned()));
        }
        // all of type T: one that is known tells of the others
        let same_type = [operands.logits, operands.dlogits, operands.loss, operands.dloss, operands.class_weights];
        let data_type = same_type.into_iter().flatten().find_map(|value| types.data_type(value));
        let data_type = data_type.ok_or_else(|| {
            unsupported("the element type of its logits is not known; run onnx shape inference on the model".to_owned())
        })?;
        let known = [DataType::Float, DataType::Double, DataType::Float16, DataType::Bfloat16];
        if !known.iter().any(|&t| t as i32 == data_type) {
            return Err(unsupported(format!(
                "its logits have element type {data_type}, but must be float16, bfloat16, float or double"
            )));
        }
        Ok(Signature {
            op,
            data_type,
            label_type: operands.labels.and_then(|l| types.data_type(l)).unwrap_or(DataType::Int64 as i32),
            reduction: loss.reduction(),
            bonus: loss.bonus(),
            ignore_index: loss.ignore_index().is_some(),
            label_smoothing: loss.label_smoothing() != 0.0,
            class_weights: operands.class_weights.is_some(),
            bonus_weight: operands.bonus_weight.is_some(),
            margin: operands.margin_input.is_some(),
            margin_output: operands.margin.is_some(),
        })
    }

    /// Whether a body can be written for this version of the default domain.
    ///
    /// # Errors
    /// The version is too old; `node` is for the message.
    pub(in super::super) fn check_opset(&self, opset: i64, node: &NodeProto) -> Result<(), RewriteError> {
        let needed = if self.data_type == DataType::Bfloat16 as i32 { 13 } else { MIN_OPSET };
        if opset >= needed {
            return Ok(());
        }
        Err(RewriteError::Unsupported {
            node: node.describe(),
            reason: format!(
                "its function body needs version {needed} of the standard operators, but the model imports {opset}; \
                 convert it (onnx.version_converter) or export it again"
            ),
        })
    }
}
