//! What `patch`, `unpatch` and `inline` share: files in and out, the report, the exit.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;
use serde_json::json;

use super::exit::{NothingToDo, wrong_input};
use super::files::{Input, Output, Wish, resolve_output};
use super::output::{Page, print, warn};
use super::report::{Verb, has_bodies, show_next_step, show_report};
use crate::model::{Document, ExternalData};
use crate::rewrite::{Patched, Report, RewriteError, is_artifacts_folder};

/// Arguments of every command that rewrites a model.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// ONNX file; `-` reads standard input
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    pub input: PathBuf,
    /// Where to write; `-` is standard output [default: a new file beside the model]
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::AnyPath, conflicts_with = "in_place")]
    pub output: Option<PathBuf>,
    /// Replace the model itself, atomically
    #[arg(long)]
    pub in_place: bool,
    /// Replace the output if it exists
    #[arg(short, long)]
    pub force: bool,
    /// Hard-link external data into another folder instead of copying it (onnx 1.23 refuses to load linked files)
    #[arg(long)]
    pub link_data: bool,
    /// Show what would be done and write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long)]
    pub quiet: bool,
}

impl Arguments {
    /// What the user said about the output; `infix` as in [`Wish::infix`].
    pub fn wish<'a>(&'a self, infix: &'a str) -> Wish<'a> {
        Wish {
            output: self.output.as_deref(),
            in_place: self.in_place,
            force: self.force,
            dry_run: self.dry_run,
            infix,
        }
    }
}

/// What became of a model; the word in `--json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It was rewritten (with --dry-run: would be).
    Changed,
    /// It is as the command would have made it.
    Unchanged,
}

/// What was done, as JSON.
pub fn print_object(
    arguments: &Arguments,
    verb: Verb,
    output: Option<String>,
    status: Status,
    report: &impl Serialize,
) -> anyhow::Result<()> {
    let object = json!({
        "elonnx": env!("CARGO_PKG_VERSION"),
        "command": verb.name(),
        "input": arguments.input,
        "output": output,
        "dry_run": arguments.dry_run,
        "status": status,
        "report": report,
    });
    print(&format!("{object:#}\n"))
}

/// Reads, rewrites, writes, tells.
pub fn run(
    arguments: &Arguments,
    verb: Verb,
    rewrite: impl Fn(&Document) -> Result<Patched, RewriteError>,
) -> anyhow::Result<()> {
    let input = Input::new(&arguments.input);
    if is_artifacts_folder(&arguments.input) {
        wrong_input!(
            "{input} holds ORT Training artifacts; {} takes one model at a time: give it training_model.onnx, then \
             eval_model.onnx",
            verb.name()
        );
    }
    let output = resolve_output(&input, arguments.wish(verb.infix()))?;
    if arguments.json && output == Output::Stdout && !arguments.dry_run {
        wrong_input!("--json and the model both want standard output; name a file with -o");
    }
    let document = input.read()?;
    let mut patched = rewrite(&document).map_err(|error| name_the_model(error, &input, verb))?;
    let missing = document.missing_external_files()?;
    patched.report.warnings.extend(missing.iter().map(|file| {
        format!("the model's data file {} does not exist; nothing can run the model without it", file.display())
    }));
    let status = status(&patched.report, verb, &input)?;

    // a pipeline that named its output finds it there, changed or not
    let named = arguments.output.is_some() || output == Output::Stdout;
    let written = (status == Status::Changed || named) && !arguments.dry_run;
    if written {
        let external = if arguments.link_data { ExternalData::Link } else { ExternalData::Copy };
        output.write(&patched.document, external)?;
    } else if arguments.dry_run {
        output.check(&patched.document)?;
    }
    let shown_output = written.then(|| output.to_string());
    let report = &patched.report;

    if arguments.json {
        return print_object(arguments, verb, shown_output, status, report);
    }
    if arguments.quiet {
        return warn(&report.warnings);
    }
    let mut page = if written && output == Output::Stdout { Page::for_stderr() } else { Page::for_stdout() };
    match status {
        Status::Changed => page.heading(&input.to_string()),
        Status::Unchanged if verb == Verb::Scores => {
            page.heading(&format!("{input} gives these scores already, nothing to do"));
        }
        Status::Unchanged => page.heading(&format!("{input} is {} already, nothing to do", verb.past())),
    }
    page.blank();
    show_report(&mut page, report, verb);
    page.blank();
    if written {
        page.paragraph(&format!("Written to {output}"));
    } else if status == Status::Changed {
        page.paragraph(&format!("Nothing was written; this would be {output}"));
    }
    if written && verb == Verb::Patch && output != Output::Stdout {
        show_next_step(&mut page, false, has_bodies(&patched.document));
    }
    page.print()
}

/// Nothing found is a failure, found as wanted is not.
fn status(report: &Report, verb: Verb, input: &Input) -> anyhow::Result<Status> {
    if report.swapped() > 0 {
        return Ok(Status::Changed);
    }
    if verb == Verb::Scores {
        return Ok(if report.scores_changed() { Status::Changed } else { Status::Unchanged });
    }
    if verb == Verb::Patch && report.already_patched() {
        return Ok(Status::Unchanged);
    }
    Err(nothing(verb, input, report.clone()))
}

fn nothing(verb: Verb, input: &Input, report: Report) -> anyhow::Error {
    let message = match verb {
        Verb::Patch | Verb::Scores => format!("{input}: found no loss to swap and no logits to put one on"),
        Verb::Unpatch | Verb::Inline => {
            format!("{input}: found no encouraging loss, so there is nothing to {}", verb.name())
        }
    };
    NothingToDo { message, report: Box::new(report) }.into()
}

/// A rewrite doesn't know the file's name; errors of the file itself have it already.
pub fn name_the_model(error: RewriteError, input: &Input, verb: Verb) -> anyhow::Error {
    match error {
        RewriteError::NothingMatched(report) if verb != Verb::Patch => nothing(verb, input, *report),
        RewriteError::Model(_) | RewriteError::Artifacts { .. } | RewriteError::Parameter(_) => error.into(),
        _ => anyhow::Error::from(error).context(input.to_string()),
    }
}
