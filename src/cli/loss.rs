//! Options of the loss, for every command that puts one on a model.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};

use super::exit::wrong_input;
use crate::loss::{Bonus, EncouragingLoss, EncouragingLossBuilder, Reduction};
use crate::rewrite::RewriteError;

/// Parameters of the loss; what is not given comes from elsewhere.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// Probability where the log bonus turns linear, above 0; 1 is never
    #[arg(long, value_name = "P", value_parser = log_end, allow_negative_numbers = true, help_heading = "Loss")]
    pub log_end: Option<f32>,
    /// Form of the bonus
    #[arg(long, value_name = "FORM", value_parser = bonus_parser(), help_heading = "Loss")]
    pub bonus: Option<Bonus>,
    /// Exponent of the power bonus, above 0
    #[arg(long, value_name = "X", value_parser = power, allow_negative_numbers = true, help_heading = "Loss")]
    pub power: Option<f32>,
    /// Factor on the bonus, at least 0; 0 is cross entropy
    #[arg(long, value_name = "W", value_parser = bonus_weight, allow_negative_numbers = true, help_heading = "Loss")]
    pub bonus_weight: Option<f32>,
    /// Label smoothing as in PyTorch, from 0 to 1
    #[arg(long, value_name = "E", value_parser = label_smoothing, allow_negative_numbers = true, help_heading = "Loss")]
    pub label_smoothing: Option<f32>,
    /// How the losses of the rows become one
    #[arg(long, value_name = "HOW", value_parser = reduction_parser(), help_heading = "Loss")]
    pub reduction: Option<Reduction>,
    /// Label whose rows do not count
    #[arg(long, value_name = "LABEL", allow_negative_numbers = true, help_heading = "Loss")]
    pub ignore_index: Option<i64>,
}

impl Arguments {
    /// A parameter of another bonus than the one asked for would be lost in silence.
    pub fn check(&self) -> anyhow::Result<()> {
        if let (Some(_), Some(bonus @ (Bonus::Log | Bonus::Cosine))) = (self.power, self.bonus) {
            wrong_input!("--power belongs to --bonus power, not to --bonus {bonus}");
        }
        if let (Some(_), Some(bonus @ (Bonus::Power | Bonus::Cosine))) = (self.log_end, self.bonus) {
            wrong_input!("--log-end belongs to --bonus log, not to --bonus {bonus}");
        }
        Ok(())
    }

    /// The loss with these parameters, and those of `base` where none are given.
    pub fn over(&self, base: EncouragingLoss) -> anyhow::Result<EncouragingLoss> {
        self.check()?;
        let loss = base
            .to_builder()
            .log_end(self.log_end.unwrap_or(base.log_end()))
            .bonus(self.bonus.unwrap_or(base.bonus()))
            .power(self.power.unwrap_or(base.power()))
            .bonus_weight(self.bonus_weight.unwrap_or(base.bonus_weight()))
            .label_smoothing(self.label_smoothing.unwrap_or(base.label_smoothing()))
            .reduction(self.reduction.unwrap_or(base.reduction()))
            .ignore_index(self.ignore_index.or(base.ignore_index()))
            .build()?;
        let asked = [("--log-end", self.log_end, Bonus::Log), ("--power", self.power, Bonus::Power)];
        for (option, _, needs) in asked.into_iter().filter(|(_, given, _)| given.is_some()) {
            if loss.bonus() != needs {
                return Err(RewriteError::UnusedOption { option, needs, has: loss.bonus() }.into());
            }
        }
        Ok(loss)
    }
}

fn bonus_parser() -> impl clap::builder::TypedValueParser<Value = Bonus> {
    PossibleValuesParser::new([Bonus::Log, Bonus::Power, Bonus::Cosine].map(Bonus::as_str))
        .try_map(|text| text.parse::<Bonus>())
}

fn reduction_parser() -> impl clap::builder::TypedValueParser<Value = Reduction> {
    PossibleValuesParser::new([Reduction::Mean, Reduction::Sum, Reduction::None].map(Reduction::as_str))
        .try_map(|text| text.parse::<Reduction>())
}

/// A number that the loss accepts; the loss itself knows the ranges.
fn parameter(text: &str, set: impl Fn(EncouragingLossBuilder, f32) -> EncouragingLossBuilder) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| "not a number".to_owned())?;
    match set(EncouragingLoss::builder(), value).build() {
        Ok(_) => Ok(value),
        Err(error) => Err(error.to_string()),
    }
}

fn log_end(text: &str) -> Result<f32, String> {
    parameter(text, EncouragingLossBuilder::log_end)
}

fn power(text: &str) -> Result<f32, String> {
    parameter(text, EncouragingLossBuilder::power)
}

fn bonus_weight(text: &str) -> Result<f32, String> {
    parameter(text, EncouragingLossBuilder::bonus_weight)
}

fn label_smoothing(text: &str) -> Result<f32, String> {
    parameter(text, EncouragingLossBuilder::label_smoothing)
}
