use std::collections::HashMap;

use super::*;
use crate::model::{Graph, NodeBuilder, node};
use crate::rewrite::evaluate::{Tensor, evaluate};
use crate::rewrite::testing::TestModel;
use crate::rewrite::unpatch;

const C: usize = 5;
const ROWS: [[f64; C]; 6] = [
    [1.0, -2.0, 0.5, 3.0, 2.5],
    [0.0; 5],
    [9.0, 9.0, -4.0, 1.0, 0.0],
    [300.0, -300.0, 0.0, 1.0, 2.0],
    [-7.0, -7.5, -8.0, -9.0, -11.0],
    [5.0, f64::NEG_INFINITY, 4.0, f64::NEG_INFINITY, 1.0],
];

fn classifier(opset: i64, data_type: DataType) -> Document {
    TestModel::new(opset)
        .input("x", data_type, &["N", "5"])
        .op("Identity", &["x"], &["z"])
        .output("z", data_type, &["N", "5"])
        .build()
}

fn options(scores: &[GraphScore], temperature: f64) -> GraphScoreOptions {
    GraphScoreOptions { scores: scores.to_vec(), temperature: Some(temperature), logits: Some("z".into()) }
}

fn outputs(graph: &Graph, opset: i64, x: Tensor) -> HashMap<String, Tensor> {
    let nodes: Vec<&crate::model::proto::NodeProto> = graph.nodes().iter().map(|node| &**node).collect();
    evaluate(&nodes, HashMap::from([("x".to_owned(), x)]), opset).unwrap()
}

fn logsumexp(z: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = z.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + z.map(|z| (z - largest).exp()).sum::<f64>().ln()
}

/// By the book, in f64; 1 − p of the largest from the sum of the others.
fn expected(score: GraphScore, row: &[f64; C], t: f64) -> f64 {
    let cooled = row.map(|z| z / t);
    let all = logsumexp(cooled.into_iter());
    let best = (0..C).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let without_best = |row: &[f64; C]| {
        let rest: Vec<f64> = (0..C).filter(|j| *j != best).map(|j| row[j]).collect();
        rest
    };
    let p = |j: usize| (cooled[j] - all).exp();
    match score {
        GraphScore::Probability => p(best),
        GraphScore::Margin => without_best(row).into_iter().fold(f64::NEG_INFINITY, f64::max) - row[best],
        GraphScore::SoftMargin => logsumexp(without_best(row).into_iter()) - row[best],
        GraphScore::Energy => -t * all,
        GraphScore::MaxLogit => -row[best],
        GraphScore::Msp => -p(best),
        GraphScore::Entropy => (0..C).filter(|j| p(*j) > 0.0).map(|j| -p(j) * (cooled[j] - all)).sum(),
        GraphScore::Gen => (0..C)
            .map(|j| {
                let rest =
                    if j == best { (logsumexp(without_best(&cooled).into_iter()) - all).exp() } else { 1.0 - p(j) };
                (p(j) * rest).powf(0.1)
            })
            .sum(),
        _ => unreachable!(),
    }
}

const NUMBERS: [GraphScore; 8] = [
    GraphScore::Probability,
    GraphScore::Margin,
    GraphScore::SoftMargin,
    GraphScore::Energy,
    GraphScore::MaxLogit,
    GraphScore::Msp,
    GraphScore::Entropy,
    GraphScore::Gen,
];

#[test]
fn every_formula_is_what_it_says_in_every_opset() {
    let x = Tensor::floats(&[ROWS.len(), C], ROWS.concat());
    for opset in 8..=21 {
        for temperature in [1.0, 2.5] {
            let patched = add_scores(&classifier(opset, DataType::Double), &options(&NUMBERS, temperature)).unwrap();
            assert!(patched.report.scores_changed());
            let found = outputs(patched.document.graph(), opset, x.clone());
            for score in NUMBERS {
                let values = found[score.as_str()].as_floats().unwrap();
                for (row, value) in ROWS.iter().zip(values) {
                    let wanted = expected(score, row, temperature);
                    let error = (value - wanted).abs() / wanted.abs().max(1.0);
                    assert!(error < 1e-12, "opset {opset}, T {temperature}, {score} of {row:?}: {value}, not {wanted}");
                }
            }
        }
    }
}

#[test]
fn names_are_those_of_the_command_line() {
    for score in GraphScore::ALL {
        assert_eq!(score.as_str().parse(), Ok(score));
        assert_eq!(score.as_str().replace('_', "-").parse(), Ok(score));
    }
    let unknown = "vim".parse::<GraphScore>().unwrap_err().to_string();
    assert!(unknown.contains("stay out of the graph; elonnx score computes it"), "{unknown}");
    assert!("heat".parse::<GraphScore>().unwrap_err().to_string().starts_with("there is no score 'heat'; a graph"));
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let document = TestModel::new(17)
        .input("x", DataType::Float, &["N", "5"])
        .op("Identity", &["x"], &["z"])
        .op("Relu", &["z"], &["energy"])
        .output("energy", DataType::Float, &["N", "5"])
        .build();
    let once = add_scores(&document, &options(&[GraphScore::Energy], 1.0)).unwrap();
    assert_eq!(once.report.scores[0].output, "energy_1");
    let twice = add_scores(&once.document, &options(&[GraphScore::Energy], 1.0)).unwrap();
    assert_eq!(twice.report.scores[0].action, ScoreAction::AlreadyThere);
    assert_eq!(twice.document.to_bytes(), once.document.to_bytes());
}

