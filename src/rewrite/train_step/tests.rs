//! Steps as a whole: what goes in, what comes out, and whether the numbers are right.

use std::collections::HashMap;

use super::testing::{data, feed, floats, ints, mlp, numbers, run, stored};
use super::{Size, TrainStep, TrainStepOptions, eval_step, train_step, trained};
use crate::loss::EncouragingLoss;
use crate::model::{DataType, Document, GraphIndex, node};
use crate::rewrite::evaluate::Tensor;
use crate::rewrite::optimizer::Optimizer;
use crate::rewrite::testing::TestModel;

fn gradients_only() -> TrainStepOptions {
    TrainStepOptions { optimizer: Optimizer::None, ..TrainStepOptions::default() }
}

#[test]
fn a_step_says_what_it_takes_and_gives() {
    let document = mlp("N").build();
    let step = train_step(&document, &TrainStepOptions::default()).unwrap();
    let signature = &step.signature;
    let names: Vec<&str> = signature.parameters.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
    assert_eq!(signature.parameters[0].updated.as_deref(), Some("fc1.weight/updated"));
    assert_eq!(signature.parameters[0].gradient, None);
    assert_eq!(signature.parameters[0].shape, [4, 3]);
    let state: Vec<(&str, &str)> =
        signature.state.iter().take(2).map(|s| (s.name.as_str(), s.updated.as_str())).collect();
    assert_eq!(
        state,
        [
            ("fc1.weight/exp_avg", "fc1.weight/exp_avg/updated"),
            ("fc1.weight/exp_avg_sq", "fc1.weight/exp_avg_sq/updated")
        ]
    );
    assert_eq!((signature.loss.as_str(), signature.margin.as_str()), ("loss", "margin"));
    assert_eq!(signature.logits.name, "logits");
    assert_eq!(signature.labels.shape, [Size::Free("N".into())]);
    assert_eq!((signature.learning_rate.as_deref(), signature.step.as_deref()), (Some("learning_rate"), Some("step")));

    // every port is there, nothing else, and nothing is stored
    let graph = step.document.graph();
    assert_eq!(graph.initializers().len(), 0);
    let mut inputs: Vec<&str> = graph.inputs().iter().map(|i| i.name()).collect();
    let mut told: Vec<&str> = vec!["x", "labels", "learning_rate", "step"];
    told.extend(names);
    told.extend(signature.state.iter().map(|s| s.name.as_str()));
    inputs.sort_unstable();
    told.sort_unstable();
    assert_eq!(inputs, told);
    let index = GraphIndex::new(graph);
    assert!(signature.parameters.iter().all(|p| index.is_output(p.updated.as_ref().unwrap())));
    let json = step.document.metadata(super::METADATA_KEY).unwrap();
    assert_eq!(serde_json::from_str::<super::Signature>(json).unwrap(), *signature);
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for loss in [
        EncouragingLoss::default(),
        EncouragingLoss::cross_entropy(),
        EncouragingLoss::builder().log_end(1.0).label_smoothing(0.1).build().unwrap(),
    ] {
        let document = mlp("N").build();
        let options = TrainStepOptions { loss, wrt: vec!["x".into()], ..gradients_only() };
        let step = train_step(&document, &options).unwrap();
        let mut pairs: Vec<(String, String)> = Vec::new();
        for parameter in &step.signature.parameters {
            pairs.push((parameter.name.clone(), parameter.gradient.clone().unwrap()));
        }
        for input in &step.signature.input_gradients {
            pairs.push((input.input.clone(), input.gradient.clone()));
        }
        assert_eq!(pairs.len(), 5);
        assert_differences(&step, feed(&document, &step), &pairs);
    }
}

