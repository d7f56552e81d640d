//! The charts of a report.

use super::Report;
use super::chart::Chart;
use super::colours::class_of_set;
use super::histogram::{Series, Threshold, Words, histogram};
use super::numbers::{count, general, percent};
use super::reliability::reliability;
use super::roc::{Curve, roc};
use crate::edge::Score;
use crate::edge::evaluate::{ScoreReport, ScoredSet, reliability as diagram};
use crate::metrics::{PositiveSet, Ranking, RocCurve};

impl Report<'_> {
    /// Every set, the in-distribution one first.
    pub(super) fn sets(&self) -> impl Iterator<Item = &ScoredSet> {
        std::iter::once(self.in_distribution).chain(self.out_of_distribution)
    }

    /// Distributions of a score.
    pub(super) fn score_histogram(&self, report: &ScoreReport) -> Chart {
        let series: Vec<Series<'_>> = self
            .sets()
            .enumerate()
            .map(|(index, set)| Series {
                class: class_of_set(index),
                key: None,
                values: set.column(report.score).unwrap_or_default(),
            })
            .collect();
        let threshold = self.threshold(report);
        let words = Words {
            axis: format!("{} (higher is further out of distribution)", axis_of(report.score)),
            description: format!("Distribution of {} in each set", report.score),
            threshold: match threshold {
                Some(Threshold { value, calibrated: true }) => format!("calibrated threshold {}", general(value)),
                _ => format!("{} % TPR", percent(self.evaluation.true_positive_rate, 0)),
            },
        };
        histogram(&series, threshold, words)
    }

    /// The calibrated threshold, else the one at the true positive rate where that is the same for all sets.
    fn threshold(&self, report: &ScoreReport) -> Option<Threshold> {
        if let Some(value) = report.threshold {
            return Some(Threshold { value, calibrated: true });
        }
        let common = self.evaluation.positive == PositiveSet::InDistribution || report.sets.len() == 1;
        let value = report.sets.first().filter(|_| common)?.threshold_at_tpr;
        Some(Threshold { value, calibrated: false })
    }

    /// ROC curves of a score.
    pub(super) fn score_roc(&self, report: &ScoreReport) -> Chart {
        let widened = |set: &ScoredSet| -> Vec<f64> {
            set.column(report.score).unwrap_or_default().iter().map(|value| f64::from(*value)).collect()
        };
        let inside = widened(self.in_distribution);
        let curves = self.out_of_distribution.iter().zip(&report.sets).enumerate().filter_map(|(index, (set, of))| {
            let ranking = Ranking::new(&inside, &widened(set)).ok()?;
            Some(Curve {
                class: class_of_set(index + 1),
                name: set.name.clone(),
                roc: RocCurve::new(&ranking, self.evaluation.positive),
                auroc: of.metrics.auroc.value,
                fpr_at_tpr: of.metrics.fpr_at_tpr.value,
            })
        });
        let curves: Vec<Curve> = curves.collect();
        let rate = self.evaluation.true_positive_rate;
        roc(&curves, self.evaluation.positive, rate, self.log_roc, report.score.as_str())
    }

    /// The reliability diagram, where labels are known.
    pub(super) fn reliability(&self) -> Option<Chart> {
        let labelled = self.evaluation.in_distribution.labelled.as_ref()?;
        Some(reliability(&diagram(self.in_distribution).ok()?, labelled.accuracy))
    }

    /// Margins of right and wrong predictions where labels are known, else of all sets; nothing without logits.
    pub(super) fn margins(&self) -> Option<Chart> {
        if self.in_distribution.margin.is_empty() {
            return None;
        }
        let correct = self.in_distribution.correct();
        let chosen = |wanted: bool| -> Vec<f32> {
            let pairs = self.in_distribution.margin.iter().zip(&correct);
            pairs.filter(|(_, correct)| **correct == wanted).map(|(margin, _)| *margin).collect()
        };
        let (right, wrong) = (chosen(true), chosen(false));
        let series: Vec<Series<'_>> = if correct.is_empty() {
            self.sets()
                .enumerate()
                .map(|(index, set)| Series { class: class_of_set(index), key: None, values: &set.margin })
                .collect()
        } else {
            let both = [("right", &right), ("wrong", &wrong)];
            both.into_iter()
                .filter(|(_, values)| !values.is_empty())
                .map(|(class, values)| Series {
                    class: class.to_owned(),
                    key: Some(format!("{class}, {} samples", count(values.len()))),
                    values,
                })
                .collect()
        };
        let description = if correct.is_empty() {
            "Margin between the two largest logits in each set".to_owned()
        } else {
            format!("Margin of {} right and {} wrong predictions", right.len(), wrong.len())
        };
        let axis = "margin: largest logit \u{2212} second".to_owned();
        Some(histogram(&series, None, Words { axis, description, threshold: String::new() }))
    }
}

/// The name at an axis, with the sign where the score is the negative of what it is called after.
fn axis_of(score: Score) -> String {
    let name = score.as_str().replace('_', " ");
    match score {
        Score::Margin | Score::SoftMargin | Score::MaxLogit | Score::Msp => format!("\u{2212}{name}"),
        _ => name,
    }
}

/// A score as a heading.
pub fn title_of(score: Score) -> &'static str {
    match score {
        Score::Margin => "Margin",
        Score::SoftMargin => "Soft margin",
        Score::Energy => "Energy",
        Score::MaxLogit => "Max logit",
        Score::Msp => "Max softmax probability",
        Score::Entropy => "Entropy",
        Score::Gen => "GEN",
        Score::React => "ReAct",
        Score::AshS => "ASH-S",
        Score::Scale => "SCALE",
        Score::Knn => "KNN",
        Score::Mahalanobis => "Mahalanobis",
        Score::RelativeMahalanobis => "Relative Mahalanobis",
        Score::Vim => "ViM",
    }
}

/// What a score is, a formula or a clause.
pub fn formula_of(score: Score) -> &'static str {
    match score {
        Score::Margin => "\u{2212}(z₁ \u{2212} z₂), the two largest logits",
        Score::SoftMargin => "\u{2212}log(p₁ / (1 \u{2212} p₁))",
        Score::Energy => "\u{2212}T·logsumexp(z/T)",
        Score::MaxLogit => "\u{2212}max z",
        Score::Msp => "\u{2212}max p",
        Score::Entropy => "\u{2212}Σ p·log p",
        Score::Gen => "Σ (p(1 \u{2212} p))^0.1 over the largest p",
        Score::React => "energy with features clipped",
        Score::AshS => "energy with features pruned and rescaled (ASH-S)",
        Score::Scale => "energy with features rescaled (SCALE)",
        Score::Knn => "distance to the k-th nearest neighbour",
        Score::Mahalanobis => "distance to the nearest class mean",
        Score::RelativeMahalanobis => "distance to the nearest class mean, less that to the common mean",
        Score::Vim => "virtual logit of the residual against the energy",
    }
}
