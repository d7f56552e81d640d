//! `elonnx train`.

mod optimizer;
mod schedules;
mod told;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueHint};

use self::told::{Told, Written};
use super::data::DataArguments;
use super::exit::{Interrupted, wrong_input};
use super::files::{Input, Output, Wish, resolve_output};
use super::output::warn;
use super::{loss, precision};
use crate::data::{Options, Samples};
use crate::edge::METADATA_KEY;
use crate::model::{Document, ExternalData};
use crate::report::Format;
use crate::rewrite::Precision;
use crate::rewrite::train_step::{TrainStepOptions, loss_of};
use crate::train::{
    Augmentation, Best, ClassWeights, End, Event, Flow, HoldBack, Plan, Summary, Trainer, TrainerOptions, files,
    save_curves, split,
};

/// Train a classifier on the stock ONNX Runtime
///
/// MODEL is any ONNX classifier, exported for inference or for training. What comes out is the same file with new
/// parameters, those of the best epoch; everything else stays byte for byte as it was. The loss is the encouraging loss,
/// or what the model itself has; --bonus-weight 0 is cross entropy.
///
/// DATA is a folder with MNIST's four files, a folder with train and val in it (folders of images with one folder per
/// class, or train.npz and val.npz), such a folder of images itself, or a file: npz with x and y, npy, idx, CSV. Bytes are
/// divided by 255 unless --scale says otherwise.
///
/// The run folder gets a checkpoint after every epoch (last.safetensors, best.safetensors) and metrics.json. Ctrl-C writes
/// one, too; --resume goes on from there as if nothing had happened, to the bit.
#[derive(Debug, Args)]
#[command(mut_arg("batch", |argument| argument.hide(true)))]
pub struct Arguments {
    /// ONNX classifier
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    model: PathBuf,
    /// What to train on: a folder or files
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// What to validate with after each epoch [default: what the folder of the data has]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, num_args = 1..)]
    val: Vec<PathBuf>,
    /// Hold back so many of the training samples, or this share of them (0.1), to validate with: always the same, chosen at
    /// random
    #[arg(long, value_name = "N", conflicts_with = "val")]
    val_split: Option<HoldBack>,
    /// Labels of the validation data, as --labels
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "val")]
    val_labels: Option<PathBuf>,
    /// Where to write the trained model [default: model.trained.onnx beside the model]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Replace the output if it exists, and begin anew in a run folder that holds a run
    #[arg(short, long, conflicts_with = "resume")]
    force: bool,
    /// Folder of checkpoints and metrics.json [default: beside the output, trained.run for trained.onnx]
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    run_dir: Option<PathBuf>,
    /// Go on where the run in the run folder stopped
    #[arg(long)]
    resume: bool,
    /// Write a checkpoint every so many steps, too
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: Option<u64>,
    /// Draw the curves of the run (.svg, .png); a file of that name is replaced
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    plot: Option<PathBuf>,
    /// Print errors and warnings only
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print a JSON object per line: the start, each epoch, the end
    #[arg(long)]
    pub json: bool,
    /// No progress bar
    #[arg(long)]
    no_progress: bool,

    /// Times that all samples are seen
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000), help_heading = "Training")]
    epochs: u64,
    /// Samples of a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_048_576), help_heading = "Training")]
    batch_size: u32,
    /// Leave out samples that do not fill a batch, others each epoch [default: the last batch is smaller]
    #[arg(long, help_heading = "Training")]
    drop_last: bool,
    /// Where the order of samples, augmentation and dropout come from
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    seed: u64,
    /// Threads of ONNX Runtime; the same number gives the same bits [default: one per processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Training")]
    threads: Option<u16>,
    /// End after so many epochs without a better score
    #[arg(long, value_name = "EPOCHS", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    patience: Option<u64>,
    /// By what the best epoch is chosen, on the validation data if there are any
    #[arg(long, value_name = "WHAT", default_value = "accuracy", value_parser = best_parser(), help_heading = "Training")]
    best: Best,
    /// Parameters that are not trained: names, `*` is any text, `?` any character
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = "Training")]
    freeze: Vec<String>,
    /// Train these only
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = "Training")]
    train_only: Vec<String>,
    /// Leave BatchNormalization as it is in inference
    #[arg(long, help_heading = "Training")]
    freeze_batch_norm: bool,
    /// ONNX Runtime library, or the folder that holds it
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = "Training")]
    onnxruntime: Option<PathBuf>,
    /// Use standard operators only beside the loss
    #[arg(long, help_heading = "Training")]
    standard_ops: bool,
    /// What matrix products and convolutions compute in, where ONNX Runtime has kernels for it; parameters, state and what
    /// is delicate stay float32, and so does the trained model
    #[arg(long, value_name = "TYPE", value_parser = precision::parser(), default_value = "f32", help_heading = "Training")]
    precision: Precision,

    #[command(flatten)]
    optimizer: optimizer::Arguments,
    #[command(flatten)]
    schedules: schedules::Arguments,
    #[command(flatten)]
    loss: loss::Arguments,
    /// Weight of each class: `balanced` (all classes count as much), or a number for each
    #[arg(long, value_name = "W,…", value_parser = class_weights, help_heading = "Loss")]
    class_weights: Option<ClassWeights>,
    /// Value to take as logits instead of looking for them
    #[arg(long, value_name = "NAME", help_heading = "Loss")]
    logits: Option<String>,

    #[command(flatten)]
    data_options: DataArguments,
    /// Mirror every second picture, at random
    #[arg(long, help_heading = "Augmentation")]
    flip: bool,
    /// Move pictures by up to so many pixels, at random: a crop of the picture with a black frame
    #[arg(long, value_name = "PIXELS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=4096), help_heading = "Augmentation")]
    random_crop: u32,
}

