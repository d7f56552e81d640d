//! Scores against what pytorch-ood says, through the whole of it: calibrate a model, load it, score; see
//! make_reference.py.

use elonnx::data::{Tensor, Values};
use elonnx::edge::{Calibrator, CalibratorOptions, Evidence, Score, Scored, Scorer, ScorerOptions};
use elonnx::model::Document;
use serde_json::Value;

fn reference() -> Value {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

fn model() -> Document {
    Document::from_bytes(&include_bytes!("model.onnx")[..]).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn tensor(values: Vec<f32>, features: usize) -> Vec<Tensor> {
    vec![Tensor { dims: vec![values.len() / features, features], values: Values::F32(values) }]
}

/// The model, calibrated with every sample twice: those with even numbers are fitted to.
fn calibrated(reference: &Value, batch: usize) -> Document {
    let features = reference["features"].as_u64().unwrap() as usize;
    let percentile = reference["percentile"].as_f64().unwrap();
    let mut document = model();
    let options = ScorerOptions { feature: true, ..ScorerOptions::default() };
    let mut scorer = Scorer::new(&document, &options).unwrap();
    let options = CalibratorOptions {
        scores: Score::ALL.to_vec(),
        ash_percentile: percentile,
        scale_percentile: percentile,
        knn_k: reference["k"].as_u64().unwrap() as usize,
        ..CalibratorOptions::default()
    };
    let mut calibrator = Calibrator::new(scorer.model(), options).unwrap();
    let twice: Vec<f32> = floats(&reference["train"]).chunks(features).flat_map(|row| [row, row].concat()).collect();
    let labels: Vec<i64> = reference["labels"].as_array().unwrap().iter().map(|y| y.as_i64().unwrap()).collect();
    let labels: Vec<i64> = labels.into_iter().flat_map(|y| [y, y]).collect();
    let mut evidence = Evidence::default();
    for (rows, labels) in twice.chunks(batch * features).zip(labels.chunks(batch)) {
        scorer.evidence(&tensor(rows.to_vec(), features), &mut evidence).unwrap();
        calibrator.add(&evidence, Some(labels), None).unwrap();
    }
    let calibrated = calibrator.finish().unwrap();
    calibrated.calibration.write(&mut document, &calibrated.tables).unwrap();
    Document::from_bytes(document.to_bytes()).unwrap()
}

/// Scores of the test samples, a column for each name.
fn columns(document: &Document, scores: &[Score], temperature: Option<f64>, reference: &Value) -> Vec<Vec<f32>> {
    let options = ScorerOptions { scores: scores.to_vec(), temperature, ..ScorerOptions::default() };
    let mut scorer = Scorer::new(document, &options).unwrap();
    let mut scored = Scored::default();
    let features = reference["features"].as_u64().unwrap() as usize;
    scorer.score(&tensor(floats(&reference["test"]), features), &mut scored).unwrap();
    (0..scores.len()).map(|at| scored.scores.iter().skip(at).step_by(scores.len()).copied().collect()).collect()
}

/// The largest difference, relative to the size that scores of this name have.
fn difference(found: &[f32], expected: &Value) -> f64 {
    let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().map(|x| x.abs()).sum::<f64>() / expected.len() as f64;
    let pairs = found.iter().zip(&expected);
    pairs.map(|(&found, expected)| (f64::from(found) - expected).abs() / size.max(expected.abs())).fold(0.0, f64::max)
}

#[test]
fn every_score_is_that_of_pytorch_ood() {
    let reference = reference();
    let document = calibrated(&reference, 64);
    // pytorch-ood has no margins
    let scores: Vec<Score> =
        Score::ALL.into_iter().filter(|score| !matches!(score, Score::Margin | Score::SoftMargin)).collect();
    let columns = columns(&document, &scores, None, &reference);
    for (score, column) in scores.iter().zip(&columns) {
        let difference = difference(column, &reference["scores"][score.as_str()]);
        println!("{score}: {difference:.1e}");
        assert!(difference < 1e-5, "{score}: {difference:e}");
    }
}

#[test]
fn the_energy_at_another_temperature_too() {
    let reference = reference();
    let column = columns(&model(), &[Score::Energy], Some(2.0), &reference).remove(0);
    assert!(difference(&column, &reference["scores"]["energy_2"]) < 1e-6);
}

#[test]
fn batches_make_no_difference() {
    let reference = reference();
    // but for rounding in the sums over samples
    let [a, b] = [7, 300].map(|batch| columns(&calibrated(&reference, batch), &Score::ALL, None, &reference));
    for ((a, b), score) in a.iter().zip(&b).zip(Score::ALL) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{score}: {a} {b}");
        }
    }
}
