//! Why training cannot begin or go on.

use std::path::PathBuf;

use crate::data::DataError;
use crate::model::ModelError;
use crate::report::ReportError;
use crate::rewrite::Precision;
use crate::rewrite::mixed_precision::low_name;
use crate::rewrite::train_step::TrainStepError;

/// Every variant says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A file that cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model cannot be made a training step.
    #[error(transparent)]
    Step(#[from] TrainStepError),
    /// Samples that cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Curves that cannot be drawn.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// No libonnxruntime.
    #[error("{0}")]
    NoOnnxRuntime(String),
    /// ONNX Runtime does not take the graph.
    #[error("ONNX Runtime refuses the {graph}: {reason}")]
    Refused {
        /// Which graph.
        graph: &'static str,
        /// What it says.
        reason: String,
    },
    /// ONNX Runtime has no kernel for an operator in the precision that was asked for.
    #[error(
        "ONNX Runtime has no kernel for {operator} in {} on the CPU, where this command runs it. Train with --precision f32, \
         or write the step with elonnx grad --precision {precision} and run it on a provider that has one, such as CUDA",
        low_name(*precision)
    )]
    NoKernel {
        /// The operator.
        operator: String,
        /// What was asked for.
        precision: Precision,
    },
    /// ONNX Runtime stopped in the midst of a run.
    #[error("ONNX Runtime failed in the {graph}: {reason}")]
    Failed {
        /// Which graph.
        graph: &'static str,
        /// What it says.
        reason: String,
    },
    /// Data that cannot be trained on.
    #[error("{0}")]
    Unusable(String),
    /// Options that make no sense, alone or together.
    #[error("{0}")]
    Options(String),
    /// The loss is no number any more.
    #[error(
        "the loss became {loss} in epoch {epoch}, step {step}: the parameters have left the range of numbers. Train with a \
         smaller learning rate, a warm-up or --clip-norm{saved}"
    )]
    NotFinite {
        /// What it became.
        loss: f32,
        /// The epoch, from 1.
        epoch: u64,
        /// The step in it, from 1.
        step: u64,
        /// What is left of the run, a clause that begins with "; ".
        saved: String,
    },
    /// A file of the run folder that cannot be written.
    #[error("write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A checkpoint that cannot be used.
    #[error("{} {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
}
