//! What the user should know, a sentence each.

use std::collections::BTreeMap;

use super::{Calibrator, Samples};
use crate::edge::fit::Moments;
use crate::edge::{Score, ScoreFit};

/// Fewer samples than this make for a wide interval.
const FEW: usize = 100;

impl Samples {
    pub(super) fn warnings(&self, calibrator: &Calibrator) -> Vec<String> {
        let n = self.predicted.len();
        let mut warnings = Vec::new();
        if n < FEW {
            warnings.push(format!(
                "only {n} {}; the thresholds may be far off, as their intervals show: some hundred are needed, some \
                 thousand are better",
                if n == 1 { "sample" } else { "samples" }
            ));
        }
        if let Some(accuracy) = self.accuracy().filter(|&accuracy| self.is_near_chance(accuracy)) {
            warnings.push(format!(
                "{:.1} % of the labels are predicted right, where guessing gives {:.1} %; are they classes of this model, \
                 in its order, and are the inputs scaled as in training?",
                100.0 * accuracy,
                100.0 / self.classes as f64
            ));
        }
        if calibrator.options.true_positive_rate > 1.0 - 1.0 / n as f64 && n >= FEW {
            warnings.push(format!(
                "the threshold is the largest of {n} scores, so a single odd sample decides it; a lower --tpr is steadier"
            ));
        }
        warnings
    }

    /// Within three standard errors of guessing, or not half as good again.
    fn is_near_chance(&self, accuracy: f64) -> bool {
        let chance = 1.0 / self.classes as f64;
        let error = (chance * (1.0 - chance) / self.labels.len() as f64).sqrt();
        accuracy < (chance + 3.0 * error).max(1.5 * chance).min(0.9)
    }
}

pub(super) fn temperature_at_bound(temperature: f64) -> String {
    let why = if temperature < 1.0 {
        "hardly a label is predicted wrong, so the likelihood grows with every confidence"
    } else {
        "the logits say less of the labels than nothing"
    };
    format!("the temperature is held at {temperature}: {why}; fit it to other samples than those of the training")
}

pub(super) fn fewer_neighbours(asked: usize, there: usize) -> String {
    format!("KNN takes neighbour {there} instead of {asked}: half of the samples make its bank, and there are no more")
}

pub(super) fn of_class_means(moments: &Moments, without_labels: bool, features: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if without_labels {
        warnings.push("the data have no labels; class means are those of the predicted classes".to_owned());
    }
    let (n, empty) = (moments.samples(), moments.empty_classes());
    if empty > 0 {
        let classes = if empty == 1 { "class has" } else { "classes have" };
        warnings.push(format!("{empty} {classes} no sample to take a mean from; samples of it will look far away"));
    }
    if n < 2 * features {
        warnings.push(format!(
            "the covariance of {features} features is fitted to {n} samples (half of them all); several times as many \
             samples as features are needed for Mahalanobis distances"
        ));
    }
    warnings
}

pub(super) fn classes_without_threshold(scores: &BTreeMap<Score, ScoreFit>, decision: Score) -> Option<String> {
    let per_class = scores.get(&decision)?.per_class.as_ref()?;
    let without = per_class.iter().filter(|threshold| threshold.is_none()).count();
    (without > 0).then(|| {
        format!(
            "{without} of {} classes have too few samples for a threshold of their own; the common one holds",
            per_class.len()
        )
    })
}
