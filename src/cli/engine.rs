//! Options of every command that runs a model: where its logits are, which runtime, how many threads.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use super::exit::wrong_input;
use crate::edge::{EngineKind, ScorerOptions};

/// How a model is run.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct EngineArguments {
    /// Value of the graph to take as logits instead of looking for them
    #[arg(long, value_name = "NAME", help_heading = "Engine")]
    pub logits: Option<String>,
    /// Take the probabilities that the model gives; for models without logits
    #[arg(long, conflicts_with = "logits", help_heading = "Engine")]
    pub probabilities: bool,
    /// What runs the model [default: tract]
    #[arg(long, value_name = "ENGINE", value_parser = engine_parser(), help_heading = "Engine")]
    pub engine: Option<EngineKind>,
    /// ONNX Runtime library, or the folder that holds it, for --engine ort
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Engine")]
    pub onnxruntime: Option<PathBuf>,
    /// Threads that run the model [default: one per processor]
    #[arg(long, value_name = "N", value_parser = threads, help_heading = "Engine")]
    pub threads: Option<usize>,
}

impl EngineArguments {
    /// What the runtime is called.
    pub fn name(&self) -> &'static str {
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

    /// What they say about a scorer; the rest is as by default.
    pub fn options(&self) -> ScorerOptions {
        ScorerOptions {
            logits: self.logits.clone(),
            probabilities: self.probabilities,
            engine: self.engine.unwrap_or_default(),
            onnxruntime: self.onnxruntime.clone(),
            ..ScorerOptions::default()
        }
    }

    /// How many threads to use.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

fn engine_parser() -> impl clap::builder::TypedValueParser<Value = EngineKind> {
    PossibleValuesParser::new(["tract", "ort"])
        .map(|text| if text == "ort" { EngineKind::OnnxRuntime } else { EngineKind::Tract })
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| "not a number from 1 to 1024".to_owned())
}
