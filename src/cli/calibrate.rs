//! `elonnx calibrate`.

mod page;

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::json;

use super::data::DataArguments;
use super::engine::EngineArguments;
use super::exit::{of_model, wrong_input};
use super::files::{Input, Output, Wish, resolve_output};
use super::output::{Page, print, warn};
use super::progress::Progress;
use crate::data::{self, Batch, Source};
use crate::edge::{
    Calibrated, Calibration, Calibrator, CalibratorOptions, EdgeError, Evidence, Needs, Score, Scorer, ScorerOptions,
};
use crate::model::{Document, ExternalData};
use page::show;

/// Fit thresholds, temperature and what scores need to in-distribution data, and put them into the model
///
/// The threshold of a score lets the asked share of the samples pass; the score that decides makes in_distribution of
/// elonnx score. Use samples that the model was not trained on. KNN, Mahalanobis, relative Mahalanobis and ViM are fitted
/// to every other sample, and their thresholds come from the rest.
///
/// Everything goes into the model file: numbers into its metadata (elonnx.calibration), tables into initializers. Runtimes
/// see the same model as before. Without -o, model.onnx becomes model.calibrated.onnx beside it.
#[derive(Debug, Args)]
pub struct Arguments {
    /// ONNX classifier; `-` reads standard input
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// Files and folders of in-distribution samples
    #[arg(long = "data", value_name = "PATH", value_hint = ValueHint::AnyPath, required = true, num_args = 1..)]
    paths: Vec<PathBuf>,
    /// Where to write; `-` is standard output [default: a new file beside the model]
    #[arg(short, long, value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "in_place")]
    output: Option<PathBuf>,
    /// Replace the model itself, atomically
    #[arg(long)]
    in_place: bool,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    /// Show what would be written and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "quiet")]
    pub json: bool,
    /// Print warnings and errors only
    #[arg(short, long)]
    quiet: bool,

    /// Scores to calibrate [default: energy,margin,msp; msp of probabilities]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = "Calibration")]
    scores: Vec<Score>,
    /// The score that decides [default: the first of --scores]
    #[arg(long, value_name = "NAME", help_heading = "Calibration")]
    decision: Option<Score>,
    /// Share of the samples that the thresholds let pass
    #[arg(long, value_name = "RATE", default_value_t = 0.95, value_parser = rate, help_heading = "Calibration")]
    tpr: f64,
    /// Fit the temperature of energy and probabilities to the labels
    #[arg(long, conflicts_with = "probabilities", help_heading = "Calibration")]
    fit_temperature: bool,
    /// A threshold for each predicted class with enough samples
    #[arg(long, help_heading = "Calibration")]
    per_class: bool,
    /// Percentile of the activations that ReAct clips at
    #[arg(long, value_name = "P", default_value_t = CalibratorOptions::default().react_percentile,
          value_parser = percentile, help_heading = "Fits")]
    react_percentile: f64,
    /// Percentage of the activations that ASH-S prunes
    #[arg(long, value_name = "P", default_value_t = CalibratorOptions::default().ash_percentile,
          value_parser = percentile, help_heading = "Fits")]
    ash_percentile: f64,
    /// Percentage of the activations that SCALE leaves out of its sum
    #[arg(long, value_name = "P", default_value_t = CalibratorOptions::default().scale_percentile,
          value_parser = percentile, help_heading = "Fits")]
    scale_percentile: f64,
    /// Neighbour whose distance is the score of KNN
    #[arg(long, value_name = "K", default_value_t = CalibratorOptions::default().knn_k, value_parser = count,
          help_heading = "Fits")]
    knn_k: usize,
    /// Samples that KNN keeps in the model, at most
    #[arg(long, value_name = "N", default_value_t = CalibratorOptions::default().knn_bank, value_parser = count,
          help_heading = "Fits")]
    knn_bank: usize,
    /// Dimensions of ViM's principal subspace [default: by the number of features]
    #[arg(long, value_name = "D", value_parser = count, help_heading = "Fits")]
    vim_dimensions: Option<usize>,

    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    data: DataArguments,
}

impl Arguments {
    fn scores(&self) -> Vec<Score> {
        match self.scores.as_slice() {
            [] if self.engine.probabilities => vec![Score::Msp],
            [] => vec![Score::Energy, Score::Margin, Score::Msp],
            scores => scores.to_vec(),
        }
    }

    fn calibrator_options(&self, preprocessing: serde_json::Value) -> CalibratorOptions {
        let nothing = preprocessing.as_object().is_some_and(serde_json::Map::is_empty);
        CalibratorOptions {
            scores: self.scores(),
            decision: self.decision,
            true_positive_rate: self.tpr,
            fit_temperature: self.fit_temperature,
            per_class: self.per_class,
            react_percentile: self.react_percentile,
            ash_percentile: self.ash_percentile,
            scale_percentile: self.scale_percentile,
            knn_k: self.knn_k,
            knn_bank: self.knn_bank,
            vim_dimensions: self.vim_dimensions,
            preprocessing: (!nothing).then_some(preprocessing),
        }
    }

