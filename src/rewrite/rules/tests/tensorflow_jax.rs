//! What tf2onnx, keras and jax2onnx write, and our own body after `inline`.

use super::*;

/// The parameters of the ops in the graph.
fn parameters_in(document: &Document) -> Vec<crate::loss::EncouragingLoss> {
    let ours = document.graph().nodes().iter().filter(|n| crate::rewrite::is_our_domain(n.op_domain()));
    ours.map(|n| crate::rewrite::parameters(n).unwrap()).collect()
}

#[test]
fn an_inlined_body_is_the_op_again() {
    let bonuses = [
        PatchOptions::default(),
        PatchOptions { log_end: Some(1.0), ..PatchOptions::default() },
        PatchOptions {
            bonus: Some(Bonus::Power),
            power: Some(3.0),
            bonus_weight: Some(0.5),
            ..PatchOptions::default()
        },
        PatchOptions { bonus: Some(Bonus::Cosine), label_smoothing: Some(0.1), ..PatchOptions::default() },
    ];
    for (opset, data_type) in [(12, DataType::Float), (13, DataType::Double), (18, DataType::Float16)] {
        for reduction in ["mean", "sum", "none"] {
            for (ignored, options) in bonuses.iter().enumerate() {
                let dims: &[&str] = if reduction == "none" { &["N"] } else { &[] };
                let mut ce = node("SoftmaxCrossEntropyLoss").inputs(["z", "y"]).outputs(["loss"]);
                ce = ce.string("reduction", reduction);
                if ignored % 2 == 0 {
                    ce = ce.int("ignore_index", -100);
                }
                let model = TestModel::new(opset)
                    .input("z", data_type, &["N", "5"])
                    .input("y", DataType::Int64, &["N"])
                    .output("loss", data_type, dims)
                    .with(ce)
                    .build();
                let once = patch(&model, options).unwrap().document;
                let inlined = crate::rewrite::inline(&once).unwrap().document;
                assert!(parameters_in(&inlined).is_empty());
                let again = patch(&inlined, &PatchOptions::default()).unwrap().document;
                let what = format!("opset {opset} {data_type:?} {reduction} {options:?}");
                assert_eq!(ops(&again), ["EncouragingLoss"], "{what}");
                assert_eq!(parameters_in(&again), parameters_in(&once), "{what}");
                assert_eq!(again.graph().nodes()[0].input_at(0), Some("z"), "{what}");
            }
        }
    }
}

/// −log p of the label `labels` per row, as `ce`.
fn gathered_rows(model: TestModel, labels: &str) -> TestModel {
    model
        .ints("one", &[1])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .op("Unsqueeze", &[labels, "one"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 1))
        .op("Squeeze", &["g", "one"], &["row"])
        .op("Neg", &["row"], &["ce"])
}

fn mean(model: TestModel, value: &str) -> TestModel {
    model.with(node("ReduceMean").inputs([value]).outputs(["loss"]).int("keepdims", 0))
}

/// y ≥ 0 as a mask, and labels with 0 where it does not hold, as `safe`.
fn clamped(model: TestModel) -> TestModel {
    model.initializer("zero", DataType::Int64, &[], &[0.0]).op("GreaterOrEqual", &["y", "zero"], &["valid"]).op(
        "Where",
        &["valid", "y", "zero"],
        &["safe"],
    )
}

#[test]
fn a_mask_over_all_negative_labels_stays_in_the_graph() {
    // jnp.where(y >= 0, ce(z, max(y, 0)), 0).sum() / (y >= 0).sum(): no single ignore_index says that
    let model = gathered_rows(clamped(loss(TestModel::classifier(17))), "safe")
        .number("none", 0.0)
        .op("Where", &["valid", "ce", "none"], &["kept"])
        .with(node("ReduceSum").inputs(["kept"]).outputs(["sum"]).int("keepdims", 0))
        .with(node("Cast").inputs(["valid"]).outputs(["ones"]).int("to", 1))
        .with(node("ReduceSum").inputs(["ones"]).outputs(["n"]).int("keepdims", 0))
        .op("Div", &["sum", "n"], &["loss"]);
    let document = model.build();
    let patched = patch(&document, &PatchOptions::default()).unwrap();
    let nodes = patched.document.graph().nodes();
    let op = nodes.iter().find(|n| n.op() == "EncouragingLoss").unwrap();
    assert_eq!((op.input_at(1), op.attr_str("reduction")), (Some("safe"), Some("none")));
    assert_eq!(op.attr_int("ignore_index"), None);
    assert_eq!(
        ops(&patched.document),
        ["GreaterOrEqual", "Where", "EncouragingLoss", "Where", "ReduceSum", "Cast", "ReduceSum", "Div"]
    );
}