/// Holds gradients (of a value, in an output) against central differences of the loss.
fn assert_differences(step: &TrainStep, mut inputs: HashMap<String, Tensor>, pairs: &[(String, String)]) {
    let results = run(&step.document, &inputs);
    for (name, gradient) in pairs {
        let value = inputs[name].clone();
        assert_eq!(results[gradient].dims, value.dims);
        for i in 0..value.len() {
            let mut loss_at = |delta: f64| {
                let mut moved = data(&value).to_vec();
                moved[i] += delta;
                inputs.insert(name.clone(), floats(&value.dims, moved));
                data(&run(&step.document, &inputs)["loss"])[0]
            };
            let difference = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5;
            let got = data(&results[gradient])[i];
            assert!((got - difference).abs() < 1e-7, "∂/∂{name}[{i}]: {got}, differences say {difference}");
        }
        inputs.insert(name.clone(), value);
    }
}

#[test]
fn frozen_parameters_stay_in_the_file() {
    let document = mlp("N").build();
    let frozen = TrainStepOptions { freeze: vec!["fc1.*".into()], ..TrainStepOptions::default() };
    let only = TrainStepOptions { train_only: vec!["fc2.*".into()], ..TrainStepOptions::default() };
    let both = TrainStepOptions {
        train_only: vec!["*".into()],
        freeze: vec!["fc?.weight".into()],
        ..TrainStepOptions::default()
    };
    let trained_of = |options: &TrainStepOptions| -> Vec<String> {
        train_step(&document, options).unwrap().signature.parameters.into_iter().map(|p| p.name).collect()
    };
    assert_eq!(trained_of(&frozen), ["fc2.weight", "fc2.bias"]);
    assert_eq!(trained_of(&only), ["fc2.weight", "fc2.bias"]);
    assert_eq!(trained_of(&both), ["fc1.bias", "fc2.bias"]);
    let step = train_step(&document, &frozen).unwrap();
    let stored: Vec<&str> = step.document.graph().initializers().iter().map(|t| t.name()).collect();
    assert_eq!(stored, ["fc1.weight", "fc1.bias"]);
}

#[test]
fn what_cannot_be_is_told() {
    let document = mlp("N").build();
    let told = |options: TrainStepOptions| train_step(&document, &options).unwrap_err().to_string();
    let default = TrainStepOptions::default;
    let text = told(TrainStepOptions { freeze: vec!["layer.*".into()], ..default() });
    assert_eq!(
        text,
        "--freeze 'layer.*' matches no parameter; its parameters are fc1.bias, fc1.weight, fc2.bias, fc2.weight"
    );
    let text = told(TrainStepOptions { freeze: vec!["*".into()], ..default() });
    assert_eq!(text, "there is nothing to train: all 4 parameters are frozen by --freeze and --train-only");
    let text = told(TrainStepOptions { wrt: vec!["fc1.weight".into()], ..default() });
    assert_eq!(text, "--wrt fc1.weight: the model has no such input; it has x");
    let none = EncouragingLoss::builder().reduction(crate::loss::Reduction::None).build().unwrap();
    assert!(told(TrainStepOptions { loss: none, ..default() }).contains("mean or sum"));
    assert!(told(TrainStepOptions { clip_norm: Some(0.0), ..default() }).contains("above 0"));
    assert!(told(TrainStepOptions { logits: Some("none".into()), ..default() }).contains("no such value"));
    let bare = TestModel::new(17)
        .input("x", DataType::Float, &["N", "3"])
        .op("Tanh", &["x"], &["y"])
        .output("y", DataType::Float, &["N", "3"])
        .build();
    let text = train_step(&bare, &TrainStepOptions { logits: Some("y".into()), ..default() }).unwrap_err().to_string();
    assert!(text.contains("stores no float tensors"), "{text}");
}

