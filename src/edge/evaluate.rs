//! How well a classifier knows what it does not know: scores of in-distribution samples against those of others.

mod error;
mod measured;
mod reader;
mod scored_set;
mod summary;

pub use error::EvaluateError;
pub use measured::Measured;
pub use scored_set::ScoredSet;
pub use summary::Summary;

use serde::Serialize;

use super::{Calibration, Score};
use crate::metrics::{
    self, Bootstrap, CALIBRATION_BINS, MetricsError, PositiveSet, Ranking, ReliabilityDiagram, RocCurve, Separation,
    SeparationOptions,
};

/// How sets are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluateOptions {
    /// Scores to compare by; empty: all that the sets have.
    pub scores: Vec<Score>,
    /// True positive rate and positive set of the false positive rate.
    pub separation: SeparationOptions,
    /// Of the intervals; without resamples there are none.
    pub bootstrap: Bootstrap,
    /// Number of classes of the model, where labels are to be checked against it.
    pub classes: Option<usize>,
}

/// The comparison of one in-distribution set with others. Serialized, a number that is not finite is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Which set is positive for [`MetricsReport::fpr_at_tpr`].
    #[serde(serialize_with = "positive_set")]
    pub positive: PositiveSet,
    /// True positive rate that it is taken at.
    pub true_positive_rate: f64,
    /// Where the intervals come from.
    pub bootstrap: BootstrapReport,
    /// The in-distribution set.
    pub in_distribution: SetReport,
    /// The others, in the order they were given.
    pub out_of_distribution: Vec<SetReport>,
    /// How well each score tells them apart.
    pub scores: Vec<ScoreReport>,
}

/// Where the intervals come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BootstrapReport {
    /// Number of resamples; 0 for no intervals.
    pub resamples: usize,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Share of the resamples within an interval.
    pub level: f64,
}

/// One set on its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetReport {
    /// What it is called.
    pub name: String,
    /// Number of samples.
    pub samples: usize,
    /// Of the predicted classes' probabilities.
    pub confidence: Summary,
    /// Of top1 − top2 of the logits; `None` where the model has no logits.
    pub margin: Option<Summary>,
    /// Of the energy; `None` where it was not computed.
    pub energy: Option<Summary>,
    /// How good the predictions are, where labels are known.
    pub labelled: Option<LabelledReport>,
    /// Share that the calibrated model takes for in-distribution; `None` where it is not calibrated.
    pub kept: Option<f64>,
}

/// How good predictions are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelledReport {
    /// Share of right predictions.
    pub accuracy: f64,
    /// Expected calibration error over 15 bins of equal width.
    pub ece: f64,
    /// Mean negative log likelihood of the labels, where the probability of each label is known.
    pub nll: Option<f64>,
    /// Of the margins of right predictions.
    pub margin_right: Option<Summary>,
    /// Of the margins of wrong ones.
    pub margin_wrong: Option<Summary>,
}

/// One score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreReport {
    /// Which.
    pub score: Score,
    /// The calibrated threshold: scores up to it are in-distribution.
    pub threshold: Option<f64>,
    /// Share of the in-distribution set within that threshold.
    pub kept: Option<f64>,
    /// Against each out-of-distribution set.
    pub sets: Vec<SeparationReport>,
    /// Each metric averaged over the sets, where there are several.
    pub mean: Option<MetricsReport>,
}

/// One score against one out-of-distribution set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeparationReport {
    /// The out-of-distribution set.
    pub set: String,
    /// The metrics.
    #[serde(flatten)]
    pub metrics: MetricsReport,
    /// Score at which the false positive rate was taken.
    pub threshold_at_tpr: f64,
    /// Share of the set beyond the calibrated threshold.
    pub flagged: Option<f64>,
}

/// The metrics of a separation with their intervals, as [`Separation`] defines them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MetricsReport {
    /// Area under the ROC curve.
    pub auroc: Measured,
    /// Average precision, in-distribution positive.
    pub aupr_in: Measured,
    /// Average precision, out-of-distribution positive.
    pub aupr_out: Measured,
    /// False positive rate at the true positive rate of the evaluation.
    pub fpr_at_tpr: Measured,
    /// Accuracy of the best threshold, both sets weighing the same.
    pub detection_accuracy: Measured,
}

