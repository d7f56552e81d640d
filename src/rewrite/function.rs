//! Function bodies of our ops in standard ops: what a runtime without the plugin runs.
//!
//! A body depends on the element type, on the string attributes, on which optional inputs are given and on the version
//! of the default domain, for standard ops cannot branch on any of these: that is its [`Signature`]. Numbers
//! (`log_end`, `power`, `bonus_weight`, `label_smoothing`, `ignore_index`) come by attribute reference, so that one body
//! serves every node of the same signature. float16 and bfloat16 are computed in float, double in double.

mod attach;
mod body;
mod formula;
mod operator;

use crate::loss::{Bonus, Reduction};
use crate::model::proto::{FunctionProto, OperatorSetIdProto, StringStringEntryProto};

use super::{DOMAIN, GRAD_OP, LOSS_OP};
pub(super) use attach::used_elsewhere;
pub use attach::{AttachReport, attach};
use body::Body;
pub(super) use operator::{Operands, with_every_attribute};
pub use operator::{attributes, operator, parameters};

const LOSS: &str = LOSS_OP;
const GRAD: &str = GRAD_OP;

/// Oldest version of the default domain that bodies can be written in: `Constant` takes numbers from 12 on.
pub const MIN_OPSET: i64 = 12;

/// What a body depends on; numbers come as attribute references.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    /// "EncouragingLoss", "EncouragingLossGrad" or "EncouragingLossAndGrad"
    pub op: &'static str,
    /// TensorProto.DataType of the logits
    pub data_type: i32,
    /// TensorProto.DataType of the labels; bodies take both
    pub label_type: i32,
    /// reduction
    pub reduction: Reduction,
    /// bonus
    pub bonus: Bonus,
    /// whether ignore_index is set
    pub ignore_index: bool,
    /// whether label_smoothing is not 0
    pub label_smoothing: bool,
    /// which optional inputs are given
    pub class_weights: bool,
    /// bonus_weight input given
    pub bonus_weight: bool,
    /// margin input given (gradient op); bodies compute it again
    pub margin: bool,
    /// whether the margin output is asked for
    pub margin_output: bool,
}

/// The body for a signature, for models that import version `opset` (≥ [`MIN_OPSET`]) of the default domain.
///
/// Inputs and outputs stand in the order of the operator; trailing ones that the signature does not have are left out.
///
/// Bodies equal [`crate::loss::reference`], infinite logits included: masked rows, several logits of +∞, the class that
/// is left alone. What standard ops cannot do, or not in a few nodes:
/// - A label outside [0, C) that is not ignored is refused by the runtime's own bounds check of `GatherElements` and
///   `ScatterElements`, in its words and with C for a negative label; where a runtime does not check its indices (CUDA)
///   the row is undefined.
/// - Nothing else is checked: fewer than two classes, shapes that broadcast by accident and a `bonus_weight` input out of
///   its range give numbers.
/// - A NaN loss of class weight 0, or under a mean of weights that add up to 0, counts as 0, where the reference keeps
///   NaN. The gradient keeps it here too.
/// - Differences of logits beyond the range of the arithmetic (float for float16 and bfloat16) are ±∞, where the
///   reference, in double, has a number; so is a margin beyond the range of float.
#[must_use]
pub fn function_for(signature: &Signature, opset: i64) -> FunctionProto {
    let mut body = Body::new(signature, opset);
    formula::write(&mut body, signature);
    FunctionProto {
        name: Some(signature.op.to_owned()),
        domain: Some(DOMAIN.to_owned()),
        input: owned(&signature.inputs()),
        output: owned(&signature.outputs()),
        attribute: owned(&signature.attributes()),
        node: body.into_nodes(),
        doc_string: Some(signature.describe()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        metadata_props: vec![StringStringEntryProto {
            key: Some("elonnx.version".to_owned()),
            value: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }],
        ..FunctionProto::default()
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&n| n.to_owned()).collect()
}

impl Signature {
    /// Formal inputs, up to the last one that is given.
    fn inputs(&self) -> Vec<&'static str> {
        let dloss: &[&str] = if self.op == GRAD { &["dloss"] } else { &[] };
        let mut inputs = [dloss, &["logits", "labels"]].concat();
        let optional = [
            ("class_weights", self.class_weights),
            ("bonus_weight", self.bonus_weight),
            ("margin", self.margin && self.op == GRAD),
        ];
        let given = optional.iter().rposition(|(_, given)| *given).map_or(0, |last| last + 1);
        inputs.extend(optional[..given].iter().map(|(name, _)| name));
        inputs
    }

    fn outputs(&self) -> Vec<&'static str> {
        match self.op {
            GRAD => vec!["dlogits"],
            LOSS if self.margin_output => vec!["loss", "margin"],
            LOSS => vec!["loss"],
            _ => vec!["loss", "margin", "dlogits"],
        }
    }

    /// The attributes that every node of this signature carries.
    fn attributes(&self) -> Vec<&'static str> {
        let mut names = vec!["log_end", "bonus", "power", "bonus_weight", "label_smoothing", "reduction"];
        if self.ignore_index {
            names.push("ignore_index");
        }
        names
    }

    fn describe(&self) -> String {
        let mut text = format!("{} in standard operators: {} bonus, reduction {}", self.op, self.bonus, self.reduction);
        for (part, there) in [
            ("label smoothing", self.label_smoothing),
            ("class weights", self.class_weights),
            ("bonus_weight as an input", self.bonus_weight),
            ("ignored rows", self.ignore_index),
        ] {
            if there {
                text.push_str(", ");
                text.push_str(part);
            }
        }
        text
    }
}
