use std::collections::BTreeMap;

use super::*;
use crate::edge::ScoreFit;

/// Normally distributed numbers.
struct Normal(fastrand::Rng);

impl Normal {
    fn next(&mut self) -> f64 {
        let (u, v) = (1.0 - self.0.f64(), self.0.f64());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// A made-up set: logits of ten classes, the winner ahead by about `margin`; one prediction in `wrong_every` is wrong.
#[expect(clippy::cast_possible_truncation, reason = "made-up numbers")]
pub(crate) fn made_up(name: &str, samples: usize, margin: f64, spread: f64, wrong_every: Option<usize>) -> ScoredSet {
    let mut normal = Normal(fastrand::Rng::with_seed(samples as u64 ^ margin.to_bits()));
    let mut set = ScoredSet::new(name, &[Score::Margin, Score::Energy, Score::Msp]);
    for index in 0..samples {
        let wrong = wrong_every.is_some_and(|every| index % every == 0);
        let ahead = (margin * if wrong { 0.35 } else { 1.0 } + spread * normal.next()).abs();
        let top = 4.0 + ahead * 0.9 + 0.7 * normal.next();
        let rest = (8.0 * (top - ahead - 1.5).exp() + (top - ahead).exp()).ln();
        let energy = -(top.exp() + rest.exp()).ln();
        let probability = 1.0 / (1.0 + (rest - top).exp());
        for (column, value) in set.columns.iter_mut().zip([-ahead, energy, -probability]) {
            column.push(value as f32);
        }
        let class = (index % 10) as u32;
        set.class.push(class);
        set.probability.push(probability as f32);
        set.margin.push(ahead as f32);
        if wrong_every.is_some() {
            set.labels.push(i64::from(if wrong { (class + 1) % 10 } else { class }));
            set.label_nll.push(if wrong { -(1.0 - probability).ln() } else { -probability.ln() });
        }
    }
    set
}

pub(crate) fn calibrated(set: &ScoredSet) -> Calibration {
    let fit = |score: Score| {
        let values = widened(set.column(score).unwrap());
        let threshold = metrics::quantile(&values, 0.95).unwrap();
        (
            score,
            ScoreFit { threshold, interval: [threshold; 2], samples: 10, per_class: None, parameters: BTreeMap::new() },
        )
    };
    Calibration {
        version: 1,
        elonnx: "0.1.0".into(),
        logits: "logits".into(),
        classes: 10,
        samples: set.len(),
        true_positive_rate: 0.95,
        decision: Score::Energy,
        temperature: None,
        scores: set.scores.iter().map(|score| fit(*score)).collect(),
        preprocessing: None,
    }
}

fn few_resamples() -> EvaluateOptions {
    EvaluateOptions { bootstrap: Bootstrap { resamples: 50, ..Bootstrap::default() }, ..EvaluateOptions::default() }
}

#[test]
fn every_score_against_every_set() {
    let inside = made_up("digits", 400, 8.0, 2.0, Some(20));
    let outside = [made_up("clothes", 300, 2.0, 1.5, None), made_up("noise", 100, 1.0, 1.0, None)];
    let mut calibration = calibrated(&inside);
    calibration.scores.remove(&Score::Msp);
    let evaluation = evaluate(&inside, &outside, Some(&calibration), &few_resamples()).unwrap();
    assert_eq!(evaluation.scores.len(), 3);
    let energy = &evaluation.scores[1];
    assert_eq!((energy.score, energy.sets.len()), (Score::Energy, 2));
    let expected = metrics::auroc(&widened(&inside.columns[1]), &widened(&outside[0].columns[1])).unwrap();
    let auroc = energy.sets[0].metrics.auroc;
    assert_eq!(auroc.value, expected);
    let [low, high] = auroc.interval.unwrap();
    assert!(low < expected && expected < high && high - low < 0.1, "{auroc:?}");
    let mean = energy.mean.unwrap().auroc;
    assert!((mean.value - (expected + energy.sets[1].metrics.auroc.value) / 2.0).abs() < 1e-15);
    assert!(mean.interval.unwrap()[0] < mean.value);
    assert!((energy.kept.unwrap() - 0.95).abs() < 0.01);
    assert!(energy.sets[0].flagged.unwrap() > 0.5);
    assert_eq!((evaluation.scores[2].threshold, evaluation.scores[2].sets[0].flagged), (None, None));

    let set = &evaluation.in_distribution;
    let labelled = set.labelled.as_ref().unwrap();
    assert_eq!((set.samples, labelled.accuracy), (400, 0.95));
    assert!(labelled.nll.unwrap() > 0.0 && labelled.ece > 0.0);
    assert!(labelled.margin_right.unwrap().mean > labelled.margin_wrong.unwrap().mean);
    assert!(set.energy.unwrap().mean < evaluation.out_of_distribution[0].energy.unwrap().mean);
}

#[test]
fn the_threshold_is_where_the_rate_is_reached() {
    let inside = made_up("digits", 100, 8.0, 2.0, None);
    let outside = [made_up("clothes", 60, 2.0, 1.5, None)];
    for positive in [PositiveSet::InDistribution, PositiveSet::OutOfDistribution] {
        let mut options = few_resamples();
        options.separation.positive = positive;
        let evaluation = evaluate(&inside, &outside, None, &options).unwrap();
        let report = &evaluation.scores[0].sets[0];
        let (inside, outside) = (widened(&inside.columns[0]), widened(&outside[0].columns[0]));
        let below = |values: &[f64]| values.iter().filter(|v| **v < report.threshold_at_tpr).count() as f64;
        let expected = match positive {
            PositiveSet::InDistribution => share_up_to(&outside, report.threshold_at_tpr),
            PositiveSet::OutOfDistribution => 1.0 - below(&inside) / inside.len() as f64,
        };
        assert!((report.metrics.fpr_at_tpr.value - expected).abs() < 1e-12);
    }
}

#[test]
fn as_json() {
    let inside = made_up("digits", 50, 8.0, 2.0, Some(10));
    let outside = [made_up("clothes", 40, 2.0, 1.5, None)];
    let evaluation = evaluate(&inside, &outside, None, &few_resamples()).unwrap();
    let object = serde_json::to_value(&evaluation).unwrap();
    assert_eq!(object["positive"], "in_distribution");
    assert_eq!(object["scores"][1]["score"], "energy");
    assert!(object["scores"][1]["sets"][0]["auroc"]["interval"][1].is_f64());
    assert_eq!(object["scores"][1]["mean"], serde_json::Value::Null);
    let mut options = few_resamples();
    options.bootstrap.resamples = 0;
    let object = serde_json::to_value(evaluate(&inside, &outside, None, &options).unwrap()).unwrap();
    assert_eq!(object["scores"][1]["sets"][0]["auroc"]["interval"], serde_json::Value::Null);
}

#[test]
fn what_cannot_be_compared_is_named() {
    let inside = made_up("digits", 50, 8.0, 2.0, Some(10));
    let outside = made_up("clothes", 40, 2.0, 1.5, None);
    let refusal = |inside: &ScoredSet, outside: &ScoredSet, options: &EvaluateOptions| {
        evaluate(inside, std::slice::from_ref(outside), None, options).unwrap_err().to_string()
    };
    let options = few_resamples();
    assert!(refusal(&inside, &ScoredSet::new("none", &[]), &options).contains("'none' holds no samples"));
    assert!(refusal(&inside, &inside, &options).contains("two sets are called 'digits'"));
    let other = EvaluateOptions { scores: vec![Score::Knn], ..options.clone() };
    assert!(refusal(&inside, &outside, &other).contains("'digits' has no values of knn"));
    let checked = EvaluateOptions { classes: Some(3), ..options.clone() };
    assert!(refusal(&inside, &outside, &checked).contains("classes 0 to 2"));
    let mut broken = outside.clone();
    broken.columns[1][7] = f32::NAN;
    let text = refusal(&inside, &broken, &options);
    assert!(text.contains("energy of 'clothes'") && text.contains("value 7 is NaN"), "{text}");
}

#[test]
fn a_model_without_logits_has_no_margin() {
    let mut inside = made_up("digits", 50, 8.0, 2.0, Some(10));
    inside.margin.clear();
    inside.label_nll.clear();
    let evaluation = evaluate(&inside, &[made_up("clothes", 40, 2.0, 1.5, None)], None, &few_resamples()).unwrap();
    let labelled = evaluation.in_distribution.labelled.unwrap();
    assert_eq!((evaluation.in_distribution.margin, labelled.nll, labelled.margin_right), (None, None, None));
}
