use super::*;
use crate::model::proto::{AttributeProto, AttributeType, FunctionProto, OperatorSetIdProto};
use crate::model::{NodeBuilder, attribute};
use crate::rewrite::testing::TestModel;
use crate::rewrite::{PatchOptions, patch};

const FLOAT: DataType = DataType::Float;

/// x [N, 4] and the layer w [4, 3], b [3].
fn layer(opset: i64) -> TestModel {
    let weights: Vec<f64> = (0..12).map(f64::from).collect();
    TestModel::new(opset).input("x", FLOAT, &["N", "4"]).initializer("w", FLOAT, &[4, 3], &weights).initializer(
        "b",
        FLOAT,
        &[3],
        &[1.0, 2.0, 3.0],
    )
}

fn cut(model: TestModel) -> ScoringModel {
    scoring_model(&model.build(), &ScoringOptions { feature: true, ..ScoringOptions::default() }).unwrap()
}

fn ops(model: &ScoringModel) -> Vec<&str> {
    model.document.graph().nodes().iter().map(|node| node.op()).collect()
}

fn names(values: &[ValueInfoProto]) -> Vec<&str> {
    values.iter().map(|value| value.name()).collect()
}

fn refused(model: TestModel, options: &ScoringOptions) -> String {
    scoring_model(&model.build(), options).unwrap_err().to_string()
}

#[test]
fn the_head_and_everything_behind_it_go() {
    let model = cut(layer(17)
        .op("Relu", &["x"], &["h"])
        .op("Gemm", &["h", "w", "b"], &["z"])
        .op("Softmax", &["z"], &["p"])
        .op("Sigmoid", &["z"], &["other"])
        .output("p", FLOAT, &["N", "3"])
        .output("other", FLOAT, &["N", "3"])
        .number("unused", 1.0));
    assert_eq!(ops(&model), ["Relu", "Gemm"]);
    assert_eq!(names(model.document.graph().outputs()), ["z", "h"]);
    assert_eq!(model.document.graph().initializers().len(), 2);
    assert_eq!((model.value.as_str(), model.classes, model.class_axis), ("z", Some(3), 1));
    assert_eq!(model.how, "goes through a softmax to the output 'p'");
    let head = model.head.unwrap();
    assert_eq!((head.feature.as_str(), head.features), ("h", 4));
    assert_eq!(head.weight, [0.0, 3.0, 6.0, 9.0, 1.0, 4.0, 7.0, 10.0, 2.0, 5.0, 8.0, 11.0]);
    assert_eq!(head.bias, [1.0, 2.0, 3.0]);
    assert!(model.free_batch);
}

#[test]
fn every_form_of_the_last_layer_is_read() {
    let bias = |model: TestModel| {
        let model = cut(model.output("z", FLOAT, &["N", "3"]));
        model.head.map(|head| (head.weight[1], head.bias))
    };
    let all = vec![1.0, 2.0, 3.0];
    assert_eq!(
        bias(layer(17).op("MatMul", &["x", "w"], &["m"]).op("Add", &["m", "b"], &["z"])),
        Ok((3.0, all.clone()))
    );
    assert_eq!(
        bias(layer(17).op("MatMul", &["x", "w"], &["m"]).op("Add", &["b", "m"], &["z"])),
        Ok((3.0, all.clone()))
    );
    let scaled = node("Gemm").inputs(["x", "w", "b"]).outputs(["z"]).float("alpha", 2.0).float("beta", 3.0);
    assert_eq!(bias(layer(17).with(scaled)), Ok((6.0, vec![3.0, 6.0, 9.0])));
    let turned = layer(17).op("Transpose", &["w"], &["wt"]);
    let gemm = node("Gemm").inputs(["x", "wt", "b"]).outputs(["z"]).int("transB", 1);
    assert_eq!(bias(turned.with(gemm)), Ok((3.0, all.clone())));
    let conv = TestModel::new(17)
        .input("x", FLOAT, &["N", "2", "1", "1"])
        .initializer("k", FLOAT, &[3, 2, 1, 1], &[1.0, 3.0, 0.0, 0.0, 0.0, 0.0])
        .initializer("b", FLOAT, &[3], &[1.0, 2.0, 3.0])
        .op("Conv", &["x", "k", "b"], &["c"])
        .op("Flatten", &["c"], &["z"]);
    assert_eq!(bias(conv), Ok((3.0, all)));
    let between = bias(layer(17).op("Gemm", &["x", "w", "b"], &["g"]).op("Relu", &["g"], &["z"]));
    assert_eq!(between.unwrap_err(), "Relu -> 'z' stands between the last layer and the logits");
}

