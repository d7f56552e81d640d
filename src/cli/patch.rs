//! `elonnx patch`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{NothingToDo, wrong_input};
use super::files::{Input, models_in, same_file};
use super::loss;
use super::output::{Page, warn};
use super::report::{Verb, has_bodies, show_artifacts, show_next_step};
use super::rewrite::{self, Status, name_the_model};
use crate::model::Document;
use crate::rewrite::{ArtifactsReport, GraphScore, GraphScoreOptions, PatchOptions, patch_artifacts};

/// Swap a model's loss, and its gradient, for the encouraging loss
///
/// MODEL is an ONNX file or a folder of ORT Training artifacts. Parameters that are not given are taken over from the
/// loss found; a bonus it doesn't have becomes the log bonus with log_end 0.75. On a model without a loss, one is put
/// on the logits. The result runs in any ONNX Runtime; with the plugin (see elonnx lib) the loss is a single fast
/// kernel.
///
/// With --scores, no loss is touched: the model gets scores of each sample as outputs, in standard operators, so that
/// any runtime gives them. Scores are higher the further out of distribution.
///
/// Without -o, model.onnx becomes model.el.onnx beside it (with --scores model.scores.onnx), and the folder artifacts
/// becomes artifacts.el.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub rewrite: rewrite::Arguments,

    #[command(flatten)]
    loss: loss::Arguments,

    /// Add these as outputs instead of a loss: prediction, probability, in_distribution (of a calibrated model), margin,
    /// soft_margin, energy, max_logit, msp, entropy, gen, react, ash_s, scale
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = score, help_heading = "Scores")]
    scores: Vec<GraphScore>,
    /// Temperature of energies and probabilities [default: the calibration's, else 1]
    #[arg(long, value_name = "T", requires = "scores", value_parser = temperature, allow_negative_numbers = true, help_heading = "Scores")]
    temperature: Option<f64>,

    /// Value to take as logits, where the model has no loss
    #[arg(long, value_name = "NAME", help_heading = "Graph")]
    logits: Option<String>,
    /// Input to take as labels, or the name of the one to add [default: labels]
    #[arg(long, value_name = "NAME", help_heading = "Graph")]
    labels: Option<String>,
}

impl std::ops::Deref for Arguments {
    type Target = rewrite::Arguments;

    fn deref(&self) -> &rewrite::Arguments {
        &self.rewrite
    }
}

impl Arguments {
    fn score_options(&self) -> anyhow::Result<GraphScoreOptions> {
        let of_a_loss = [
            ("--log-end", self.loss.log_end.is_some()),
            ("--bonus", self.loss.bonus.is_some()),
            ("--power", self.loss.power.is_some()),
            ("--bonus-weight", self.loss.bonus_weight.is_some()),
            ("--label-smoothing", self.loss.label_smoothing.is_some()),
            ("--reduction", self.loss.reduction.is_some()),
            ("--ignore-index", self.loss.ignore_index.is_some()),
            ("--labels", self.labels.is_some()),
        ];
        if let Some((option, _)) = of_a_loss.iter().find(|(_, given)| *given) {
            wrong_input!("{option} belongs to a loss, and --scores adds none; patch the loss in a run of its own");
        }
        if self.input.is_dir() {
            wrong_input!("--scores takes one model at a time; name the .onnx file");
        }
        Ok(GraphScoreOptions {
            scores: self.scores.clone(),
            temperature: self.temperature,
            logits: self.logits.clone(),
        })
    }

    fn options(&self) -> anyhow::Result<PatchOptions> {
        self.loss.check()?;
        Ok(PatchOptions {
            log_end: self.loss.log_end,
            bonus: self.loss.bonus,
            power: self.loss.power,
            bonus_weight: self.loss.bonus_weight,
            label_smoothing: self.loss.label_smoothing,
            reduction: self.loss.reduction,
            ignore_index: self.loss.ignore_index,
            logits: self.logits.clone(),
            labels: self.labels.clone(),
        })
    }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.scores.is_empty() {
        let options = arguments.score_options()?;
        let add = |document: &Document| crate::rewrite::add_scores(document, &options);
        return rewrite::run(&arguments.rewrite, Verb::Scores, add);
    }
    let options = arguments.options()?;
    if arguments.input.is_dir() {
        return run_artifacts(arguments, &options);
    }
    rewrite::run(&arguments.rewrite, Verb::Patch, |document| crate::rewrite::patch(document, &options))
}

