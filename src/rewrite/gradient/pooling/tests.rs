use proptest::prelude::*;

use crate::model::{NodeBuilder, node};
use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

fn pool(op: &str, dims: &[usize], kernel: &[i64], more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Case {
    let x = tensor(dims, numbers(dims.iter().product(), 7));
    let built = more(node(op).inputs(["x"]).outputs(["y"]).ints("kernel_shape", kernel)).build();
    Case::new(vec![("x", x)], vec![built])
}

fn global(op: &str, dims: &[usize]) -> Case {
    let x = tensor(dims, numbers(dims.iter().product(), 7));
    Case::new(vec![("x", x)], vec![node(op).inputs(["x"]).outputs(["y"]).build()])
}

#[test]
fn largest_elements() {
    for opset in [13, 18, 22] {
        // side by side, with an element left over
        pool("MaxPool", &[2, 2, 5, 4], &[2, 2], |node| node.ints("strides", &[2, 2])).opset(opset).check();
        // overlapping by one, padded: three windows over four elements
        let padded = |node: NodeBuilder| node.ints("strides", &[2, 1]).ints("pads", &[1, 0, 1, 1]);
        pool("MaxPool", &[1, 2, 4, 3], &[3, 2], padded).opset(opset).check();
        // dilated: windows interleave
        let dilated = |node: NodeBuilder| node.ints("dilations", &[2, 1]).ints("strides", &[1, 2]);
        pool("MaxPool", &[1, 1, 4, 4], &[2, 2], dilated).opset(opset).check();
        // rounded up: the last window has one element
        let rounded = |node: NodeBuilder| node.ints("strides", &[2]).int("ceil_mode", 1);
        pool("MaxPool", &[2, 1, 6], &[3], rounded).opset(opset).check();
        pool("MaxPool", &[1, 1, 3, 2, 2], &[2, 2, 1], |node| node).opset(opset).check();
    }
}

#[test]
fn largest_elements_with_automatic_padding() {
    for auto_pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
        let form = |node: NodeBuilder| node.string("auto_pad", auto_pad).ints("strides", &[2, 3]);
        pool("MaxPool", &[1, 2, 5, 4], &[3, 3], form).check();
    }
}

