//! `elonnx inline`.

use clap::Args;

use super::report::Verb;
use super::rewrite;

/// Replace the ops by their bodies in plain ONNX
///
/// For tools that know neither the plugin nor model-local functions. The result computes the same with standard
/// operators only. Exit code 3 where the model has no encouraging loss.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub rewrite: rewrite::Arguments,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    rewrite::run(&arguments.rewrite, Verb::Inline, crate::rewrite::inline)
}
