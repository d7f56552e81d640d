//! Parameters of the encouraging loss.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The bonus b(p) that is added to cross entropy; see `margin` for f(m) and f′(m).
///
/// Source: arXiv 2110.06537, and the authors' code (`bonus_gamma`: -1 log, > 0 power, -2 cosine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bonus {
    /// log(1 − p), continued linearly above `log_end` (the paper's conservative bonus).
    Log,
    /// −p^power.
    Power,
    /// cos(πp) − 1.
    Cosine,
}

impl Bonus {
    /// The value of the ONNX attribute `bonus`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Bonus::Log => "log",
            Bonus::Power => "power",
            Bonus::Cosine => "cosine",
        }
    }
}

impl fmt::Display for Bonus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Bonus {
    type Err = ParameterError;

    fn from_str(s: &str) -> Result<Self, ParameterError> {
        match s {
            "log" => Ok(Bonus::Log),
            "power" => Ok(Bonus::Power),
            "cosine" => Ok(Bonus::Cosine),
            _ => Err(ParameterError::Bonus(s.to_owned())),
        }
    }
}

/// How the losses of the rows become the output, as in ONNX `SoftmaxCrossEntropyLoss`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// Sum of the weighted losses, divided by the sum of the weights of the rows that count.
    Mean,
    /// Sum of the weighted losses.
    Sum,
    /// One loss per row.
    None,
}

impl Reduction {
    /// The value of the ONNX attribute `reduction`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::None => "none",
        }
    }
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reduction {
    type Err = ParameterError;

    fn from_str(s: &str) -> Result<Self, ParameterError> {
        match s {
            "mean" => Ok(Reduction::Mean),
            "sum" => Ok(Reduction::Sum),
            "none" => Ok(Reduction::None),
            _ => Err(ParameterError::Reduction(s.to_owned())),
        }
    }
}

/// A parameter is outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// `log_end` must be in (0, 1].
    #[error(
        "log_end must be above 0 and at most 1 (0.75 is the paper's choice for accuracy, 1 the plain bonus), not {0}"
    )]
    LogEnd(f32),
    /// `power` must be positive and finite.
    #[error("power must be positive and finite, not {0}")]
    Power(f32),
    /// `bonus_weight` must be finite and not negative.
    #[error("bonus_weight must be finite and at least 0 (0 is cross entropy), not {0}")]
    BonusWeight(f32),
    /// `label_smoothing` must be in [0, 1].
    #[error("label_smoothing must be at least 0 and at most 1, not {0}")]
    LabelSmoothing(f32),
    /// Not a bonus.
    #[error("bonus must be log, power or cosine, not '{0}'")]
    Bonus(String),
    /// Not a reduction.
    #[error("reduction must be mean, sum or none, not '{0}'")]
    Reduction(String),
}

/// Validated parameters of the encouraging loss: the attributes of `ai.elonnx::EncouragingLoss`.
///
/// Real numbers are `f32` because that is what an ONNX attribute holds: the f64 reference computes with the very
/// same values as the kernels.
///
/// ```
/// use elonnx::loss::{EncouragingLoss, Reduction};
///
/// let loss = EncouragingLoss::builder().log_end(0.5).reduction(Reduction::Sum).build()?;
/// assert_eq!(loss.log_end(), 0.5);
/// assert!(EncouragingLoss::builder().log_end(1.5).build().is_err());
/// # Ok::<(), elonnx::loss::ParameterError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EncouragingLoss {
    log_end: f32,
    bonus: Bonus,
    power: f32,
    bonus_weight: f32,
    label_smoothing: f32,
    reduction: Reduction,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_index: Option<i64>,
}

impl Default for EncouragingLoss {
    fn default() -> Self {
        EncouragingLoss {
            log_end: 0.75,
            bonus: Bonus::Log,
            power: 2.0,
            bonus_weight: 1.0,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            ignore_index: None,
        }
    }
}

