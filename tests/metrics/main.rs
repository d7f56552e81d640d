//! The metrics against what scikit-learn and numpy say; see make_reference.py.

use elonnx::metrics::{
    PositiveSet, Ranking, RocCurve, SeparationOptions, accuracy, brier_score, mean, negative_log_likelihood, quantile,
    standard_deviation,
};
use serde_json::Value;

fn reference() -> Value {
    serde_json::from_str(include_str!("reference.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn near(found: f64, expected: &Value, what: &str) {
    let expected = number(expected);
    assert!((found - expected).abs() <= 1e-12, "{what}: {found}, the reference says {expected}");
}

#[test]
fn separation_and_roc_curve_as_scikit_learn() {
    let reference = reference();
    let rates = numbers(&reference["rates"]);
    let cases = reference["cases"].as_array().unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let ranking = Ranking::new(&numbers(&case["in"]), &numbers(&case["out"])).unwrap();
        for (positive, fpr, roc) in [
            (PositiveSet::InDistribution, "fpr_in_positive", "roc_in_positive"),
            (PositiveSet::OutOfDistribution, "fpr_out_positive", "roc_out_positive"),
        ] {
            for (index, &true_positive_rate) in rates.iter().enumerate() {
                let found = ranking.separation(SeparationOptions { true_positive_rate, positive });
                near(found.auroc, &case["auroc"], name);
                near(found.aupr_in, &case["aupr_in"], name);
                near(found.aupr_out, &case["aupr_out"], name);
                near(found.detection_accuracy, &case["detection_accuracy"], name);
                near(found.fpr_at_tpr, &case[fpr][index], &format!("{name}, {fpr} at {true_positive_rate}"));
            }
            let curve = RocCurve::new(&ranking, positive);
            for (found, expected) in [&curve.false_positive_rate, &curve.true_positive_rate].into_iter().zip([0, 1]) {
                let expected = numbers(&case[roc][expected]);
                assert_eq!(found.len(), expected.len(), "{name}");
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{name}");
            }
        }
    }
}

#[test]
fn calibration_as_scikit_learn() {
    let case = &reference()["calibration"];
    let classes = number(&case["classes"]) as usize;
    let probabilities = numbers(&case["probabilities"]);
    let labels: Vec<usize> = numbers(&case["labels"]).iter().map(|label| *label as usize).collect();
    let rows = || probabilities.chunks_exact(classes).zip(&labels);
    let of_label: Vec<f64> = rows().map(|(row, label)| row[*label]).collect();
    near(negative_log_likelihood(&of_label).unwrap(), &case["negative_log_likelihood"], "NLL");
    near(brier_score(&probabilities, classes, &labels).unwrap(), &case["brier"], "Brier");
    let right = |(row, label): (&[f64], &usize)| row.iter().all(|p| *p <= row[*label]);
    let correct: Vec<bool> = rows().map(right).collect();
    near(accuracy(&correct).unwrap(), &case["accuracy"], "accuracy");
}

#[test]
fn quantiles_and_moments_as_numpy() {
    let case = &reference()["values"];
    let values = numbers(&case["values"]);
    for (level, expected) in numbers(&case["levels"]).iter().zip(numbers(&case["quantiles"])) {
        // to the last bit
        assert_eq!(quantile(&values, *level), Ok(expected), "{level}");
    }
    near(mean(&values).unwrap(), &case["mean"], "mean");
    near(standard_deviation(&values).unwrap(), &case["std"], "std");
}