fn positive_set<S: serde::Serializer>(positive: &PositiveSet, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match positive {
        PositiveSet::InDistribution => "in_distribution",
        PositiveSet::OutOfDistribution => "out_of_distribution",
    })
}

/// Compares the scores of an in-distribution set with those of others.
///
/// # Errors
/// A set without samples or without a score the others have, two of the same name, NaN among scores, a label that is no
/// class.
pub fn evaluate(
    in_distribution: &ScoredSet,
    out_of_distribution: &[ScoredSet],
    calibration: Option<&Calibration>,
    options: &EvaluateOptions,
) -> Result<Evaluation, EvaluateError> {
    let all = || std::iter::once(in_distribution).chain(out_of_distribution);
    for (index, set) in all().enumerate() {
        if set.is_empty() {
            return Err(EvaluateError::Empty { set: set.name.clone() });
        }
        if all().take(index).any(|other| other.name == set.name) {
            return Err(EvaluateError::SameName { set: set.name.clone() });
        }
    }
    let asked = if options.scores.is_empty() { &in_distribution.scores } else { &options.scores };
    let scores: Result<_, _> = asked
        .iter()
        .map(|&score| evaluate_score(score, in_distribution, out_of_distribution, calibration, options))
        .collect();
    let sets: Result<_, _> = out_of_distribution.iter().map(|set| report_set(set, None)).collect();
    Ok(Evaluation {
        positive: options.separation.positive,
        true_positive_rate: options.separation.true_positive_rate,
        bootstrap: BootstrapReport {
            resamples: options.bootstrap.resamples,
            seed: options.bootstrap.seed,
            level: options.bootstrap.level,
        },
        in_distribution: report_set(in_distribution, options.classes)?,
        out_of_distribution: sets?,
        scores: scores?,
    })
}

fn evaluate_score(
    score: Score,
    in_distribution: &ScoredSet,
    out_of_distribution: &[ScoredSet],
    calibration: Option<&Calibration>,
    options: &EvaluateOptions,
) -> Result<ScoreReport, EvaluateError> {
    let threshold = calibration.and_then(|calibration| calibration.scores.get(&score)).map(|fit| fit.threshold);
    let inside = column(in_distribution, score)?;
    let mut sets = Vec::new();
    let mut values = Vec::new();
    // resamples of the mean, by resample
    let mut summed: Vec<Vec<Separation>> = vec![Vec::new(); options.bootstrap.resamples];
    for (stream, set) in (0..).zip(out_of_distribution) {
        let outside = column(set, score)?;
        let ranking = Ranking::new(&inside, &outside).map_err(|source| {
            let set = format!("{}' or '{}", in_distribution.name, set.name);
            EvaluateError::Metric { quantity: score.to_string(), set, source }
        })?;
        let separation = ranking.separation(options.separation);
        let resamples = options.bootstrap.separations(&ranking, options.separation, stream);
        sets.push(SeparationReport {
            set: set.name.clone(),
            metrics: MetricsReport::new(&options.bootstrap, separation, &resamples),
            threshold_at_tpr: threshold_at(&ranking, options.separation),
            flagged: threshold.map(|threshold| 1.0 - share_up_to(&outside, threshold)),
        });
        values.push(separation);
        for (sum, resample) in summed.iter_mut().zip(resamples) {
            sum.push(resample);
        }
    }
    let mean = Separation::mean(&values).filter(|_| values.len() > 1).map(|mean| {
        let resamples: Vec<Separation> = summed.iter().filter_map(|all| Separation::mean(all)).collect();
        MetricsReport::new(&options.bootstrap, mean, &resamples)
    });
    let kept = threshold.map(|threshold| share_up_to(&inside, threshold));
    Ok(ScoreReport { score, threshold, kept, sets, mean })
}

impl MetricsReport {
    fn new(bootstrap: &Bootstrap, separation: Separation, resamples: &[Separation]) -> Self {
        let intervals = bootstrap.intervals(resamples).map(|all| all.map(Some)).unwrap_or_default();
        let pairs = separation.into_array().into_iter().zip(intervals.into_array());
        let mut all = [Measured::default(); Separation::<f64>::LEN];
        for (measured, (value, interval)) in all.iter_mut().zip(pairs) {
            *measured = Measured::new(value, interval);
        }
        let [auroc, aupr_in, aupr_out, fpr_at_tpr, detection_accuracy] = all;
        MetricsReport { auroc, aupr_in, aupr_out, fpr_at_tpr, detection_accuracy }
    }
}

