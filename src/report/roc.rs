//! ROC curves of one score against several sets.

use super::chart::{Chart, Frame, ROOM};
use super::numbers::percent;
use super::scale::Scale;
use super::svg::Anchor;
use super::text::{shorten, width};
use crate::metrics::{PositiveSet, RocCurve};

/// One curve.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Class of its colour.
    pub class: String,
    /// Name of the out-of-distribution set.
    pub name: String,
    /// Its points.
    pub roc: RocCurve,
    /// Area below it.
    pub auroc: f64,
    /// False positive rate at the true positive rate.
    pub fpr_at_tpr: f64,
}

/// Most names that fit into the corner.
const NAMES: usize = 8;

/// The curves with a dot at the true positive rate that is reported.
pub fn roc(curves: &[Curve], positive: PositiveSet, true_positive_rate: f64, logarithmic: bool, score: &str) -> Chart {
    let y = Scale::linear((0.0, 1.0), (Frame::BOTTOM, Frame::TOP));
    let x = if logarithmic {
        Scale::logarithmic((least_rate(curves), 1.0), (Frame::LEFT, Frame::RIGHT))
    } else {
        Scale::linear((0.0, 1.0), (Frame::LEFT, Frame::RIGHT))
    };
    let mut frame = Frame::new(x, y, Frame::BOTTOM);
    let (x_label, y_label) = match positive {
        PositiveSet::InDistribution => {
            ("false positive rate: out-of-distribution, passed", "true positive rate: in-distribution, passed")
        }
        PositiveSet::OutOfDistribution => {
            ("false positive rate: in-distribution, flagged", "true positive rate: out-of-distribution, flagged")
        }
    };
    frame.y_axis(y_label, 5);
    frame.x_axis(x_label);
    if !logarithmic {
        frame.svg.line("diagonal", (frame.x.at(0.0), frame.y.at(0.0)), (frame.x.at(1.0), frame.y.at(1.0)));
    }
    for curve in curves {
        let rates = curve.roc.false_positive_rate.iter().zip(&curve.roc.true_positive_rate);
        let points: Vec<(f64, f64)> = rates.map(|(x, y)| (frame.x.at(*x), frame.y.at(*y))).collect();
        frame.svg.path(&format!("curve {}", curve.class), &points, false);
    }
    for curve in curves {
        let dot = (frame.x.at(curve.fpr_at_tpr), frame.y.at(true_positive_rate));
        frame.svg.circle(&format!("dot {}", curve.class), dot, 4.5);
    }
    name_curves(&mut frame, curves);
    let areas: Vec<String> = curves.iter().map(|c| format!("{} {} %", c.name, percent(c.auroc, 2))).collect();
    frame.finish(format!("ROC curve of {score}; area under it: {}", areas.join(", ")))
}

/// Names and areas in the lower right, where good curves do not go.
fn name_curves(frame: &mut Frame, curves: &[Curve]) {
    let lines: Vec<(String, String)> = curves
        .iter()
        .take(NAMES)
        .map(|curve| (shorten(&curve.name, 22).into_owned(), percent(curve.auroc, 2)))
        .collect();
    let numbers = lines.iter().map(|(_, area)| width(area, 12.0) * ROOM).fold(0.0, f64::max);
    let names = lines.iter().map(|(name, _)| width(name, 12.0) * ROOM).fold(0.0, f64::max);
    let right = Frame::RIGHT - 8.0;
    let left = right - numbers - 16.0 - names;
    #[expect(clippy::cast_precision_loss, reason = "at most eight")]
    let first = Frame::BOTTOM - 12.0 - 18.0 * (lines.len() as f64 - 1.0);
    let (x, y) = (left - 22.0, first - 34.0);
    let behind = |curve: &Curve| {
        let mut rates = curve.roc.false_positive_rate.iter().zip(&curve.roc.true_positive_rate);
        rates.any(|(fpr, tpr)| frame.x.at(*fpr) > x && frame.y.at(*tpr) > y)
    };
    if curves.iter().any(behind) {
        frame.svg.rect("veil", (x, y), (right + 4.0 - x, Frame::BOTTOM - 2.0 - y));
    }
    frame.svg.text("label", (right, first - 18.0), Anchor::End, "AUROC, %");
    let mut y = first;
    for ((name, area), curve) in lines.iter().zip(curves) {
        frame.svg.circle(&format!("dot {}", curve.class), (left - 11.0, y - 4.0), 4.5);
        frame.svg.text("note", (left, y), Anchor::Start, name);
        frame.svg.text("strong", (right, y), Anchor::End, area);
        y += 18.0;
    }
}

/// The power of ten below the least false positive rate above 0.
fn least_rate(curves: &[Curve]) -> f64 {
    let rates = curves.iter().flat_map(|curve| curve.roc.false_positive_rate.iter().copied());
    let least = rates.filter(|rate| *rate > 0.0).fold(0.1, f64::min);
    10f64.powf((least.log10() + 1e-9).floor()).max(1e-6)
}
