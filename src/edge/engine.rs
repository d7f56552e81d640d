//! What runs a model.

use crate::data::Tensor;

use super::EdgeError;

/// Logits (or probabilities) and features of some samples, reused from run to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Number of samples.
    pub rows: usize,
    /// Number of classes.
    pub classes: usize,
    /// [rows, classes].
    pub logits: Vec<f32>,
    /// [rows, features]; empty where no feature is asked for.
    pub features: Vec<f32>,
}

/// Runs the model that [`scoring_model`](crate::rewrite::scoring_model) made. One for each thread.
pub trait Engine: Send {
    /// Runs some samples; one tensor per input, in the order of the model's inputs.
    ///
    /// # Errors
    /// What the runtime has against the inputs.
    fn run(&mut self, inputs: &[Tensor], evidence: &mut Evidence) -> Result<(), EdgeError>;

    /// Another one for another thread; weights are shared where the runtime can.
    ///
    /// # Errors
    /// What the runtime has against it.
    fn another(&self) -> Result<Box<dyn Engine>, EdgeError>;
}

/// Which runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// tract: pure Rust, part of the program.
    #[default]
    Tract,
    /// ONNX Runtime, loaded from where it is installed (feature `runtime`).
    OnnxRuntime,
}
