//! The losses: the encouraging loss through its own gradient op, cross entropy as the encouraging loss without a bonus.

use crate::loss::EncouragingLoss;
use crate::model::proto::NodeProto;
use crate::model::{DataType, ValueType};
use crate::rewrite::function::{Operands, attributes, operator};
use crate::rewrite::{GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP};

use super::backward::{Backward, Refusal, Vjp, refusal};

/// Of the default domain.
pub(super) const RULES: &[(&str, Vjp)] = &[("SoftmaxCrossEntropyLoss", softmax_cross_entropy)];
/// Of our own.
pub(super) const OURS: &[(&str, Vjp)] = &[(LOSS_OP, encouraging_loss)];

/// `EncouragingLoss`: where the loss is what is differentiated, forward and gradient are one op,
/// `EncouragingLossAndGrad`; else dlogits = `EncouragingLossGrad`(dloss, logits, labels, …, margin).
fn encouraging_loss(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    if c.wants(1) || c.wants(2) || c.wants(3) {
        return Err(refusal("labels, class weights and bonus_weight have no gradient"));
    }
    let dloss = c.dy()?;
    let operands = Operands::of(LOSS_OP, &c.node);
    let (Some(logits), Some(labels)) = (operands.logits, operands.labels) else {
        return Err(refusal("it lacks logits or labels"));
    };
    let (logits, labels) = (logits.to_owned(), labels.to_owned());
    let margin = margin_of(c, &labels);
    let is_seed = c.b.constant_value(&dloss).is_some_and(|value| value.scalar() == Some(1.0) && value.dims.is_empty());
    if is_seed && operator(&c.node) == Some(LOSS_OP) && c.node.is(crate::rewrite::DOMAIN, LOSS_OP) {
        let dlogits = c.b.fresh(&format!("gradient/{logits}"));
        let mut both = NodeProto::clone(c.b.node_at(c.at));
        both.op_type = Some(LOSS_AND_GRAD_OP.to_owned());
        both.output.resize(3, String::new());
        both.output[2].clone_from(&dlogits);
        c.b.replace_node(c.at, both);
        c.b.declare_like(&dlogits, &logits);
        c.give(0, dlogits);
        return Ok(());
    }
    let weights = c.x(2);
    let bonus_weight = c.x(3);
    let attributes = c.node.attribute.clone();
    let inputs = [&dloss, &logits, &labels, &weights, &bonus_weight, &margin].map(String::as_str);
    let dlogits = c.b.ours(GRAD_OP, &inputs, 1, |node| node.attributes(attributes)).swap_remove(0);
    c.b.declare_like(&dlogits, &logits);
    c.give(0, dlogits);
    Ok(())
}

/// The margin output of the loss, float in the shape of the labels.
fn margin_of(c: &mut Backward<'_, '_>, labels: &str) -> String {
    let margin = c.y(1);
    let dims = c.b.dims(labels);
    c.b.declare(&margin, ValueType { data_type: Some(DataType::Float as i32), dims });
    margin
}

/// `SoftmaxCrossEntropyLoss` is the encouraging loss with `bonus_weight` 0: the same gradient op, which reads nothing but
/// the logits.
fn softmax_cross_entropy(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dloss = c.dy()?;
    let (logits, labels, weights) = (c.x(0), c.x(1), c.x(2));
    let loss = EncouragingLoss::cross_entropy()
        .to_builder()
        .reduction(c.string("reduction", "mean").parse().map_err(|error| refusal(format!("{error}")))?)
        .ignore_index(c.node.attr_int("ignore_index"))
        .build()
        .map_err(|error| refusal(error.to_string()))?;
    let inputs = [&dloss, &logits, &labels, &weights].map(String::as_str);
    let attributes = attributes(&loss);
    let dlogits = c.b.ours(GRAD_OP, &inputs, 1, |node| node.attributes(attributes)).swap_remove(0);
    c.b.declare_like(&dlogits, &logits);
    c.give(0, dlogits);
    Ok(())
}
