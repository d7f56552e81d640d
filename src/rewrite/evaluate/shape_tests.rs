//! What shape inference says before a graph runs, held against what the evaluator finds when it runs.

use proptest::prelude::*;

use crate::model::proto::NodeProto;
use crate::model::{DataType, Dimension, NodeBuilder, Shapes, TensorValue, node};
use crate::rewrite::testing::TestModel;

use super::{Data, Tensor, Values, evaluate};

/// Float x of these sizes, int64 vectors and float vectors as initializers, nodes that make y: every size of y must be known
/// and right.
fn check(dims: &[usize], ints: &[(&str, &[i64])], floats: &[(&str, &[f64])], nodes: Vec<NodeBuilder>) {
    let sizes: Vec<String> = dims.iter().map(usize::to_string).collect();
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    let mut model = TestModel::new(18).input("x", DataType::Float, &sizes);
    for (name, values) in ints {
        model = model.ints(name, values);
    }
    for (name, values) in floats {
        model = model.initializer(name, DataType::Float, &[values.len() as i64], values);
    }
    let document = nodes.into_iter().fold(model, TestModel::with).build();
    let found = Shapes::new(document.graph(), 18).get("y");
    let x = Tensor { dims: dims.to_vec(), data: Data::Float(vec![0.5; dims.iter().product()]) };
    let mut values = Values::from([("x".to_owned(), x)]);
    for initializer in document.graph().initializers() {
        let value = TensorValue::decode(&initializer.tensor().unwrap()).unwrap();
        values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).unwrap());
    }
    let nodes: Vec<&NodeProto> = document.graph().nodes().iter().map(|node| &**node).collect();
    let y = &evaluate(&nodes, values, 18).unwrap()["y"];
    let expected: Vec<Dimension> = y.dims.iter().map(|&size| Dimension::Known(size as i64)).collect();
    assert_eq!(found.dims, Some(expected), "{nodes:?}");
}

fn on_x(op: &str, more: &[&str]) -> NodeBuilder {
    node(op).inputs([&["x"], more].concat()).outputs(["y"])
}

#[test]
fn shape_arithmetic_of_exporters() {
    let shape = || node("Shape").inputs(["x"]).outputs(["shape"]);
    // expand to [2, -1 for "as it is"]: Where(Equal(target, -1), shape, target)
    let nodes = vec![
        shape(),
        node("Equal").inputs(["target", "minus"]).outputs(["kept"]),
        node("Where").inputs(["kept", "shape", "target"]).outputs(["full"]),
        on_x("Expand", &["full"]),
    ];
    check(&[1, 3], &[("target", &[2, -1]), ("minus", &[-1])], &[], nodes);
    // ones of the rank, by ConstantOfShape
    let nodes = vec![
        shape(),
        node("Shape").inputs(["shape"]).outputs(["rank"]),
        node("ConstantOfShape")
            .inputs(["rank"])
            .outputs(["ones"])
            .tensor("value", &crate::model::proto::TensorProto::vector("", DataType::Int64 as i32, &[1.0])),
        node("Mul").inputs(["shape", "ones"]).outputs(["same"]),
        on_x("Expand", &["same"]),
    ];
    check(&[2, 3], &[], &[], nodes);
    // pads as PyTorch turns them: [-1, 2] backwards, transposed, flat
    let nodes = vec![
        node("Reshape").inputs(["pads", "pairs"]).outputs(["matrix"]),
        node("Slice").inputs(["matrix", "last", "first", "zero", "back"]).outputs(["turned"]),
        node("Transpose").inputs(["turned"]).outputs(["columns"]).ints("perm", &[1, 0]),
        node("Reshape").inputs(["columns", "last"]).outputs(["flat"]),
        on_x("Pad", &["flat"]),
    ];
    let ints: &[(&str, &[i64])] = &[
        ("pads", &[1, 2, 0, 3]),
        ("pairs", &[-1, 2]),
        ("last", &[-1]),
        ("first", &[i64::MIN + 1]),
        ("zero", &[0]),
        ("back", &[-1]),
    ];
    check(&[2, 3], ints, &[], nodes);
    // columns of a matrix of one column are no rows of it
    let nodes = vec![
        node("Reshape").inputs(["pads", "column"]).outputs(["matrix"]),
        node("Slice").inputs(["matrix", "zero", "one", "last"]).outputs(["same"]),
        node("Reshape").inputs(["same", "last"]).outputs(["flat"]),
        on_x("Pad", &["flat"]),
    ];
    let ints: &[(&str, &[i64])] =
        &[("pads", &[1, 2, 0, 3]), ("column", &[4, 1]), ("zero", &[0]), ("one", &[1]), ("last", &[-1])];
    let model = ints.iter().fold(TestModel::new(18).input("x", DataType::Float, &["2", "3"]), |m, (n, v)| m.ints(n, v));
    let document = nodes.into_iter().fold(model, TestModel::with).build();
    let found = Shapes::new(document.graph(), 18).get("y").dims.unwrap();
    assert!(found.iter().all(|dim| dim.known().is_none_or(|size| [3, 8].contains(&size))), "{found:?}");
    // all elements in one row: ReduceProd, Size, Range, Min and Max on the way
    let nodes = vec![
        shape(),
        node("ReduceProd").inputs(["shape"]).outputs(["count"]),
        node("Max").inputs(["count", "one"]).outputs(["most"]),
        node("Concat").inputs(["one", "most"]).outputs(["target"]).int("axis", 0),
        on_x("Reshape", &["target"]),
    ];
    check(&[2, 3], &[("one", &[1])], &[], nodes);
}

