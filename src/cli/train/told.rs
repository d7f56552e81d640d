//! What people and programs see of a run.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::output::{Page, print};
use crate::data::Samples;
use crate::train::{End, EpochRecord, Event, Measured, Plan, Summary, Trainer};

/// A line on standard error.
pub fn say(text: &str) {
    // nobody left to tell if this fails
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What a run leaves.
pub struct Written<'a> {
    /// The trained model.
    pub model: &'a Path,
    /// Its parameters, where they are in a file beside it.
    pub data: Option<&'a Path>,
    /// Checkpoints and measures.
    pub run_folder: &'a Path,
}

/// Lines for people or JSON lines, and a bar where somebody looks at it.
pub struct Told {
    json: bool,
    quiet: bool,
    bar: ProgressBar,
    /// When the first step was made that is told of, and how many of the run were done then.
    begun: Cell<Option<(Instant, u64)>>,
    /// What the bar says of the time that is left.
    left: RefCell<String>,
}

impl Told {
    /// JSON lines, nothing, or lines for people; with a bar on a terminal.
    pub fn new(json: bool, quiet: bool, bar: bool) -> Self {
        // nothing moves it but what happens: a bar that ticks would be drawn between the lines of the page
        let bar = if bar && !quiet && !json && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            // a template that does not parse would be a bug that hides nothing but the bar
            if let Ok(style) = ProgressStyle::with_template("{prefix:>7} {wide_bar}  {msg}") {
                bar.set_style(style);
            }
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { json, quiet, bar, begun: Cell::new(None), left: RefCell::default() }
    }

    /// Says a line on standard error, from any thread, and does not write into the bar.
    pub fn speaker(&self) -> impl Fn(&str) + Send + 'static {
        let bar = self.bar.clone();
        move |text| bar.suspend(|| say(text))
    }

    /// What is trained, on what.
    pub fn data(&self, plan: &Plan, training: &Samples, validation: Option<&Samples>) -> anyhow::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        let mut page = Page::for_stderr();
        let signature = &plan.step().signature;
        let numbers: i64 = signature.parameters.iter().map(|port| port.shape.iter().product::<i64>()).sum();
        page.row("trains", &format!("{numbers} numbers in {} parameters", signature.parameters.len()));
        let with =
            validation.map_or(", none to validate with".to_owned(), |v| format!(", {} to validate with", v.len()));
        page.row("samples", &format!("{}{with}", training.len()));
        page.rows("data", training.describe());
        page.rows("note", &plan.step().notes);
        page.blank();
        page.print()
    }

    /// Before the first epoch.
    pub fn begin(&self, trainer: &Trainer, epochs: u64) -> anyhow::Result<()> {
        let (epoch, step) = trainer.position();
        if self.json {
            let steps = trainer.steps_per_epoch();
            let object = json!({ "event": "begin", "elonnx": env!("CARGO_PKG_VERSION"), "epochs": epochs,
                "steps_per_epoch": steps, "epochs_done": epoch, "steps_done": step });
            return print(&format!("{object}\n"));
        }
        if self.quiet {
            return Ok(());
        }
        if epoch > 0 || step > 0 {
            say(&format!("resumed after {epoch} epochs and {step} of {} steps", trainer.steps_per_epoch()));
        }
        print(&format!("{}\n", HEAD))
    }

    /// Moves the bar.
    pub fn progress(&self, event: &Event<'_>, epochs: u64) {
        match event {
            Event::Step { epoch, done, steps, measured, examples_per_second } => {
                let (now, all) = (epoch.saturating_sub(1) * steps + done, epochs * steps);
                let (start, first) = self.begun.get().unwrap_or((Instant::now(), now));
                self.begun.set(Some((start, first)));
                if now > first {
                    let per_step = start.elapsed().as_secs_f64() / (now - first) as f64;
                    self.left.replace(left(per_step * all.saturating_sub(now) as f64));
                }
                self.bar.set_prefix(format!("{epoch}/{epochs}"));
                self.bar.set_length(*steps);
                self.bar.set_position(*done);
                self.bar.set_message(moving(measured, *examples_per_second, &self.left.borrow()));
            }
            Event::Validation { done, batches } => {
                self.bar.set_length(*batches);
                self.bar.set_position(*done);
                self.bar.set_message(format!("{:MOVING$}{}", "validation", self.left.borrow()));
            }
            _ => {}
        }
    }

    /// An epoch is over.
    pub fn epoch(&self, record: &EpochRecord, epochs: u64) -> anyhow::Result<()> {
        if self.json {
            let mut object = json!(record);
            object["event"] = json!("epoch");
            return print(&format!("{object}\n"));
        }
        if self.quiet {
            return Ok(());
        }
        let line = line(record, epochs);
        let mut result = Ok(());
        self.bar.suspend(|| result = print(&format!("{line}\n")));
        result
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// The run is over, the model is written.
    pub fn end(&self, summary: &Summary, trainer: &Trainer, written: &Written<'_>) -> anyhow::Result<()> {
        let Written { model, data, run_folder } = written;
        let best = summary.best_epoch.and_then(|best| trainer.history().iter().find(|record| record.epoch == best));
        if self.json {
            let end = match summary.end {
                End::OutOfPatience => "out_of_patience",
                End::Stopped => "stopped",
                End::Finished => "finished",
            };
            let object = json!({ "event": "end", "end": end, "epochs_done": summary.epochs, "best": best,
                "output": model, "data_file": data, "run_folder": run_folder });
            return print(&format!("{object}\n"));
        }
        if self.quiet {
            return Ok(());
        }
        say("");
        let mut page = Page::for_stderr();
        if summary.end == End::OutOfPatience {
            page.paragraph("No better score for as long as --patience lasts.");
        }
        let best = best.map_or(String::new(), |record| {
            let measured = record.validation.unwrap_or(record.train);
            format!(" with the parameters of epoch {}, accuracy {:.2} %", record.epoch, measured.accuracy * 100.0)
        });
        page.paragraph(&format!("Written to {}{best}", model.display()));
        if let Some(data) = data {
            page.paragraph(&format!("The parameters are in {}, as they were in a file of their own", data.display()));
        }
        page.paragraph(&format!("Checkpoints and metrics.json are in {}", run_folder.display()));
        page.print()
    }
}

