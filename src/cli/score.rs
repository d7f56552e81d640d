//! `elonnx score`.

mod columns;
mod csv;
mod jsonl;
mod parquet;
mod pipeline;
mod sink;
mod table;

use std::path::PathBuf;
use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use super::data::DataArguments;
use super::engine::EngineArguments;
use super::exit::wrong_input;
use super::files::Input;
use super::output::{Page, warn};
use super::progress::Progress;
use crate::data;
use crate::edge::{Score, Scorer, ScorerOptions};
use columns::Columns;
use pipeline::{Outcome, Pipeline};
use sink::{Format, Sink};

/// Score samples: class, probability, margin, and whether they look like the data the model was made for
///
/// Reads npy, npz, idx(.gz), CSV, raw float32, images and folders of them (a folder per class gives labels), in constant
/// memory, and writes a line per sample in the order of the inputs. Every score is higher the further out of
/// distribution; in_distribution is there once the model is calibrated (see elonnx calibrate).
///
/// On a terminal the first samples come as a table; into a pipe all of them as JSON lines.
#[derive(Debug, Args)]
pub struct Arguments {
    /// ONNX classifier
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    /// Files and folders of samples, `-` for standard input
    #[arg(value_name = "INPUT", value_hint = ValueHint::AnyPath, required = true)]
    inputs: Vec<PathBuf>,

    /// Where to write; `-` is standard output [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    /// How to write [default: by the output's name, table on a terminal, else jsonl]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    format: Option<Format>,
    /// Print warnings and errors only, besides the results
    #[arg(short, long)]
    quiet: bool,
    /// No progress bar
    #[arg(long)]
    no_progress: bool,

    /// Scores to compute [default: those calibrated, without a calibration margin,energy,msp]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Scores")]
    scores: Vec<Score>,
    /// Classes to list per sample, the most probable first
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = top_k, help_heading = "Scores")]
    top_k: usize,
    /// Fail if the model cannot tell whether a sample is in distribution
    #[arg(long, help_heading = "Scores")]
    decide: bool,
    /// Temperature of probabilities and energy [default: as calibrated, else 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true, help_heading = "Scores")]
    temperature: Option<f64>,

    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    data: DataArguments,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.engine.check()?;
    let sink = Sink::choose(arguments.output.as_deref(), arguments.format, arguments.force)?;
    sink.refuse_inputs(std::iter::once(&arguments.model).chain(&arguments.inputs).chain(&arguments.data.labels))?;
    let scorer = load(arguments)?;
    let preprocessing = scorer.calibration().and_then(|calibration| calibration.preprocessing.as_ref());
    let (options, differences) = arguments.data.options(&arguments.inputs, preprocessing)?;
    let source = data::open(&options, scorer.inputs())?;
    warn(&differences)?;
    if !arguments.quiet {
        tell(&scorer, &source)?;
    }

    let columns = Columns::new(&scorer, &source);
    let progress = Progress::new(source.rows(), !arguments.quiet && !arguments.no_progress);
    let begin = Instant::now();
    let pipeline = Pipeline { threads: arguments.engine.threads() };
    let mut writer = sink.open(columns)?;
    let mut total = Total::default();
    let result = pipeline.run(scorer, source, |outcome| {
        writer.write(outcome)?;
        total.add(outcome);
        progress.advance(outcome.scored.rows);
        Ok(())
    });
    progress.finish();
    result?;
    writer.finish()?;
    if !arguments.quiet {
        total.tell(begin.elapsed().as_secs_f64())?;
    }
    Ok(())
}

fn load(arguments: &Arguments) -> anyhow::Result<Scorer> {
    let document = Input::new(&arguments.model).read()?;
    let options = ScorerOptions {
        scores: arguments.scores.clone(),
        top_k: arguments.top_k,
        temperature: arguments.temperature,
        ..arguments.engine.options()
    };
    let model = arguments.model.display();
    let scorer = Scorer::new(&document, &options).map_err(|error| super::exit::of_model(error, &arguments.model))?;
    if arguments.decide && scorer.calibration().is_none() {
        wrong_input!(
            "{model} is not calibrated for these logits, so nothing says what is in distribution; run `elonnx calibrate \
             {model} --data FILES` with samples of the kind that it was trained on, and score with what that writes"
        );
    }
    if arguments.decide && !scorer.decides() {
        wrong_input!(
            "the thresholds of {model} were fitted at another temperature than {}, so they decide nothing; leave out \
             --temperature, or calibrate again",
            scorer.temperature()
        );
    }
    Ok(scorer)
}

/// What was found in the model and what is done to the samples.
fn tell(scorer: &Scorer, source: &data::Source) -> anyhow::Result<()> {
    let mut page = Page::for_stderr();
    let model = scorer.model();
    page.row("logits", &format!("{}, {}", model.value, model.how));
    page.rows("changed", &model.changes);
    page.rows("data", source.describe());
    page.blank();
    page.print()
}

/// Sums over all samples.
#[derive(Debug, Default)]
struct Total {
    rows: u64,
    /// Samples with a decision, and those of them in distribution.
    decided: u64,
    inside: u64,
    /// Samples with a label, and those of them predicted right.
    labelled: u64,
    right: u64,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        let scored = &outcome.scored;
        self.rows += scored.rows as u64;
        self.decided += scored.in_distribution.len() as u64;
        self.inside += scored.in_distribution.iter().filter(|&&inside| inside).count() as u64;
        if let Some(labels) = &outcome.labels {
            self.labelled += labels.len() as u64;
            let right = labels.iter().zip(&scored.class).filter(|&(&label, &class)| label == i64::from(class));
            self.right += right.count() as u64;
        }
    }

    fn tell(&self, seconds: f64) -> anyhow::Result<()> {
        let mut page = Page::for_stderr();
        page.paragraph(&self.sentence(seconds));
        page.print()
    }

    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    fn sentence(&self, seconds: f64) -> String {
        let share = |part: u64, all: u64| format!("{:.2} %", 100.0 * part as f64 / all as f64);
        let rate = self.rows as f64 / seconds.max(1e-9);
        let mut sentence = format!("{} samples in {seconds:.1} s ({rate:.0} per second)", self.rows);
        if self.decided > 0 {
            sentence += &format!(", {} in distribution", share(self.inside, self.decided));
        }
        if self.labelled > 0 {
            sentence += &format!(", {} predicted as labelled", share(self.right, self.labelled));
        }
        sentence
    }
}

fn format_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::ALL.map(Format::as_str))
        .try_map(|text| Format::ALL.into_iter().find(|format| format.as_str() == text).ok_or("no such format"))
}

fn top_k(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|k| (1..=1000).contains(k)).ok_or_else(|| "not a number from 1 to 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_is_known() {
        let mut total = Total { rows: 1000, ..Total::default() };
        assert_eq!(total.sentence(0.5), "1000 samples in 0.5 s (2000 per second)");
        (total.decided, total.inside, total.labelled, total.right) = (1000, 950, 1000, 987);
        assert!(total.sentence(0.5).ends_with(", 95.00 % in distribution, 98.70 % predicted as labelled"));
    }
}