#[test]
fn replacing_leaves_nothing_behind() {
    let document = classifier(17, DataType::Float);
    let warm = add_scores(&document, &options(&[GraphScore::Energy], 2.0)).unwrap().document;
    let replaced = add_scores(&warm, &options(&[GraphScore::Energy], 1.0)).unwrap();
    assert_eq!(replaced.report.scores[0].action, ScoreAction::Replaced);
    let fresh = add_scores(&document, &options(&[GraphScore::Energy], 1.0)).unwrap().document;
    assert_eq!(replaced.document.graph().nodes().len(), fresh.graph().nodes().len());
}

#[test]
fn the_threshold_itself_is_in_distribution() {
    // −0.1 has no exact float: nothing above it may pass
    for threshold in [-0.1f64, -3.0, 0.0, 1e-40] {
        let mut document = classifier(17, DataType::Float);
        let calibration = format!(
            r#"{{"version":1,"logits":"z","classes":5,"decision":"max_logit","scores":{{"max_logit":{{"threshold":{threshold:e}}}}}}}"#
        );
        document.set_metadata("elonnx.calibration", &calibration);
        let wanted =
            GraphScoreOptions { scores: vec![GraphScore::InDistribution], temperature: None, logits: Some("z".into()) };
        let patched = add_scores(&document, &wanted).unwrap().document;
        let less = patched.graph().nodes().iter().find(|node| node.op() == "Less").unwrap();
        let index = crate::model::GraphIndex::new(patched.graph());
        let bound = index.constant(less.input_at(1).unwrap()).unwrap().scalar().unwrap() as f32;
        assert!(f64::from(bound) > threshold && f64::from(bound.next_down()) <= threshold, "{threshold}: {bound}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |document: &Document, scores: &[GraphScore]| {
        add_scores(document, &GraphScoreOptions { temperature: None, ..options(scores, 1.0) }).unwrap_err().to_string()
    };
    let mut document = classifier(17, DataType::Float);
    let why = refused(&document, &[GraphScore::InDistribution]);
    assert_eq!(
        why,
        "in_distribution needs a calibrated model: it holds no calibration; run elonnx calibrate on it first"
    );
    document.set_metadata("elonnx.calibration", "{");
    assert!(refused(&document, &[GraphScore::InDistribution]).contains("its calibration is damaged"));
    document.set_metadata("elonnx.calibration", r#"{"version":7}"#);
    assert!(refused(&document, &[GraphScore::InDistribution]).contains("has format 7"));
    let of = |classes, decision, per_class| {
        let mut document = classifier(17, DataType::Float);
        let text = format!(
            r#"{{"version":1,"logits":"z","classes":{classes},"decision":"{decision}","scores":{{"energy":{{"threshold":1.0,"per_class":{per_class}}}}}}}"#
        );
        document.set_metadata("elonnx.calibration", &text);
        document
    };
    assert!(
        refused(&of(7, "energy", "null"), &[GraphScore::InDistribution]).contains("7 classes, but its logits have 5")
    );
    assert!(refused(&of(5, "energy", "[1]"), &[GraphScore::InDistribution]).contains("thresholds for 1 classes"));
    assert!(refused(&of(5, "vim", "null"), &[GraphScore::InDistribution]).contains("decides by vim"));
    assert!(refused(&classifier(6, DataType::Float), &[GraphScore::Energy]).contains("opset 6"));
    assert!(refused(&classifier(17, DataType::Float), &[GraphScore::Scale]).contains("an input of the model"));
    let cold = add_scores(&classifier(17, DataType::Float), &options(&[GraphScore::Energy], 0.0));
    assert!(cold.unwrap_err().to_string().contains("the temperature: it is 0"));
}

#[test]
fn a_loss_beside_scores_comes_and_goes() {
    let loss: NodeBuilder = node("SoftmaxCrossEntropyLoss").inputs(["z", "y"]).outputs(["loss"]);
    let document = TestModel::classifier(17).with(loss).output("loss", DataType::Float, &[]).build();
    let scored = add_scores(&document, &GraphScoreOptions { logits: None, ..options(&[GraphScore::Energy], 1.0) });
    let scored = scored.unwrap().document;
    let patched = crate::rewrite::patch(&scored, &crate::rewrite::PatchOptions::default()).unwrap();
    assert_eq!(patched.report.swapped(), 1);
    let back = unpatch(&patched.document).unwrap().document;
    let energy = |document: &Document| document.graph().outputs().iter().any(|output| output.name() == "energy");
    assert!(energy(&patched.document) && energy(&back));
}
