//! `elonnx evaluate`.

mod named;
mod table;

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use serde_json::json;

use self::named::{NamedPath, distinct_names};
use super::data::DataArguments;
use super::engine::EngineArguments;
use super::exit::{of_model, wrong_input};
use super::files::Input;
use super::output::{Page, print, warn};
use super::progress::Progress;
use crate::edge::evaluate::{EvaluateOptions, Evaluation, ScoredSet, evaluate};
use crate::edge::{EdgeError, Needs, Score, Scorer, ScorerOptions};
use crate::metrics::{Bootstrap, PositiveSet, SeparationOptions};
use crate::model::Document;
use crate::report::{Format, ModelFacts, Report};
use crate::rewrite::Evidence;

/// Measure how well a model's scores tell its own kind of samples from others
///
/// Scores an in-distribution set and out-of-distribution sets, and tells AUROC, average precision, false positive rate
/// and detection accuracy of every score with bootstrap intervals, accuracy and calibration of the predictions, and what
/// a calibrated threshold keeps and flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// ONNX file; `-` reads standard input
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// Samples like those the model was trained on; NAME= before the path names the set
    #[arg(long, value_name = "[NAME=]PATH", value_hint = ValueHint::AnyPath)]
    in_dist: NamedPath,
    /// Samples of another kind; may be given several times
    #[arg(long, value_name = "[NAME=]PATH", value_hint = ValueHint::AnyPath, required = true)]
    ood: Vec<NamedPath>,
    /// Scores, separated by commas, or `all` [default: those calibrated, else margin,energy,msp]
    #[arg(long, value_name = "LIST", value_parser = scores)]
    scores: Option<Scores>,
    /// True positive rate that the false positive rate is taken at
    #[arg(long, value_name = "RATE", default_value_t = 0.95, value_parser = rate)]
    tpr: f64,
    /// Call out-of-distribution positive for the false positive rate, as OpenOOD does
    #[arg(long)]
    ood_positive: bool,
    /// Bootstrap resamples of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    bootstrap: u32,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Write a report: a page (.html) or a picture (.svg, .png); a file of that name is replaced
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    report: Option<PathBuf>,
    /// Draw ROC curves over a logarithmic false positive rate
    #[arg(long, requires = "report")]
    log_roc: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
    /// Temperature of energy and probabilities [default: as calibrated, else 1]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
    #[command(flatten)]
    engine: EngineArguments,
    #[command(flatten)]
    data: DataArguments,
}

/// What `--scores` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scores {
    All,
    These(Vec<Score>),
}

fn scores(text: &str) -> Result<Scores, String> {
    if text == "all" {
        return Ok(Scores::All);
    }
    let mut list = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let score: Score = name.parse().map_err(|error: crate::edge::UnknownScore| error.to_string())?;
        if !list.contains(&score) {
            list.push(score);
        }
    }
    if list.is_empty() { Err("name at least one score, or say all".to_owned()) } else { Ok(Scores::These(list)) }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if rate > 0.0 && rate <= 1.0 { Ok(rate) } else { Err("not a rate above 0 and at most 1".to_owned()) }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(path) = &arguments.report {
        check_report(path)?;
    }
    arguments.engine.check()?;
    let named: Vec<&NamedPath> = std::iter::once(&arguments.in_dist).chain(&arguments.ood).collect();
    let names = distinct_names(&named)?;
    let input = Input::new(&arguments.input);
    let document = input.read()?;
    let wanted = wanted_scores(arguments, &document)?;
    let mut scorers = scorers(arguments, &document, &wanted).map_err(|error| of_model(error, &arguments.input))?;
    drop(document);
    let mut sets = Vec::new();
    for (index, (named, name)) in named.iter().zip(&names).enumerate() {
        sets.push(read_set(arguments, &mut scorers, named, name, index == 0)?);
    }
    let Some(scorer) = scorers.first() else { wrong_input!("--threads is out of range") };
    let options = EvaluateOptions {
        scores: if wanted.is_empty() { scorer.scores().to_vec() } else { wanted },
        separation: SeparationOptions {
            true_positive_rate: arguments.tpr,
            positive: if arguments.ood_positive { PositiveSet::OutOfDistribution } else { PositiveSet::InDistribution },
        },
        bootstrap: Bootstrap { resamples: arguments.bootstrap as usize, seed: arguments.seed, ..Bootstrap::default() },
        classes: Some(scorer.classes()).filter(|classes| *classes > 0),
    };
    let (inside, outside) = sets.split_at(1);
    let evaluation = evaluate(&inside[0], outside, scorer.calibration(), &options)?;
    let facts = facts(arguments, &input, scorer);
    if let Some(path) = &arguments.report {
        let report = Report {
            model: &facts,
            evaluation: &evaluation,
            in_distribution: &inside[0],
            out_of_distribution: outside,
            log_roc: arguments.log_roc,
        };
        report.save(path)?;
    }
    tell(arguments, &input, scorer, &facts, &evaluation)
}