/// Indices that are counted column by column, once asked for by the model and once not.
#[test]
fn largest_elements_in_column_major_order() {
    let form = |node: NodeBuilder| node.int("storage_order", 1).ints("strides", &[1, 2]);
    pool("MaxPool", &[2, 2, 2, 4], &[2, 2], form).check();
    let with_indices = |outputs: [&'static str; 2]| move |node: NodeBuilder| form(node).outputs(outputs);
    for dims in [vec![2, 2, 2, 4], vec![1, 2, 3, 2]] {
        pool("MaxPool", &dims, &[2, 2], with_indices(["y", "indices"])).check();
    }
    let solid = |node: NodeBuilder| node.int("storage_order", 1).outputs(["y", "indices"]);
    pool("MaxPool", &[1, 2, 3, 2, 4], &[2, 1, 2], solid).check();
}

#[test]
fn ties_go_to_one_element() {
    let case = Case::new(
        vec![("x", tensor(&[1, 1, 4], vec![0.5; 4]))],
        vec![node("MaxPool").inputs(["x"]).outputs(["y"]).ints("kernel_shape", &[2]).ints("strides", &[2]).build()],
    );
    assert_eq!(case.gradients(Known::All)["x"], [1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn averages() {
    let strided = |node: NodeBuilder| node.ints("strides", &[2, 2]);
    pool("AveragePool", &[2, 2, 5, 4], &[2, 2], strided).check();
    pool("AveragePool", &[1, 2, 4], &[3], |node| node).check();
    for count_include_pad in [0, 1] {
        let padded = |node: NodeBuilder| node.ints("pads", &[1, 0, 1, 1]).int("count_include_pad", count_include_pad);
        pool("AveragePool", &[2, 1, 4, 3], &[3, 2], |node| padded(node).ints("strides", &[2, 1])).check();
        // the last window reaches beyond the padding, with and without elements to spare
        let rounded = |node: NodeBuilder| padded(node).ints("strides", &[2, 3]).int("ceil_mode", 1);
        pool("AveragePool", &[1, 2, 5, 3], &[4, 2], rounded).check();
        let dilated = |node: NodeBuilder| padded(node).ints("dilations", &[1, 2]).ints("strides", &[2, 2]);
        pool("AveragePool", &[1, 1, 4, 4], &[2, 2], dilated).opset(19).check();
        for auto_pad in ["SAME_UPPER", "SAME_LOWER", "VALID"] {
            let auto = |node: NodeBuilder| {
                node.string("auto_pad", auto_pad).ints("strides", &[2, 1]).int("count_include_pad", count_include_pad)
            };
            let case = pool("AveragePool", &[1, 2, 4, 3], &[3, 2], auto);
            case.check_knowing(Known::All);
            case.check_knowing(Known::AllButBatch);
        }
    }
    pool("AveragePool", &[1, 1, 2, 3, 2], &[1, 2, 2], |node| node).check();
}

#[test]
fn automatic_padding_that_leaves_elements_out_is_refused() {
    let form = |node: NodeBuilder| node.string("auto_pad", "SAME_UPPER").ints("strides", &[3]);
    let error = pool("AveragePool", &[1, 1, 6], &[1], form).refused(Known::All);
    assert!(error.contains("leaves elements of axis 2 out"), "{error}");
    let error = pool("AveragePool", &[1, 1, 6], &[4], form).refused(Known::Rank);
    assert!(error.contains("size 2 of 'x', which is not known"), "{error}");
}

#[test]
fn norms() {
    for p in [1, 2, 3] {
        let form = |node: NodeBuilder| node.int("p", p).ints("strides", &[2, 1]).ints("pads", &[1, 0, 0, 1]);
        pool("LpPool", &[1, 2, 4, 3], &[3, 2], form).check();
        let rounded = |node: NodeBuilder| node.int("p", p).ints("strides", &[2]).int("ceil_mode", 1);
        pool("LpPool", &[2, 1, 4], &[3], rounded).check();
        let mut whole = global("GlobalLpPool", &[2, 2, 2, 3]);
        whole.nodes[0] = node("GlobalLpPool").inputs(["x"]).outputs(["y"]).int("p", p).build();
        whole.check();
    }
}

#[test]
fn a_window_of_zeros_has_no_gradient_in_its_norm() {
    let case = Case::new(
        vec![("x", tensor(&[1, 1, 4], vec![0.0, 0.0, 0.0, -4.0]))],
        vec![node("LpPool").inputs(["x"]).outputs(["y"]).ints("kernel_shape", &[2]).ints("strides", &[2]).build()],
    );
    assert_eq!(case.gradients(Known::All)["x"], [0.0, 0.0, 0.0, -1.0]);
}

#[test]
fn whole_planes() {
    for op in ["GlobalAveragePool", "GlobalMaxPool"] {
        for dims in [&[2, 3, 4][..], &[2, 2, 3, 2], &[1, 2, 2, 1, 3]] {
            global(op, dims).check();
        }
    }
}

#[test]
fn ties_of_a_whole_plane_share() {
    let case = Case::new(
        vec![("x", tensor(&[1, 1, 4], vec![0.5, 0.25, 0.5, 0.0]))],
        vec![node("GlobalMaxPool").inputs(["x"]).outputs(["y"]).build()],
    );
    assert_eq!(case.gradients(Known::All)["x"], [0.5, 0.0, 0.5, 0.0]);
}

/// Everything static: a constant for each share, no shapes at run time.
#[test]
fn known_sizes_need_no_shapes() {
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        let case = pool(op, &[1, 1, 4, 4], &[3, 3], |node| node.ints("strides", &[2, 2]).ints("pads", &[1, 1, 0, 0]));
        let ops = case.new_operators(Known::All);
        assert!(!ops.iter().any(|op| op == "Shape" || op == "Size"), "{op}: {ops:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pool(
        op in prop::sample::select(vec!["MaxPool", "AveragePool", "LpPool"]),
        axes in prop::collection::vec((1..4usize, 1..4i64, 0..3i64, 0..3i64, 0..4usize), 1..3),
        ceil_mode in 0..2i64,
        count_include_pad in 0..2i64,
        opset in prop::sample::select(vec![14, 18, 22]),
        known in prop::sample::select(vec![Known::All, Known::AllButBatch, Known::Rank]),
    ) {
        let kernel: Vec<i64> = axes.iter().map(|axis| axis.0 as i64).collect();
        let strides: Vec<i64> = axes.iter().map(|axis| axis.1).collect();
        // less padding than window: every window has an element
        let pads: Vec<i64> = axes.iter().map(|a| a.2.min(a.0 as i64 - 1)).chain(axes.iter().map(|a| a.3.min(a.0 as i64 - 1))).collect();
        let plane: Vec<usize> = axes.iter().map(|axis| axis.0 + axis.4).collect();
        let case = pool(op, &[&[2, 1], &plane[..]].concat(), &kernel, |node| {
            let node = node.ints("strides", &strides).ints("pads", &pads);
            let node = if op == "LpPool" && opset < 18 { node } else { node.int("ceil_mode", ceil_mode) };
            if op == "AveragePool" { node.int("count_include_pad", count_include_pad) } else { node }
        });
        case.opset(opset).check_knowing(known);
    }
}
