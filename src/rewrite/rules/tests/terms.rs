//! Terms beside a loss, and several losses in one graph.

use super::*;

/// Cross entropy of a sequence model as `ce`, classes last, and the mean of the paper's "aggressive" bonus, from
/// p = 0.5 on, which is not in the family, as `bonus`.
fn cross_entropy_and_unknown_bonus(classes: &str) -> TestModel {
    let mean = |from: &str, to: &str| node("ReduceMean").inputs([from]).outputs([to]).int("keepdims", 0);
    loss(TestModel::new(17))
        .input("z", DataType::Float, &["N", "T", classes])
        .input("y", DataType::Int64, &["N", "T"])
        .ints("two", &[2])
        .number("start", 0.5)
        .number("none", 0.0)
        .number("one", 1.0)
        .number("eps", 1e-5)
        .number("at_start", 0.5f64.ln())
        .op("Unsqueeze", &["y", "two"], &["y1"])
        .with(node("Softmax").inputs(["z"]).outputs(["p"]).int("axis", -1))
        .with(node("GatherElements").inputs(["p", "y1"]).outputs(["py"]).int("axis", 2))
        .op("Log", &["py"], &["log_p"])
        .op("Neg", &["log_p"], &["rows"])
        .with(mean("rows", "ce"))
        .op("Sub", &["one", "py"], &["q"])
        .op("Clip", &["q", "eps"], &["clipped"])
        .op("Log", &["clipped"], &["log_q"])
        .op("Sub", &["log_q", "at_start"], &["late"])
        .op("Greater", &["py", "start"], &["after"])
        .op("Where", &["after", "late", "none"], &["bonus_rows"])
        .with(mean("bonus_rows", "bonus"))
}

fn is_a_term(report: &Report) -> bool {
    matches!(&report.losses[0].action, Action::LeftAlone(reason) if reason.contains("another term"))
}

#[test]
fn an_unknown_bonus_beside_a_finished_loss_gets_no_second_one() {
    for classes in ["5", "2"] {
        let model = cross_entropy_and_unknown_bonus(classes).op("Add", &["ce", "bonus"], &["loss"]);
        let report = left_alone(model);
        assert!(is_a_term(&report), "{classes} classes: {:?}", report.losses);
    }
}

#[test]
fn an_unknown_bonus_behind_a_penalty_is_seen() {
    let model = cross_entropy_and_unknown_bonus("5")
        .with(node("ReduceSumSquare").inputs(["z"]).outputs(["penalty"]).int("keepdims", 0))
        .op("Add", &["ce", "penalty"], &["penalised"])
        .op("Add", &["penalised", "bonus"], &["loss"]);
    let report = left_alone(model);
    assert!(is_a_term(&report), "{:?}", report.losses);
}

#[test]
fn two_heads_that_share_a_one_hot_are_two_losses() {
    let rows = |model: TestModel, logits: &str, ce: &str| {
        let names = ["lp", "picked", "log_p", "rows"].map(|name| format!("{name}_{logits}"));
        let [lp, picked, log_p, rows] = names.each_ref().map(String::as_str);
        model
            .with(node("LogSoftmax").inputs([logits]).outputs([lp]).int("axis", 1))
            .op("Mul", &[lp, "hot"], &[picked])
            .with(node("ReduceSum").inputs([picked, "one"]).outputs([log_p]).int("keepdims", 0))
            .op("Neg", &[log_p], &[rows])
            .with(node("ReduceMean").inputs([rows]).outputs([ce]).int("keepdims", 0))
    };
    let model = loss(TestModel::classifier(17).input("z2", DataType::Float, &["N", "5"]))
        .ints("one", &[1])
        .ints("classes", &[0, 1, 2, 3, 4])
        .op("Unsqueeze", &["y", "one"], &["y1"])
        .op("Equal", &["y1", "classes"], &["is_label"])
        .with(node("Cast").inputs(["is_label"]).outputs(["hot"]).int("to", 1));
    let model = rows(rows(model, "z", "ce"), "z2", "ce2").op("Add", &["ce", "ce2"], &["loss"]);
    let (report, ops) = patched(model);
    assert_eq!(report.swapped(), 2);
    assert_eq!(ops, ["EncouragingLoss", "EncouragingLoss", "Add"]);
}