impl EncouragingLoss {
    /// Starts from the operator's defaults: log bonus, `log_end` 0.75, mean.
    pub fn builder() -> EncouragingLossBuilder {
        EncouragingLossBuilder { loss: EncouragingLoss::default() }
    }

    /// Starts from these parameters.
    pub fn to_builder(self) -> EncouragingLossBuilder {
        EncouragingLossBuilder { loss: self }
    }

    /// Cross entropy: the member of the family without a bonus (`bonus_weight` = 0).
    #[must_use]
    pub fn cross_entropy() -> Self {
        EncouragingLoss { bonus_weight: 0.0, ..EncouragingLoss::default() }
    }

    /// Probability above which the log bonus is continued by its tangent, in (0, 1].
    #[must_use]
    pub fn log_end(&self) -> f32 {
        self.log_end
    }

    /// The form of the bonus.
    #[must_use]
    pub fn bonus(&self) -> Bonus {
        self.bonus
    }

    /// Exponent of the power bonus.
    #[must_use]
    pub fn power(&self) -> f32 {
        self.power
    }

    /// ρ, the factor on the bonus; 0 is cross entropy. The operator's `bonus_weight` input wins over it.
    #[must_use]
    pub fn bonus_weight(&self) -> f32 {
        self.bonus_weight
    }

    /// ε of label smoothing, PyTorch's convention.
    #[must_use]
    pub fn label_smoothing(&self) -> f32 {
        self.label_smoothing
    }

    /// How rows become the output.
    #[must_use]
    pub fn reduction(&self) -> Reduction {
        self.reduction
    }

    /// The label whose rows do not count.
    #[must_use]
    pub fn ignore_index(&self) -> Option<i64> {
        self.ignore_index
    }
}

/// Builds an [`EncouragingLoss`]; see [`EncouragingLoss::builder`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct EncouragingLossBuilder {
    loss: EncouragingLoss,
}

impl EncouragingLossBuilder {
    /// Sets [`EncouragingLoss::log_end`].
    pub fn log_end(mut self, log_end: f32) -> Self {
        self.loss.log_end = log_end;
        self
    }

    /// Sets [`EncouragingLoss::bonus`].
    pub fn bonus(mut self, bonus: Bonus) -> Self {
        self.loss.bonus = bonus;
        self
    }

    /// Sets [`EncouragingLoss::power`].
    pub fn power(mut self, power: f32) -> Self {
        self.loss.power = power;
        self
    }

    /// Sets [`EncouragingLoss::bonus_weight`].
    pub fn bonus_weight(mut self, bonus_weight: f32) -> Self {
        self.loss.bonus_weight = bonus_weight;
        self
    }

    /// Sets [`EncouragingLoss::label_smoothing`].
    pub fn label_smoothing(mut self, label_smoothing: f32) -> Self {
        self.loss.label_smoothing = label_smoothing;
        self
    }

    /// Sets [`EncouragingLoss::reduction`].
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.loss.reduction = reduction;
        self
    }

    /// Sets [`EncouragingLoss::ignore_index`].
    pub fn ignore_index(mut self, ignore_index: Option<i64>) -> Self {
        self.loss.ignore_index = ignore_index;
        self
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// The first parameter outside its range, with the range.
    pub fn build(self) -> Result<EncouragingLoss, ParameterError> {
        let loss = self.loss;
        // written so that NaN fails each test
        if !(loss.log_end > 0.0 && loss.log_end <= 1.0) {
            return Err(ParameterError::LogEnd(loss.log_end));
        }
        if !(loss.power > 0.0 && loss.power.is_finite()) {
            return Err(ParameterError::Power(loss.power));
        }
        if !(loss.bonus_weight >= 0.0 && loss.bonus_weight.is_finite()) {
            return Err(ParameterError::BonusWeight(loss.bonus_weight));
        }
        if !(0.0..=1.0).contains(&loss.label_smoothing) {
            return Err(ParameterError::LabelSmoothing(loss.label_smoothing));
        }
        Ok(loss)
    }
}
