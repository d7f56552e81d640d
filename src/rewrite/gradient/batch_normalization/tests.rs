use crate::model::{NodeBuilder, node};
use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

/// Data, scale and bias; statistics, too, where `given`.
fn case(dims: &[usize], given: bool, more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Case {
    let channels = dims[1];
    let of_channels = |seed| tensor(&[channels], numbers(channels, seed));
    let positive: Vec<f64> = numbers(channels, 6).iter().map(|x| x.abs() + 0.1).collect();
    let mut inputs = vec![
        ("x", tensor(dims, numbers(dims.iter().product(), 3))),
        ("scale", of_channels(4)),
        ("bias", of_channels(5)),
    ];
    let built = more(node("BatchNormalization").inputs(["x", "scale", "bias", "mean", "variance"]).outputs(["y"]));
    if given {
        inputs.extend([("mean", of_channels(7)), ("variance", tensor(&[channels], positive))]);
        return Case::new(inputs, vec![built.build()]).weights(&["scale", "bias", "mean", "variance"]);
    }
    Case::new(inputs, vec![built.build()])
        .weights(&["scale", "bias"])
        .floats("mean", &[channels], &numbers(channels, 7))
        .floats("variance", &[channels], &positive)
}

/// One value per channel, a row, a plane, a solid.
const SHAPES: [&[usize]; 4] = [&[4, 3], &[3, 2, 4], &[2, 3, 2, 2], &[2, 2, 1, 2, 2]];

#[test]
fn given_statistics() {
    for opset in [13, 14, 15, 18] {
        for dims in SHAPES {
            case(dims, true, |node| node).opset(opset).check();
        }
    }
    case(&[2, 2, 3], true, |node| node.float("epsilon", 0.5)).check();
}

#[test]
fn statistics_of_the_batch() {
    let trains = |node: NodeBuilder| node.int("training_mode", 1);
    for opset in [14, 15, 18] {
        for dims in SHAPES {
            case(dims, false, trains).opset(opset).check();
        }
    }
    let all = |node: NodeBuilder| trains(node).outputs(["y", "new_mean", "new_variance"]).float("epsilon", 0.1);
    case(&[3, 2, 2], false, |node| all(node).float("momentum", 0.5)).check();
}

/// With a momentum of 0 the node itself gives the statistics: no mean is taken a second time.
#[test]
fn statistics_that_the_node_gives() {
    let form = |node: NodeBuilder| node.int("training_mode", 1).float("momentum", 0.0);
    let forms: [fn(NodeBuilder) -> NodeBuilder; 2] =
        [|node| node, |node| node.outputs(["y", "new_mean", "new_variance"])];
    for more in forms {
        let case = case(&[3, 2, 4], false, |node| more(form(node)));
        case.check();
        assert!(!case.new_operators(Known::AllButBatch).contains(&"ReduceMean".to_owned()));
    }
}

#[test]
fn the_old_form_in_training_is_refused() {
    let old = case(&[2, 2], true, |node| node.outputs(["y", "m", "v"])).opset(13);
    assert!(old.refused(Known::All).contains("before version 14"));
}