#[test]
fn a_feature_that_is_an_input_gets_a_name_of_its_own() {
    let model = cut(layer(17).op("Gemm", &["x", "w", "b"], &["z"]).output("z", FLOAT, &["N", "3"]));
    assert_eq!(names(model.document.graph().outputs()), ["z", "x_output"]);
    assert_eq!(model.head.unwrap().feature, "x_output");
}

#[test]
fn labels_and_loss_vanish() {
    let document = layer(17)
        .op("Gemm", &["x", "w", "b"], &["z"])
        .op("Softmax", &["z"], &["p"])
        .output("p", FLOAT, &["N", "3"])
        .build();
    let trained = patch(&document, &PatchOptions::default()).unwrap().document;
    let model = scoring_model(&trained, &ScoringOptions::default()).unwrap();
    assert_eq!(names(model.document.graph().inputs()), ["x"]);
    assert_eq!(ops(&model), ["Gemm"]);
    assert!(model.how.starts_with("goes into the loss ai.elonnx::EncouragingLoss"), "{}", model.how);
    assert!(model.document.functions().is_empty() && model.document.opset_version("ai.elonnx").is_none());
}

fn trained(opset: i64, dropout: NodeBuilder, normalization: NodeBuilder) -> TestModel {
    let ones = [1.0; 4];
    layer(opset)
        .initializer("s", FLOAT, &[4], &ones)
        .initializer("on", DataType::Bool, &[], &[1.0])
        .number("ratio", 0.5)
        .with(normalization.inputs(["x", "s", "s", "s", "s"]))
        .with(dropout)
        .op("Gemm", &["d", "w", "b"], &["z"])
        .output("z", FLOAT, &["N", "3"])
}

#[test]
fn training_mode_is_turned_off() {
    let modern = trained(
        17,
        node("Dropout").inputs(["n", "ratio", "on"]).outputs(["d", "mask"]),
        node("BatchNormalization").outputs(["n", "mean", "var"]).int("training_mode", 1),
    );
    let old = trained(
        9,
        node("Dropout").inputs(["n"]).outputs(["d"]),
        node("BatchNormalization").outputs(["n", "m", "v", "sm", "sv"]),
    );
    let oldest = trained(
        6,
        node("Dropout").inputs(["n"]).outputs(["d"]),
        node("BatchNormalization").outputs(["n", "m", "v", "sm", "sv"]),
    );
    for (model, told) in [(modern, 2), (old, 1), (oldest, 2)] {
        let model = cut(model);
        assert_eq!(ops(&model), ["BatchNormalization", "Identity", "Gemm"]);
        assert_eq!(model.document.graph().nodes()[0].output, ["n"]);
        assert_eq!(model.document.graph().nodes()[0].attr("training_mode"), None);
        assert_eq!(model.changes.len(), told, "{:?}", model.changes);
        assert!(model.document.graph().initializers().iter().all(|tensor| tensor.name() != "ratio"));
    }
    let mask = layer(17)
        .with(node("Dropout").inputs(["x"]).outputs(["d", "mask"]))
        .with(node("Cast").inputs(["mask"]).outputs(["m"]).int("to", 1))
        .op("Mul", &["d", "m"], &["e"])
        .op("Gemm", &["e", "w", "b"], &["z"])
        .output("z", FLOAT, &["N", "3"]);
    let why = refused(mask, &ScoringOptions::default());
    assert!(why.contains("Cast -> 'm': it reads 'mask', the mask of a Dropout"), "{why}");
}

