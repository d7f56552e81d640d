//! What people and programs see of a run.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

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

/// Lines for people or JSON lines, and a bar where somebody looks at it.
pub struct Told {
    json: bool,
    quiet: bool,
    bar: ProgressBar,
}

impl Told {
    /// JSON lines, nothing, or lines for people; with a bar on a terminal.
    pub fn new(json: bool, quiet: bool, bar: bool) -> Self {
        let bar = if bar && !quiet && !json && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            let template = "{prefix} {wide_bar} {pos}/{len}  {msg}  {eta} left";
            // a template that does not parse would be a bug that hides nothing but the bar
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { json, quiet, bar }
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
                self.bar.set_prefix(format!("{epoch}/{epochs}"));
                self.bar.set_length(*steps);
                self.bar.set_position(*done);
                let Measured { loss, accuracy, margin, .. } = measured;
                let accuracy = accuracy * 100.0;
                self.bar.set_message(format!(
                    "loss {loss:.4} {accuracy:.2} % margin {margin:.2} {examples_per_second:.0}/s"
                ));
            }
            Event::Validation { done, batches } => {
                self.bar.set_length(*batches);
                self.bar.set_position(*done);
                self.bar.set_message("validation");
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
    pub fn end(&self, summary: &Summary, trainer: &Trainer, output: &Path, folder: &Path) -> anyhow::Result<()> {
        let best = summary.best_epoch.and_then(|best| trainer.history().iter().find(|record| record.epoch == best));
        if self.json {
            let end = match summary.end {
                End::OutOfPatience => "out_of_patience",
                End::Stopped => "stopped",
                End::Finished => "finished",
            };
            let object = json!({ "event": "end", "end": end, "epochs_done": summary.epochs, "best": best,
                "output": output, "run_folder": folder });
            return print(&format!("{object}\n"));
        }
        if self.quiet {
            return Ok(());
        }
        let mut page = Page::for_stderr();
        page.blank();
        if summary.end == End::OutOfPatience {
            page.paragraph("No better score for as long as --patience lasts.");
        }
        let best = best.map_or(String::new(), |record| {
            let measured = record.validation.unwrap_or(record.train);
            format!(" with the parameters of epoch {}, accuracy {:.2} %", record.epoch, measured.accuracy * 100.0)
        });
        page.paragraph(&format!("Written to {}{best}", output.display()));
        page.paragraph(&format!("Checkpoints and metrics.json are in {}", folder.display()));
        page.print()
    }
}

const HEAD: &str = concat!(
    "        ----------- training -----------  ---------- validation ----------\n",
    "  epoch     loss    acc  margin   energy      loss    acc  margin   energy  time"
);

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
    match whole {
        0..100 => format!("{seconds:.1}"),
        100..3600 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}h{:02}", whole / 3600, whole / 60 % 60),
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
    }

    #[test]
    fn durations() {
        assert_eq!((duration(3.25), duration(245.0), duration(7500.0)), ("3.2".into(), "4:05".into(), "2h05".into()));
    }
}
