//! Options of every command that runs a model: which runtime, where the logits are.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::exit::wrong_input;
use super::score::{engine_parser, processors, threads};
use crate::edge::{EdgeError, EngineKind, Score, Scorer, ScorerOptions};
use crate::model::Document;

/// How a model is run.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct ScorerArguments {
    /// What runs the model [default: tract]
    #[arg(long, value_name = "ENGINE", value_parser = engine_parser(), help_heading = "Engine")]
    pub engine: Option<EngineKind>,
    /// ONNX Runtime library, or the folder that holds it, for --engine ort
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Engine")]
    pub onnxruntime: Option<PathBuf>,
    /// Value of the graph to take as logits instead of looking for them
    #[arg(long, value_name = "NAME", help_heading = "Logits")]
    pub logits: Option<String>,
    /// Score the probabilities that the model gives; for models without logits
    #[arg(long, conflicts_with = "logits", help_heading = "Logits")]
    pub probabilities: bool,
    /// Temperature of energy and probabilities [default: as calibrated, else 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true, help_heading = "Logits")]
    pub temperature: Option<f64>,
    /// Threads that run the model [default: one per processor]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Engine")]
    pub threads: Option<usize>,
}

impl ScorerArguments {
    /// What the runtime is called.
    pub fn engine_name(&self) -> &'static str {
        match self.engine.unwrap_or_default() {
            EngineKind::Tract => "tract",
            EngineKind::OnnxRuntime => "ONNX Runtime",
        }
    }

    /// Refuses options that do not go together.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.onnxruntime.is_some() && self.engine != Some(EngineKind::OnnxRuntime) {
            wrong_input!("--onnxruntime is for --engine ort");
        }
        Ok(())
    }

    /// For [`Scorer::new`], with the scores to compute.
    pub fn options(&self, scores: Vec<Score>) -> ScorerOptions {
        ScorerOptions {
            logits: self.logits.clone(),
            probabilities: self.probabilities,
            engine: self.engine.unwrap_or_default(),
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
        let threads = self.threads.unwrap_or_else(processors);
        let others: Vec<Scorer> = (1..threads).map(|_| first.another()).collect::<Result<_, _>>()?;
        Ok(std::iter::once(first).chain(others).collect())
    }
}
