//! Options of every command that runs a model: which runtime, where the logits are.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::edge::{EdgeError, EngineKind, Score, Scorer, ScorerOptions};
use crate::model::Document;

/// How a model is run.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct ScorerArguments {
    /// What runs the model
    #[arg(long, value_enum, value_name = "ENGINE", default_value_t, help_heading = "Model")]
    pub engine: Engine,
    /// libonnxruntime, or a folder or Python environment that has it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Model")]
    pub onnxruntime: Option<PathBuf>,
    /// Value of the graph to take as logits instead of looking for them
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub logits: Option<String>,
    /// Score the probabilities that the model gives; for models without logits
    #[arg(long, conflicts_with = "logits", help_heading = "Model")]
    pub probabilities: bool,
    /// Temperature of energy and probabilities [default: as calibrated, else 1]
    #[arg(long, value_name = "T", help_heading = "Model")]
    pub temperature: Option<f64>,
    /// Threads; 0 is one for each core
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Model")]
    pub threads: usize,
}

/// A runtime by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Pure Rust, part of elonnx
    #[default]
    Tract,
    /// ONNX Runtime, where it is installed; faster on convolutions
    Ort,
}

impl Engine {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Tract => "tract",
            Engine::Ort => "ONNX Runtime",
        }
    }
}

impl ScorerArguments {
    /// For [`Scorer::new`], with the scores to compute.
    pub fn options(&self, scores: Vec<Score>) -> ScorerOptions {
        ScorerOptions {
            logits: self.logits.clone(),
            probabilities: self.probabilities,
            engine: match self.engine {
                Engine::Tract => EngineKind::Tract,
                Engine::Ort => EngineKind::OnnxRuntime,
            },
            onnxruntime: self.onnxruntime.clone(),
            scores,
            temperature: self.temperature,
            ..ScorerOptions::default()
        }
    }

    /// One scorer per thread.
    ///
    /// # Errors
    /// As [`Scorer::new`].
    pub fn scorers(&self, document: &Document, scores: Vec<Score>) -> Result<Vec<Scorer>, EdgeError> {
        let first = Scorer::new(document, &self.options(scores))?;
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        };
        let others: Vec<Scorer> = (1..threads).map(|_| first.another()).collect::<Result<_, _>>()?;
        Ok(std::iter::once(first).chain(others).collect())
    }
}
