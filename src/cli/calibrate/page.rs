//! The result for people.

use crate::cli::output::{Page, size};
use crate::edge::{Calibrated, ScoreFit};
use crate::rewrite::ScoringModel;

/// Width of the longest score's name, "relative_mahalanobis".
const NAME: usize = 20;

/// Rows on model and data, the table of scores, what decides.
pub fn show(page: &mut Page, model: &ScoringModel, data: &[String], calibrated: &Calibrated) {
    let calibration = &calibrated.calibration;
    let classes = calibration.classes;
    page.row("logits", &format!("{}, {}; {classes} classes", model.value, model.how));
    page.rows("changed", &model.changes);
    page.rows("data", data);
    page.row("samples", &calibration.samples.to_string());
    if let Some(accuracy) = calibrated.accuracy {
        page.row("accuracy", &format!("{:.2} %", 100.0 * accuracy));
    }
    if let Some(fit) = &calibration.temperature {
        page.row("temperature", &format!("{:.4}", fit.temperature));
        page.row("", &format!("negative log likelihood {:.4}, before {:.4}", fit.nll_after, fit.nll_before));
        page.row("", &format!("expected calibration error {:.4}, before {:.4}", fit.ece_after, fit.ece_before));
    }
    page.blank();
    page.code(&format!("{:<NAME$} {:>11}   95 % interval", "score", "threshold"));
    for (score, fit) in &calibration.scores {
        let mark = if *score == calibration.decision { "  decides" } else { "" };
        page.code(&format!("{:<NAME$} {}{mark}", score.as_str(), numbers(fit)));
    }
    page.blank();
    let rate = 100.0 * calibration.true_positive_rate;
    page.paragraph(&format!(
        "In distribution is what has {} at most at its threshold, as {rate} % of the samples have.",
        calibration.decision
    ));
    let split: Vec<&str> = calibration
        .scores
        .iter()
        .filter(|(_, fit)| fit.samples < calibration.samples)
        .map(|(score, _)| score.as_str())
        .collect();
    if !split.is_empty() {
        let (n, all) = (calibration.samples - calibration.samples / 2, calibration.samples);
        page.paragraph(&format!(
            "Fitted to {n} of the {all} samples, with thresholds from the others: {}.",
            split.join(", ")
        ));
    }
    if let Some(per_class) = calibration.decisive().and_then(|fit| fit.per_class.as_ref()) {
        let own = per_class.iter().flatten().count();
        page.paragraph(&format!("{own} of {classes} classes have a threshold of their own."));
    }
    let bytes = calibrated.tables.bytes();
    if bytes > 0 {
        page.paragraph(&format!("Tables of {} go with it.", size(bytes as u64)));
    }
    page.blank();
    for warning in &calibrated.warnings {
        page.warning_row("warning", warning);
    }
}

fn numbers(fit: &ScoreFit) -> String {
    let [low, high] = fit.interval.map(number);
    format!("{:>11}   {low} to {high}", number(fit.threshold))
}

/// Five digits.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        0.0 => "0".to_owned(),
        m if !(1e-4..1e6).contains(&m) => format!("{value:.4e}"),
        m if m < 1.0 => format!("{value:.5}"),
        m if m < 10.0 => format!("{value:.4}"),
        m if m < 100.0 => format!("{value:.3}"),
        m if m < 1000.0 => format!("{value:.2}"),
        _ => format!("{value:.1}"),
    }
}
