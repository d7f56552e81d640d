//! Options of the optimizer.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::exit::{WrongInput, wrong_input};
use crate::rewrite::optimizer::Optimizer;

/// How parameters follow their gradients.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// How parameters follow their gradients
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(["adamw", "sgd"]), default_value = "adamw", help_heading = "Optimizer")]
    pub optimizer: String,
    /// Learning rate [default: 0.001 for adamw, 0.01 for sgd]
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub lr: Option<f64>,
    /// Momentum of sgd, from 0 to below 1 [default: 0.9]
    #[arg(long, value_name = "M", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub momentum: Option<f64>,
    /// Nesterov's momentum, for sgd
    #[arg(long, help_heading = "Optimizer")]
    pub nesterov: bool,
    /// Weight decay; decoupled in adamw, L2 in sgd [default: 0.01 for adamw, 0 for sgd]
    #[arg(long, value_name = "D", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub weight_decay: Option<f64>,
    /// Decay of the mean of gradients in adamw [default: 0.9]
    #[arg(long, value_name = "B", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub beta1: Option<f64>,
    /// Decay of the mean of squared gradients in adamw [default: 0.999]
    #[arg(long, value_name = "B", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub beta2: Option<f64>,
    /// Added to the denominator of adamw [default: 1e-8]
    #[arg(long, value_name = "E", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub epsilon: Option<f64>,
    /// Largest global norm of the gradients; larger ones are scaled down to it
    #[arg(long, value_name = "NORM", allow_negative_numbers = true, help_heading = "Optimizer")]
    pub clip_norm: Option<f32>,
}

impl Arguments {
    /// The learning rate, before any schedule.
    pub fn learning_rate(&self) -> f64 {
        self.lr.unwrap_or(if self.optimizer == "sgd" { 0.01 } else { 0.001 })
    }

    /// The optimizer with its numbers.
    pub fn optimizer(&self) -> anyhow::Result<Optimizer> {
        let of_sgd = [("--momentum", self.momentum.is_some()), ("--nesterov", self.nesterov)];
        let of_adamw = [
            ("--beta1", self.beta1.is_some()),
            ("--beta2", self.beta2.is_some()),
            ("--epsilon", self.epsilon.is_some()),
        ];
        let sgd = self.optimizer == "sgd";
        let strange = if sgd { of_adamw.as_slice() } else { of_sgd.as_slice() };
        if let Some((option, _)) = strange.iter().find(|(_, given)| *given) {
            wrong_input!(
                "{option} is nothing that {} knows; leave it out, or choose another optimizer",
                self.optimizer
            );
        }
        let optimizer = match Optimizer::adamw() {
            Optimizer::AdamW { beta1, beta2, epsilon, weight_decay } if !sgd => Optimizer::AdamW {
                beta1: self.beta1.unwrap_or(beta1),
                beta2: self.beta2.unwrap_or(beta2),
                epsilon: self.epsilon.unwrap_or(epsilon),
                weight_decay: self.weight_decay.unwrap_or(weight_decay),
            },
            _ => Optimizer::Sgd {
                momentum: self.momentum.unwrap_or(0.9),
                nesterov: self.nesterov,
                weight_decay: self.weight_decay.unwrap_or(0.0),
            },
        };
        optimizer.check().map_err(|error| WrongInput(error.to_string()))?;
        Ok(optimizer)
    }
}
