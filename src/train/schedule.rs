//! How the learning rate and the weight of the bonus change over a run: functions of the step alone.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done, from 0.
    pub step: u64,
    /// Steps of an epoch.
    pub per_epoch: u64,
    /// Epochs of the run.
    pub epochs: u64,
}

impl Progress {
    /// Epochs done, with a fraction.
    #[must_use]
    pub fn epoch(self) -> f64 {
        self.step as f64 / self.per_epoch.max(1) as f64
    }

    /// Steps of the run.
    #[must_use]
    pub fn total(self) -> u64 {
        self.per_epoch.saturating_mul(self.epochs)
    }
}

/// How the learning rate changes after the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// Times `factor` at each of the `epochs` (PyTorch's `MultiStepLR`).
    Step {
        /// Epochs after which it drops, from 1.
        epochs: Vec<u64>,
        /// What it is multiplied by, each time.
        factor: f64,
    },
    /// Half a cosine from the base to `least` at the end of the run (PyTorch's `CosineAnnealingLR`), over the steps that
    /// the warm-up leaves.
    Cosine {
        /// Where it ends.
        least: f64,
    },
}

/// The learning rate of each step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// The rate after the warm-up.
    pub base: f64,
    /// Epochs of warm-up, a fraction allowed: the rate grows in equal parts, from `base`/n in the first of its n steps to
    /// `base` in the last.
    pub warmup: f64,
    /// What comes then.
    pub decay: Decay,
}

impl LearningRate {
    /// Always the same.
    #[must_use]
    pub fn constant(base: f64) -> Self {
        Self { base, warmup: 0.0, decay: Decay::Constant }
    }

    /// Of a step.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "steps are few")]
    pub fn at(&self, progress: Progress) -> f64 {
        let warmup = (self.warmup.max(0.0) * progress.per_epoch as f64).round() as u64;
        if progress.step < warmup {
            return self.base * (progress.step + 1) as f64 / warmup as f64;
        }
        match &self.decay {
            Decay::Constant => self.base,
            Decay::Step { epochs, factor } => {
                let passed = epochs.iter().filter(|&&epoch| progress.step >= epoch * progress.per_epoch).count();
                self.base * factor.powi(i32::try_from(passed).unwrap_or(i32::MAX))
            }
            Decay::Cosine { least } => {
                let (done, all) = (progress.step - warmup, progress.total().saturating_sub(warmup).max(1));
                let share = (done as f64 / all as f64).min(1.0);
                least + (self.base - least) * (1.0 + (PI * share).cos()) / 2.0
            }
        }
    }

    /// Whether it depends on how long the run is.
    #[must_use]
    pub fn depends_on_length(&self) -> bool {
        matches!(self.decay, Decay::Cosine { .. })
    }
}

/// How the weight of the bonus grows, as in the code of the paper (`el_schedule`); t is the step, T the steps of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// 1
    #[default]
    Constant,
    /// t/T
    Linear,
    /// (cos(π(1 + t/T)) + 1)/2
    Cosine,
    /// exp(k(t/T − 1)) for k > 0, 1 − exp(k·t/T) for k < 0; the paper's k is 5
    Exponential(f64),
}

/// The weight of the bonus in each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BonusWeight {
    /// What the schedule is multiplied by.
    pub weight: f64,
    /// Epochs at the beginning without a bonus (`defer_start`).
    pub deferred: u64,
    /// How it grows; the deferred epochs count as part of the run.
    pub growth: Growth,
}

impl BonusWeight {
    /// Always the same.
    #[must_use]
    pub fn constant(weight: f64) -> Self {
        Self { weight, deferred: 0, growth: Growth::Constant }
    }

    /// Whether every step has the same.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.deferred == 0 && self.growth == Growth::Constant
    }

    /// Of a step.
    #[must_use]
    pub fn at(&self, progress: Progress) -> f64 {
        if progress.step < self.deferred.saturating_mul(progress.per_epoch) {
            return 0.0;
        }
        let share = (progress.step as f64 / progress.total().max(1) as f64).min(1.0);
        let factor = match self.growth {
            Growth::Constant => 1.0,
            Growth::Linear => share,
            Growth::Cosine => f64::midpoint((PI * (1.0 + share)).cos(), 1.0),
            Growth::Exponential(k) if k < 0.0 => 1.0 - (k * share).exp(),
            Growth::Exponential(k) => (k * (share - 1.0)).exp(),
        };
        self.weight * factor
    }

    /// Whether it depends on how long the run is.
    #[must_use]
    pub fn depends_on_length(&self) -> bool {
        self.growth != Growth::Constant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Progress = Progress { step: 0, per_epoch: 10, epochs: 4 };

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    #[test]
    fn the_rate_warms_up_to_its_base() {
        let rate = LearningRate { base: 0.5, warmup: 0.5, decay: Decay::Constant };
        for (step, share) in [(0, 0.2), (1, 0.4), (4, 1.0), (5, 1.0), (39, 1.0)] {
            close(rate.at(Progress { step, ..RUN }), 0.5 * share);
        }
        close(LearningRate::constant(0.1).at(RUN), 0.1);
    }

    #[test]
    fn the_rate_drops_at_milestones() {
        let decay = Decay::Step { epochs: vec![1, 3], factor: 0.1 };
        let rate = LearningRate { base: 1.0, warmup: 0.0, decay };
        for (step, expected) in [(9, 1.0), (10, 0.1), (29, 0.1), (30, 0.01)] {
            close(rate.at(Progress { step, ..RUN }), expected);
        }
    }

    #[test]
    fn the_rate_follows_half_a_cosine_behind_the_warm_up() {
        let rate = LearningRate { base: 1.0, warmup: 1.0, decay: Decay::Cosine { least: 0.2 } };
        for (step, expected) in [(9, 1.0), (10, 1.0), (25, 0.6), (40, 0.2), (99, 0.2)] {
            close(rate.at(Progress { step, ..RUN }), expected);
        }
        close(rate.at(Progress { step: 20, ..RUN }), 0.2 + 0.8 * (1.0 + (PI / 3.0).cos()) / 2.0);
    }

    #[test]
    fn the_bonus_grows_as_in_the_paper() {
        let at = |growth, step| BonusWeight { weight: 2.0, deferred: 0, growth }.at(Progress { step, ..RUN });
        close(at(Growth::Constant, 0), 2.0);
        close(at(Growth::Linear, 10), 0.5);
        for step in [0, 7, 20, 40] {
            let share = step as f64 / 40.0;
            close(at(Growth::Cosine, step), (PI * (1.0 + share)).cos() + 1.0);
            close(at(Growth::Exponential(5.0), step), 2.0 * ((share - 1.0) * 5.0).exp());
            close(at(Growth::Exponential(-5.0), step), 2.0 * (1.0 - (-5.0 * share).exp()));
        }
        close(at(Growth::Cosine, 0), 0.0);
        close(at(Growth::Cosine, 40), 2.0);
    }

    #[test]
    fn the_bonus_is_off_while_deferred() {
        let weight = BonusWeight { weight: 1.0, deferred: 2, growth: Growth::Linear };
        close(weight.at(Progress { step: 19, ..RUN }), 0.0);
        close(weight.at(Progress { step: 20, ..RUN }), 0.5);
        assert!(!weight.is_constant() && weight.depends_on_length());
        assert!(BonusWeight::constant(1.0).is_constant());
    }
}
