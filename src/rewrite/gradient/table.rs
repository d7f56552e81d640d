//! Which operator has which rule.

use super::backward::Vjp;
use super::{
    activation, arithmetic, batch_normalization, convolution, dropout, einsum, elementary, fused, indexing, loss,
    movement, normalization, pooling, product, reduction, resize, selection, softmax,
};
use crate::rewrite::is_our_domain;

/// How gradients treat an operator.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// It has a vector-Jacobian product.
    Vjp(Vjp),
    /// Its outputs do not change with its inputs but in jumps (or not at all): the gradient is zero, nothing goes through.
    Zero,
}

/// Rules of the default domain, one slice per family.
const FAMILIES: &[&[(&str, Vjp)]] = &[
    activation::RULES,
    arithmetic::RULES,
    batch_normalization::RULES,
    convolution::RULES,
    dropout::RULES,
    einsum::RULES,
    elementary::RULES,
    indexing::RULES,
    loss::RULES,
    movement::RULES,
    normalization::RULES,
    pooling::RULES,
    product::RULES,
    reduction::RULES,
    resize::RULES,
    selection::RULES,
    softmax::RULES,
];

/// Operators whose derivative is zero wherever it exists, and those that only read shapes.
const ZERO: &[&str] = &[
    "And",
    "ArgMax",
    "ArgMin",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Ceil",
    "ConstantOfShape",
    "Constant",
    "Equal",
    "EyeLike",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "IsInf",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "NonMaxSuppression",
    "NonZero",
    "Not",
    "OneHot",
    "Or",
    "RandomNormalLike",
    "RandomUniformLike",
    "Range",
    "Round",
    "Shape",
    "Sign",
    "Size",
    "Xor",
];

/// The rule of an operator; None: it has none.
pub(super) fn rule(domain: &str, op: &str) -> Option<Rule> {
    match domain {
        "" => {
            let vjp = FAMILIES.iter().flat_map(|family| family.iter()).find(|(name, _)| *name == op);
            vjp.map(|(_, vjp)| Rule::Vjp(*vjp)).or_else(|| ZERO.contains(&op).then_some(Rule::Zero))
        }
        domain if is_our_domain(domain) => {
            loss::OURS.iter().chain(fused::OURS).find(|(name, _)| *name == op).map(|(_, vjp)| Rule::Vjp(*vjp))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operator_has_one_rule() {
        let mut seen = HashSet::new();
        let all = FAMILIES.iter().flat_map(|family| family.iter()).map(|(name, _)| *name).chain(ZERO.iter().copied());
        for name in all {
            assert!(seen.insert(name), "{name} twice");
        }
    }
}
