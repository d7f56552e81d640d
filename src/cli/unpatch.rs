//! `elonnx unpatch`.

use clap::Args;

use super::report::Verb;
use super::rewrite;

/// Turn the encouraging loss back into cross entropy
///
/// Every op of the domain ai.elonnx becomes SoftmaxCrossEntropyLoss (and its gradient, where there is one), with the
/// reduction, weights and ignore_index it has. Exit code 3 where the model has none.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub rewrite: rewrite::Arguments,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    rewrite::run(&arguments.rewrite, Verb::Unpatch, crate::rewrite::unpatch)
}