#[test]
fn blocks_and_ranges() {
    check(&[2, 8, 3, 2], &[], &[], vec![on_x("DepthToSpace", &[]).int("blocksize", 2)]);
    check(&[2, 3, 4, 2], &[], &[], vec![on_x("SpaceToDepth", &[]).int("blocksize", 2)]);
    for (start, limit, delta) in [(0, 5, 2), (5, 0, -2), (0, 6, 3), (3, 3, 1), (1, 0, 1), (6, 0, -3)] {
        let range = node("Range").inputs(["start", "limit", "delta"]).outputs(["y"]);
        let scalar = |name: &'static str| node("Squeeze").inputs([name]).outputs([format!("{name}_0")]);
        let range =
            vec![scalar("start"), scalar("limit"), scalar("delta"), range.inputs(["start_0", "limit_0", "delta_0"])];
        check(&[1], &[("start", &[start]), ("limit", &[limit]), ("delta", &[delta])], &[], range);
    }
}

#[test]
fn einsums() {
    for equation in ["...ij->...ji", "...i", "i...j->j...", "ijk->ki", "ab...->..."] {
        check(&[2, 3, 4], &[], &[], vec![on_x("Einsum", &[]).string("equation", equation)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn slices(size in 1..6usize, start in -6i64..8, end in -8i64..8, step in prop::sample::select(vec![-3i64, -2, -1, 1, 2, 3])) {
        // from before the front backwards, readers of the specification disagree
        prop_assume!(step > 0 || start + size as i64 >= 0);
        let ints: &[(&str, &[i64])] = &[("start", &[start]), ("end", &[end]), ("axis", &[-1]), ("step", &[step])];
        check(&[2, size], ints, &[], vec![on_x("Slice", &["start", "end", "axis", "step"])]);
    }

    #[test]
    fn pads(before in -1i64..4, after in -1i64..4, axis in 0i64..2) {
        let ints: &[(&str, &[i64])] = &[("pads", &[before, after]), ("axes", &[axis])];
        check(&[2, 3], ints, &[], vec![on_x("Pad", &["pads", "", "axes"])]);
    }

    #[test]
    fn resizes(size in 1..9usize, scale in 0.3f32..4.0, to in 1i64..9) {
        prop_assume!(size as f32 * scale >= 1.0);
        check(&[1, size], &[], &[("scales", &[1.0, scale.into()])], vec![on_x("Resize", &["", "scales"])]);
        check(&[2, size], &[("sizes", &[to])], &[], vec![on_x("Resize", &["", "", "sizes"]).ints("axes", &[-1])]);
    }

    #[test]
    fn splits(size in 1..9usize, parts in 1..4usize, part in 0..4usize) {
        let (parts, part) = (parts.min(size), part.min(parts.min(size) - 1));
        // the last part may be empty in this reading of the specification, which no runtime takes
        prop_assume!(size.div_ceil(parts) * (parts - 1) < size);
        let outputs = (0..parts).map(|at| if at == part { "y".to_owned() } else { format!("part_{at}") });
        let split = node("Split").inputs(["x"]).outputs(outputs).int("axis", 1).int("num_outputs", parts as i64);
        check(&[2, size], &[], &[], vec![split]);
    }
}
