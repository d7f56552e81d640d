//! What the user asks of a run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::metrics::Measured;
use super::schedule::{Growth, LearningRate};
use crate::rewrite::train_step::TrainStepOptions;

/// How a classifier is trained.
#[derive(Clone, Debug)]
pub struct TrainerOptions {
    /// Loss, optimizer, which parameters. Whether weights are inputs is decided by the options below.
    pub step: TrainStepOptions,
    /// Times that all samples are seen.
    pub epochs: u64,
    /// Samples of a step.
    pub batch: usize,
    /// Where the order of the samples, augmentation and dropout come from.
    pub seed: u64,
    /// Threads that ONNX Runtime computes with; the same number gives the same bits.
    pub threads: usize,
    /// The learning rate and how it changes.
    pub learning_rate: LearningRate,
    /// Epochs at the beginning without the bonus.
    pub deferred_bonus: u64,
    /// How the weight of the bonus grows to that of the loss.
    pub bonus_growth: Growth,
    /// A weight per class.
    pub class_weights: ClassWeights,
    /// What happens to pictures before training sees them.
    pub augmentation: Augmentation,
    /// Leaves out samples that do not fill a batch, others of them each epoch.
    pub drop_last: bool,
    /// Epochs without a better score after which training ends; None: it does not.
    pub patience: Option<u64>,
    /// By what the best epoch is chosen.
    pub best: Best,
    /// Where checkpoints and metrics go.
    pub run_folder: Option<PathBuf>,
    /// Steps after which a checkpoint is written, besides at the end of each epoch.
    pub save_every: Option<u64>,
    /// Goes on where the checkpoint in the run folder stands.
    pub resume: bool,
    /// libonnxruntime, where it is not to be looked for.
    pub onnxruntime: Option<PathBuf>,
}

impl Default for TrainerOptions {
    fn default() -> Self {
        Self {
            step: TrainStepOptions::default(),
            epochs: 10,
            batch: 64,
            seed: 0,
            threads: 1,
            learning_rate: LearningRate::constant(1e-3),
            deferred_bonus: 0,
            bonus_growth: Growth::Constant,
            class_weights: ClassWeights::Equal,
            augmentation: Augmentation::default(),
            drop_last: false,
            patience: None,
            best: Best::Accuracy,
            run_folder: None,
            save_every: None,
            resume: false,
            onnxruntime: None,
        }
    }
}

impl TrainerOptions {
    /// Whether they make sense by themselves.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let wrong = |what: &str| Err(TrainError::Options(what.to_owned()));
        let rate = &self.learning_rate;
        if self.epochs == 0 || self.batch == 0 {
            return wrong("training takes at least one epoch and one sample per batch");
        }
        if !(rate.base.is_finite() && rate.base > 0.0) {
            return Err(TrainError::Options(format!(
                "the learning rate must be finite and above 0, not {}",
                rate.base
            )));
        }
        if !(rate.warmup.is_finite() && rate.warmup >= 0.0) {
            return Err(TrainError::Options(format!("the warm-up must be 0 epochs or more, not {}", rate.warmup)));
        }
        if self.resume && self.run_folder.is_none() {
            return wrong("nothing to resume without the folder of the run");
        }
        Ok(())
    }
}

/// A weight per class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// None.
    #[default]
    Equal,
    /// samples/(classes · samples of the class), so that all classes count as much (scikit-learn's "balanced").
    Balanced,
    /// As given, in the order of the classes.
    Given(Vec<f32>),
}

/// What happens to pictures at random, by seed, epoch and sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augmentation {
    /// Mirrors every second one, on average.
    pub mirror: bool,
    /// Moves by up to so many pixels in both directions: a random crop of the padded picture.
    pub padding: u32,
}

/// By what the best epoch is chosen: on the validation data, where there are any, else on the training data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Best {
    /// The highest accuracy; of equals the one with the lower loss.
    #[default]
    Accuracy,
    /// The lowest loss; of equals the first.
    Loss,
}

impl Best {
    /// The score of an epoch, and whether it is better than the best so far.
    pub(super) fn judge(self, new: &Measured, best: Option<&Measured>) -> (f64, bool) {
        match self {
            Best::Accuracy => {
                let merits = |measured: &Measured| (measured.accuracy, -measured.loss);
                (new.accuracy, best.is_none_or(|best| merits(new) > merits(best)))
            }
            Best::Loss => (new.loss, best.is_none_or(|best| new.loss < best.loss)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_accuracies_the_lower_loss_is_better() {
        let measured = |accuracy, loss| Measured { samples: 10, loss, accuracy, margin: 0.0, energy: 0.0 };
        let first = measured(0.9, 0.5);
        let better = |best: Best, new: Measured| best.judge(&new, Some(&first)).1;
        assert_eq!([0.4, 0.5, 0.6].map(|loss| better(Best::Accuracy, measured(0.9, loss))), [true, false, false]);
        assert!(better(Best::Accuracy, measured(0.91, 9.0)) && !better(Best::Accuracy, measured(0.89, 0.1)));
        assert!(better(Best::Loss, measured(0.1, 0.4)) && !better(Best::Loss, measured(1.0, 0.5)));
        assert_eq!(Best::Accuracy.judge(&first, None), (0.9, true));
    }
}