#[test]
fn padding_that_counts_in_the_mean_stays_in_the_graph() {
    // mean over all rows of ce · (y != 0): the rows are swapped, the mean is not
    let model = gathered_rows(loss(TestModel::classifier(17)), "y")
        .initializer("pad", DataType::Int64, &[], &[0.0])
        .op("Equal", &["y", "pad"], &["is_pad"])
        .op("Not", &["is_pad"], &["counts"])
        .with(node("Cast").inputs(["counts"]).outputs(["mask"]).int("to", 1))
        .op("Mul", &["ce", "mask"], &["kept"]);
    let (report, ops) = patched(mean(model, "kept"));
    let parameters = report.losses[0].parameters.unwrap();
    assert_eq!((parameters.reduction(), parameters.ignore_index()), (Reduction::None, Some(0)));
    assert_eq!(ops, ["EncouragingLoss", "ReduceMean"]);
}

#[test]
fn an_ignored_class_that_keras_compares_as_a_float() {
    let model = gathered_rows(
        loss(TestModel::classifier(17))
            .number("void", 255.0)
            .with(node("Cast").inputs(["y"]).outputs(["yf"]).int("to", 1))
            .op("Equal", &["yf", "void"], &["is_void"])
            .op("Not", &["is_void"], &["valid"])
            .with(node("Cast").inputs(["valid"]).outputs(["mask"]).int("to", 1))
            .op("Mul", &["yf", "mask"], &["safe_f"])
            .with(node("Cast").inputs(["safe_f"]).outputs(["safe"]).int("to", 7)),
        "safe",
    )
    .op("Mul", &["ce", "mask"], &["kept"])
    .with(node("ReduceSum").inputs(["kept"]).outputs(["sum"]).int("keepdims", 0))
    .with(node("ReduceSum").inputs(["mask"]).outputs(["n"]).int("keepdims", 0))
    .op("Div", &["sum", "n"], &["loss"]);
    let (report, ops) = patched(model);
    let parameters = report.losses[0].parameters.unwrap();
    assert_eq!((parameters.reduction(), parameters.ignore_index()), (Reduction::Mean, Some(255)));
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn labels_counted_from_one() {
    let model = loss(TestModel::classifier(17)).initializer("c1", DataType::Int64, &[], &[1.0]).op(
        "Sub",
        &["y", "c1"],
        &["from_zero"],
    );
    let (_, ops) = patched(mean(gathered_rows(model, "from_zero"), "ce"));
    assert_eq!(ops, ["Sub", "EncouragingLoss"]);
}

#[test]
fn probabilities_clipped_and_normalised_again_are_the_loss_of_the_logits() {
    // keras with from_logits=False and an ignored class: softmax, clip, log, softmax cross entropy
    let model = gathered_rows(
        loss(TestModel::new(17).input("x", DataType::Float, &["N", "5"]).input("y", DataType::Int64, &["N"]))
            .number("low", 1e-7)
            .number("high", 1.0)
            .with(node("Softmax").inputs(["x"]).outputs(["p"]).int("axis", -1))
            .op("Clip", &["p", "low", "high"], &["clipped"])
            .op("Log", &["clipped"], &["z"]),
        "y",
    );
    let (report, ops) = patched(mean(model, "ce"));
    assert_eq!((report.swapped(), report.losses.len()), (1, 1));
    assert_eq!(report.losses[0].logits.as_deref(), Some("x"));
    assert_eq!(ops, ["EncouragingLoss"]);
}

/// p of the label, as `py`, by a softmax of its own.
fn label_probability(model: TestModel) -> TestModel {
    model
        .with(node("Softmax").inputs(["z"]).outputs(["p"]).int("axis", 1))
        .with(node("GatherElements").inputs(["p", "y1"]).outputs(["py1"]).int("axis", 1))
        .op("Squeeze", &["py1", "one"], &["py"])
        .number("c1", 1.0)
        .op("Sub", &["c1", "py"], &["miss"])
}

#[test]
fn rows_weighed_by_their_own_probability_are_left_alone() {
    // (1 − p)² · ce, p from another softmax: focal loss, and the same with a factor that has no name
    let rows = || label_probability(gathered_rows(loss(TestModel::classifier(17)), "y"));
    let focal = rows().op("Mul", &["miss", "miss"], &["f"]).op("Mul", &["f", "ce"], &["rows"]);
    assert_eq!(left_alone(mean(focal, "rows")).losses[0].what, "focal loss (gamma 2)");
    let unknown = rows().op("Cos", &["miss"], &["f"]).op("Mul", &["f", "ce"], &["rows"]);
    assert!(left_alone(mean(unknown, "rows")).losses[0].what.contains("built on cross entropy"));
}

#[test]
fn an_unknown_bonus_per_row_is_left_alone_and_a_penalty_is_not() {
    // poly-1 loss: ce + (1 − p)
    let model = label_probability(gathered_rows(loss(TestModel::classifier(17)), "y"));
    let report = left_alone(mean(model.op("Add", &["ce", "miss"], &["rows"]), "rows"));
    assert!(report.losses[0].what.contains("built on cross entropy"), "{:?}", report.losses);
    // z-loss: ce + 1e-2 · logsumexp(z)²
    let model = gathered_rows(loss(TestModel::classifier(17)), "y")
        .with(node("ReduceLogSumExp").inputs(["z"]).outputs(["lse"]).ints("axes", &[1]).int("keepdims", 0))
        .number("small", 1e-2)
        .op("Mul", &["lse", "lse"], &["square"])
        .op("Mul", &["square", "small"], &["penalty"])
        .op("Add", &["ce", "penalty"], &["rows"]);
    let (report, ops) = patched(mean(model, "rows"));
    assert_eq!(report.losses[0].parameters.unwrap().reduction(), Reduction::None);
    assert!(ops.ends_with(&["Add".to_owned(), "ReduceMean".to_owned()]), "{ops:?}");
}

#[test]
fn a_loss_that_is_cut_off_is_left_alone() {
    let model =
        gathered_rows(loss(TestModel::classifier(17)), "y").number("most", 5.0).op("Min", &["ce", "most"], &["rows"]);
    let report = left_alone(mean(model, "rows"));
    assert!(report.losses[0].what.contains("built on cross entropy"), "{:?}", report.losses);
}

#[test]
fn mixup_has_two_losses_of_the_same_logits() {
    let model = loss(TestModel::classifier(17).input("y2", DataType::Int64, &["N"]).input("lam", DataType::Float, &[]));
    let model = gathered_rows(model, "y")
        .op("Unsqueeze", &["y2", "one"], &["y21"])
        .with(node("GatherElements").inputs(["lp", "y21"]).outputs(["g2"]).int("axis", 1))
        .op("Squeeze", &["g2", "one"], &["row2"])
        .op("Neg", &["row2"], &["ce2"])
        .number("c1", 1.0)
        .op("Sub", &["c1", "lam"], &["rest"])
        .op("Mul", &["ce", "lam"], &["part"])
        .op("Mul", &["ce2", "rest"], &["part2"])
        .op("Add", &["part", "part2"], &["rows"]);
    let (report, ops) = patched(mean(model, "rows"));
    assert_eq!(report.swapped(), 2);
    assert_eq!(ops.iter().filter(|op| *op == "EncouragingLoss").count(), 2);
    assert!(!ops.contains(&"LogSoftmax".to_owned()), "{ops:?}");
}

#[test]
fn sample_weights_whose_shape_is_read_are_no_soft_labels() {
    // jax2onnx takes the batch size from whatever input has it
    let model = loss(TestModel::classifier(17).input("w", DataType::Float, &["N"])).op("Shape", &["w"], &["size"]).op(
        "Reshape",
        &["y", "size"],
        &["flat"],
    );
    let model = gathered_rows(model, "flat").op("Mul", &["ce", "w"], &["weighted"]);
    let (report, ops) = patched(mean(model, "weighted"));
    assert_eq!(report.losses[0].what, "cross entropy");
    assert!(ops.contains(&"Mul".to_owned()) && !ops.contains(&"LogSoftmax".to_owned()), "{ops:?}");
}

#[test]
fn a_margin_form_with_the_label_masked_out_is_the_encouraging_loss() {
    // jnp: logsumexp(where(one_hot, -inf, z)) − z_y
    let model = loss(TestModel::classifier(17))
        .ints("one", &[1])
        .ints("classes", &[0, 1, 2, 3, 4])
        .number("minus_inf", f64::NEG_INFINITY)
        .number("none", 0.0)
        .op("Unsqueeze", &["y", "one"], &["y1"])
        .op("Equal", &["y1", "classes"], &["hot"])
        .op("Where", &["hot", "minus_inf", "z"], &["others"])
        .with(node("ReduceLogSumExp").inputs(["others"]).outputs(["lse"]).ints("axes", &[1]).int("keepdims", 0))
        .op("Where", &["hot", "z", "none"], &["own"])
        .with(node("ReduceSum").inputs(["own", "one"]).outputs(["zy"]).int("keepdims", 0))
        .op("Sub", &["lse", "zy"], &["rows"]);
    let (report, ops) = patched(mean(model, "rows"));
    assert_eq!(report.losses[0].what, "encouraging loss (log_end 1)");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn a_batch_of_one_is_enough() {
    let model = loss(TestModel::new(17).input("z", DataType::Float, &["1", "5"]).input("y", DataType::Int64, &["1"]));
    let (report, ops) = patched(mean(gathered_rows(model, "y"), "ce"));
    assert_eq!(report.losses[0].what, "cross entropy");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn regression_losses_have_their_names() {
    let two = || {
        loss(TestModel::new(17).input("z", DataType::Float, &["N", "5"]).input("q", DataType::Float, &["N", "5"]))
            .op("Sub", &["z", "q"], &["d"])
            .number("c1", 1.0)
    };
    let huber = two()
        .op("Abs", &["d"], &["a"])
        .op("Min", &["a", "c1"], &["quadratic"])
        .op("Mul", &["quadratic", "quadratic"], &["square"])
        .op("Sub", &["a", "quadratic"], &["linear"])
        .op("Add", &["square", "linear"], &["rows"]);
    let hinge = two().op("Max", &["d", "c1"], &["rows"]);
    let log_cosh = two().op("Softplus", &["d"], &["soft"]).op("Add", &["d", "soft"], &["rows"]);
    for (model, name) in [(huber, "Huber loss"), (hinge, "hinge loss"), (log_cosh, "log-cosh error")] {
        assert_eq!(left_alone(mean(model, "rows")).losses[0].what, name);
    }
}

#[test]
fn class_weights_that_are_an_input() {
    let model = gathered_rows(loss(TestModel::classifier(17).input("w", DataType::Float, &["5"])), "y")
        .op("Gather", &["w", "y"], &["wy"])
        .op("Mul", &["ce", "wy"], &["weighted"])
        .with(node("ReduceSum").inputs(["weighted"]).outputs(["sum"]).int("keepdims", 0))
        .with(node("ReduceSum").inputs(["wy"]).outputs(["total"]).int("keepdims", 0))
        .op("Div", &["sum", "total"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].class_weights.as_deref(), Some("w"));
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn onnx_own_body_of_softmax_cross_entropy() {
    // [N, C] → [N, C, 1] → [N, 1, C], log-softmax, and back
    let model = loss(TestModel::new(17).input("z", DataType::Float, &["3", "5"]).input("y", DataType::Int64, &["3"]))
        .ints("ncd", &[0, 0, -1])
        .op("Reshape", &["z", "ncd"], &["z3"])
        .with(node("Transpose").inputs(["z3"]).outputs(["zt"]).ints("perm", &[0, 2, 1]))
        .with(node("LogSoftmax").inputs(["zt"]).outputs(["lt"]).int("axis", 2))
        .with(node("Transpose").inputs(["lt"]).outputs(["l3"]).ints("perm", &[0, 2, 1]))
        .op("Shape", &["z"], &["size"])
        .op("Reshape", &["l3", "size"], &["lp"])
        .with(
            node("NegativeLogLikelihoodLoss")
                .inputs(["lp", "y"])
                .outputs(["loss"])
                .string("reduction", "mean")
                .int("ignore_index", 2),
        );
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].logits.as_deref(), Some("z"));
    assert_eq!(report.losses[0].parameters.unwrap().ignore_index(), Some(2));
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn named_logits_with_the_channels_last() {
    // a segmentation model of keras without its softmax: Conv, then a transpose to NHWC
    let model = TestModel::new(17)
        .input("x", DataType::Float, &["N", "7", "4", "4"])
        .output("z", DataType::Float, &["N", "4", "4", "7"])
        .op("Relu", &["x"], &["maps"])
        .with(node("Transpose").inputs(["maps"]).outputs(["z"]).ints("perm", &[0, 2, 3, 1]))
        .build();
    let options = PatchOptions { logits: Some("z".into()), ..PatchOptions::default() };
    let patched = patch(&model, &options).unwrap().document;
    assert_eq!(ops(&patched), ["Relu", "Transpose", "Transpose", "EncouragingLoss"]);
    assert_eq!(patched.graph().nodes()[2].attr_ints("perm"), Some(&[0, 3, 1, 2][..]));
}