fn report_set(set: &ScoredSet, classes: Option<usize>) -> Result<SetReport, EvaluateError> {
    let summary = |quantity: &str, values: &[f32]| {
        Summary::new(&widened(values)).map_err(|source| metric_error(quantity, set, source))
    };
    let margin = |values: &[f32]| {
        if values.is_empty() { Ok(None) } else { summary("margin", values).map(Some) }
    };
    Ok(SetReport {
        name: set.name.clone(),
        samples: set.len(),
        confidence: summary("probability", &set.probability)?,
        margin: margin(&set.margin)?,
        energy: set.column(Score::Energy).map(|values| summary("energy", values)).transpose()?,
        labelled: if set.is_labelled() { Some(report_labelled(set, classes)?) } else { None },
        kept: set.kept(),
    })
}

fn report_labelled(set: &ScoredSet, classes: Option<usize>) -> Result<LabelledReport, EvaluateError> {
    if let Some(classes) = classes {
        let is_class = |label: &i64| usize::try_from(*label).is_ok_and(|label| label < classes);
        if let Some(sample) = set.labels.iter().position(|label| !is_class(label)) {
            let label = set.labels[sample];
            return Err(EvaluateError::Label { set: set.name.clone(), sample, label, classes });
        }
    }
    let correct = set.correct();
    let error = |source| metric_error("probability", set, source);
    let margins = |wanted: bool| {
        let chosen = set.margin.iter().zip(&correct).filter(|(_, correct)| **correct == wanted);
        let chosen: Vec<f64> = chosen.map(|(margin, _)| f64::from(*margin)).collect();
        if chosen.is_empty() {
            return Ok(None);
        }
        Summary::new(&chosen).map(Some).map_err(|source| metric_error("margin", set, source))
    };
    let nll = if set.label_nll.len() == set.len() {
        Some(metrics::mean(&set.label_nll).map_err(|source| metric_error("negative log likelihood", set, source))?)
    } else {
        None
    };
    Ok(LabelledReport {
        accuracy: metrics::accuracy(&correct).map_err(error)?,
        ece: reliability(set).map_err(error)?.expected_calibration_error(),
        nll,
        margin_right: margins(true)?,
        margin_wrong: margins(false)?,
    })
}

/// The reliability diagram of a labelled set, over 15 bins.
///
/// # Errors
/// A set without labels or samples.
pub fn reliability(set: &ScoredSet) -> Result<ReliabilityDiagram, MetricsError> {
    // f32 softmax may exceed 1 by a rounding
    let confidences: Vec<f64> = set.probability.iter().map(|p| f64::from(*p).min(1.0)).collect();
    ReliabilityDiagram::new(&confidences, &set.correct(), CALIBRATION_BINS)
}

fn metric_error(quantity: &str, set: &ScoredSet, source: MetricsError) -> EvaluateError {
    EvaluateError::Metric { quantity: quantity.to_owned(), set: set.name.clone(), source }
}

fn column(set: &ScoredSet, score: Score) -> Result<Vec<f64>, EvaluateError> {
    let missing = || EvaluateError::MissingScore { set: set.name.clone(), score };
    let values = set.column(score).map(widened).ok_or_else(missing)?;
    // here, where it is known which set has it
    if let Some(index) = values.iter().position(|value| value.is_nan()) {
        return Err(metric_error(score.as_str(), set, MetricsError::NotANumber { what: "value", index }));
    }
    Ok(values)
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn share_up_to(values: &[f64], threshold: f64) -> f64 {
    values.iter().filter(|value| **value <= threshold).count() as f64 / values.len() as f64
}

/// The score at which the true positive rate is reached.
fn threshold_at(ranking: &Ranking, options: SeparationOptions) -> f64 {
    let curve = RocCurve::new(ranking, options.positive);
    let reached = curve.true_positive_rate.iter().position(|rate| *rate >= options.true_positive_rate);
    reached.and_then(|index| curve.thresholds.get(index)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
pub(crate) mod tests;
