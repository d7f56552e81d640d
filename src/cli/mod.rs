//! The `elonnx` command: one file per subcommand, and how they talk to people and programs.
//!
//! Results go to standard output, everything else to standard error. Exit codes are in `exit`.

mod calibrate;
mod completions;
mod data;
mod doctor;
mod engine;
mod evaluate;
mod exit;
mod files;
mod grad;
mod inline;
mod inspect;
mod lib;
mod loss;
mod man;
mod output;
mod patch;
mod precision;
mod progress;
mod report;
mod rewrite;
mod score;
mod train;
mod unpatch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tree of commands. Public for nothing but completions, man pages and tests.
#[derive(Debug, Parser)]
#[command(
    name = "elonnx",
    version,
    about = "The encouraging loss for ONNX models",
    long_about = "The encouraging loss for ONNX models: rewrites a training graph so that its loss and its gradient \
                  become the encouraging loss (EL, arXiv 2110.06537), which goes on teaching where cross entropy \
                  stops.",
    after_help = "Start with `elonnx inspect model.onnx`, then `elonnx patch model.onnx`.",
    after_long_help = EXIT_CODES,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done; also where a model was patched already
  1    the system refused: disk full, no permission to write, plugin not found
  2    wrong input: mistyped option, missing file, not a model, two candidates
  3    nothing matched; the reasons are on standard error
  101  a bug in elonnx
  130  training was stopped by Ctrl-C; it can be resumed

Start with `elonnx inspect model.onnx`, then `elonnx patch model.onnx`.";

#[derive(Debug, Subcommand)]
enum Command {
    Patch(patch::Arguments),
    Unpatch(unpatch::Arguments),
    Inline(inline::Arguments),
    Inspect(inspect::Arguments),
    // boxed: these have many options
    Grad(Box<grad::Arguments>),
    Calibrate(Box<calibrate::Arguments>),
    Score(Box<score::Arguments>),
    Evaluate(Box<evaluate::Arguments>),
    Train(Box<train::Arguments>),
    Doctor(doctor::Arguments),
    Lib(lib::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    exit::report_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() && wants_json(std::env::args_os().skip(1)) {
                exit::tell_usage_as_json(&error);
            }
            // nobody left to tell if this fails
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::WRONG_INPUT } else { exit::DONE });
        }
    };
    // the hook has told about a panic; what is left is a code that scripts can tell from the others
    std::panic::catch_unwind(|| run(cli.command)).unwrap_or(ExitCode::from(exit::BUG))
}

/// Whether a command line that could not be parsed asks for JSON.
fn wants_json(arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Patch(arguments) => exit::finish(arguments.json, patch::run(&arguments)),
        Command::Unpatch(arguments) => exit::finish(arguments.rewrite.json, unpatch::run(&arguments)),
        Command::Inline(arguments) => exit::finish(arguments.rewrite.json, inline::run(&arguments)),
        Command::Inspect(arguments) => exit::finish(arguments.json, inspect::run(&arguments)),
        Command::Grad(arguments) => exit::finish(arguments.json, grad::run(&arguments)),
        Command::Calibrate(arguments) => exit::finish(arguments.json, calibrate::run(&arguments)),
        Command::Score(arguments) => exit::finish(false, score::run(&arguments)),
        Command::Evaluate(arguments) => exit::finish(arguments.json, evaluate::run(&arguments)),
        Command::Train(arguments) => exit::finish_lines(arguments.json, train::run(&arguments)),
        // its report is printed before it fails
        Command::Doctor(arguments) => exit::finish(false, doctor::run(&arguments)),
        Command::Lib(arguments) => exit::finish(false, lib::run(&arguments)),
        Command::Completions(arguments) => exit::finish(false, completions::run(&arguments)),
        Command::Man(arguments) => exit::finish(false, man::run(&arguments)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_explained() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
        }
    }
}