#[test]
fn a_softmax_head_is_cut_and_a_loss_there_is_used() {
    let with_head = mlp("N").op("Softmax", &["scores"], &["p"]).output("p", DataType::Float, &["N", "5"]).build();
    let with_loss = mlp("N")
        .input("target", DataType::Int64, &["N"])
        .op("SoftmaxCrossEntropyLoss", &["scores", "target"], &["ce"])
        .output("ce", DataType::Float, &[])
        .build();
    let plain = mlp("N").build();
    let options = gradients_only();
    let loss_of = |document: &Document| {
        let step = train_step(document, &options).unwrap();
        let results = run(&step.document, &feed(document, &step));
        (step, data(&results["loss"])[0])
    };
    let (_, expected) = loss_of(&plain);
    let (step, loss) = loss_of(&with_head);
    assert_eq!(loss, expected);
    assert!(!step.document.graph().nodes().iter().any(|node| node.op() == "Softmax"));
    let (step, loss) = loss_of(&with_loss);
    assert_eq!(loss, expected);
    assert_eq!(step.signature.labels.name, "target");
    let patched = crate::rewrite::patch(&with_loss, &crate::rewrite::PatchOptions::default()).unwrap().document;
    assert_eq!(loss_of(&patched).1, expected);
}

#[test]
fn a_batch_of_one_is_made_free() {
    let document = mlp("1").build();
    let step = train_step(&document, &gradients_only()).unwrap();
    assert_eq!(step.signature.data[0].shape, [Size::Free("batch".into()), Size::Fixed(3)]);
    assert_eq!(step.signature.labels.shape, [Size::Free("batch".into())]);
    run(&step.document, &feed(&document, &step));
}

#[test]
fn weights_shared_by_two_layers_are_one_parameter() {
    let document = TestModel::new(17)
        .input("x", DataType::Float, &["N", "3"])
        .initializer("w", DataType::Float, &[3, 3], &numbers(9, 1))
        .op("MatMul", &["x", "w"], &["h"])
        .op("Tanh", &["h"], &["a"])
        .op("Transpose", &["w"], &["wt"])
        .op("MatMul", &["a", "wt"], &["z"])
        .output("z", DataType::Float, &["N", "3"])
        .build();
    let step = train_step(&document, &gradients_only()).unwrap();
    assert_eq!(step.signature.parameters.len(), 1);
    let mut feed = feed(&document, &step);
    feed.insert("labels".into(), ints(&[6], vec![0, 1, 2, 0, 1, 2]));
    assert_differences(&step, feed, &[("w".into(), "w/gradient".into())]);
}

#[test]
fn steps_make_the_loss_smaller() {
    let document = mlp("N").build();
    for optimizer in
        [Optimizer::sgd(), Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 }, Optimizer::adamw()]
    {
        let options = TrainStepOptions { optimizer, ..TrainStepOptions::default() };
        let step = train_step(&document, &options).unwrap();
        let evaluation = eval_step(&document, &step).unwrap();
        let mut feed = feed(&document, &step);
        let mut losses = Vec::new();
        for number in 1..=30 {
            if let Some(step) = &step.signature.step {
                feed.insert(step.clone(), ints(&[], vec![number]));
            }
            let results = run(&step.document, &feed);
            let evaluated = run(&evaluation, &feed);
            for port in ["loss", "margin", "logits"] {
                assert_eq!(evaluated[port], results[port], "{port}");
            }
            losses.push(data(&results["loss"])[0]);
            for parameter in &step.signature.parameters {
                feed.insert(parameter.name.clone(), results[parameter.updated.as_ref().unwrap()].clone());
            }
            for state in &step.signature.state {
                feed.insert(state.name.clone(), results[&state.updated].clone());
            }
        }
        assert!(losses[29] < 0.5 * losses[0], "{optimizer:?}: {losses:?}");
    }
}

#[test]
fn clipping_bounds_the_norm() {
    let document = mlp("N").build();
    let plain = train_step(&document, &TrainStepOptions { gradient_norm: true, ..gradients_only() }).unwrap();
    let clipped = train_step(&document, &TrainStepOptions { clip_norm: Some(0.25), ..gradients_only() }).unwrap();
    let norm = |step: &TrainStep, results: &HashMap<String, Tensor>| {
        let squares = step.signature.parameters.iter().flat_map(|p| data(&results[p.gradient.as_ref().unwrap()]));
        squares.map(|x| x * x).sum::<f64>().sqrt()
    };
    let feed = feed(&document, &plain);
    let (before, after) = (run(&plain.document, &feed), run(&clipped.document, &feed));
    let told = data(&before["gradient_norm"])[0];
    assert!(told > 0.5, "{told}");
    assert!((told - norm(&plain, &before)).abs() < 1e-6 * told);
    assert_eq!(after["gradient_norm"], before["gradient_norm"]);
    let expected = told * 0.25 / (told + 1e-6);
    assert!((norm(&clipped, &after) - expected).abs() < 1e-6, "{}", norm(&clipped, &after));
}