impl Arguments {
    fn options(&self, document: &Document, run_folder: PathBuf) -> anyhow::Result<TrainerOptions> {
        let step = TrainStepOptions {
            loss: self.loss.over(loss_of(document))?,
            optimizer: self.optimizer.optimizer()?,
            clip_norm: self.optimizer.clip_norm,
            freeze: self.freeze.clone(),
            train_only: self.train_only.clone(),
            freeze_batch_norm: self.freeze_batch_norm,
            logits: self.logits.clone(),
            plugin: !self.standard_ops,
            precision: self.precision,
            ..TrainStepOptions::default()
        };
        let all = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Ok(TrainerOptions {
            step,
            epochs: self.epochs,
            batch: self.batch_size as usize,
            seed: self.seed,
            threads: self.threads.map_or_else(all, usize::from),
            learning_rate: self.schedules.learning_rate(&self.optimizer, self.epochs)?,
            deferred_bonus: self.schedules.defer,
            bonus_growth: self.schedules.growth()?,
            class_weights: self.class_weights.clone().unwrap_or_default(),
            augmentation: Augmentation { mirror: self.flip, padding: self.random_crop },
            drop_last: self.drop_last,
            patience: self.patience,
            best: self.best,
            run_folder: Some(run_folder),
            save_every: self.save_every,
            resume: self.resume,
            onnxruntime: self.onnxruntime.clone(),
        })
    }

    /// What to train on and what to validate with.
    fn data(&self) -> anyhow::Result<(Options, Option<Options>)> {
        if self.data_options.batch.is_some() {
            wrong_input!("--batch is for scoring; the samples of a step are --batch-size");
        }
        let (train, found) = match self.data.as_slice() {
            [folder] => {
                let split = split(folder)?;
                (vec![split.train], split.validation)
            }
            several => (several.to_vec(), None),
        };
        let validation = match found {
            Some(found) if self.val.is_empty() && self.val_split.is_none() => vec![found],
            _ => self.val.clone(),
        };
        let (training, _) = self.data_options.options(&train, None)?;
        let labels = self.val_labels.clone();
        let validation =
            (!validation.is_empty()).then(|| Options { paths: validation, labels, limit: None, ..training.clone() });
        Ok((training, validation))
    }

