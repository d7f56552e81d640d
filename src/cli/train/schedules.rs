//! Options of the schedules.

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::optimizer;
use crate::cli::exit::wrong_input;
use crate::train::{Decay, Growth, LearningRate};

/// How the learning rate and the weight of the bonus change.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// How the learning rate changes: not at all, by steps, or along half a cosine to --lr-min
    #[arg(long, value_name = "HOW", value_parser = PossibleValuesParser::new(["constant", "step", "cosine"]), default_value = "constant", help_heading = "Schedules")]
    lr_schedule: String,
    /// Epochs after which the learning rate drops, for step [default: after half and three quarters of them]
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = "Schedules")]
    lr_milestones: Option<Vec<u64>>,
    /// What it is multiplied by then [default: 0.1]
    #[arg(long, value_name = "X", help_heading = "Schedules")]
    lr_factor: Option<f64>,
    /// Where the cosine ends [default: 0]
    #[arg(long, value_name = "X", help_heading = "Schedules")]
    lr_min: Option<f64>,
    /// Epochs in which the learning rate grows to its value; 0.5 is half an epoch
    #[arg(long, value_name = "EPOCHS", default_value_t = 0.0, help_heading = "Schedules")]
    warmup: f64,
    /// How the weight of the bonus grows to --bonus-weight: constant, linear, cosine, exp
    #[arg(long, value_name = "HOW", value_parser = PossibleValuesParser::new(["constant", "linear", "cosine", "exp"]), default_value = "constant", help_heading = "Schedules")]
    bonus_schedule: String,
    /// k of exp: exp(k(t/T - 1)), or 1 - exp(k t/T) below 0 [default: 5]
    #[arg(long, value_name = "K", allow_negative_numbers = true, help_heading = "Schedules")]
    bonus_exponent: Option<f64>,
    /// Epochs at the beginning without a bonus
    #[arg(long, value_name = "EPOCHS", default_value_t = 0, help_heading = "Schedules")]
    pub defer: u64,
}

impl Arguments {
    /// The learning rate of each step.
    pub fn learning_rate(&self, optimizer: &optimizer::Arguments, epochs: u64) -> anyhow::Result<LearningRate> {
        let of_step = [("--lr-milestones", self.lr_milestones.is_some()), ("--lr-factor", self.lr_factor.is_some())];
        let of_cosine = [("--lr-min", self.lr_min.is_some())];
        let schedule = self.lr_schedule.as_str();
        let given = |options: &[(&'static str, bool)]| options.iter().find(|(_, given)| *given).map(|(name, _)| *name);
        let strange = match schedule {
            "step" => given(&of_cosine),
            "cosine" => given(&of_step),
            _ => given(&of_step).or(given(&of_cosine)),
        };
        if let Some(option) = strange {
            wrong_input!("{option} means nothing to --lr-schedule {schedule}");
        }
        let base = optimizer.learning_rate();
        let decay = match schedule {
            "step" => {
                let factor = self.lr_factor.unwrap_or(0.1);
                if !(factor.is_finite() && factor > 0.0) {
                    wrong_input!("--lr-factor must be above 0, not {factor}");
                }
                let halves = || [epochs / 2, epochs * 3 / 4].into_iter().filter(|epoch| *epoch > 0).collect();
                Decay::Step { epochs: self.lr_milestones.clone().unwrap_or_else(halves), factor }
            }
            "cosine" => {
                let least = self.lr_min.unwrap_or(0.0);
                if !(0.0..=base).contains(&least) {
                    wrong_input!("--lr-min must be from 0 to the learning rate, {base}, not {least}");
                }
                Decay::Cosine { least }
            }
            _ => Decay::Constant,
        };
        Ok(LearningRate { base, warmup: self.warmup, decay })
    }

    /// How the weight of the bonus grows.
    pub fn growth(&self) -> anyhow::Result<Growth> {
        if self.bonus_exponent.is_some() && self.bonus_schedule != "exp" {
            wrong_input!("--bonus-exponent belongs to --bonus-schedule exp");
        }
        Ok(match self.bonus_schedule.as_str() {
            "linear" => Growth::Linear,
            "cosine" => Growth::Cosine,
            "exp" => match self.bonus_exponent.unwrap_or(5.0) {
                k if k.is_finite() && k != 0.0 => Growth::Exponential(k),
                k => wrong_input!("--bonus-exponent must be finite and not 0, not {k}"),
            },
            _ => Growth::Constant,
        })
    }
}
