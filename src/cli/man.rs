//! `elonnx man`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, ValueHint};

use super::exit::wrong_input;
use super::output::print;

/// Print the man page, or write the pages of all commands
///
/// Without --dir, elonnx(1) goes to standard output: elonnx man | man -l -
#[derive(Debug, Args)]
pub struct Arguments {
    /// Folder for elonnx.1, elonnx-patch.1 and the others
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let cli = super::Cli::command();
    let Some(folder) = &arguments.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(cli).render(&mut page)?;
        return print(&String::from_utf8(page)?);
    };
    if !folder.is_dir() {
        wrong_input!("there is no folder {}; make it first", folder.display());
    }
    clap_mangen::generate_to(cli, folder).with_context(|| format!("write man pages into {}", folder.display()))
}
