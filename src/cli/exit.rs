//! Exit codes, and how a failure is told.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::output::{Page, without_error_numbers};
use super::report::show_near_misses;
use crate::data::DataError;
use crate::edge::evaluate::EvaluateError;
use crate::edge::{CalibrationError, EdgeError};
use crate::model::ModelError;
use crate::report::ReportError;
use crate::rewrite::train_step::TrainStepError;
use crate::rewrite::{Report, RewriteError};
use crate::runtime::library::LibraryError;
use crate::train::TrainError;

/// Done; also where nothing was left to do.
pub const DONE: u8 = 0;
/// The system refused, or something is not installed.
pub const FAILED: u8 = 1;
/// Wrong input; also clap's own usage errors.
pub const WRONG_INPUT: u8 = 2;
/// Nothing matched.
pub const NOTHING_MATCHED: u8 = 3;
/// Stopped by Ctrl-C, as shells have it: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;
/// A panic, with Rust's own code for it.
pub const BUG: u8 = 101;

/// What the user gave is wrong; the sentence says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongInput(pub String);

/// The user stopped it; the sentence says what is left and how it goes on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub String);

/// The model holds nothing that the command is for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct NothingToDo {
    /// The sentence.
    pub message: String,
    /// Why candidates did not match.
    pub report: Box<Report>,
}

/// `Err(WrongInput)` with a sentence.
macro_rules! wrong_input {
    ($($argument:tt)*) => {
        return Err($crate::cli::exit::WrongInput(format!($($argument)*)).into())
    };
}
pub(super) use wrong_input;

/// The exit code of a command's result; tells the failure on standard error and, with `--json`, on standard output.
pub fn finish(json: bool, result: anyhow::Result<()>) -> ExitCode {
    end(result, json.then_some(|error| format!("{error:#}")))
}

/// As [`finish`], for commands that print a JSON object per line.
pub fn finish_lines(json: bool, result: anyhow::Result<()>) -> ExitCode {
    end(result, json.then_some(|error| format!("{error}")))
}

fn end(result: anyhow::Result<()>, json: Option<fn(serde_json::Value) -> String>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::from(DONE);
    };
    if is_broken_pipe(&error) {
        // `elonnx inspect model.onnx | head`: the reader has what it wanted
        return ExitCode::from(DONE);
    }
    if let Some(text) = json {
        // if standard output is gone, standard error still tells
        let _ = writeln!(std::io::stdout(), "{}", text(error_object(&error)));
    }
    let mut page = Page::for_stderr();
    page.error(&message(&error));
    if let Some(report) = report_of(&error) {
        show_near_misses(&mut page, report);
        if error.is::<RewriteError>() && report.losses.is_empty() && report.near_misses.is_empty() {
            page.blank();
            page.row("hint", "nothing in it looks like a loss; where you know the logits, name them with --logits");
        }
    }
    // nobody left to tell if this fails
    let _ = page.print();
    ExitCode::from(code(&error))
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<WrongInput>() {
        return WRONG_INPUT;
    }
    if error.is::<NothingToDo>() {
        return NOTHING_MATCHED;
    }
    if error.is::<Interrupted>() {
        return INTERRUPTED;
    }
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return code_of_training(error);
    }
    if let Some(error) = error.downcast_ref::<RewriteError>() {
        return match error {
            RewriteError::NothingMatched(_) => NOTHING_MATCHED,
            RewriteError::Model(error) => code_of_model(error),
            _ => WRONG_INPUT,
        };
    }
    if let Some(error) = error.downcast_ref::<ModelError>() {
        return code_of_model(error);
    }
    if let Some(error) = error.downcast_ref::<EdgeError>() {
        return code_of_edge(error);
    }
    if let Some(error) = error.downcast_ref::<DataError>() {
        return if error.is_system() { FAILED } else { WRONG_INPUT };
    }
    if error.is::<EvaluateError>() {
        return WRONG_INPUT;
    }
    if let Some(ReportError::UnknownFormat { .. }) = error.downcast_ref::<ReportError>() {
        return WRONG_INPUT;
    }
    if let Some(LibraryError::Named { .. }) = error.downcast_ref::<LibraryError>() {
        return WRONG_INPUT;
    }
    FAILED
}

fn code_of_model(error: &ModelError) -> u8 {
    match error {
        ModelError::Io { action: "read" | "open" | "map" | "find", .. } => WRONG_INPUT,
        ModelError::Io { .. } => FAILED,
        _ => WRONG_INPUT,
    }
}

fn code_of_training(error: &TrainError) -> u8 {
    match error {
        TrainError::Model(error) | TrainError::Step(TrainStepError::Model(error)) => code_of_model(error),
        TrainError::Step(TrainStepError::Rewrite(RewriteError::NothingMatched(_))) => NOTHING_MATCHED,
        TrainError::Data(error) if error.is_system() => FAILED,
        TrainError::Step(_)
        | TrainError::Data(_)
        | TrainError::Unusable(_)
        | TrainError::Options(_)
        | TrainError::Checkpoint { .. }
        | TrainError::Report(ReportError::UnknownFormat { .. }) => WRONG_INPUT,
        _ => FAILED,
    }
}

/// A plan doesn't know the file's name; errors of the file itself have it already.
pub fn of_training(error: TrainError, path: &std::path::Path) -> anyhow::Error {
    match error {
        TrainError::Step(_) => anyhow::Error::from(error).context(path.display().to_string()),
        _ => error.into(),
    }
}

