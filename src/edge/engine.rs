//! What runs a model.

use std::ops::Range;

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

impl Evidence {
    /// Forgets the samples, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.rows = 0;
        self.classes = 0;
        self.logits.clear();
        self.features.clear();
    }
}

/// Runs the model that [`scoring_model`](crate::rewrite::scoring_model) made. One for each thread.
pub trait Engine: Send {
    /// Runs the samples `rows` of a batch; one tensor per input, in the order of the model's inputs, all of them checked.
    /// Their evidence is appended.
    ///
    /// # Errors
    /// What the runtime has against the inputs.
    fn run_rows(&mut self, inputs: &[Tensor], rows: Range<usize>, evidence: &mut Evidence) -> Result<(), EdgeError>;

    /// Runs all samples of a batch; `evidence` is overwritten.
    ///
    /// # Errors
    /// As [`Self::run_rows`].
    fn run(&mut self, inputs: &[Tensor], evidence: &mut Evidence) -> Result<(), EdgeError> {
        let rows = inputs.iter().find_map(|t| t.dims.first()).copied().unwrap_or(0);
        evidence.clear();
        self.run_rows(inputs, 0..rows, evidence)
    }

    /// Says how many samples will mostly come at once, for runtimes that plan for it.
    fn set_samples_at_once(&mut self, samples: usize) {
        let _ = samples;
    }

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
