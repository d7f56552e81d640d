//! The last layer: logits = weight · feature + bias.

use crate::model::proto::NodeProto;
use crate::model::{DataType, Dimension, Document};
use crate::rewrite::rules::Context;

use super::LinearHead;
use super::weights::{Weights, weights};

/// Longest way from the logits to the layer.
const MAX_STEPS: usize = 32;

/// Finds the layer behind the logits and reads its weights.
///
/// # Errors
/// Why there is none, a clause.
pub(super) fn linear_head(document: &Document, context: &Context, logits: &str) -> Result<LinearHead, String> {
    let walk = Walk { document, context };
    let mut bias = Bias::default();
    let mut value = logits.to_owned();
    for _ in 0..MAX_STEPS {
        let Some(id) = context.index.producer(&value) else {
            return Err(format!("'{value}' is an input of the model: no layer makes the logits"));
        };
        let node: &NodeProto = context.graph.node(id);
        let between = || format!("{} stands between the last layer and the logits", node.describe());
        let input = |at: usize| node.input_at(at).map(str::to_owned).ok_or_else(between);
        value = match (node.op_domain(), node.op()) {
            ("", "Gemm") => return walk.gemm(node, bias),
            ("", "MatMul") => return walk.matmul(node, bias),
            ("", "Conv") => return walk.conv(node, bias),
            ("", "Identity") => input(0)?,
            ("", "Dropout") if node.output_at(0) == Some(&value) => input(0)?,
            ("", "Cast") if walk.is_float(&input(0)?) => input(0)?,
            ("", "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze") if walk.keeps_classes(&input(0)?, &value) => {
                input(0)?
            }
            ("", "Add") => {
                let (left, right) = (input(0)?, input(1)?);
                match (walk.stored(&right), walk.stored(&left)) {
                    (Ok(added), _) => {
                        bias.add(&added, 1.0, walk.class_position(&value)).ok_or_else(between)?;
                        left
                    }
                    (_, Ok(added)) => {
                        bias.add(&added, 1.0, walk.class_position(&value)).ok_or_else(between)?;
                        right
                    }
                    _ => return Err(between()),
                }
            }
            ("", "Sub") => {
                let taken = walk.stored(&input(1)?).map_err(|_| between())?;
                bias.add(&taken, -1.0, walk.class_position(&value)).ok_or_else(between)?;
                input(0)?
            }
            _ => return Err(between()),
        };
    }
    Err("the last layer is too far from the logits".to_owned())
}

/// What is added after the layer: a number for all classes, or one for each.
#[derive(Default)]
struct Bias {
    terms: Vec<Vec<f32>>,
}

impl Bias {
    /// `position`: axis of the classes counted from the last one; `None` where the term does not broadcast along it.
    fn add(&mut self, term: &Weights, factor: f32, position: Option<usize>) -> Option<()> {
        if term.data.len() != 1 {
            let from_last = term.dims.iter().rev().position(|dim| *dim == term.data.len())?;
            if Some(from_last) != position {
                return None;
            }
        }
        self.terms.push(term.data.iter().map(|x| x * factor).collect());
        Some(())
    }

    fn sum(&self, classes: usize) -> Option<Vec<f32>> {
        let mut sum = vec![0.0; classes];
        for term in &self.terms {
            match &term[..] {
                [all] => sum.iter_mut().for_each(|b| *b += all),
                each if each.len() == classes => sum.iter_mut().zip(each).for_each(|(b, x)| *b += x),
                _ => return None,
            }
        }
        Some(sum)
    }
}

struct Walk<'a, 'g> {
    document: &'a Document,
    context: &'a Context<'g>,
}

impl Walk<'_, '_> {
    fn stored(&self, value: &str) -> Result<Weights, String> {
        weights(self.document, &self.context.index, value)
    }

    fn is_float(&self, value: &str) -> bool {
        use DataType::{Bfloat16, Double, Float, Float16};
        matches!(self.context.data_type(value), Some(Float | Double | Float16 | Bfloat16))
    }

