//! What PyTorch exports.

use super::*;

/// -log p of the label, one for each row, as `rows`.
fn gathered(model: TestModel) -> TestModel {
    model
        .ints("one", &[1])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", -1))
        .op("Unsqueeze", &["y", "one"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 1))
        .op("Squeeze", &["g", "one"], &["log_p"])
        .op("Neg", &["log_p"], &["rows"])
}

fn mean(model: TestModel, rows: &str) -> TestModel {
    model.with(node("ReduceMean").inputs([rows]).outputs(["loss"]).int("keepdims", 0))
}

#[test]
fn a_sum_divided_by_the_probes_row_count_is_no_mean() {
    for divisor in [4.0, 5.0, 6.0, 7.0] {
        let model = loss(gathered(TestModel::classifier(17)))
            .number("n", divisor)
            .with(node("ReduceSum").inputs(["rows"]).outputs(["sum"]).int("keepdims", 0))
            .op("Div", &["sum", "n"], &["loss"]);
        let (report, ops) = patched(model);
        assert_eq!(report.losses[0].parameters.unwrap().reduction(), Reduction::Sum);
        assert_eq!(ops, ["EncouragingLoss", "Div"]);
    }
}

#[test]
fn a_static_batch_of_one() {
    let model = TestModel::new(18).input("z", DataType::Float, &["1", "5"]).input("y", DataType::Int64, &["1"]);
    let (report, _) = patched(mean(gathered(loss(model)), "rows"));
    assert_eq!(report.losses[0].what, "cross entropy");
}

#[test]
fn a_large_static_sequence_is_run_on_fewer_rows() {
    let model = TestModel::new(18)
        .input("z", DataType::Float, &["2", "128", "5000"])
        .input("y", DataType::Int64, &["2", "128"])
        .ints("two", &[2])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", -1))
        .op("Unsqueeze", &["y", "two"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 2))
        .op("Neg", &["g"], &["rows"]);
    let (report, _) = patched(mean(loss(model), "rows"));
    assert_eq!(report.losses[0].what, "cross entropy");
}

#[test]
fn what_is_only_a_multiple_of_the_loss_is_multiplied_after_the_op() {
    // -(one_hot(y)·w·lp).sum(1).mean(): no value is the weighted loss itself until divided by the batch
    let model = loss(TestModel::classifier(17))
        .initializer("depth", DataType::Int64, &[], &[5.0])
        .initializer("off_on", DataType::Float, &[2], &[0.0, 1.0])
        .initializer("w", DataType::Float, &[5], &[0.5, 1.0, 1.5, 2.0, 2.5])
        .ints("axis1", &[1])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .with(node("OneHot").inputs(["y", "depth", "off_on"]).outputs(["oh"]).int("axis", -1))
        .op("Mul", &["oh", "w"], &["weighted"])
        .op("Mul", &["weighted", "lp"], &["picked"])
        .with(node("ReduceSum").inputs(["picked", "axis1"]).outputs(["minus_rows"]).int("keepdims", 0))
        .with(node("ReduceMean").inputs(["minus_rows"]).outputs(["minus"]).int("keepdims", 0))
        .op("Neg", &["minus"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].class_weights.as_deref(), Some("w"));
    assert_eq!(ops, ["EncouragingLoss", "Neg", "ReduceMean", "Neg"]);

    // a mean over the classes too
    let model = loss(TestModel::classifier(17))
        .initializer("depth", DataType::Int64, &[], &[5.0])
        .initializer("off_on", DataType::Float, &[2], &[0.0, 1.0])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .with(node("OneHot").inputs(["y", "depth", "off_on"]).outputs(["oh"]).int("axis", -1))
        .op("Mul", &["oh", "lp"], &["picked"])
        .with(node("ReduceMean").inputs(["picked"]).outputs(["minus"]).int("keepdims", 0))
        .op("Neg", &["minus"], &["loss"]);
    let (_, ops) = patched(model);
    assert_eq!(ops, ["EncouragingLoss", "Constant", "Mul"]);
}