#[test]
fn the_weight_of_the_bonus_and_of_classes_can_be_inputs() {
    let document = mlp("N").build();
    let options = TrainStepOptions { bonus_weight_input: true, class_weights_input: true, ..gradients_only() };
    let step = train_step(&document, &options).unwrap();
    let mut inputs = feed(&document, &step);
    let loss = |inputs: &HashMap<String, Tensor>| data(&run(&step.document, inputs)["loss"])[0];
    let fixed = |loss: EncouragingLoss| {
        let step = train_step(&document, &TrainStepOptions { loss, ..gradients_only() }).unwrap();
        data(&run(&step.document, &feed(&document, &step))["loss"])[0]
    };
    inputs.insert(step.signature.class_weights.clone().unwrap(), floats(&[5], vec![2.0; 5]));
    inputs.insert(step.signature.bonus_weight.clone().unwrap(), floats(&[], vec![0.0]));
    assert!((loss(&inputs) - fixed(EncouragingLoss::cross_entropy())).abs() < 1e-12);
    inputs.insert(step.signature.bonus_weight.clone().unwrap(), floats(&[], vec![1.0]));
    assert!((loss(&inputs) - fixed(EncouragingLoss::default())).abs() < 1e-12);
    assert_eq!(eval_step(&document, &step).unwrap().graph().inputs().len(), step.document.graph().inputs().len());
}

#[test]
fn trained_values_go_back_where_they_were() {
    let constant = crate::model::proto::TensorProto::vector("", DataType::Float as i32, &[0.5, -0.5, 0.25, 0.0, 1.0]);
    let document = mlp("N")
        .with(node("Constant").outputs(["shift"]).tensor("value", &constant))
        .op("Add", &["scores", "shift"], &["shifted"])
        .output("shifted", DataType::Float, &["N", "5"])
        .build();
    let options = TrainStepOptions { logits: Some("shifted".into()), ..TrainStepOptions::default() };
    let step = train_step(&document, &options).unwrap();
    let names: Vec<&str> = step.signature.parameters.iter().map(|p| p.name.as_str()).collect();
    assert!(names.contains(&"shift"), "{names:?}");

    // with what is there already nothing changes but how Constant nodes store it
    let old = stored(&document);
    let bytes = |tensor: &Tensor| -> bytes::Bytes {
        data(tensor).iter().flat_map(|&x| (x as f32).to_le_bytes()).collect::<Vec<u8>>().into()
    };
    let same = trained(&document, |name| old.get(name).map(bytes)).unwrap();
    assert_eq!(same.to_bytes(), document.to_bytes());

    let new = trained(&document, |name| match name {
        "fc2.bias" | "shift" => Some([1.0f32, 2.0, 3.0, 4.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect()),
        _ => None,
    })
    .unwrap();
    assert_eq!(new.to_bytes().len(), document.to_bytes().len());
    assert_eq!(data(&stored(&new)["fc2.bias"]), [1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(stored(&new)["fc1.weight"], old["fc1.weight"]);
    let index = GraphIndex::new(new.graph());
    assert_eq!(index.constant("shift").unwrap().data, [1.0, 2.0, 3.0, 4.0, 5.0]);

    let short = trained(&document, |name| (name == "fc2.bias").then(|| bytes::Bytes::from_static(&[0; 16])));
    assert_eq!(short.unwrap_err().to_string(), "fc2.bias: its shape [5] needs 20 bytes of data, not 16");
}