    fn output(&self, input: &Input) -> anyhow::Result<PathBuf> {
        let output = self.output.as_deref();
        let wish = Wish { output, in_place: false, force: self.force, dry_run: false, infix: "trained" };
        match resolve_output(input, wish)? {
            Output::File(path) => Ok(path),
            _ => wrong_input!("the trained model is written when training is over; name a file with -o"),
        }
    }
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let input = Input::new(&arguments.model);
    let output = arguments.output(&input)?;
    if let Some(plot) = &arguments.plot
        && Format::of(plot)? == Format::Html
    {
        wrong_input!("{}: curves are drawn as .svg or .png", plot.display());
    }
    let folder = arguments.run_dir.clone().unwrap_or_else(|| output.with_extension("run"));
    let document = input.read()?;
    let options = arguments.options(&document, folder.clone())?;
    let (training, validation) = arguments.data()?;
    let plan = Plan::new(&document, options).map_err(|error| super::exit::of_training(error, &arguments.model))?;
    let data_file = plan.check_save(&output)?;
    if let Some(file) = data_file.filter(|file| file.exists() && !arguments.force) {
        wrong_input!("{} exists; --force replaces it, -o names another model", file.display());
    }
    // before the data: reading them may take long
    plan.find_runtime()?;
    let training = Samples::open(&training, plan.inputs())?;
    let (training, validation) = match (arguments.val_split, validation) {
        (Some(held), _) => held.of(&training).map(|(training, held)| (training, Some(held)))?,
        (None, Some(options)) => (training, Some(Samples::open(&options, plan.inputs())?)),
        (None, None) => (training, None),
    };
    if arguments.force {
        begin_anew(&folder)?;
    }
    let told = Told::new(arguments.json, arguments.quiet, !arguments.no_progress);
    told.data(&plan, &training, validation.as_ref())?;
    let mut trainer = plan.start(training, validation)?;
    warn(trainer.notes())?;
    let summary = train(&mut trainer, &told, arguments.epochs)?;
    warn(skipped(&trainer).as_slice())?;
    if let Some(plot) = &arguments.plot {
        save_curves(plot, &arguments.model.display().to_string(), trainer.history())?;
    }
    if summary.end == End::Stopped {
        return Err(interrupted(&trainer, &folder).into());
    }
    let data_file = trainer.save_trained(&output, ExternalData::Copy)?;
    told.end(&summary, &trainer, &Written { model: &output, data: data_file.as_deref(), run_folder: &folder })?;
    match document.metadata(METADATA_KEY) {
        Some(_) => warn(&[stale(&output)]),
        None => Ok(()),
    }
}

/// Trains until the end, or until Ctrl-C.
fn train(trainer: &mut Trainer, told: &Told, epochs: u64) -> anyhow::Result<Summary> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    let say = told.speaker();
    let handler = move || {
        if asked.swap(true, Ordering::SeqCst) {
            // asked twice: the last checkpoint is whole, whatever is being written now
            std::process::exit(i32::from(super::exit::INTERRUPTED));
        }
        say("stopping after this step; Ctrl-C again ends at once");
    };
    // a second handler in one process is a bug of the caller; training goes on without one
    let _ = ctrlc::set_handler(handler);
    let mut result = Ok(());
    told.begin(trainer, epochs)?;
    let summary = trainer.run(|event| {
        if let Event::Epoch(record) = event {
            let told = told.epoch(record, epochs);
            if result.is_ok() {
                result = told;
            }
        } else {
            told.progress(event, epochs);
        }
        if stop.load(Ordering::SeqCst) || result.is_err() { Flow::Stop } else { Flow::Continue }
    });
    told.finish();
    let summary = summary?;
    result.map(|()| summary)
}

fn interrupted(trainer: &Trainer, folder: &Path) -> Interrupted {
    let (epochs, steps) = trainer.position();
    Interrupted(format!(
        "stopped after {epochs} epochs and {steps} of {} steps of the next; the checkpoint is in {}, and the same command \
         with --resume goes on from there",
        trainer.steps_per_epoch(),
        folder.display()
    ))
}

/// Removes what a run left; nothing else in the folder.
fn begin_anew(folder: &Path) -> anyhow::Result<()> {
    for name in [files::LAST, files::BEST, files::METRICS] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(anyhow::Error::from(error).context(format!("remove {}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Steps that may be left out in float16 without a word: until the scale of the loss fits, and one in so many later.
const FIRST: u64 = 16;
const FEW: u64 = 20;

/// Steps that changed nothing, where they are many.
fn skipped(trainer: &Trainer) -> Option<String> {
    let (skipped, steps) = (trainer.skipped_steps()?, trainer.history().last()?.step);
    (skipped > FIRST + steps / FEW).then(|| {
        format!(
            "{skipped} of {steps} steps changed nothing, because a gradient was no number in float16; train with \
             --precision f32 or a smaller learning rate"
        )
    })
}

/// What was fitted to the old parameters stays in the file, as everything that is not trained.
fn stale(output: &Path) -> String {
    let output = output.display();
    format!(
        "the calibration in {output} was fitted to the parameters from before training, and its thresholds do not fit the \
         new ones; fit them anew: elonnx calibrate {output} --in-place --data PATH, with samples that were not trained on"
    )
}

fn best_parser() -> impl clap::builder::TypedValueParser<Value = Best> {
    PossibleValuesParser::new(["accuracy", "loss"]).map(|text| if text == "loss" { Best::Loss } else { Best::Accuracy })
}

fn class_weights(text: &str) -> Result<ClassWeights, String> {
    if text == "balanced" {
        return Ok(ClassWeights::Balanced);
    }
    let number = |text: &str| match text.trim().parse::<f32>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        _ => Err(format!("'{text}' is neither 'balanced' nor a weight of 0 or more")),
    };
    text.split(',').map(number).collect::<Result<_, _>>().map(ClassWeights::Given)
}

#[cfg(test)]
mod tests;