    /// How many axes of size 1 are behind the classes, in a value whose elements are rows of classes.
    fn class_position(&self, value: &str) -> Option<usize> {
        let dims = self.context.shapes.get(value).dims?;
        let ones = dims.iter().rev().take_while(|dim| **dim == Dimension::Known(1)).count();
        (ones + 1 < dims.len()).then_some(ones)
    }

    /// Whether both values are the same rows of classes.
    fn keeps_classes(&self, from: &str, to: &str) -> bool {
        let classes = |value: &str| {
            let position = self.class_position(value)?;
            let dims = self.context.shapes.get(value).dims?;
            dims.iter().rev().nth(position)?.known()
        };
        classes(from).is_some_and(|n| Some(n) == classes(to))
    }

    fn gemm(&self, node: &NodeProto, mut bias: Bias) -> Result<LinearHead, String> {
        let layer = node.describe();
        if node.attr_int("transA").unwrap_or(0) != 0 {
            return Err(format!("{layer} reads its feature transposed"));
        }
        let mut weight = self.matrix(node, 1)?;
        if node.attr_int("transB").unwrap_or(0) == 0 {
            weight = weight.transposed();
        }
        let alpha = node.attr_float("alpha").unwrap_or(1.0);
        weight.data.iter_mut().for_each(|w| *w *= alpha);
        if let Some(added) = node.input_at(2) {
            let beta = node.attr_float("beta").unwrap_or(1.0);
            bias.add(&self.stored(added)?, beta, Some(0)).ok_or_else(|| unfit_bias(&layer))?;
        }
        head(node, weight, &bias)
    }

    fn matmul(&self, node: &NodeProto, bias: Bias) -> Result<LinearHead, String> {
        let weight = self.matrix(node, 1)?.transposed();
        head(node, weight, &bias)
    }

    /// A 1×1 convolution of one position is a matrix product.
    fn conv(&self, node: &NodeProto, mut bias: Bias) -> Result<LinearHead, String> {
        let layer = node.describe();
        let feature = node.input_at(0).unwrap_or_default();
        let positions = self.context.shapes.get(feature).dims;
        let one = |dims: &[Dimension]| dims.len() > 2 && dims[2..].iter().all(|dim| *dim == Dimension::Known(1));
        if !positions.as_deref().is_some_and(one) {
            return Err(format!("{layer} is a convolution over several positions, which are pooled behind it"));
        }
        let weight = self.stored(node.input_at(1).unwrap_or_default())?;
        if node.attr_int("group").unwrap_or(1) != 1 || weight.dims.iter().skip(2).any(|&size| size != 1) {
            return Err(format!("{layer} is no 1×1 convolution in one group"));
        }
        if node.attr_ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0)) {
            return Err(format!("{layer} pads its feature"));
        }
        if let Some(added) = node.input_at(2) {
            bias.add(&self.stored(added)?, 1.0, Some(0)).ok_or_else(|| unfit_bias(&layer))?;
        }
        let [classes, features, ..] = weight.dims[..] else { return Err(format!("{layer} has no matrix of weights")) };
        head(node, Weights { dims: vec![classes, features], data: weight.data }, &bias)
    }

    fn matrix(&self, node: &NodeProto, at: usize) -> Result<Weights, String> {
        let weight = self.stored(node.input_at(at).unwrap_or_default())?;
        if weight.dims.len() != 2 {
            return Err(format!("the weight of {} has {} axes, not 2", node.describe(), weight.dims.len()));
        }
        Ok(weight)
    }
}

fn unfit_bias(layer: &str) -> String {
    format!("the bias of {layer} is not one number per class")
}

/// `weight` is [classes, features].
fn head(node: &NodeProto, weight: Weights, bias: &Bias) -> Result<LinearHead, String> {
    let (classes, features) = (weight.dims[0], weight.dims[1]);
    if classes * features != weight.data.len() || features == 0 {
        return Err(format!("{} has no weights", node.describe()));
    }
    let bias = bias.sum(classes).ok_or_else(|| unfit_bias(&node.describe()))?;
    let feature = node.input_at(0).unwrap_or_default().to_owned();
    Ok(LinearHead { feature, features, weight: weight.data, bias })
}
