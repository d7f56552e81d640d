use std::collections::HashMap;

use super::*;
use crate::model::TensorValue;
use crate::rewrite::evaluate::{Data, Tensor, Values, evaluate};
use crate::rewrite::testing::TestModel;

/// Dropouts of x, one after the other's input (not in a row), with this ratio and mode.
fn model(count: usize, ratio: f64, mode: bool) -> Document {
    let mut model = TestModel::new(17)
        .input("x", DataType::Double, &["N", "M"])
        .input("seed", DataType::Int64, &[])
        .initializer("ratio", DataType::Float, &[], &[ratio])
        .initializer("mode", DataType::Bool, &[], &[f64::from(u8::from(mode))]);
    for number in 0..count {
        model = model.with(node("Dropout").inputs(["x", "ratio", "mode"]).outputs([&format!("y{number}")]));
    }
    model.build()
}

fn explicit(mut document: Document, which: Dropouts) -> Document {
    explicit_dropout(&mut document, "seed", which).expect("a known element type");
    document
}

/// All values after a run on x, and on more inputs.
fn run(document: &Document, seed: i64, x: &Tensor, more: &[(&str, Tensor)]) -> Values {
    let graph = document.graph();
    let mut values: Values = HashMap::from([("x".to_owned(), x.clone())]);
    values.insert("seed".into(), Tensor { dims: vec![], data: Data::Int(vec![seed]) });
    values.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    for initializer in graph.initializers() {
        let value = TensorValue::decode(&initializer.tensor().expect("a tensor")).expect("numbers");
        values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).expect("small"));
    }
    let nodes: Vec<&NodeProto> = graph.nodes().iter().map(|node| &**node).collect();
    evaluate(&nodes, values, 17).expect("a result")
}

fn ones(dims: &[usize]) -> Tensor {
    Tensor { dims: dims.to_vec(), data: Data::Float(vec![1.0; dims.iter().product()]) }
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        Data::Float(data) => data.clone(),
        other => panic!("{other:?}"),
    }
}

/// 1 where an element is kept.
fn kept(document: &Document, seed: i64, number: usize, count: usize) -> Vec<f64> {
    let values = run(document, seed, &ones(&[1, count]), &[]);
    floats(&values[&format!("y{number}")]).iter().map(|&y| f64::from(u8::from(y != 0.0))).collect()
}

/// The documented function, written once more.
fn reference(seed: i64, number: usize, dropouts: usize, count: usize) -> Vec<i64> {
    let mid = |t: i64| (t >> 15) & (RANGE - 1);
    let (low, high) = (seed.rem_euclid(RANGE), seed.div_euclid(RANGE).rem_euclid(RANGE));
    let columns = 2 * dropouts;
    let different = odd_numbers(2 * columns);
    let mixed = |at: usize| {
        let different = different[at] as i64;
        let mut u = mid(different + low * STEP);
        for more in [different, high * STEP, different, low * STEP, different] {
            u = mid(u * u + more);
        }
        u
    };
    let key = |at: usize| (mixed(at) << 30) + mixed(columns + at);
    let (first, second) = (key(2 * number), key(2 * number + 1));
    let random = |i: i64| {
        let start = i * STEP + first;
        let u = mid(start);
        let u = mid(u * u + second);
        mid(u * u + start)
    };
    (0..count as i64).map(random).collect()
}

#[test]
fn the_graph_computes_the_documented_function() {
    let document = explicit(model(2, 0.3, true), Dropouts::ThatTrain);
    for seed in [0, 1, -1, 1 << 40, i64::MAX, i64::MIN] {
        for number in 0..2 {
            let threshold = (f64::from(0.3f32) * RANGE as f64).round() as i64;
            let wanted = reference(seed, number, 2, 50).into_iter().map(|u| f64::from(u8::from(u >= threshold)));
            assert_eq!(kept(&document, seed, number, 50), wanted.collect::<Vec<_>>(), "seed {seed}, dropout {number}");
        }
    }
}

#[test]
fn what_is_kept_is_scaled() {
    let x = Tensor { dims: vec![2, 3], data: Data::Float(vec![1.0, -2.0, 3.0, -4.0, 5.0, -6.0]) };
    let document = explicit(model(1, 0.75, true), Dropouts::ThatTrain);
    let y = floats(&run(&document, 3, &x, &[])["y0"]);
    let mask = kept(&document, 3, 0, 6);
    for ((y, x), kept) in y.iter().zip(floats(&x)).zip(mask) {
        assert_eq!(*y, x * kept * 4.0);
    }
}

/// The sum of products of two series of mean 0 and variance 1, in standard deviations.
fn dependence(one: &[f64], other: &[f64]) -> f64 {
    let sum: f64 = one.iter().zip(other).map(|(a, b)| a * b).sum();
    sum.abs() / (one.len().min(other.len()) as f64).sqrt()
}