const HEAD: &str = concat!(
    "        ----------- training -----------  ---------- validation ----------\n",
    "  epoch     loss    acc  margin   energy      loss    acc  margin   energy  time"
);

/// Columns of what moves beside the bar, without the time that is left.
const MOVING: usize = 49;

/// In columns that stay where they are; the bar has the rest.
fn moving(measured: &Measured, examples_per_second: f64, left: &str) -> String {
    let Measured { loss, accuracy, margin, .. } = measured;
    let accuracy = accuracy * 100.0;
    let text = format!("loss {loss:7.4}  acc {accuracy:6.2}  margin {margin:6.2}  {examples_per_second:6.0}/s");
    format!("{text:MOVING$}{left}")
}

/// " 12s left", "4:05 left" or "2h05 left".
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
fn left(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let time = if whole < 60 { format!("{whole}s") } else { clock(whole) };
    format!("{time:>5} left")
}

/// Within 80 columns; a star marks the best so far.
fn line(record: &EpochRecord, epochs: u64) -> String {
    let columns = |measured: &Measured| {
        let Measured { loss, accuracy, margin, energy, .. } = measured;
        format!("{loss:8.4} {:6.2} {margin:7.2} {energy:8.2}", accuracy * 100.0)
    };
    let validation = record.validation.as_ref().map_or(format!("{:32}", ""), columns);
    let epoch = format!("{}/{epochs}", record.epoch);
    let star = if record.best { "*" } else { " " };
    format!("{epoch:>7} {}{star} {validation} {:>5}", columns(&record.train), duration(record.seconds))
}

/// "12.3", "4:05" or "2h05".
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of an epoch")]
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    if whole < 100 { format!("{seconds:.1}") } else { clock(whole) }
}

/// "4:05" or "2h05".
fn clock(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_a_terminal() {
        let measured = Measured { samples: 1, loss: -12.3456, accuracy: 1.0, margin: -123.456, energy: -1234.5 };
        let mut record = EpochRecord {
            epoch: 100,
            step: 1,
            train: measured,
            validation: Some(measured),
            learning_rate: 1.0,
            bonus_weight: 1.0,
            examples_per_second: 1.0,
            seconds: 3599.0,
            best: true,
        };
        assert!(line(&record, 300).chars().count() <= 80, "{}", line(&record, 300));
        record.validation = None;
        assert!(line(&record, 300).chars().count() <= 80);
        assert!(HEAD.lines().all(|line| line.chars().count() <= 80));
        // what moves has one width, and leaves room for a bar
        let measured = Measured { loss: -2.3456, margin: -12.34, ..measured };
        let nothing = Measured { loss: 0.0, accuracy: 0.0, margin: 0.0, ..measured };
        let widths = [(measured, 123_456.7, 59.6), (nothing, 0.0, 0.0)]
            .map(|(measured, rate, seconds)| moving(&measured, rate, &left(seconds)).chars().count());
        assert_eq!(widths, [MOVING + 10; 2]);
        assert!("100/100 ##########  ".len() + widths[0] <= 80);
    }

    #[test]
    fn durations() {
        assert_eq!((duration(3.25), duration(245.0), duration(7500.0)), ("3.2".into(), "4:05".into(), "2h05".into()));
        assert_eq!([left(0.4), left(59.6), left(7500.0)], ["   0s left", " 1:00 left", " 2h05 left"]);
    }
}
