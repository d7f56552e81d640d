//! Steps in float16 and bfloat16, run in f64: casts round nothing there, so they must be those in float32 to the last
//! digits, and what the loss's scale does can be looked at.

use std::collections::HashMap;

use super::testing::{data, feed, floats, ints, mlp, numbers, run};
use super::{Initial, StatePort, TrainStep, TrainStepOptions, train_step};
use crate::model::{DataType, Document, node};
use crate::rewrite::Precision;
use crate::rewrite::evaluate::{Data, Tensor};
use crate::rewrite::optimizer::Optimizer;
use crate::rewrite::testing::TestModel;

fn step(document: &Document, precision: Precision, options: TrainStepOptions) -> TrainStep {
    train_step(document, &TrainStepOptions { precision, ..options }).unwrap()
}

/// What becomes of everything that lives from step to step, by the names it goes in with; and the loss.
fn results(step: &TrainStep, inputs: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let all = run(&step.document, inputs);
    let signature = &step.signature;
    let ports = signature.parameters.iter().chain(&signature.buffers);
    let ports = ports.map(|p| (&p.name, p.updated.as_ref().or(p.gradient.as_ref()).unwrap()));
    let state = signature.state.iter().map(|s| (&s.name, &s.updated));
    let mut found: HashMap<String, Tensor> =
        ports.chain(state).map(|(name, updated)| (name.clone(), all[updated].clone())).collect();
    found.insert("loss".into(), all["loss"].clone());
    found
}

#[track_caller]
fn assert_close(got: &HashMap<String, Tensor>, want: &HashMap<String, Tensor>) {
    for (name, want) in want {
        let got = &got[name];
        assert_eq!(got.dims, want.dims, "{name}");
        for (i, (got, want)) in data(got).iter().zip(data(want)).enumerate() {
            assert!((got - want).abs() <= 1e-12 * (1.0 + want.abs()), "{name}[{i}]: {got}, not {want}");
        }
    }
}

fn int(tensor: &Tensor) -> i64 {
    match &tensor.data {
        Data::Int(data) => data[0],
        other => panic!("an int tensor, not {other:?}"),
    }
}

/// x [N, 2, 4, 4] → Conv 3 → BatchNormalization → Relu → MaxPool → Gemm 5.
fn convolutional() -> Document {
    TestModel::new(22)
        .input("x", DataType::Float, &["N", "2", "4", "4"])
        .initializer("conv.w", DataType::Float, &[3, 2, 3, 3], &numbers(54, 1))
        .initializer("conv.b", DataType::Float, &[3], &numbers(3, 2))
        .initializer("bn.w", DataType::Float, &[3], &[1.0, 0.5, 2.0])
        .initializer("bn.b", DataType::Float, &[3], &numbers(3, 3))
        .initializer("bn.mean", DataType::Float, &[3], &[0.0; 3])
        .initializer("bn.var", DataType::Float, &[3], &[1.0; 3])
        .initializer("fc.w", DataType::Float, &[12, 5], &numbers(60, 4))
        .initializer("fc.b", DataType::Float, &[5], &numbers(5, 5))
        .with(node("Conv").inputs(["x", "conv.w", "conv.b"]).outputs(["c"]).ints("pads", &[1; 4]))
        .op("BatchNormalization", &["c", "bn.w", "bn.b", "bn.mean", "bn.var"], &["n"])
        .op("Relu", &["n"], &["r"])
        .with(node("MaxPool").inputs(["r"]).outputs(["m"]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]))
        .op("Flatten", &["m"], &["f"])
        .op("Gemm", &["f", "fc.w", "fc.b"], &["scores"])
        .output("scores", DataType::Float, &["N", "5"])
        .build()
}

fn feed_pictures(document: &Document, step: &TrainStep) -> HashMap<String, Tensor> {
    let mut inputs = feed(document, step);
    inputs.insert("x".into(), floats(&[6, 2, 4, 4], numbers(192, 9)));
    inputs
}

#[test]
fn a_step_is_that_in_float32_but_for_rounding() {
    let adamw = TrainStepOptions::default;
    let sgd = || TrainStepOptions {
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
        clip_norm: Some(0.5),
        ..adamw()
    };
    let none = || TrainStepOptions { optimizer: Optimizer::None, ..adamw() };
    for document in [mlp("N").build(), convolutional()] {
        for options in [adamw(), sgd(), none()] {
            let plain = step(&document, Precision::F32, options.clone());
            let inputs = match document.graph().initializers().len() {
                4 => feed(&document, &plain),
                _ => feed_pictures(&document, &plain),
            };
            let want = results(&plain, &inputs);
            for precision in [Precision::F16, Precision::Bf16] {
                let low = step(&document, precision, options.clone());
                let mut inputs = inputs.clone();
                for (name, value) in feed(&document, &low) {
                    inputs.entry(name).or_insert(value);
                }
                assert_close(&results(&low, &inputs), &want);
                assert_eq!(low.signature.precision, precision);
                let types: Vec<&str> = low.signature.parameters.iter().map(|p| p.data_type.as_str()).collect();
                assert!(types.iter().all(|name| *name == "float32"), "{types:?}");
            }
        }
    }
}