#[test]
fn a_mask_of_several_labels_stays_and_the_cleaned_labels_are_read() {
    // labels below 0 are padding: ignore_index cannot name them all
    let model = TestModel::classifier(18)
        .ints("one", &[1])
        .initializer("zero", DataType::Int64, &[], &[0.0])
        .op("GreaterOrEqual", &["y", "zero"], &["counts"])
        .op("Clip", &["y", "zero"], &["safe"])
        .with(node("LogSoftmax").inputs(["z"]).outputs(["lp"]).int("axis", 1))
        .op("Unsqueeze", &["safe", "one"], &["y1"])
        .with(node("GatherElements").inputs(["lp", "y1"]).outputs(["g"]).int("axis", 1))
        .op("Squeeze", &["g", "one"], &["log_p"])
        .op("Neg", &["log_p"], &["ce"])
        .with(node("Cast").inputs(["counts"]).outputs(["ones"]).int("to", 1))
        .op("Mul", &["ce", "ones"], &["kept"])
        .with(node("ReduceSum").inputs(["kept"]).outputs(["sum"]).int("keepdims", 0))
        .with(node("ReduceSum").inputs(["ones"]).outputs(["n"]).int("keepdims", 0))
        .op("Div", &["sum", "n"], &["loss"]);
    let (report, ops) = patched(loss(model));
    let told = &report.losses[0];
    assert_eq!(told.labels.as_deref(), Some("safe"));
    let parameters = told.parameters.unwrap();
    assert_eq!((parameters.ignore_index(), parameters.reduction()), (None, Reduction::None));
    assert!(ops.contains(&"Mul".to_owned()) && ops.contains(&"Clip".to_owned()), "{ops:?}");
}

fn cross_entropy_rows(model: TestModel) -> TestModel {
    cross_entropy(model, &["ce"], "none")
}

/// Softmax probability of the label as `py`.
fn label_probability(model: TestModel) -> TestModel {
    model
        .ints("one", &[1])
        .with(node("Softmax").inputs(["z"]).outputs(["p"]).int("axis", 1))
        .op("Unsqueeze", &["y", "one"], &["y1"])
        .with(node("GatherElements").inputs(["p", "y1"]).outputs(["py1"]).int("axis", 1))
        .op("Squeeze", &["py1", "one"], &["py"])
}

#[test]
fn products_with_probabilities_of_the_same_logits_are_other_losses() {
    // (1 - p)² · ce with p from a softmax of its own
    let focal = label_probability(cross_entropy_rows(loss(TestModel::classifier(17))))
        .number("c1", 1.0)
        .number("c2", 2.0)
        .op("Sub", &["c1", "py"], &["q"])
        .op("Pow", &["q", "c2"], &["q2"])
        .op("Mul", &["q2", "ce"], &["rows"]);
    let report = left_alone(mean(focal, "rows"));
    assert!(report.losses.iter().any(|l| l.what == "focal loss (gamma 2)"), "{report:?}");

    // only the uncertain rows count
    let hard = label_probability(cross_entropy_rows(loss(TestModel::classifier(17))))
        .number("limit", 0.7)
        .number("none", 0.0)
        .op("Less", &["py", "limit"], &["hard"])
        .op("Where", &["hard", "ce", "none"], &["rows"]);
    let report = left_alone(mean(hard, "rows"));
    assert!(!report.losses.iter().any(|l| l.what.contains("focal")), "{report:?}");
}

#[test]
fn a_loss_cut_off_is_another_loss() {
    let model = cross_entropy_rows(loss(TestModel::classifier(17))).number("most", 2.0).op(
        "Clip",
        &["ce", "", "most"],
        &["rows"],
    );
    left_alone(mean(model, "rows"));
}

/// Cross entropy, mean, plus the mean of a bonus made by `bonus` from `py`.
fn in_two_terms(bonus: impl Fn(TestModel) -> TestModel) -> TestModel {
    let model = label_probability(cross_entropy(loss(TestModel::classifier(17)), &["ce"], "mean"));
    let model = model.number("c1", 1.0).number("eps", 1e-5);
    bonus(model.op("Sub", &["c1", "py"], &["q"]).op("Clip", &["q", "eps"], &["qc"]).op("Log", &["qc"], &["b"]))
        .with(node("ReduceMean").inputs(["bonus"]).outputs(["bonus_mean"]).int("keepdims", 0))
        .op("Add", &["ce", "bonus_mean"], &["loss"])
}