/// Masks behave as independent draws: the share that is kept; neighbours, rows and columns of common widths; other
/// Dropouts; other seeds, also those next to each other. Nothing is random here, so nothing fails by chance; 4.5 standard
/// deviations for some 500 numbers would be a wonder of 1 in 300.
#[test]
fn masks_are_as_if_drawn() {
    let count = 1 << 14;
    for ratio in [0.1, 0.5, 0.9] {
        let deviation = f64::sqrt(ratio * (1.0 - ratio));
        let standard = |seed, number| -> Vec<f64> {
            let kept = reference(seed, number, 3, count).into_iter().map(|u| u as f64 >= ratio * RANGE as f64);
            kept.map(|kept| (f64::from(u8::from(kept)) - (1.0 - ratio)) / deviation).collect()
        };
        let mut earlier: Option<Vec<f64>> = None;
        for seed in [0, 1, 2, 1000, 1 << 33] {
            let masks: Vec<Vec<f64>> = (0..3).map(|number| standard(seed, number)).collect();
            let about = |what: &str, found: f64| {
                assert!(found < 4.5, "{what} of ratio {ratio}, seed {seed}: {found:.1} standard deviations");
            };
            for mask in &masks {
                about("the share kept", dependence(mask, &vec![1.0; count]));
                for lag in [1, 2, 3, 7, 28, 64, 100, 128, 784, 1024, 4096] {
                    about(&format!("elements {lag} apart"), dependence(&mask[lag..], mask));
                }
                let triples: Vec<f64> = mask.windows(2).map(|pair| pair[0] * pair[1]).collect();
                about("three in a row", dependence(&triples, &mask[2..]));
            }
            about("two dropouts", dependence(&masks[0], &masks[1]));
            about("two dropouts", dependence(&masks[1], &masks[2]));
            if let Some(earlier) = earlier.replace(masks[0].clone()) {
                about("two seeds", dependence(&earlier, &masks[0]));
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_mask() {
    let document = explicit(model(2, 0.5, true), Dropouts::ThatTrain);
    let mask = kept(&document, 7, 1, 200);
    assert_eq!(mask, kept(&document, 7, 1, 200));
    // a longer batch begins with the same elements
    assert_eq!(mask, kept(&document, 7, 1, 300)[..200]);
    assert_ne!(mask, kept(&document, 8, 1, 200));
    assert_ne!(mask, kept(&document, 7, 0, 200));
}

#[test]
fn which_dropouts_drop() {
    for (mode, which, dropped) in
        [(true, Dropouts::ThatTrain, true), (false, Dropouts::ThatTrain, false), (false, Dropouts::All, true)]
    {
        let mut document = model(1, 0.5, mode);
        assert_eq!(explicit_dropout(&mut document, "seed", which).expect("known"), usize::from(dropped));
        let left = document.graph().nodes().iter().filter(|node| node.op() == "Dropout").count();
        assert_eq!(left, usize::from(!dropped));
        assert_eq!(kept(&document, 1, 0, 40).iter().all(|&kept| kept == 1.0), !dropped);
    }
    let mut without = TestModel::new(17).input("x", DataType::Float, &["N"]).op("Relu", &["x"], &["y"]).build();
    assert_eq!(explicit_dropout(&mut without, "seed", Dropouts::All).expect("known"), 0);
    assert_eq!(without.graph().nodes().len(), 1);
}

/// Mode and ratio are inputs; the mask is asked for.
#[test]
fn a_ratio_and_a_mode_that_come_in() {
    let document = TestModel::new(17)
        .input("x", DataType::Double, &["N", "M"])
        .input("seed", DataType::Int64, &[])
        .input("ratio", DataType::Float, &[])
        .input("mode", DataType::Bool, &[])
        .with(node("Dropout").inputs(["x", "ratio", "mode"]).outputs(["y0", "mask"]))
        .build();
    let document = explicit(document, Dropouts::ThatTrain);
    let with = |ratio: f64, mode: bool| {
        let scalar = |data| Tensor { dims: vec![], data };
        let more = [("ratio", scalar(Data::Float(vec![ratio]))), ("mode", scalar(Data::Bool(vec![mode])))];
        let values = run(&document, 5, &ones(&[4, 25]), &more);
        assert_eq!(values["mask"].dims, [4, 25]);
        (floats(&values["y0"]), values["mask"].data.clone())
    };
    assert_eq!(with(0.5, false), (vec![1.0; 100], Data::Bool(vec![true; 100])));
    let fixed = explicit(model(1, 0.5, true), Dropouts::ThatTrain);
    let wanted = kept(&fixed, 5, 0, 100);
    let (y, mask) = with(0.5, true);
    assert_eq!(y, wanted.iter().map(|kept| kept * 2.0).collect::<Vec<_>>());
    assert_eq!(mask, Data::Bool(wanted.iter().map(|&kept| kept == 1.0).collect()));
}

/// dx = dy·mask / (1 − ratio), without a shape that is found when the graph runs.
#[test]
fn gradients_go_through() {
    let document = explicit(model(1, 0.5, true), Dropouts::ThatTrain);
    let found = crate::rewrite::gradient(&document, "y0", &["x"]).expect("a gradient");
    let values = run(&found.document, 9, &ones(&[3, 4]), &[]);
    // y0 itself is not needed for the gradient
    let forward = run(&document, 9, &ones(&[3, 4]), &[]);
    assert_eq!(values[&found.outputs[0]], forward["y0"]);
    assert!(found.document.graph().nodes().iter().all(|node| node.op() != "ReduceSum"));
}

#[test]
fn an_unknown_element_type_is_refused() {
    let mut document = TestModel::new(17)
        .input("x", DataType::Float, &["N"])
        .with(node("Mystery").domain("elsewhere").inputs(["x"]).outputs(["h"]))
        .with(node("Dropout").inputs(["h"]).outputs(["y"]))
        .build();
    let error = explicit_dropout(&mut document, "seed", Dropouts::All).expect_err("a refusal").to_string();
    assert!(error.contains("element type of its data is not known"), "{error}");
}