/// One scorer per thread.
fn scorers(arguments: &Arguments, document: &Document, wanted: &[Score]) -> Result<Vec<Scorer>, EdgeError> {
    let options = ScorerOptions {
        scores: with_energy(wanted, arguments),
        temperature: arguments.temperature,
        ..arguments.engine.options()
    };
    let first = Scorer::new(document, &options)?;
    let others: Vec<Scorer> = (1..arguments.engine.threads()).map(|_| first.another()).collect::<Result<_, _>>()?;
    Ok(std::iter::once(first).chain(others).collect())
}

/// Refuses what could not be written after minutes of work.
fn check_report(path: &Path) -> anyhow::Result<()> {
    Format::of(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        wrong_input!("there is no folder {} to write {} into; make it first", folder.display(), path.display());
    }
    if path.is_dir() {
        wrong_input!("{} is a folder; name a file for the report", path.display());
    }
    Ok(())
}

/// The scores to tell; empty for those the scorer chooses.
fn wanted_scores(arguments: &Arguments, document: &Document) -> anyhow::Result<Vec<Score>> {
    match &arguments.scores {
        None => Ok(Vec::new()),
        Some(Scores::These(list)) => Ok(list.clone()),
        Some(Scores::All) => {
            let options = ScorerOptions { scores: vec![Score::Msp], feature: true, ..arguments.engine.options() };
            let scorer = Scorer::new(document, &options).map_err(|error| of_model(error, &arguments.input))?;
            Ok(available(&scorer))
        }
    }
}

/// Every score that the model gives and that is fitted where it has to be.
fn available(scorer: &Scorer) -> Vec<Score> {
    let fitted = |score: Score| scorer.calibration().is_some_and(|fits| fits.scores.contains_key(&score));
    let possible = |score: &Score| match score.needs() {
        Needs::Probabilities => true,
        Needs::Logits => scorer.model().evidence == Evidence::Logits,
        Needs::Feature => {
            scorer.model().evidence == Evidence::Logits
                && scorer.model().head.is_ok()
                && (fitted(*score) || !score.needs_fit())
        }
    };
    Score::ALL.into_iter().filter(possible).collect()
}

/// The energy of every set is told, asked for or not.
fn with_energy(wanted: &[Score], arguments: &Arguments) -> Vec<Score> {
    let mut scores = wanted.to_vec();
    if !scores.is_empty() && !scores.contains(&Score::Energy) && !arguments.engine.probabilities {
        scores.push(Score::Energy);
    }
    scores
}

