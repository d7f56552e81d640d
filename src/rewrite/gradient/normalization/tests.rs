use proptest::prelude::*;

use crate::model::{NodeBuilder, node};
use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

/// An operator on data and parameters of these shapes.
fn case(op: &str, dims: &[usize], parameters: &[&[usize]], more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Case {
    let random = |dims: &[usize], seed| tensor(dims, numbers(dims.iter().product(), seed));
    let names = ["scale", "bias"];
    let mut inputs = vec![("x", random(dims, 3))];
    inputs.extend(names.iter().zip(parameters).zip(4..).map(|((&name, dims), seed)| (name, random(dims, seed))));
    let built = node(op).inputs(inputs.iter().map(|(name, _)| *name)).outputs(["y"]);
    Case::new(inputs, vec![more(built).build()]).weights(&names)
}

#[test]
fn layers() {
    // the last axis, with and without a bias; several axes; an axis from the front; a scale that is stretched
    case("LayerNormalization", &[2, 3, 4], &[&[4], &[4]], |node| node).check();
    case("LayerNormalization", &[3, 4], &[&[4]], |node| node.float("epsilon", 0.1)).check();
    case("LayerNormalization", &[2, 3, 4], &[&[3, 4], &[3, 4]], |node| node.int("axis", -2)).check();
    case("LayerNormalization", &[2, 2, 3], &[&[2, 3]], |node| node.int("axis", 1)).check();
    case("LayerNormalization", &[2, 2, 3], &[&[1, 3], &[2, 1]], |node| node.int("axis", 1)).check();
    case("LayerNormalization", &[2, 3], &[&[2, 3]], |node| node.int("axis", 0)).opset(17).check();
    let all = |node: NodeBuilder| node.outputs(["y", "mean", "inverse"]);
    case("LayerNormalization", &[3, 4], &[&[4], &[4]], all).check();
    let some = |node: NodeBuilder| node.outputs(["y", "", "inverse"]);
    case("LayerNormalization", &[3, 4], &[&[4], &[4]], some).check();
}

/// Mean and deviation come from the forward pass.
#[test]
fn the_statistics_of_a_layer_are_not_computed_again() {
    let case = case("LayerNormalization", &[3, 4], &[&[4], &[4]], |node| node);
    assert!(!case.new_operators(Known::All).contains(&"Sqrt".to_owned()));
}

#[test]
fn root_mean_squares() {
    for opset in [23, 24] {
        case("RMSNormalization", &[2, 3, 4], &[&[4]], |node| node).opset(opset).check();
    }
    let two_axes = |node: NodeBuilder| node.int("axis", 1).float("epsilon", 0.2);
    case("RMSNormalization", &[2, 2, 3], &[&[2, 3]], two_axes).opset(23).check();
    case("RMSNormalization", &[2, 2, 3], &[&[3]], two_axes).opset(23).check();
}

#[test]
fn groups() {
    for opset in [18, 20] {
        case("GroupNormalization", &[2, 4, 3], &[&[2], &[2]], |node| node.int("num_groups", 2)).opset(opset).check();
    }
    for opset in [21, 23] {
        let form = |node: NodeBuilder| node.int("num_groups", 2).float("epsilon", 0.1);
        case("GroupNormalization", &[2, 4, 2, 2], &[&[4], &[4]], form).opset(opset).check();
        // one group of all channels, one group for each
        case("GroupNormalization", &[2, 3, 2], &[&[3], &[3]], |node| node.int("num_groups", 1)).opset(opset).check();
        case("GroupNormalization", &[2, 2, 4], &[&[2], &[2]], |node| node.int("num_groups", 2)).opset(opset).check();
    }
    // no plane at all
    case("GroupNormalization", &[2, 6], &[&[6], &[6]], |node| node.int("num_groups", 2)).opset(21).check();
    let none = case("GroupNormalization", &[2, 4], &[&[4], &[4]], |node| node);
    assert!(none.refused(Known::All).contains("num_groups is 0"));
}

#[test]
fn instances() {
    for opset in [13, 22] {
        case("InstanceNormalization", &[2, 2, 4], &[&[2], &[2]], |node| node).opset(opset).check();
        let form = |node: NodeBuilder| node.float("epsilon", 0.1);
        case("InstanceNormalization", &[1, 3, 2, 2], &[&[3], &[3]], form).opset(opset).check();
    }
}

#[test]
fn norms() {
    for p in [1, 2] {
        for axis in [-1, 0, 1] {
            for opset in [13, 22] {
                let form = |node: NodeBuilder| node.int("p", p).int("axis", axis);
                case("LpNormalization", &[2, 3, 2], &[], form).opset(opset).check();
            }
        }
    }
}

#[test]
fn a_vector_of_zeros_has_no_gradient_in_its_norm() {
    let case = Case::new(
        vec![("x", tensor(&[2, 2], vec![0.0, 0.0, 0.0, -4.0]))],
        vec![node("LpNormalization").inputs(["x"]).outputs(["y"]).build()],
    );
    assert_eq!(case.gradients(Known::All)["x"], [0.0, 0.0, 0.25, 0.0]);
}

#[test]
fn channels_around() {
    // an even size sees one channel more behind than in front; more than there are
    for size in [1, 2, 3, 4, 9] {
        let form = |node: NodeBuilder| node.int("size", size).float("alpha", 0.5).float("bias", 1.5).float("beta", 0.6);
        case("LRN", &[2, 4, 3, 1], &[], form).check();
        case("LRN", &[1, 5, 2], &[], form).check();
    }
}

#[test]
fn mean_and_variance() {
    for opset in [13, 18] {
        case("MeanVarianceNormalization", &[2, 2, 2, 3], &[], |node| node).opset(opset).check();
        case("MeanVarianceNormalization", &[2, 3, 3], &[], |node| node.ints("axes", &[0, -1])).opset(opset).check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_normalisation(
        op in prop::sample::select(vec!["LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"]),
        (batch, groups, per_group) in (1..3usize, 1..3usize, 1..3usize),
        plane in prop::collection::vec(1..3usize, 0..3),
        last in 2..4usize,
        axis in 0..4usize,
        known in prop::sample::select(vec![Known::All, Known::AllButBatch, Known::Rank]),
    ) {
        let channels = groups * per_group;
        let dims = [&[batch, channels], &plane[..], &[last]].concat();
        let case = match op {
            "GroupNormalization" => {
                case(op, &dims, &[&[channels], &[channels]], |node| node.int("num_groups", groups as i64))
            }
            "InstanceNormalization" => case(op, &dims, &[&[channels], &[channels]], |node| node),
            _ => {
                let axis = axis % dims.len();
                let parameters = [&dims[axis..], &dims[axis..]];
                let count = if op == "RMSNormalization" { 1 } else { 2 };
                case(op, &dims, &parameters[..count], |node| node.int("axis", axis as i64))
            }
        };
        case.opset(23).check_knowing(known);
    }
}