    fn scorer_options(&self) -> ScorerOptions {
        let needs_feature = self.scores().iter().chain(&self.decision).any(|score| score.needs() == Needs::Feature);
        ScorerOptions { feature: needs_feature, ..self.engine.options() }
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            output: self.output.as_deref(),
            in_place: self.in_place,
            force: self.force,
            dry_run: self.dry_run,
            infix: "calibrated",
        }
    }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.engine.check()?;
    let input = Input::new(&arguments.input);
    let output = resolve_output(&input, arguments.wish())?;
    if arguments.json && output == Output::Stdout && !arguments.dry_run {
        wrong_input!("--json and the model both want standard output; name a file with -o");
    }
    let mut document = input.read()?;
    let replaced = Calibration::remove(&mut document);
    let scorer = Scorer::new(&document, &arguments.scorer_options()).map_err(|e| of_model(e, &arguments.input))?;
    let (options, _) = arguments.data.options(&arguments.paths, None)?;
    let preparation = options.preprocessing.to_json();
    let calibrator = Calibrator::new(scorer.model(), arguments.calibrator_options(preparation))
        .map_err(|error| of_model(error, &arguments.input))?;
    let source = data::open(&options, scorer.inputs())?;
    let described = source.describe().to_vec();
    let model = scorer.model().clone();
    let calibrated = collect(arguments, calibrator, scorer, source)?.finish()?;
    write(arguments, &mut document, &output, &calibrated)?;

    let shown_output = (!arguments.dry_run).then(|| output.to_string());
    if arguments.json {
        let object = json!({
            "elonnx": env!("CARGO_PKG_VERSION"),
            "command": "calibrate",
            "input": arguments.input,
            "output": shown_output,
            "dry_run": arguments.dry_run,
            "replaced": replaced,
            "data": described,
            "accuracy": calibrated.accuracy,
            "table_bytes": calibrated.tables.bytes(),
            "calibration": calibrated.calibration,
            "warnings": calibrated.warnings,
        });
        return print(&format!("{object:#}\n"));
    }
    if arguments.quiet {
        return warn(&calibrated.warnings);
    }
    let to_stdout = output == Output::Stdout && !arguments.dry_run;
    let mut page = if to_stdout { Page::for_stderr() } else { Page::for_stdout() };
    page.heading(&input.to_string());
    page.blank();
    show(&mut page, &model, &described, &calibrated);
    page.blank();
    if arguments.dry_run {
        page.paragraph(&format!("Nothing was written; this would be {output}"));
    } else {
        let instead = if replaced { ", in the place of the calibration there was" } else { "" };
        page.paragraph(&format!("Written to {output}{instead}"));
    }
    page.print()
}

fn write(
    arguments: &Arguments,
    document: &mut Document,
    output: &Output,
    calibrated: &Calibrated,
) -> anyhow::Result<()> {
    calibrated.calibration.write(document, &calibrated.tables)?;
    match arguments.dry_run {
        true => output.check(document),
        false => output.write(document, ExternalData::Copy),
    }
}

/// Runs the model on all samples, as many batches at once as there are threads.
fn collect(
    arguments: &Arguments,
    mut calibrator: Calibrator,
    scorer: Scorer,
    source: Source,
) -> anyhow::Result<Calibrator> {
    let count = arguments.engine.threads();
    let mut workers: Vec<(Scorer, Evidence)> = vec![(scorer, Evidence::default())];
    while workers.len() < count {
        let another = workers[0].0.another()?;
        workers.push((another, Evidence::default()));
    }
    let progress = Progress::new(source.rows(), !arguments.quiet && !arguments.json);
    let mut batches = source.peekable();
    while batches.peek().is_some() {
        let some: Vec<Batch> = batches.by_ref().take(count).collect::<Result<_, _>>()?;
        let run = |(worker, batch): (&mut (Scorer, Evidence), &Batch)| worker.0.evidence(&batch.inputs, &mut worker.1);
        let outcomes: Vec<Result<(), EdgeError>> = std::thread::scope(|scope| {
            let running: Vec<_> = workers.iter_mut().zip(&some).map(|pair| scope.spawn(move || run(pair))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(join).collect()
        });
        for ((outcome, (_, evidence)), batch) in outcomes.into_iter().zip(&workers).zip(&some) {
            outcome.map_err(|error| calibrator.locate(error, batch.names.as_deref()))?;
            calibrator.add(evidence, batch.labels.as_deref(), batch.names.as_deref())?;
            progress.advance(evidence.rows);
        }
    }
    progress.finish();
    Ok(calibrator)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate > 0.0 && rate <= 1.0 { Ok(rate) } else { Err("not a rate above 0 and at most 1".to_owned()) }
}

fn percentile(text: &str) -> Result<f64, String> {
    let percentile: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&percentile) { Ok(percentile) } else { Err("not a number from 0 to 100".to_owned()) }
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "not a whole number of at least 1".to_owned())
}