#[test]
fn cross_entropy_plus_a_bonus_is_one_encouraging_loss() {
    let (report, ops) = patched(in_two_terms(|m| m.op("Identity", &["b"], &["bonus"])));
    assert_eq!(report.losses.len(), 1);
    assert_eq!(report.losses[0].what, "encouraging loss (log_end 1)");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn cross_entropy_plus_an_unknown_bonus_gets_no_second_one() {
    // the paper's "aggressive" bonus, from p = 0.5 on
    let report = left_alone(in_two_terms(|m| {
        m.number("start", 0.5)
            .number("none", 0.0)
            .number("at_start", 0.5f64.ln())
            .op("Sub", &["b", "at_start"], &["late"])
            .op("Greater", &["py", "start"], &["after"])
            .op("Where", &["after", "late", "none"], &["bonus"])
    }));
    assert!(matches!(&report.losses[0].action, Action::LeftAlone(reason) if reason.contains("another term")));
}

#[test]
fn encouraging_loss_in_half_precision() {
    // constants are rounded to half precision: log 0.25 is off by 4e-4
    let model = TestModel::new(17)
        .input("z", DataType::Float16, &["N", "5"])
        .input("y", DataType::Int64, &["N"])
        .output("loss", DataType::Float16, &[]);
    let half = |m: TestModel, name: &str, value: f64| m.initializer(name, DataType::Float16, &[], &[value]);
    let mut model = gathered(model);
    for (name, value) in [("c1", 1.0), ("eps", 1.001e-5), ("end", 0.75), ("slope", -4.0), ("at_end", -1.38672)] {
        model = half(model, name, value);
    }
    let model = model
        .op("Exp", &["log_p"], &["p"])
        .op("Sub", &["c1", "p"], &["q"])
        .op("Clip", &["q", "eps"], &["qc"])
        .op("Log", &["qc"], &["b"])
        .op("Sub", &["p", "end"], &["over"])
        .op("Mul", &["over", "slope"], &["line"])
        .op("Add", &["line", "at_end"], &["linear"])
        .op("Greater", &["p", "end"], &["above"])
        .op("Where", &["above", "linear", "b"], &["bonus"])
        .op("Add", &["rows", "bonus"], &["el"]);
    let (report, ops) = patched(mean(model, "el"));
    assert_eq!(report.losses[0].what, "encouraging loss (log_end 0.75)");
    assert_eq!(ops, ["EncouragingLoss"]);
}

#[test]
fn a_teacher_beside_the_loss_stays() {
    let model = gathered(loss(TestModel::classifier(17)).input("teacher", DataType::Float, &["N", "5"]))
        .with(node("Softmax").inputs(["teacher"]).outputs(["t"]).int("axis", 1))
        .op("Mul", &["t", "lp"], &["products"])
        .with(node("ReduceMean").inputs(["products"]).outputs(["soft"]).int("keepdims", 0))
        .with(node("ReduceMean").inputs(["rows"]).outputs(["hard"]).int("keepdims", 0))
        .op("Sub", &["hard", "soft"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].labels.as_deref(), Some("y"));
    assert!(ops.contains(&"LogSoftmax".to_owned()) && ops.contains(&"EncouragingLoss".to_owned()), "{ops:?}");
}

#[test]
fn losses_of_the_rows_that_are_an_output_too_are_swapped_with_their_mean() {
    let model = mean(gathered(loss(TestModel::classifier(17)).output("rows", DataType::Float, &["N"])), "rows");
    let (report, ops) = patched(model);
    assert_eq!(report.losses[0].parameters.unwrap().reduction(), Reduction::None);
    assert_eq!(ops, ["EncouragingLoss", "ReduceMean"]);
}

#[test]
fn a_log_likelihood_that_is_an_output_is_no_loss() {
    let both =
        || mean(gathered(loss(TestModel::classifier(17)).output("log_p", DataType::Float, &["N"])), "rows").build();
    let once = patch(&both(), &PatchOptions::default()).unwrap();
    assert_eq!(once.report.swapped(), 1);
    let twice = patch(&once.document, &PatchOptions::default()).unwrap();
    assert_eq!(twice.report.swapped(), 0);
}