fn run_artifacts(arguments: &Arguments, options: &PatchOptions) -> anyhow::Result<()> {
    let folder = arguments.input.as_path();
    check_is_artifacts(folder)?;
    let output = resolve_folder(arguments, folder)?;
    let input = Input::File(folder.to_owned());
    let rewrite = |dry_run| {
        patch_artifacts(folder, &output, options, arguments.force, dry_run)
            .map_err(|error| name_the_model(error, &input, Verb::Patch))
    };
    let mut report = rewrite(true)?;
    let status = status(&report, &input)?;
    // a pipeline that named its output finds it there, changed or not
    let written = (status == Status::Changed || arguments.output.is_some()) && !arguments.dry_run;
    if written {
        report = rewrite(false)?;
    }

    if arguments.json {
        let shown_output = written.then(|| output.display().to_string());
        return rewrite::print_object(arguments, Verb::Patch, shown_output, status, &report);
    }
    if arguments.quiet {
        let models = [&report.training, &report.eval];
        let all: Vec<String> = models.iter().flat_map(|r| &r.warnings).chain(&report.warnings).cloned().collect();
        return warn(&all);
    }
    let mut page = Page::for_stdout();
    if status == Status::Unchanged {
        page.paragraph(&format!("{input} is patched already, nothing to do"));
        page.blank();
    }
    show_artifacts(&mut page, &report);
    page.blank();
    if written {
        page.paragraph(&format!("Written to {}", output.display()));
        let training = Document::open(output.join("training_model.onnx"))?;
        show_next_step(&mut page, true, has_bodies(&training));
    } else if status == Status::Changed {
        page.paragraph(&format!("Nothing was written; this would be {}", output.display()));
    }
    page.print()
}

fn status(report: &ArtifactsReport, input: &Input) -> anyhow::Result<Status> {
    if report.training.swapped() + report.eval.swapped() > 0 {
        return Ok(Status::Changed);
    }
    if report.training.already_patched() {
        return Ok(Status::Unchanged);
    }
    let message = format!("{input}: found no loss to swap in training_model.onnx");
    Err(NothingToDo { message, report: Box::new(report.training.clone()) }.into())
}

/// A folder that was meant to be something else is told apart here; what exactly artifacts lack, the rewriter knows.
fn check_is_artifacts(folder: &Path) -> anyhow::Result<()> {
    if folder.join("training_model.onnx").is_file() {
        return Ok(());
    }
    let name = folder.display();
    match models_in(folder).as_slice() {
        [] => wrong_input!(
            "{name} is no folder of ORT Training artifacts: it has no training_model.onnx; give an ONNX file, or the \
             folder that generate_artifacts made"
        ),
        models => wrong_input!(
            "{name} is no folder of ORT Training artifacts: it has no training_model.onnx; name a model in it: {}",
            models.join(", ")
        ),
    }
}

/// Decides where patched artifacts go, before any work is done.
fn resolve_folder(arguments: &Arguments, folder: &Path) -> anyhow::Result<PathBuf> {
    if arguments.in_place {
        wrong_input!("--in-place is for a model file; name another folder for the artifacts with -o");
    }
    let output = match &arguments.output {
        Some(output) if output.as_os_str() == "-" => {
            wrong_input!("artifacts are several files and cannot go to standard output; name a folder with -o")
        }
        Some(output) => output.clone(),
        None => {
            // "." has no name of its own
            let named = match folder.file_name() {
                Some(_) => folder.to_owned(),
                None => folder.canonicalize().unwrap_or_else(|_| folder.to_owned()),
            };
            let Some(name) = named.file_name() else {
                wrong_input!("name a folder for the patched artifacts with -o");
            };
            let mut name = name.to_os_string();
            name.push(".el");
            named.with_file_name(name)
        }
    };
    if same_file(folder, &output) {
        wrong_input!("{} is the input itself; name another folder with -o", output.display());
    }
    if output.exists() && !output.is_dir() {
        wrong_input!("{} is a file; artifacts need a folder", output.display());
    }
    Ok(output)
}

