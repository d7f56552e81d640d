//! What the user asks of a training step.

use crate::loss::{EncouragingLoss, Reduction};
use crate::rewrite::Precision;
use crate::rewrite::optimizer::Optimizer;

use super::TrainStepError;

/// How a classifier is made a training step.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainStepOptions {
    /// The loss; cross entropy is `EncouragingLoss::cross_entropy()`. Its reduction must be mean or sum.
    pub loss: EncouragingLoss,
    /// How parameters follow their gradients.
    pub optimizer: Optimizer,
    /// Largest global norm of the gradients, as `torch.nn.utils.clip_grad_norm_`.
    pub clip_norm: Option<f32>,
    /// Gives the global norm of the gradients as an output, also where nothing is clipped.
    pub gradient_norm: bool,
    /// Patterns of parameters that are not trained: `*` is any text, `?` any character, all else is meant literally.
    pub freeze: Vec<String>,
    /// Patterns of the only parameters that are trained; empty: all. `freeze` wins.
    pub train_only: Vec<String>,
    /// Leaves every BatchNormalization as it is in inference: it uses its running statistics and does not change them.
    pub freeze_batch_norm: bool,
    /// Turns on the Dropouts of a file that was exported for inference; those of a training export are on anyway.
    pub dropout: bool,
    /// The value to take as logits instead of looking for them.
    pub logits: Option<String>,
    /// Name of the labels input: one of the model, or the one to add (default "labels").
    pub labels: Option<String>,
    /// Makes the weight of the bonus an input, so that it can follow a schedule.
    pub bonus_weight_input: bool,
    /// Makes a weight per class an input.
    pub class_weights_input: bool,
    /// Inputs of the model whose gradients become outputs, too.
    pub wrt: Vec<String>,
    /// Uses operators of the plugin beside the loss where they are faster. They carry bodies of standard operators, so
    /// the file runs without the plugin as well, but slower than one written without them.
    pub plugin: bool,
    /// What matrix products and convolutions compute in. The model must be one in float32; parameters, state, data and
    /// outputs of the step are float32 in any case.
    pub precision: Precision,
}

impl Default for TrainStepOptions {
    fn default() -> Self {
        Self {
            loss: EncouragingLoss::default(),
            optimizer: Optimizer::default(),
            clip_norm: None,
            gradient_norm: false,
            freeze: Vec::new(),
            train_only: Vec::new(),
            freeze_batch_norm: false,
            dropout: false,
            logits: None,
            labels: None,
            bonus_weight_input: false,
            class_weights_input: false,
            wrt: Vec::new(),
            plugin: true,
            precision: Precision::F32,
        }
    }
}

impl TrainStepOptions {
    /// Whether they make sense by themselves.
    pub(super) fn check(&self) -> Result<(), TrainStepError> {
        self.optimizer.check()?;
        if self.loss.reduction() == Reduction::None {
            let reason = "a training step minimises one number: the reduction must be mean or sum, not none";
            return Err(TrainStepError::Option(reason.to_owned()));
        }
        match self.clip_norm {
            Some(norm) if !(norm > 0.0 && norm.is_finite()) => {
                Err(TrainStepError::Option(format!("the clipping norm must be finite and above 0, not {norm}")))
            }
            _ => Ok(()),
        }
    }
}
