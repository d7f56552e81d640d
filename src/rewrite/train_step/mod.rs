//! A classifier as one step of training: forward, loss, gradients and optimizer in one graph that any runtime runs.
//!
//! Words: a *parameter* is an initializer that is trained, a *buffer* one that training updates without a gradient (the
//! running statistics of BatchNormalization), *state* what the optimizer remembers of a parameter. All three go in as
//! inputs and come out as outputs; the caller hands the outputs of one step to the next. A step in float16 has state of its
//! own, too: the scale of its loss.

mod batch_norm;
mod constant_nodes;
mod dropout;
mod error;
mod eval;
mod forward;
#[cfg(test)]
mod fused_tests;
mod loss_scaling;
mod options;
mod pattern;
mod precision;
#[cfg(test)]
mod precision_tests;
mod roles;
mod selection;
mod signature;
mod step;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trained;

use bytes::Bytes;

use crate::loss::{EncouragingLoss, Reduction};
use crate::model::Document;

use super::{PatchOptions, patch};

pub use error::TrainStepError;
pub use options::TrainStepOptions;
pub use signature::{Initial, InputGradient, Port, Signature, Size, StatePort, UpdatedPort};

/// A training step.
#[derive(Clone, Debug)]
pub struct TrainStep {
    /// The graph: data, labels, parameters and state in; loss, updated parameters and state (or gradients) out. It holds
    /// no parameters, so it is small; its metadata entry `elonnx.train_step` is the signature as JSON.
    pub document: Document,
    /// What goes in and what comes out.
    pub signature: Signature,
    /// What it was made with.
    pub options: TrainStepOptions,
    /// Parameters and running statistics that stay as they are because the options say so; they are in the graph.
    pub frozen: Vec<String>,
    /// What was decided and left alone, and why; a sentence each.
    pub notes: Vec<String>,
}

/// Metadata entry of a training step: its signature as JSON.
pub const METADATA_KEY: &str = "elonnx.train_step";
/// Version of the signature's layout.
const VERSION: u32 = 1;

/// Makes a training step of a classifier, exported for inference or for training, with a loss or without.
///
/// The names of inputs and outputs are stable and in the signature: a parameter keeps its name as an input and comes out
/// as "NAME/updated" (or "NAME/gradient" without an optimizer), its state is "NAME/exp_avg" and "NAME/exp_avg/updated".
/// The graph holds no parameters; the first values of parameters and buffers are the initializers of `document`.
///
/// # Errors
/// No logits, nothing to train, operators without a gradient, patterns that match nothing, numbers out of range.
pub fn train_step(document: &Document, options: &TrainStepOptions) -> Result<TrainStep, TrainStepError> {
    options.check()?;
    step::assemble(document, options)
}

/// The loss that fits a model: its own encouraging loss; or the default one, with the label smoothing, the ignored label
/// and the sum of the cross entropy that it has.
#[must_use]
pub fn loss_of(document: &Document) -> EncouragingLoss {
    let found = patch(document, &PatchOptions::default()).ok().and_then(|patched| {
        patched.report.losses.into_iter().filter(|loss| loss.place == "graph").find_map(|loss| loss.parameters)
    });
    let loss = found.unwrap_or_default();
    match loss.reduction() {
        // rows that the model gives one by one are averaged
        Reduction::None => loss.to_builder().reduction(Reduction::Mean).build().unwrap_or_default(),
        _ => loss,
    }
}

/// The model in inference mode with the same loss: the inputs of `step` without state, learning rate and seed, by the same
/// names; loss, margin and logits out, by the same names. It validates between steps without copying parameters, in the
/// model's own precision: what is trained is that model.
///
/// # Errors
/// As [`train_step`].
pub fn eval_step(document: &Document, step: &TrainStep) -> Result<Document, TrainStepError> {
    eval::assemble(document, step)
}

/// The model with new data in its initializers; all else stays byte for byte as it was.
///
/// `values` gives the little-endian data of an initializer by its name, or None where it stays. Data that lay in a file
/// beside the model moves into the model.
///
/// # Errors
/// Data of another length than type and shape of the initializer say.
pub fn trained(document: &Document, values: impl Fn(&str) -> Option<Bytes>) -> Result<Document, TrainStepError> {
    trained::trained(document, &values)
}