fn score(text: &str) -> Result<GraphScore, String> {
    text.trim().parse().map_err(|error: crate::rewrite::UnknownGraphScore| error.to_string())
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (1e-6..=1e6).contains(&value) => Ok(value),
        Ok(_) => Err("it should be from 0.000001 to 1000000".to_owned()),
        Err(_) => Err("not a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Bonus, Reduction};
    use clap::Parser as _;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = ["elonnx", "patch"].into_iter().chain(line.split_whitespace());
        match crate::cli::Cli::try_parse_from(words)?.command {
            crate::cli::Command::Patch(arguments) => Ok(arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_parameter_reaches_the_options() {
        let line = "m.onnx --log-end 0.5 --bonus log --bonus-weight 0.25 --label-smoothing 0.1 --reduction sum \
                    --ignore-index -100 --logits fc --labels y";
        let expected = PatchOptions {
            log_end: Some(0.5),
            bonus: Some(Bonus::Log),
            power: None,
            bonus_weight: Some(0.25),
            label_smoothing: Some(0.1),
            reduction: Some(Reduction::Sum),
            ignore_index: Some(-100),
            logits: Some("fc".into()),
            labels: Some("y".into()),
        };
        assert_eq!(parse(line).unwrap().options().unwrap(), expected);
        assert_eq!(parse("m.onnx --power 3").unwrap().options().unwrap().power, Some(3.0));
        assert_eq!(parse("m.onnx").unwrap().options().unwrap(), PatchOptions::default());
    }

    #[test]
    fn ranges_are_told_by_the_parser() {
        for (line, what) in [
            ("--log-end 0", "log_end must be above 0"),
            ("--log-end 1.5", "log_end must be above 0"),
            ("--log-end nan", "log_end must be above 0"),
            ("--log-end much", "not a number"),
            ("--power 0", "power must be positive"),
            ("--bonus-weight -1", "bonus_weight must be finite"),
            ("--log-end -0.5", "log_end must be above 0"),
            ("--power -2", "power must be positive"),
            ("--label-smoothing -0.1", "label_smoothing must be"),
            ("--label-smoothing 2", "label_smoothing must be"),
            ("--bonus cubic", "possible values: log, power, cosine"),
            ("--reduction avg", "possible values: mean, sum, none"),
            ("--in-place -o x", "cannot be used with"),
        ] {
            let error = parse(&format!("m.onnx {line}")).unwrap_err();
            assert!(error.to_string().contains(what), "{line}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn parameters_of_another_bonus_are_refused() {
        for line in ["--power 2 --bonus log", "--log-end 1 --bonus cosine"] {
            assert!(parse(&format!("m.onnx {line}")).unwrap().options().is_err(), "{line}");
        }
        assert!(parse("m.onnx --power 2 --bonus power").unwrap().options().is_ok());
    }

    #[test]
    fn artifacts_go_to_a_folder_of_their_own() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("artifacts");
        std::fs::create_dir(&folder).unwrap();
        assert!(check_is_artifacts(&folder).unwrap_err().to_string().contains("no training_model.onnx"));
        std::fs::write(folder.join("training_model.onnx"), b"\x08\x08").unwrap();
        assert!(check_is_artifacts(&folder).is_ok());

        let resolve = |line: &str| {
            let mut arguments = parse(&format!("artifacts {line}")).unwrap();
            if let Some(output) = &mut arguments.rewrite.output
                && output.as_os_str() != "-"
            {
                *output = base.path().join(&output);
            }
            resolve_folder(&arguments, &folder)
        };
        assert_eq!(resolve("").unwrap(), base.path().join("artifacts.el"));
        assert_eq!(resolve("-o patched").unwrap(), base.path().join("patched"));
        for (line, what) in [
            ("-o artifacts", "is the input itself"),
            ("-o -", "several files"),
            ("--in-place", "--in-place is for a model file"),
            ("-o artifacts/training_model.onnx", "is a file"),
        ] {
            let text = resolve(line).unwrap_err().to_string();
            assert!(text.contains(what), "{line}: {text}");
        }
        #[cfg(unix)]
        {
            let link = base.path().join("link");
            std::os::unix::fs::symlink("artifacts", &link).unwrap();
            let arguments = parse("link").unwrap();
            assert_eq!(resolve_folder(&arguments, &link).unwrap(), base.path().join("link.el"));
        }
    }
}