fn code_of_edge(error: &EdgeError) -> u8 {
    match error {
        EdgeError::Model(error) | EdgeError::Rewrite(RewriteError::Model(error)) => code_of_model(error),
        EdgeError::NoOnnxRuntime { .. } => FAILED,
        EdgeError::Calibration(CalibrationError::Io { .. } | CalibrationError::Spool(_)) => FAILED,
        _ => WRONG_INPUT,
    }
}

/// A scorer doesn't know the file's name; errors of the file itself have it already.
pub fn of_model(error: EdgeError, path: &std::path::Path) -> anyhow::Error {
    match error {
        EdgeError::Model(_) | EdgeError::Rewrite(RewriteError::Model(_)) | EdgeError::NoOnnxRuntime { .. } => {
            error.into()
        }
        _ => anyhow::Error::from(error).context(path.display().to_string()),
    }
}

/// A stable word for programs.
fn kind(error: &anyhow::Error) -> &'static str {
    match code(error) {
        WRONG_INPUT => "wrong_input",
        NOTHING_MATCHED => "nothing_matched",
        INTERRUPTED => "interrupted",
        _ => "failed",
    }
}

/// The error and its causes in one line. Causes that the line above quotes already are left out.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    without_error_numbers(&text)
}

/// The report that came with the error.
fn report_of(error: &anyhow::Error) -> Option<&Report> {
    if let Some(NothingToDo { report, .. }) = error.downcast_ref() {
        return Some(report);
    }
    match error.downcast_ref() {
        Some(RewriteError::NothingMatched(report)) => Some(report),
        _ => None,
    }
}

fn error_object(error: &anyhow::Error) -> serde_json::Value {
    let mut details = json!({ "kind": kind(error), "message": message(error), "exit_code": code(error) });
    if let Some(RewriteError::AmbiguousLogits { candidates }) = error.downcast_ref() {
        details["candidates"] = json!(candidates);
    }
    let mut object = json!({ "elonnx": env!("CARGO_PKG_VERSION"), "error": details });
    if let Some(report) = report_of(error) {
        object["report"] = json!(report);
    }
    object
}

/// A usage error of clap for programs: its first paragraph, the rest is the usage.
pub fn tell_usage_as_json(error: &clap::Error) {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let sentence = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let object = error_object(&WrongInput(sentence).into());
    // if standard output is gone, standard error still tells
    let _ = writeln!(std::io::stdout(), "{object:#}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A panic becomes one line that asks for a report. The backtrace stays available.
pub fn report_panics() {
    let standard = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if crate::edge::catches_panics() {
            return;
        }
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            standard(panic);
        }
        let what = panic.payload_as_str().unwrap_or("no message").split_whitespace().collect::<Vec<_>>().join(" ");
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        // nobody left to tell if this fails
        let _ = writeln!(
            std::io::stderr(),
            "elonnx {}: internal error{}: {what}. This is a bug: please report it with this line, the command and, if \
             you may, the model. No file was replaced half-way.",
            env!("CARGO_PKG_VERSION"),
            place.unwrap_or_default(),
        );
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn io_error(action: &'static str, kind: io::ErrorKind) -> anyhow::Error {
        ModelError::Io { action, path: "m.onnx".into(), source: kind.into() }.into()
    }

    #[test]
    fn codes() {
        assert_eq!(code(&WrongInput("x".into()).into()), WRONG_INPUT);
        assert_eq!(code(&io_error("read", io::ErrorKind::NotFound)), WRONG_INPUT);
        assert_eq!(code(&io_error("write", io::ErrorKind::StorageFull)), FAILED);
        assert_eq!(code(&io_error("replace", io::ErrorKind::PermissionDenied)), FAILED);
        assert_eq!(code(&RewriteError::NothingMatched(Box::default()).into()), NOTHING_MATCHED);
        let half = RewriteError::HalfPair { node: "SoftmaxCrossEntropyLossGrad 'g'".into(), reason: "r".into() };
        assert_eq!(code(&half.into()), WRONG_INPUT);
        assert_eq!(code(&io::Error::from(io::ErrorKind::StorageFull).into()), FAILED);
    }

    #[test]
    fn a_cause_is_told_once() {
        // ModelError's own text quotes its source
        let text = message(&io_error("read", io::ErrorKind::NotFound));
        assert_eq!(text.matches("not found").count(), 1, "{text}");
        let wrapped = anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull)).context("write man pages");
        assert_eq!(message(&wrapped), "write man pages: no storage space");
    }

    #[test]
    fn a_broken_pipe_is_no_failure() {
        assert!(is_broken_pipe(&io::Error::from(io::ErrorKind::BrokenPipe).into()));
        assert!(is_broken_pipe(&io_error("write", io::ErrorKind::BrokenPipe)));
        assert!(!is_broken_pipe(&io_error("write", io::ErrorKind::StorageFull)));
    }

    #[test]
    fn errors_as_json_name_kind_message_and_candidates() {
        let error = RewriteError::AmbiguousLogits { candidates: vec!["a".into(), "b".into()] }.into();
        let object = error_object(&error);
        assert_eq!(object["error"]["kind"], "wrong_input");
        assert_eq!(object["error"]["exit_code"], 2);
        assert_eq!(object["error"]["candidates"], json!(["a", "b"]));
        assert!(object["error"]["message"].as_str().unwrap().contains("--logits"));
        assert!(object.get("report").is_none());
    }
}