#[test]
fn probabilities_where_there_are_no_logits() {
    let sigmoid = || {
        TestModel::new(17)
            .input("x", FLOAT, &["N", "4"])
            .initializer("w", FLOAT, &[4, 1], &[1.0; 4])
            .op("MatMul", &["x", "w"], &["z"])
            .op("Sigmoid", &["z"], &["p"])
            .output("p", FLOAT, &["N", "1"])
    };
    let why = refused(sigmoid(), &ScoringOptions::default());
    assert!(why.contains("a sigmoid gives each class its own yes or no"), "{why}");
    assert!(why.contains("its output 'p' holds probabilities: --probabilities scores those"), "{why}");
    let wanted = ScoringOptions { probabilities: true, ..ScoringOptions::default() };
    let model = scoring_model(&sigmoid().build(), &wanted).unwrap();
    assert_eq!((model.evidence, model.value.as_str(), model.classes), (Evidence::Probabilities, "p", Some(2)));
    assert_eq!(names(model.document.graph().outputs()), ["p_two_classes"]);
    let log = layer(17).op("LogSoftmax", &["x"], &["l"]).output("l", FLOAT, &["N", "4"]);
    assert!(refused(log, &wanted).contains("leave --probabilities out"));
}

#[test]
fn weights_that_are_inputs_are_refused() {
    let model = TestModel::new(17)
        .input("x", FLOAT, &["N", "4"])
        .input("w", FLOAT, &["4", "3"])
        .op("MatMul", &["x", "w"], &["z"])
        .output("z", FLOAT, &["N", "3"]);
    let why = refused(model, &ScoringOptions::default());
    assert!(why.contains("its weight 'w' is an input") && why.contains("export_model_for_inferencing"), "{why}");
}

fn function(name: &str, nodes: Vec<NodeBuilder>, opset: i64) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("local".into()),
        input: vec!["a".into(), "w".into()],
        output: vec!["out".into()],
        node: nodes.into_iter().map(NodeBuilder::build).collect(),
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(opset) }],
        attribute_proto: vec![AttributeProto { f: Some(0.5), ..attribute("slope", AttributeType::Float) }],
        ..FunctionProto::default()
    }
}

#[test]
fn functions_of_the_model_are_written_out() {
    let inner = function(
        "Inner",
        vec![node("LeakyRelu").inputs(["a"]).outputs(["out"]).reference("alpha", AttributeType::Float, "slope")],
        17,
    );
    let outer = function(
        "Outer",
        vec![
            node("Inner").domain("local").inputs(["a", "w"]).outputs(["t"]),
            node("MatMul").inputs(["t", "w"]).outputs(["out"]),
        ],
        17,
    );
    let call = || node("Outer").domain("local").name("call").inputs(["x", "w"]).outputs(["z"]);
    let model = cut(layer(17).with(call()).function(inner.clone()).function(outer).output("z", FLOAT, &["N", "3"]));
    assert_eq!(ops(&model), ["LeakyRelu", "MatMul"]);
    assert_eq!(model.document.graph().nodes()[0].attr_float("alpha"), Some(0.5));
    assert_eq!(model.head.unwrap().feature, "call/t");
    assert!(model.document.functions().is_empty());

    let other_opset = function("Outer", vec![node("MatMul").inputs(["a", "w"]).outputs(["out"])], 13);
    let why = refused(
        layer(17).with(call()).function(other_opset).output("z", FLOAT, &["N", "3"]),
        &ScoringOptions { logits: Some("z".into()), ..ScoringOptions::default() },
    );
    assert!(why.contains("local::Outer, which is written in another opset"), "{why}");
    let endless = function("Outer", vec![node("Outer").domain("local").inputs(["a", "w"]).outputs(["out"])], 17);
    let why = refused(layer(17).with(call()).function(endless), &ScoringOptions::default());
    assert!(why.contains("or one calls itself"), "{why}");
}

#[test]
fn the_user_has_the_last_word() {
    let named = |name: &str| ScoringOptions { logits: Some(name.into()), ..ScoringOptions::default() };
    let two = || {
        layer(17)
            .op("Gemm", &["x", "w", "b"], &["one"])
            .op("MatMul", &["x", "w"], &["two"])
            .op("Softmax", &["one"], &["p"])
            .op("Softmax", &["two"], &["q"])
            .output("p", FLOAT, &["N", "3"])
            .output("q", FLOAT, &["N", "3"])
    };
    assert!(refused(two(), &ScoringOptions::default()).contains("several values could be the logits: one, two"));
    assert_eq!(scoring_model(&two().build(), &named("two")).unwrap().value, "two");
    assert!(refused(two(), &named("three")).contains("the graph computes no such value; candidates are: one, two"));
    assert!(refused(two(), &named("w")).contains("the graph computes no such value"));
}
