//! `elonnx completions`.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::output::print;

/// Print a completion script for a shell
///
/// For bash: elonnx completions bash > ~/.local/share/bash-completion/completions/elonnx
#[derive(Debug, Args)]
pub struct Arguments {
    /// Shell to write for
    shell: Shell,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Cli::command(), "elonnx", &mut script);
    print(&String::from_utf8(script)?)
}