/// The plugin's operators are for float32: in float16 they are those of what stays float32.
#[test]
fn fused_operators_are_for_float32() {
    let document = convolutional();
    for (precision, expected) in [
        (Precision::F32, &["AdamW", "Conv", "ConvGradWeight"][..]),
        (Precision::F16, &["AdamW"]),
        (Precision::Bf16, &["AdamW"]),
    ] {
        let step = step(&document, precision, TrainStepOptions::default());
        let ours = step.document.graph().nodes().iter().filter(|node| node.op_domain() == crate::rewrite::DOMAIN);
        let ours =
            ours.map(|node| node.op().to_owned()).filter(|op| !op.contains("Loss") && !op.contains("Normalization"));
        let ours: std::collections::BTreeSet<String> = ours.collect();
        assert_eq!(ours.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{precision}");
    }
}

#[test]
fn only_float16_scales_its_loss() {
    let document = mlp("N").build();
    let kinds = |precision| -> Vec<StatePort> {
        let step = step(&document, precision, TrainStepOptions { optimizer: Optimizer::None, ..Default::default() });
        step.signature.state
    };
    assert_eq!(kinds(Precision::F32), []);
    assert_eq!(kinds(Precision::Bf16), []);
    let state = kinds(Precision::F16);
    let names: Vec<(&str, &str)> = state.iter().map(|s| (s.name.as_str(), s.updated.as_str())).collect();
    let expected = ["loss_scale", "good_steps", "skipped_steps"];
    assert_eq!(names, expected.map(|name| (name, format!("{name}/updated"))).each_ref().map(|(a, b)| (*a, b.as_str())));
    assert_eq!(state[0].initial, Initial::Value(65536));
    assert!(state.iter().all(|s| s.parameter.is_none() && s.shape.is_empty()));
}

#[test]
fn an_overflow_changes_no_parameter_but_the_scale() {
    let document = convolutional();
    let plain = TrainStepOptions { clip_norm: Some(1.0), ..TrainStepOptions::default() };
    for options in [plain.clone(), TrainStepOptions { optimizer: Optimizer::sgd(), clip_norm: None, ..plain }] {
        let step = step(&document, Precision::F16, options);
        for wrong in [f64::INFINITY, f64::NAN] {
            let mut inputs = feed_pictures(&document, &step);
            inputs.insert("good_steps".into(), ints(&[], vec![7]));
            let mut x = numbers(192, 9);
            x[5] = wrong;
            inputs.insert("x".into(), floats(&[6, 2, 4, 4], x));
            let found = results(&step, &inputs);
            for (name, value) in &found {
                match name.as_str() {
                    // the forward pass is not a number either here
                    "loss" | "bn.mean" | "bn.var" => {}
                    "loss_scale" => assert_eq!(data(value), [32768.0]),
                    "good_steps" => assert_eq!(int(value), 0),
                    "skipped_steps" => assert_eq!(int(value), 1),
                    _ => assert_eq!(value, &inputs[name], "{name}"),
                }
            }
        }
    }
}

#[test]
fn the_scale_grows_after_good_steps_and_stays_in_its_range() {
    let document = mlp("N").build();
    let step = step(&document, Precision::F16, TrainStepOptions::default());
    let mut inputs = feed(&document, &step);
    let mut after = |scale: f64, good: i64, x: f64| {
        inputs.insert("loss_scale".into(), floats(&[], vec![scale]));
        inputs.insert("good_steps".into(), ints(&[], vec![good]));
        inputs.insert("x".into(), floats(&[6, 3], vec![x; 18]));
        let found = results(&step, &inputs);
        (data(&found["loss_scale"])[0], int(&found["good_steps"]), int(&found["skipped_steps"]))
    };
    assert_eq!(after(65536.0, 0, 0.5), (65536.0, 1, 0));
    assert_eq!(after(65536.0, 1998, 0.5), (65536.0, 1999, 0));
    assert_eq!(after(65536.0, 1999, 0.5), (131_072.0, 0, 0));
    assert_eq!(after(65536.0, 1999, f64::NAN), (32768.0, 0, 1));
    let (largest, smallest) = (64f64.exp2(), (-64f64).exp2());
    assert_eq!(after(largest, 1999, 0.5), (largest, 0, 0));
    assert_eq!(after(smallest, 3, f64::NAN), (smallest, 0, 1));
}

/// The optimizer counts the steps that it made.
#[test]
fn steps_left_out_are_not_counted() {
    let document = mlp("N").build();
    let plain = step(&document, Precision::F32, TrainStepOptions::default());
    let low = step(&document, Precision::F16, TrainStepOptions::default());
    let mut inputs = feed(&document, &plain);
    inputs.insert("step".into(), ints(&[], vec![4]));
    let want = results(&plain, &inputs);
    let mut inputs = feed(&document, &low);
    inputs.insert("step".into(), ints(&[], vec![6]));
    inputs.insert("skipped_steps".into(), ints(&[], vec![2]));
    assert_close(&results(&low, &inputs), &want);
}

#[test]
fn what_cannot_be_low_is_told() {
    let document = TestModel::new(17)
        .input("x", DataType::Double, &["N", "3"])
        .initializer("w", DataType::Double, &[3, 5], &numbers(15, 1))
        .op("MatMul", &["x", "w"], &["z"])
        .output("z", DataType::Double, &["N", "5"])
        .build();
    let options = TrainStepOptions { precision: Precision::F16, ..TrainStepOptions::default() };
    assert_eq!(
        train_step(&document, &options).unwrap_err().to_string(),
        "--precision f16: nothing of the model can compute in float16: it has no matrix product or convolution of float32 \
         tensors"
    );
    let document = mlp("N").build();
    let notes = step(&document, Precision::Bf16, TrainStepOptions::default()).notes;
    assert!(
        notes.contains(&"4 of 5 nodes compute in bfloat16 (Add, Gemm, MatMul, Tanh), the others in float32".into()),
        "{notes:?}"
    );
}
