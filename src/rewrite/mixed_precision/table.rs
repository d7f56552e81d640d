//! Which operator computes in which type, as PyTorch's autocast has it.
//!
//! | operators | type | why |
//! | --- | --- | --- |
//! | products of matrices, convolutions | low | nearly all of the time goes there, and what runtimes have fast units for; sums inside run in float32 |
//! | `Relu`, `Add`, `Reshape` … | that of its data | it costs a pass over memory, twice as long in float32; where data of both types meet, float32, so that nothing is lost |
//! | anything else: normalizations, reductions, pools of means, exponentials, logarithms, powers, roots, `Softmax`, losses, `Gelu`, `Erf`, what has a subgraph | float32 | sums of many numbers lose their last ones, exponentials and powers leave the range of float16 (6e-8 … 65504), statistics decide about all that follows |
//! | `Gather`, `Scatter…`, `MaxPool` with windows that overlap, `Pad` that repeats | float32 | the gradient adds up by `ScatterElements`, which ONNX Runtime does not have in float16 on the CPU |

use crate::model::DataType;
use crate::model::proto::NodeProto;

/// The type that an operator computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The low one.
    Low,
    /// The low one where all of its data have it.
    Follows,
    /// float32.
    Wide,
}

/// No version of the standard operators has it in bfloat16.
const NEVER: i64 = i64::MAX;

/// Operator, place, and the version of the standard operators from which on it and all operators of its gradient take
/// bfloat16: `Where` does from 16 on, `ConstantOfShape` from 20 on, `Conv` from 22 on.
const TABLE: &[(&str, Place, i64)] = &[
    ("Conv", Place::Low, 22),
    ("ConvTranspose", Place::Low, 22),
    ("Einsum", Place::Low, NEVER),
    ("Gemm", Place::Low, 13),
    ("MatMul", Place::Low, 13),
    // one number of each operand
    ("Add", Place::Follows, 13),
    ("Clip", Place::Follows, 16),
    ("Div", Place::Follows, 13),
    ("Max", Place::Follows, 16),
    ("Min", Place::Follows, 16),
    ("Mul", Place::Follows, 13),
    ("Neg", Place::Follows, 13),
    ("PRelu", Place::Follows, 16),
    ("Sub", Place::Follows, 13),
    ("Sum", Place::Follows, 13),
    ("Where", Place::Follows, 16),
    // activations whose gradient is no more than a product
    ("HardSigmoid", Place::Follows, 22),
    ("HardSwish", Place::Follows, 22),
    ("LeakyRelu", Place::Follows, 16),
    ("Relu", Place::Follows, 16),
    ("Sigmoid", Place::Follows, 13),
    ("Tanh", Place::Follows, 13),
    // numbers are moved, not changed
    ("Concat", Place::Follows, 13),
    ("Dropout", Place::Follows, 22),
    ("Expand", Place::Follows, 13),
    ("Flatten", Place::Follows, 13),
    ("Identity", Place::Follows, 13),
    ("MaxPool", Place::Follows, 22),
    ("Pad", Place::Follows, 20),
    ("Reshape", Place::Follows, 13),
    ("Slice", Place::Follows, 20),
    ("Split", Place::Follows, 20),
    ("Squeeze", Place::Follows, 13),
    ("Transpose", Place::Follows, 13),
    ("Unsqueeze", Place::Follows, 13),
];

/// Where a node computes, and whether that is only for lack of the operator in this type and opset.
pub(super) fn place(node: &NodeProto, low: DataType, opset: i64) -> (Place, bool) {
    let entry = TABLE.iter().find(|(op, ..)| node.is("", op));
    let Some((_, place, bfloat16_from)) = entry else { return (Place::Wide, false) };
    if adds_up(node) {
        return (Place::Wide, false);
    }
    if low == DataType::Bfloat16 && opset < *bfloat16_from {
        return (Place::Wide, *place == Place::Low);
    }
    (*place, false)
}

/// Whether the gradient has to add up numbers by a scatter.
fn adds_up(node: &NodeProto) -> bool {
    match node.op() {
        "MaxPool" => windows_overlap(node),
        "Pad" => node.attr_str("mode").is_some_and(|mode| mode != "constant"),
        _ => false,
    }
}

/// Whether two windows of a pool may share an element.
fn windows_overlap(pool: &NodeProto) -> bool {
    let kernel = pool.attr_ints("kernel_shape").unwrap_or_default();
    let at = |name: &str, axis: usize| pool.attr_ints(name).and_then(|all| all.get(axis).copied()).unwrap_or(1);
    kernel.iter().enumerate().any(|(axis, &size)| size > at("strides", axis) || at("dilations", axis) != 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node;

    #[test]
    fn every_operator_stands_once() {
        let names: std::collections::BTreeSet<&str> = TABLE.iter().map(|(op, ..)| *op).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn bfloat16_waits_for_its_opset() {
        let conv = node("Conv").build();
        assert_eq!(place(&conv, DataType::Float16, 13), (Place::Low, false));
        assert_eq!(place(&conv, DataType::Bfloat16, 21), (Place::Wide, true));
        assert_eq!(place(&conv, DataType::Bfloat16, 22), (Place::Low, false));
        assert_eq!(place(&node("Relu").build(), DataType::Bfloat16, 13), (Place::Wide, false));
        assert_eq!(place(&node("Gemm").domain("other").build(), DataType::Float16, 17), (Place::Wide, false));
    }

    #[test]
    fn pools_that_add_up_stay_wide() {
        let pool = |kernel: &[i64], strides: &[i64]| {
            let pool = node("MaxPool").ints("kernel_shape", kernel).ints("strides", strides).build();
            place(&pool, DataType::Float16, 17).0
        };
        assert_eq!(pool(&[2, 2], &[2, 2]), Place::Follows);
        assert_eq!(pool(&[2, 2], &[2, 3]), Place::Follows);
        assert_eq!(pool(&[3, 3], &[2, 2]), Place::Wide);
    }
}
