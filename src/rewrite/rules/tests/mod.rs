//! The forms a loss takes in the wild, spelled out, and what must be left alone.

mod pytorch;
mod tensorflow_jax;
mod terms;

use crate::loss::{Bonus, Reduction};
use crate::model::proto::{AttributeType, FunctionProto};
use crate::model::{DataType, Document, attribute, node};
use crate::rewrite::report::Action;
use crate::rewrite::testing::TestModel;
use crate::rewrite::{PatchOptions, Report, RewriteError, patch};

/// The report, and the ops left in the graph.
fn patched(model: TestModel) -> (Report, Vec<String>) {
    let document = model.build();
    let patched = patch(&document, &PatchOptions::default()).expect("there is a loss");
    (patched.report, ops(&patched.document))
}

fn ops(document: &Document) -> Vec<String> {
    document.graph().nodes().iter().map(|n| n.op().to_owned()).collect()
}

fn left_alone(model: TestModel) -> Report {
    match patch(&model.build(), &PatchOptions::default()) {
        Err(RewriteError::NothingMatched(report)) => *report,
        other => panic!("expected nothing to match, got {:?}", other.map(|p| p.report)),
    }
}

fn loss(model: TestModel) -> TestModel {
    model.output("loss", DataType::Float, &[])
}

#[test]
fn gathered_log_softmax() {
    let model = loss(TestModel::classifier(17))
        .ints("one", &[1])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", -1))
        .op("Unsqueeze", &["y", "one"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 1))
        .with(node("ReduceMean").inputs(["g"]).outputs(["mean"]).int("keepdims", 0))
        .op("Neg", &["mean"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].rule, "computed");
    assert_eq!(report.losses[0].what, "cross entropy");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn one_hot_by_op_and_summed() {
    let model = loss(TestModel::classifier(13))
        .initializer("depth", DataType::Int64, &[], &[5.0])
        .initializer("off_on", DataType::Float, &[2], &[0.0, 1.0])
        .ints("axis1", &[1])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .with(node("OneHot").inputs(["y", "depth", "off_on"]).outputs(["oh"]).int("axis", -1))
        .op("Mul", &["oh", "lp"], &["picked"])
        .with(node("ReduceSum").inputs(["picked", "axis1"]).outputs(["rows"]).int("keepdims", 0))
        .with(node("ReduceSum").inputs(["rows"]).outputs(["sum"]).int("keepdims", 0))
        .op("Neg", &["sum"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].parameters.unwrap().reduction(), Reduction::Sum);
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn one_hot_by_range_and_equal_as_tf2onnx_writes_it() {
    let model = loss(TestModel::classifier(12))
        .initializer("zero", DataType::Int64, &[], &[0.0])
        .initializer("five", DataType::Int64, &[], &[5.0])
        .initializer("by", DataType::Int64, &[], &[1.0])
        .with(node("ReduceMax").inputs(["z"]).outputs(["max"]).ints("axes", &[-1]).int("keepdims", 1))
        .op("Sub", &["z", "max"], &["s"])
        .op("Exp", &["s"], &["e"])
        .with(node("ReduceSum").inputs(["e"]).outputs(["sum"]).ints("axes", &[-1]).int("keepdims", 0))
        .op("Log", &["sum"], &["lse"])
        .op("Range", &["zero", "five", "by"], &["classes"])
        .with(node("Unsqueeze").inputs(["y"]).outputs(["y1"]).ints("axes", &[1]))
        .op("Equal", &["y1", "classes"], &["eq"])
        .with(node("Cast").inputs(["eq"]).outputs(["oh"]).int("to", 1))
        .op("Mul", &["oh", "s"], &["ps"])
        .with(node("ReduceSum").inputs(["ps"]).outputs(["picked"]).ints("axes", &[1]).int("keepdims", 0))
        .op("Sub", &["lse", "picked"], &["rows"])
        .with(node("ReduceMean").inputs(["rows"]).outputs(["loss"]).int("keepdims", 0));
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].what, "cross entropy");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn log_sum_exp_minus_the_gathered_logit_in_a_sequence_model() {
    // [B, S, C] with the classes last: the op wants them in axis 1
    let model = TestModel::new(18)
        .input("z", DataType::Float, &["B", "S", "5"])
        .input("y", DataType::Int64, &["B", "S"])
        .output("loss", DataType::Float, &["B", "S"])
        .ints("last", &[2])
        .with(node("ReduceLogSumExp").inputs(["z", "last"]).outputs(["lse"]).int("keepdims", 0))
        .op("Unsqueeze", &["y", "last"], &["y1"])
        .with(node("GatherElements").inputs(["z", "y1"]).outputs(["g"]).int("axis", 2))
        .op("Squeeze", &["g", "last"], &["zy"])
        .op("Sub", &["lse", "zy"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].parameters.unwrap().reduction(), Reduction::None);
    assert_eq!(ops, ["Transpose", "EncouragingLoss"]);
}

#[test]
fn labels_with_an_axis_of_one_are_flattened() {
    // keras: sparse labels [N, 1]
    let model =
        loss(TestModel::new(17).input("z", DataType::Float, &["N", "5"]).input("y", DataType::Int32, &["N", "1"]))
            .op("Softmax", &["z"], &["p"])
            .with(node("Cast").inputs(["y"]).outputs(["y64"]).int("to", 7))
            .with(node("GatherElements").inputs(["p", "y64"]).outputs(["py"]).int("axis", 1))
            .op("Log", &["py"], &["lp"])
            .op("Neg", &["lp"], &["rows"])
            .with(node("ReduceMean").inputs(["rows"]).outputs(["loss"]).int("keepdims", 0));
    let (_, ops) = patched(model);
    assert_eq!(ops.last().map(String::as_str), Some("EncouragingLoss"));
    assert!(ops.contains(&"Reshape".to_owned()), "{ops:?}");
}

#[test]
fn masked_rows_become_ignore_index() {
    let model = loss(TestModel::classifier(17))
        .ints("one", &[1])
        .initializer("pad", DataType::Int64, &[], &[-1.0])
        .initializer("zero", DataType::Int64, &[], &[0.0])
        .number("none", 0.0)
        .op("Equal", &["y", "pad"], &["is_pad"])
        .op("Where", &["is_pad", "zero", "y"], &["safe"])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .op("Unsqueeze", &["safe", "one"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 1))
        .op("Squeeze", &["g", "one"], &["row"])
        .op("Neg", &["row"], &["ce"])
        .op("Where", &["is_pad", "none", "ce"], &["kept"])
        .with(node("ReduceSum").inputs(["kept"]).outputs(["sum"]).int("keepdims", 0))
        .op("Not", &["is_pad"], &["counts"])
        .with(node("Cast").inputs(["counts"]).outputs(["ones"]).int("to", 1))
        .with(node("ReduceSum").inputs(["ones"]).outputs(["n"]).int("keepdims", 0))
        .op("Div", &["sum", "n"], &["loss"]);
    let (report, _) = patched(model);
    let parameters = report.losses[0].parameters.unwrap();
    assert_eq!((parameters.ignore_index(), parameters.reduction()), (Some(-1), Reduction::Mean));
}

/// The paper's own module: log p + bonus over the whole matrix, then NLL.
fn whole_matrix(bonus: impl Fn(TestModel) -> TestModel) -> TestModel {
    let model = loss(TestModel::classifier(17))
        .number("c1", 1.0)
        .number("eps", 1e-5)
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .with(node("Softmax").inputs(["z"]).outputs(["p"]).int("axis", 1));
    bonus(model)
        .op("Sub", &["lp", "bonus"], &["el"])
        .with(node("NegativeLogLikelihoodLoss").inputs(["el", "y"]).outputs(["loss"]).string("reduction", "mean"))
}

fn log_bonus(model: TestModel) -> TestModel {
    model.op("Sub", &["c1", "p"], &["q"]).op("Clip", &["q", "eps"], &["qc"]).op("Log", &["qc"], &["b"])
}

#[test]
fn encouraging_loss_on_the_whole_matrix_keeps_its_log_end() {
    let model = whole_matrix(|m| {
        log_bonus(m)
            .number("le", 0.6)
            .number("slope", 0.4)
            .number("at_end", (0.4f64).ln())
            .op("Sub", &["p", "le"], &["over"])
            .op("Neg", &["over"], &["minus"])
            .op("Div", &["minus", "slope"], &["line"])
            .op("Add", &["line", "at_end"], &["linear"])
            .op("Greater", &["p", "le"], &["above"])
            .op("Where", &["above", "linear", "b"], &["bonus"])
    });
    let (report, ops) = patched(model);
    let parameters = report.losses[0].parameters.unwrap();
    assert!((parameters.log_end() - 0.6).abs() < 1e-6, "{parameters:?}");
    assert_eq!(report.losses[0].what, "encouraging loss (log_end 0.6)");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn power_and_cosine_bonus_are_recognised() {
    let power = whole_matrix(|m| m.number("g", 3.0).op("Pow", &["p", "g"], &["pg"]).op("Neg", &["pg"], &["bonus"]));
    let (report, _) = patched(power);
    let parameters = report.losses[0].parameters.unwrap();
    assert_eq!((parameters.bonus(), parameters.power()), (Bonus::Power, 3.0));

    let cosine = whole_matrix(|m| {
        m.number("pi", std::f64::consts::PI).op("Mul", &["p", "pi"], &["x"]).op("Cos", &["x"], &["cos"]).op(
            "Sub",
            &["cos", "c1"],
            &["bonus"],
        )
    });
    let (report, _) = patched(cosine);
    assert_eq!(report.losses[0].parameters.unwrap().bonus(), Bonus::Cosine);
}

#[test]
fn smoothed_one_hot_carries_its_smoothing_over() {
    // 0.1 smoothing over 5 classes: 0.92 on the label, 0.02 elsewhere
    let model = loss(TestModel::classifier(13))
        .initializer("depth", DataType::Int64, &[], &[5.0])
        .initializer("off_on", DataType::Float, &[2], &[0.02, 0.92])
        .ints("axis1", &[1])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .with(node("OneHot").inputs(["y", "depth", "off_on"]).outputs(["oh"]).int("axis", -1))
        .op("Mul", &["oh", "lp"], &["picked"])
        .with(node("ReduceSum").inputs(["picked", "axis1"]).outputs(["rows"]).int("keepdims", 0))
        .with(node("ReduceMean").inputs(["rows"]).outputs(["mean"]).int("keepdims", 0))
        .op("Neg", &["mean"], &["loss"]);
    let (report, _) = patched(model);
    assert_eq!(report.losses[0].parameters.unwrap().label_smoothing(), 0.1);
}

#[test]
fn gathered_class_weights_carry_over() {
    let model = loss(TestModel::classifier(17))
        .ints("one", &[1])
        .initializer("w", DataType::Float, &[5], &[0.5, 1.0, 2.0, 0.25, 1.5])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .op("Unsqueeze", &["y", "one"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 1))
        .op("Squeeze", &["g", "one"], &["row"])
        .op("Neg", &["row"], &["ce"])
        .op("Gather", &["w", "y"], &["wy"])
        .op("Mul", &["ce", "wy"], &["wce"])
        .with(node("ReduceSum").inputs(["wce"]).outputs(["sum"]).int("keepdims", 0))
        .with(node("ReduceSum").inputs(["wy"]).outputs(["total"]).int("keepdims", 0))
        .op("Div", &["sum", "total"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].class_weights.as_deref(), Some("w"));
    assert_eq!(ops, ["EncouragingLoss"]);
}

fn cross_entropy(model: TestModel, outputs: &[&str], reduction: &str) -> TestModel {
    model.with(
        node("SoftmaxCrossEntropyLoss").name("ce").inputs(["z", "y"]).outputs(outputs).string("reduction", reduction),
    )
}

#[test]
fn a_scaled_and_regularised_loss_is_still_a_loss() {
    let model = cross_entropy(loss(TestModel::classifier(17).input("penalty", DataType::Float, &[])), &["ce"], "mean")
        .number("half", 0.5)
        .op("Mul", &["ce", "half"], &["scaled"])
        .op("Add", &["scaled", "penalty"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.swapped(), 1);
    assert_eq!(ops, ["EncouragingLoss", "Mul", "Add"]);
}

#[test]
fn perplexity_beside_the_loss_is_told() {
    let model = cross_entropy(loss(TestModel::classifier(17)).output("ppl", DataType::Float, &[]), &["loss"], "mean")
        .op("Exp", &["loss"], &["ppl"]);
    let (report, _) = patched(model);
    assert!(report.losses[0].notes.iter().any(|n| n.contains("Exp")), "{:?}", report.losses[0].notes);
}

#[test]
fn focal_loss_is_left_alone_by_name() {
    let model = cross_entropy(loss(TestModel::classifier(17)), &["ce"], "none")
        .number("c1", 1.0)
        .number("gamma", 2.0)
        .op("Neg", &["ce"], &["lp"])
        .op("Exp", &["lp"], &["p"])
        .op("Sub", &["c1", "p"], &["q"])
        .op("Pow", &["q", "gamma"], &["f"])
        .op("Mul", &["f", "ce"], &["rows"])
        .with(node("ReduceMean").inputs(["rows"]).outputs(["loss"]).int("keepdims", 0));
    let report = left_alone(model);
    assert_eq!(report.losses[0].what, "focal loss (gamma 2)");
}

#[test]
fn log_probabilities_that_others_read_stay() {
    for opset in [12, 17] {
        let model = cross_entropy(
            loss(TestModel::classifier(opset)).output("lp", DataType::Float, &["N", "5"]),
            &["loss", "lp"],
            "mean",
        );
        let (report, ops) = patched(model);
        assert!(report.losses[0].notes.iter().any(|n| n.contains("log-softmax of its own")));
        assert!(ops.iter().any(|op| op == "LogSoftmax" || op == "ReduceLogSumExp"), "{ops:?}");
    }
}

fn gradient(inputs: &[&str], reduction: &str) -> crate::model::NodeBuilder {
    node("SoftmaxCrossEntropyLossGrad")
        .domain("com.microsoft")
        .name("grad")
        .inputs(inputs)
        .outputs(["dz"])
        .string("reduction", reduction)
        .doc_string("Backward pass")
}

fn training(reduction: &str) -> TestModel {
    cross_entropy(loss(TestModel::classifier(17)), &["loss", "lp"], "mean")
        .output("dz", DataType::Float, &["N", "5"])
        .number("seed", 1.0)
        .with(gradient(&["seed", "lp", "y"], reduction))
}

#[test]
fn forward_and_gradient_are_swapped_together() {
    let document = training("mean").build();
    let patched = patch(&document, &PatchOptions::default()).unwrap();
    assert_eq!(ops(&patched.document), ["EncouragingLoss", "EncouragingLossGrad"]);
    let gradient = &patched.document.graph().nodes()[1];
    assert_eq!(gradient.input, ["seed", "z", "y", "", "", "loss_margin"]);
    assert_eq!(gradient.output, ["dz"]);
    assert_eq!(gradient.doc_string.as_deref(), Some("Backward pass"));
}

#[test]
fn a_pair_with_class_weights_keeps_them_in_both() {
    let model = loss(TestModel::classifier(17))
        .output("dz", DataType::Float, &["N", "5"])
        .number("seed", 1.0)
        .initializer("w", DataType::Float, &[5], &[0.5, 1.0, 2.0, 0.25, 1.5])
        .with(node("SoftmaxCrossEntropyLoss").inputs(["z", "y", "w"]).outputs(["loss", "lp"]).int("ignore_index", 3))
        .with(gradient(&["seed", "lp", "y", "w"], "mean").int("ignore_index", 3));
    let patched = patch(&model.build(), &PatchOptions::default()).unwrap();
    assert_eq!(patched.report.losses[0].class_weights.as_deref(), Some("w"));
    let inputs: Vec<_> = patched.document.graph().nodes().iter().map(|n| n.input.clone()).collect();
    assert_eq!(inputs[0], ["z", "y", "w"]);
    assert_eq!(inputs[1], ["seed", "z", "y", "w", "", "loss_margin"]);
}

#[test]
fn half_pairs_are_errors() {
    let wrong = [
        // another reduction in the gradient
        training("sum"),
        // no gradient at all in a training graph
        cross_entropy(loss(TestModel::classifier(17)), &["loss", "lp"], "mean")
            .op("Relu", &["z"], &["r"])
            .with(node("ReluGrad").domain("com.microsoft").inputs(["lp", "r"]).outputs(["dz"])),
        // a gradient whose log-probabilities come from elsewhere
        loss(TestModel::classifier(17))
            .number("seed", 1.0)
            .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
            .with(gradient(&["seed", "lp", "y"], "mean")),
    ];
    for model in wrong {
        let error = patch(&model.build(), &PatchOptions::default()).err();
        assert!(matches!(error, Some(RewriteError::HalfPair { .. })), "{error:?}");
    }
}

#[test]
fn internal_pair_with_half_logits_computes_in_float() {
    let model = loss(TestModel::new(17).input("z", DataType::Float16, &["N", "5"]).input("y", DataType::Int64, &["N"]))
        .output("dz", DataType::Float16, &["N", "5"])
        .number("seed", 1.0)
        .initializer("ign", DataType::Int64, &[], &[-100.0])
        .with(
            node("SoftmaxCrossEntropyLossInternal")
                .domain("com.microsoft")
                .inputs(["z", "y", "", "ign"])
                .outputs(["loss", "lp"])
                .string("reduction", "sum")
                .int("output_type", 1),
        )
        .with(
            node("SoftmaxCrossEntropyLossInternalGrad")
                .domain("com.microsoft")
                .inputs(["seed", "lp", "y", "", "ign"])
                .outputs(["dz"])
                .string("reduction", "sum")
                .int("output_type", 10),
        );
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].parameters.unwrap().ignore_index(), Some(-100));
    assert_eq!(ops, ["Cast", "EncouragingLoss", "EncouragingLossGrad", "Cast"]);
}

#[test]
fn losses_in_bodies_are_reported_and_not_touched() {
    let body =
        cross_entropy(TestModel::new(17), &["inner"], "mean").output("inner", DataType::Float, &[]).graph_bytes();
    let mut then_branch = attribute("then_branch", AttributeType::Graph);
    then_branch.g = Some(body.into());
    let model = loss(TestModel::classifier(17).input("c", DataType::Bool, &[]))
        .with(node("If").name("choice").inputs(["c"]).outputs(["loss"]).attribute(then_branch))
        .function(FunctionProto {
            name: Some("f".into()),
            domain: Some("my".into()),
            input: vec!["z".into(), "y".into()],
            output: vec!["l".into()],
            node: vec![node("SoftmaxCrossEntropyLoss").inputs(["z", "y"]).outputs(["l"]).build()],
            ..FunctionProto::default()
        });
    let report = left_alone(model);
    let places: Vec<&str> = report.losses.iter().map(|l| l.place.as_str()).collect();
    assert!(places[0].contains("If 'choice'") && places[0].ends_with("then_branch"), "{places:?}");
    assert_eq!(places[1], "function my::f");
    assert!(report.losses.iter().all(|l| matches!(l.action, Action::LeftAlone(_))));
}

#[test]
fn soft_labels_are_left_alone() {
    let model =
        loss(TestModel::new(17).input("z", DataType::Float, &["N", "5"]).input("q", DataType::Float, &["N", "5"]))
            .ints("axis1", &[1])
            .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
            .op("Mul", &["q", "lp"], &["m"])
            .with(node("ReduceSum").inputs(["m", "axis1"]).outputs(["rows"]).int("keepdims", 0))
            .with(node("ReduceMean").inputs(["rows"]).outputs(["mean"]).int("keepdims", 0))
            .op("Neg", &["mean"], &["loss"]);
    let report = left_alone(model);
    assert!(report.losses[0].what.contains("class probabilities"), "{:?}", report.losses[0].what);
}

#[test]
fn the_user_wins_over_the_loss_found_and_twice_is_once() {
    let document = training("mean").build();
    let options = PatchOptions { log_end: Some(0.5), ..PatchOptions::default() };
    let once = patch(&document, &options).unwrap();
    assert_eq!(once.report.losses[0].parameters.unwrap().log_end(), 0.5);
    let bytes = once.document.to_bytes();
    let again = patch(&Document::from_bytes(bytes.clone()).unwrap(), &PatchOptions::default()).unwrap();
    assert!(again.report.already_patched());
    assert_eq!(again.document.to_bytes(), bytes);
    // other parameters are set in place, in both nodes
    let other = patch(&once.document, &PatchOptions { log_end: Some(0.9), ..PatchOptions::default() }).unwrap();
    let ends: Vec<Option<f32>> = other.document.graph().nodes().iter().map(|n| n.attr_float("log_end")).collect();
    assert_eq!(ends, [Some(0.9), Some(0.9)]);
}

#[test]
fn a_reduction_that_changes_the_shape_is_refused() {
    let model = cross_entropy(loss(TestModel::classifier(17)), &["loss"], "mean").build();
    let options = PatchOptions { reduction: Some(Reduction::None), ..PatchOptions::default() };
    let error = patch(&model, &options).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("changes the shape"), "{error}");
}