fn read_set(
    arguments: &Arguments,
    scorers: &mut [Scorer],
    named: &NamedPath,
    name: &str,
    in_distribution: bool,
) -> anyhow::Result<ScoredSet> {
    let Some(first) = scorers.first() else { wrong_input!("--threads is out of range") };
    let stored = first.calibration().and_then(|calibration| calibration.preprocessing.clone());
    let mut data = arguments.data.clone();
    if !in_distribution {
        // they are those of the in-distribution set
        data.labels = None;
    }
    let (options, notes) = data.options(std::slice::from_ref(&named.path), stored.as_ref())?;
    if in_distribution {
        warn(&notes)?;
    }
    let source = crate::data::open(&options, first.inputs())?;
    let progress = Progress::new(source.rows(), true);
    let labelled = in_distribution && source.labelled();
    let batches = source.map(|batch| batch.map_err(anyhow::Error::from));
    let set = ScoredSet::read(name, scorers, batches, labelled, |rows| progress.advance(rows));
    progress.finish();
    set
}

/// What the report says about the model. Nothing in it differs from run to run.
fn facts(arguments: &Arguments, input: &Input, scorer: &Scorer) -> ModelFacts {
    let title = match input {
        Input::File(path) => {
            path.file_name().map_or_else(|| input.to_string(), |name| name.to_string_lossy().into_owned())
        }
        Input::Stdin => input.to_string(),
    };
    let model = scorer.model();
    let what = if model.evidence == Evidence::Logits { "Logits" } else { "Probabilities" };
    let mut facts = vec![
        (what.to_owned(), format!("{}, {}", model.value, model.how)),
        ("Engine".to_owned(), arguments.engine.name().to_owned()),
    ];
    if scorer.classes() > 0 {
        facts.push(("Classes".to_owned(), scorer.classes().to_string()));
    }
    facts.push(("Temperature".to_owned(), ((scorer.temperature() * 1e4).round() / 1e4).to_string()));
    if let Some(calibration) = scorer.calibration() {
        let text = format!(
            "to keep {} % of {} samples; {} decides",
            (calibration.true_positive_rate * 1e4).round() / 1e2,
            calibration.samples,
            calibration.decision
        );
        facts.push(("Calibrated".to_owned(), text));
    }
    if !model.changes.is_empty() {
        facts.push(("For inference".to_owned(), model.changes.join("; ")));
    }
    let footer = format!(
        "elonnx {} evaluate; {} bootstrap resamples, seed {}",
        env!("CARGO_PKG_VERSION"),
        arguments.bootstrap,
        arguments.seed
    );
    ModelFacts { title, facts, footer }
}

fn tell(
    arguments: &Arguments,
    input: &Input,
    scorer: &Scorer,
    facts: &ModelFacts,
    evaluation: &Evaluation,
) -> anyhow::Result<()> {
    if arguments.json {
        let model = scorer.model();
        let object = json!({
            "elonnx": env!("CARGO_PKG_VERSION"),
            "command": "evaluate",
            "input": arguments.input,
            "output": arguments.report,
            "model": {
                "evidence": if model.evidence == Evidence::Logits { "logits" } else { "probabilities" },
                "value": model.value,
                "how": model.how,
                "classes": scorer.classes(),
                "temperature": scorer.temperature(),
                "engine": arguments.engine.name(),
                "changes": model.changes,
                "calibrated": scorer.calibration().is_some(),
            },
            "evaluation": evaluation,
        });
        return print(&format!("{object:#}\n"));
    }
    let mut page = Page::for_stdout();
    page.heading(&input.to_string());
    page.blank();
    for (label, value) in &facts.facts {
        page.row(&label.to_lowercase(), value);
    }
    table::show(&mut page, evaluation);
    if let Some(path) = &arguments.report {
        page.blank();
        page.whole_row("report", &path.display().to_string());
    }
    page.print()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_by_name() {
        assert_eq!(scores("all"), Ok(Scores::All));
        assert_eq!(scores("energy, max-logit,energy"), Ok(Scores::These(vec![Score::Energy, Score::MaxLogit])));
        assert!(scores("enery").unwrap_err().contains("the scores are margin"));
        assert!(scores(",").is_err());
    }

    #[test]
    fn rates() {
        assert_eq!(rate("0.95"), Ok(0.95));
        assert!(rate("95").is_err() && rate("0").is_err() && rate("x").is_err());
    }
}
