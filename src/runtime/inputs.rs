//! What an operator is given, checked as far as types and shapes go, the same on every device: no element is read, they
//! may lie where the CPU doesn't reach.

use super::abi::{Context, Dims, Failure, Tensor};
use crate::loss::{Reduction, Shape};

/// The inputs that the operators share: logits, labels, class_weights?, bonus_weight?
///
/// Before it matters which types they have: the longest part of reading them, once instead of per pair.
pub(crate) struct InputTensors<'a> {
    pub(crate) shape: Shape,
    pub(crate) logits: Tensor<'a>,
    pub(crate) labels: Tensor<'a>,
    pub(crate) class_weights: Option<Tensor<'a>>,
    /// one number
    pub(crate) bonus_weight: Option<Tensor<'a>>,
}

impl<'a> InputTensors<'a> {
    /// Reads them from input `first` on.
    pub(crate) fn read(context: &Context<'a>, first: usize) -> Result<Self, Failure> {
        let logits = require(context, first, "logits")?;
        let labels = require(context, first + 1, "labels")?;
        let shape = Shape::with_labels(logits.dims(), labels.dims())?;
        let class_weights = context.input(first + 2)?;
        if let Some(weights) = &class_weights {
            let why = "one weight per class";
            check_shape("class_weights", weights.dims(), &[shape.classes()], logits.dims(), why)?;
        }
        let bonus_weight = context.input(first + 3)?;
        if let Some(weight) = &bonus_weight {
            check_one_number("bonus_weight", weight.dims())?;
        }
        Ok(InputTensors { shape, logits, labels, class_weights, bonus_weight })
    }
}

/// What the gradient is given besides: dloss and, from the forward pass, margin?
pub(crate) struct UpstreamTensors<'a> {
    pub(crate) dloss: Tensor<'a>,
    pub(crate) margins: Option<Tensor<'a>>,
}

impl<'a> UpstreamTensors<'a> {
    /// Reads them for a loss of these shapes.
    pub(crate) fn read(
        context: &Context<'a>,
        reduction: Reduction,
        logits: &Dims,
        labels: &Dims,
    ) -> Result<Self, Failure> {
        let dloss = require(context, 0, "dloss")?;
        check_dloss(dloss.dims(), reduction, logits, labels)?;
        let margins = context.input(5)?;
        if let Some(margins) = &margins {
            check_shape("margin", margins.dims(), labels, logits, "the shape of labels")?;
        }
        Ok(UpstreamTensors { dloss, margins })
    }
}

pub(crate) fn require<'a>(context: &Context<'a>, index: usize, name: &str) -> Result<Tensor<'a>, Failure> {
    context.input(index)?.ok_or_else(|| Failure::invalid(format!("input {index} ({name}) is missing")))
}

fn check_one_number(name: &str, shape: &[usize]) -> Result<(), Failure> {
    if shape.iter().product::<usize>() == 1 {
        return Ok(());
    }
    Err(Failure::invalid(format!("{name} has shape {shape:?}, but must be one number, of shape [] or [1]")))
}

fn check_shape(name: &str, found: &[usize], expected: &[usize], logits: &[usize], why: &str) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{name} has shape {found:?}, but logits of shape {logits:?} need {name} of shape {expected:?}: {why}"
    )))
}

/// Mean and sum have one loss; none has one per row, and takes one number for all rows too (ORT Training seeds every
/// loss with a scalar).
fn check_dloss(dloss: &[usize], reduction: Reduction, logits: &[usize], labels: &[usize]) -> Result<(), Failure> {
    if matches!(dloss, [] | [1]) {
        return Ok(());
    }
    match reduction {
        Reduction::None => check_shape("dloss", dloss, labels, logits, "the shape of labels, or one number"),
        Reduction::Mean | Reduction::Sum => Err(Failure::invalid(format!(
            "dloss has shape {dloss:?}, but with reduction {reduction} it must be one number, of shape [] or [1]"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(result: Result<(), Failure>) -> String {
        match result {
            Err(Failure::Invalid(sentence)) => sentence,
            other => panic!("expected an invalid argument, got {other:?}"),
        }
    }

    #[test]
    fn dloss_has_the_shape_of_the_loss_or_is_one_number() {
        let (logits, labels) = ([4, 10, 2], [4, 2]);
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            assert!(check_dloss(&[], reduction, &logits, &labels).is_ok());
            assert!(check_dloss(&[1], reduction, &logits, &labels).is_ok());
        }
        assert!(check_dloss(&[4, 2], Reduction::None, &logits, &labels).is_ok());
        assert_eq!(
            sentence(check_dloss(&[8], Reduction::None, &logits, &labels)),
            "dloss has shape [8], but logits of shape [4, 10, 2] need dloss of shape [4, 2]: the shape of labels, or \
             one number"
        );
        assert_eq!(
            sentence(check_dloss(&[4, 2], Reduction::Sum, &logits, &labels)),
            "dloss has shape [4, 2], but with reduction sum it must be one number, of shape [] or [1]"
        );
    }
}
