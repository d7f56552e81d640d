//! What goes into a step and what comes out, for whoever drives it: Rust, Python, C++, a browser.

use serde::{Deserialize, Serialize};

use crate::rewrite::Precision;

/// A tensor that goes in or comes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name of the input or output.
    pub name: String,
    /// Element type: "float32", "int64" …
    pub data_type: String,
    /// Sizes; a string for one that is free.
    pub shape: Vec<Size>,
}

/// One size of a shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Fixed.
    Fixed(i64),
    /// Free, with a name; "" where the file gives none.
    Free(String),
}

/// A parameter or buffer: an initializer of the model that goes in and comes out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatedPort {
    /// The initializer of the model; also the name of the input.
    pub name: String,
    /// The output with its new value; None where gradients are given instead (`optimizer none`).
    pub updated: Option<String>,
    /// The output with its gradient, where gradients are given.
    pub gradient: Option<String>,
    /// Element type: "float32" …
    pub data_type: String,
    /// Sizes.
    pub shape: Vec<i64>,
}

/// What the optimizer remembers of a parameter, or a step of those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatePort {
    /// The input.
    pub name: String,
    /// The output with its new value.
    pub updated: String,
    /// The parameter it belongs to; None: to the step.
    pub parameter: Option<String>,
    /// What it is, in PyTorch's words: "momentum_buffer", "exp_avg", "exp_avg_sq"; "loss_scale", "good_steps" and
    /// "skipped_steps" of a step in float16.
    pub kind: String,
    /// What it starts with.
    pub initial: Initial,
    /// Element type: "float32" …
    pub data_type: String,
    /// Sizes.
    pub shape: Vec<i64>,
}

/// What a state starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    /// Zeros.
    Zeros,
    /// This number everywhere.
    Value(i64),
}

/// The gradient of the loss with respect to an input of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputGradient {
    /// The input.
    pub input: String,
    /// The output with its gradient, in the type and shape of the input.
    pub gradient: String,
}

/// Everything a driver must know; JSON in the metadata entry `elonnx.train_step`, and in a file beside the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// Version of this layout.
    pub version: u32,
    /// "adamw", "sgd" or "none".
    pub optimizer: String,
    /// What matrix products and convolutions compute in.
    #[serde(default)]
    pub precision: Precision,
    /// The model's own inputs, in its order.
    pub data: Vec<Port>,
    /// Class indices, int64 \[N\] (or the logits' shape without its class axis).
    pub labels: Port,
    /// Input, float32 scalar: the learning rate of this step. None without an optimizer.
    pub learning_rate: Option<String>,
    /// Input, int64 scalar: the number of this step, from 1. None where nothing depends on it.
    pub step: Option<String>,
    /// Input, float32 scalar: weight of the bonus in this step. None where it is fixed.
    pub bonus_weight: Option<String>,
    /// Input, float32 \[C\]: weight of each class. None where there is none, or it is fixed.
    pub class_weights: Option<String>,
    /// Input, int64 scalar: where the random numbers of this step's dropout come from. None without dropout.
    pub seed: Option<String>,
    /// Trained.
    pub parameters: Vec<UpdatedPort>,
    /// Updated without a gradient.
    pub buffers: Vec<UpdatedPort>,
    /// Of the optimizer, and of the loss's scale.
    pub state: Vec<StatePort>,
    /// Output, float32 scalar: the loss that was minimised.
    pub loss: String,
    /// Output, float32 \[N\]: the soft margin of each sample, > 0 where the label has more than half the probability.
    pub margin: String,
    /// Output: the logits, before the update.
    pub logits: Port,
    /// Which axis of the logits the classes lie on.
    pub class_axis: usize,
    /// Output, float32 scalar: global norm of the gradients before clipping. None where it is not computed.
    pub gradient_norm: Option<String>,
    /// Gradients of inputs, where they were asked for.
    pub input_gradients: Vec<InputGradient>,
}
